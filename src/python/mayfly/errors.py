"""What can go wrong, as exceptions: all are an `Error`.

Each is made from the `google.rpc.Status` of an item or of an RPC. They can be pickled.
"""

from __future__ import annotations

from typing import Any

from mayfly.rpc import error_details_pb2, status_pb2

__all__ = [
    "BatchError",
    "Cancelled",
    "CertificateInvalid",
    "ClaimLost",
    "Conflict",
    "Error",
    "InvalidArgument",
    "LimitExceeded",
    "NotFound",
    "OutputClaimed",
    "PayloadDamaged",
    "PayloadTooLarge",
    "Pending",
    "PermissionDenied",
    "ProtocolError",
    "StaleAttempt",
    "TimedOut",
    "Unavailable",
]

_DOMAIN = "mayfly"


class Error(Exception):
    """The base of all.

    `reason` is the contract's (error_reason.proto), such as "QUOTA_RATE", or empty.
    `call_id` is that of the call concerned, or empty. `retry_after` is how long the server asks to
    wait before a retry, in seconds; 0 when it does not say.
    """

    def __init__(
        self, message: str = "", reason: str = "", call_id: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message, reason, call_id, retry_after)
        self.message = message
        self.reason = reason
        self.call_id = call_id
        self.retry_after = retry_after

    def of_call(self, call_id: str) -> Error:
        """The same of one call, when it names none."""
        if self.call_id or not call_id or isinstance(self, BatchError):
            return self
        return type(self)(self.message, self.reason, call_id, self.retry_after)

    def __str__(self) -> str:
        parts = [f"call {self.call_id}"] if self.call_id else []
        parts.append(self.message or type(self).__name__)
        return ": ".join(parts) + (f" ({self.reason})" if self.reason else "")


class NotFound(Error):
    """The call is not there. `reason` says why: OUTPUT_CONSUMED (its output was retrieved),
    CALL_EXPIRED, CALL_DELETED, or CALL_UNKNOWN (never there, or ended long ago, or another
    tenant's)."""


class Conflict(Error):
    """The call has another input, or the same attempt put another output."""


class StaleAttempt(Error):
    """A later attempt has put its output; this one is too late."""


class ClaimLost(Error):
    """The claim lapsed before the ack, and another client has the output now, or a later attempt
    replaced it. Clients that only wait for the same output get Pending or NotFound."""


class OutputClaimed(Error):
    """A client holds the output of an earlier attempt, so this one cannot replace it."""


class LimitExceeded(Error):
    """A quota or the server's load. Worth a retry after `retry_after` seconds."""


class InvalidArgument(Error, ValueError):
    """An argument is wrong; the text names field, value and limit."""


class PayloadTooLarge(InvalidArgument):
    """Larger than the server's limits.payload_bytes_max, than data_bytes_max of the client, or than
    an item of put_inputs and put_outputs may be (60 MiB)."""


class PayloadDamaged(Error):
    """What was stored, sent or received does not have its checksum."""


class PermissionDenied(Error):
    """The certificate is not good, or not good for this."""


class CertificateInvalid(PermissionDenied):
    """A certificate or key, of this client or of the server, is not good. The text says which, and
    what to do. When the files have been replaced, the next call reads them."""


class Unavailable(Error):
    """The server could not be reached, or is starting or draining, after all repetitions; a wait for
    outputs ends with it when that lasts for Settings.timeout."""


class TimedOut(Error, TimeoutError):
    """No answer in time. Whether it was done is not known; repeating is safe."""


class Pending(TimedOut):
    """There is no output yet, or another client holds it: describe tells which."""


class Cancelled(Error):
    """The client was closed while the call was under way."""


class ProtocolError(Error):
    """The server answered what it must not."""


class BatchError(Error):
    """Some items of a batch failed; the others are done.

    `errors` has the error of each item that failed, by its index in the batch, and `call_ids` the
    ids of all items.
    """

    def __init__(self, errors: dict[int, Error], call_ids: list[str]) -> None:
        super().__init__(f"{len(errors)} of {len(call_ids)} items failed, first: "
                         f"{errors[min(errors)]}")
        self.errors = errors
        self.call_ids = call_ids

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchError, (self.errors, self.call_ids)


# Of google.rpc.Code, which are those of gRPC.
_BY_CODE: dict[int, type[Error]] = {
    1: Cancelled,
    3: InvalidArgument,
    4: TimedOut,
    5: NotFound,
    6: Conflict,
    7: PermissionDenied,
    8: LimitExceeded,
    11: InvalidArgument,  # OUT_OF_RANGE
    14: Unavailable,
    15: PayloadDamaged,  # DATA_LOSS
    16: PermissionDenied,  # UNAUTHENTICATED
}
_BY_REASON: dict[str, type[Error]] = {
    "STALE_ATTEMPT": StaleAttempt,
    "CLAIM_LOST": ClaimLost,
    "OUTPUT_CLAIMED": OutputClaimed,
    "OUTPUT_PENDING": Pending,
    "PAYLOAD_TOO_LARGE": PayloadTooLarge,
    "CHECKSUM_MISMATCH": PayloadDamaged,
    "IDENTITY_INVALID": CertificateInvalid,
}


def is_of_another_time(result: object) -> bool:
    """Whether an id was refused because of the time in it."""
    return isinstance(result, InvalidArgument) and result.reason == "ID_OUTSIDE_WINDOW"


def from_status(status: status_pb2.Status, call_id: str = "") -> Error:
    """Of a status that is not OK."""
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    # Not Any.Unpack: these messages have a package of their own here, see setup.py.
    for detail in status.details:
        if detail.type_url.endswith("/google.rpc.ErrorInfo"):
            info.ParseFromString(detail.value)
        elif detail.type_url.endswith("/google.rpc.RetryInfo"):
            retry.ParseFromString(detail.value)
    reason = info.reason if info.domain == _DOMAIN else ""
    kind = _BY_REASON.get(reason, _BY_CODE.get(status.code, ProtocolError))
    retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return kind(status.message, reason, call_id, retry_after)


def from_status_of_rpc(error: Any) -> Error:
    """Of a grpc.RpcError that ended a call, also of asyncio's."""
    status = b""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = value
    return from_parts(error.code().value[0], error.details() or "", status)


def from_parts(code: int, text: str, serialized: bytes) -> Error:
    """Of the code and the text that ended a call. `serialized` is a google.rpc.Status, or empty."""
    if serialized:
        status = status_pb2.Status.FromString(serialized)
        if status.code == code:
            return from_status(status)
    if code == 8 and "message larger than max" in text:  # gRPC's own, which never reached the service
        return PayloadTooLarge(
            f"{text}: a request is above limits.message_bytes_max of the server; payloads above "
            "1 MiB are uploaded in parts by put_input and put_output", "PAYLOAD_TOO_LARGE",
        )
    return from_status(status_pb2.Status(code=code, message=text))
