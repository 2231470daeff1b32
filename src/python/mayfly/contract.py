"""Requests of the public contract from what the caller says, and back. No I/O.

A `Kind` is one of the RPCs whose single calls travel together.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
from typing import Any, Callable, Generic, Iterator, Sequence, TypeVar

from google.protobuf import timestamp_pb2

from mayfly import calls
from mayfly.calls import NO_METADATA, Claim, Claimed, Metadata, Outcome
from mayfly.checksum import crc32c
from mayfly.errors import (
    BatchError,
    Error,
    PayloadDamaged,
    ProtocolError,
    from_status,
)
from mayfly.put_items import ITEM_OVERHEAD_BYTES, OUTCOME_NUMBERS, PutItem, put_size
from mayfly.settings import Settings
from mayfly.v1 import function_io_pb2 as pb

BATCH_ITEMS_MAX = 512  # limits.batch_items_max
# About the size of a message that fits a session.
AHEAD_BYTES = 960 << 10
SEGMENT_BYTES = 1 << 20  # of Upload and Download
# Larger payloads are streamed; so are files and iterators that do not end before.
MESSAGE_DATA_BYTES_MAX = 1 << 20
POLL_WAIT_MAX_S = 55.0  # claims.wait_max

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Kind(Generic[Item, Result]):
    """`results` gives one for each item, in order."""

    method: str
    request: Callable[[Sequence[Item]], Any]
    results: Callable[[Any, Any, Sequence[Item]], list[Result | Error]]
    size_bytes: Callable[[Item], int] = lambda item: ITEM_OVERHEAD_BYTES


class Kinds:
    """Those of one client."""

    def __init__(self, settings: Settings) -> None:
        message_bytes = min(settings.batch_bytes_max, settings.data_bytes_max)
        lease_s = settings.lease
        self.put_inputs = Kind[PutItem, None](
            "PutInputs", lambda items: pb.PutInputsRequest(items=items), _nothing, put_size
        )
        self.put_outputs = Kind[PutItem, None](
            "PutOutputs", lambda items: pb.PutOutputsRequest(items=items), _nothing, put_size
        )
        # None: larger than a message.
        self.get_inputs = Kind[str, calls.Input | None](
            "GetInputs",
            lambda ids: pb.GetInputsRequest(call_ids=ids, max_bytes=message_bytes),
            _inputs,
        )
        # None: neither there nor ended.
        self.claims = Kind[str, Claimed | None](
            "ClaimOutputs",
            lambda ids: claim_request(ids, message_bytes, lease_s),
            _claims,
        )
        self.acks = Kind[Claim, None](
            "AckOutputs",
            lambda items: pb.AckOutputsRequest(items=[_ack_item(item) for item in items]),
            _nothing,
        )
        self.releases = Kind[Claim, None](
            "ReleaseOutputs",
            lambda items: pb.ReleaseOutputsRequest(
                items=[
                    pb.ReleaseItem(call_id=item.call_id, claim_token=item.token, fence=item.fence)
                    for item in items
                ]
            ),
            _nothing,
        )
        self.renewals = Kind[Claim, None](
            "RenewClaims", lambda items: _renew_request(items, lease_s), _nothing
        )
        self.descriptions = Kind[str, calls.CallDescription](
            "DescribeCalls", lambda ids: pb.DescribeCallsRequest(call_ids=ids), _descriptions
        )
        self.deletions = Kind[str, datetime.datetime](
            "DeleteCalls", lambda ids: pb.DeleteCallsRequest(call_ids=ids), _erase_times
        )


def new_token() -> bytes:
    """Of a claim or an upload."""
    return os.urandom(16)


def claim_request(
    call_ids: Sequence[str], max_bytes: int, lease_s: float
) -> pb.ClaimOutputsRequest:
    request = pb.ClaimOutputsRequest(
        call_ids=dict.fromkeys(call_ids), max_bytes=max_bytes, claim_token=new_token()
    )
    request.lease.FromNanoseconds(round(lease_s * 1e9))
    return request


def each_of(results: list[Result | Error], call_ids: list[str]) -> list[Result | Error]:
    """With the errors of their calls: one that failed a whole request names none."""
    return [
        result.of_call(call_id) if isinstance(result, Error) else result
        for result, call_id in zip(results, call_ids)
    ]


def all_of(results: list[Result | Error], call_ids: list[str]) -> list[Result]:
    """BatchError: some are errors."""
    errors = {
        index: result.of_call(call_ids[index])
        for index, result in enumerate(results)
        if isinstance(result, Error)
    }
    if errors:
        raise BatchError(errors, call_ids)
    return results  # type: ignore[return-value]


def outcome_of(number: int) -> Outcome | None:
    """None when the server did not say, because it did not send the payload."""
    return _OUTCOMES.get(number)


def claimed_output(token: bytes, output: pb.ClaimedOutput) -> Claimed:
    """PayloadDamaged: the data does not have its checksum."""
    data, metadata, checksum = None, None, None
    call_id = output.call_id
    if output.HasField("payload"):
        payload = output.payload
        data = payload.data
        checksum = _verified(data, payload, call_id)
        metadata = metadata_of(payload)
    return Claimed(
        claim=Claim(call_id, token, output.fence, checksum),
        attempt=output.attempt,
        outcome=outcome_of(output.outcome),
        size_bytes=output.size_bytes,
        metadata=metadata,
        data=data,
    )


def metadata_of(payload: pb.Payload) -> Metadata:
    if not (payload.content_type or payload.labels or payload.encryption_key_id):
        return NO_METADATA
    return Metadata(payload.content_type, dict(payload.labels), payload.encryption_key_id)


def input_of(call_id: str, data: bytes, payload: pb.Payload) -> calls.Input:
    return calls.Input(data)._describe(call_id, metadata_of(payload))


def output_of(held: Claimed, data: bytes) -> calls.Output:
    output = calls.Output(data)._describe(held.claim.call_id, held.metadata or NO_METADATA)
    output.outcome = held.outcome or Outcome.SUCCESS
    output.attempt = held.attempt
    return output


def segments_of(data: bytes) -> Iterator[bytes]:
    for begin in range(0, len(data), SEGMENT_BYTES):
        yield data[begin : begin + SEGMENT_BYTES]


def time_of(timestamp: timestamp_pb2.Timestamp) -> datetime.datetime:
    time: datetime.datetime = timestamp.ToDatetime(tzinfo=datetime.timezone.utc)
    return time


_OUTCOMES = {number: Outcome(outcome) for outcome, number in OUTCOME_NUMBERS.items()}
_STATES = {pb.CallState.Value(f"CALL_STATE_{state.name}"): state for state in calls.CallState}


def _verified(data: bytes, payload: pb.Payload, call_id: str) -> int:
    checksum = crc32c(data)
    if checksum != payload.crc32c:
        raise PayloadDamaged(
            f"{len(data)} bytes arrived damaged", "CHECKSUM_MISMATCH", call_id
        )
    return checksum


def _ack_item(claim: Claim) -> dict[str, Any]:
    return {
        "call_id": claim.call_id,
        "claim_token": claim.token,
        "fence": claim.fence,
        "crc32c": claim.crc32c,
    }


def _renew_request(claims: Sequence[Claim], lease_s: float) -> pb.RenewClaimsRequest:
    request = pb.RenewClaimsRequest(
        items=[
            pb.RenewItem(call_id=claim.call_id, claim_token=claim.token, fence=claim.fence)
            for claim in claims
        ]
    )
    request.lease.FromNanoseconds(round(lease_s * 1e9))
    return request


def _each(
    response: Any, items: Sequence[Any], value: Callable[[Any], Any]
) -> list[Any]:
    """`value` of each result that is OK, otherwise its error."""
    if len(response.results) != len(items):
        raise ProtocolError(f"the server sent {len(response.results)} results, not {len(items)}")
    found: list[Any] = []
    for result in response.results:
        if result.status.code != 0:
            found.append(from_status(result.status, result.call_id))
            continue
        try:
            found.append(value(result))
        except Error as error:
            found.append(error)
    return found


def _nothing(request: Any, response: Any, items: Sequence[Any]) -> list[None | Error]:
    return _each(response, items, lambda result: None)


def _erase_times(
    request: Any, response: Any, items: Sequence[Any]
) -> list[datetime.datetime | Error]:
    return _each(response, items, lambda result: time_of(result.erase_time))


def _inputs(
    request: Any, response: Any, items: Sequence[str]
) -> list[calls.Input | None | Error]:
    def value(result: pb.GetInputResult) -> calls.Input | None:
        if not result.HasField("payload"):
            return None
        payload = result.payload
        data = payload.data
        call_id = result.call_id
        _verified(data, payload, call_id)
        return input_of(call_id, data, payload)

    return _each(response, items, value)


def _claims(
    request: pb.ClaimOutputsRequest, response: pb.ClaimOutputsResponse, items: Sequence[str]
) -> list[Claimed | None | Error]:
    found: dict[str, Claimed | Error] = {}
    for output in response.outputs:
        try:
            found[output.call_id] = claimed_output(request.claim_token, output)
        except Error as error:
            found[output.call_id] = error
    ended = {end.call_id: from_status(end.status, end.call_id) for end in response.ended}
    # Of two that ask for one output at the same time, the first gets it.
    return [ended.get(item) or found.pop(item, None) for item in items]


def _descriptions(
    request: Any, response: Any, items: Sequence[str]
) -> list[calls.CallDescription | Error]:
    def payload(description: pb.PayloadDescription) -> calls.PayloadDescription:
        return calls.PayloadDescription(
            description.size_bytes,
            time_of(description.stored_time),
            time_of(description.deadline_time),
            description.attempt,
        )

    def value(result: pb.CallDescription) -> calls.CallDescription:
        return calls.CallDescription(
            result.call_id,
            _STATES.get(result.state, calls.CallState.UNKNOWN),
            payload(result.input) if result.HasField("input") else None,
            payload(result.output) if result.HasField("output") else None,
        )

    return _each(response, items, value)
