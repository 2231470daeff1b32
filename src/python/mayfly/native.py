"""Requests on a session of the module mayfly._native, instead of an RPC for each.

A request is one attempt, and ends as its RPC would. What does not fit a session is an RPC of gRPC for
Python: streams, a request or answer so large that it would hold up others, and all when the server
knows no sessions.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Any, NamedTuple

from mayfly import transport
from mayfly.errors import from_parts
from mayfly.identity import Credentials
from mayfly.settings import Settings
from mayfly.v1 import function_io_pb2 as pb

_REQUEST_BYTES_MAX = 1 << 20
_RESPONSE_DATA_BYTES_MAX = 4 << 20
_UNIMPLEMENTED = 12


class Method(NamedTuple):
    number: int  # of the field in NumberedRequest
    response: Any


class Begun(NamedTuple):
    """A request under way. Is abandoned when nobody has it any more."""

    method: Method
    request: Any


_METHODS = {
    name: Method(pb.NumberedRequest.DESCRIPTOR.fields_by_name[field].number, response)
    for name, field, response in (
        ("PutInputs", "put_inputs", pb.PutInputsResponse),
        ("GetInputs", "get_inputs", pb.GetInputsResponse),
        ("PutOutputs", "put_outputs", pb.PutOutputsResponse),
        ("AckOutputs", "ack_outputs", pb.AckOutputsResponse),
        ("ReleaseOutputs", "release_outputs", pb.ReleaseOutputsResponse),
        ("RenewClaims", "renew_claims", pb.RenewClaimsResponse),
        ("DescribeCalls", "describe_calls", pb.DescribeCallsResponse),
        ("DeleteCalls", "delete_calls", pb.DeleteCallsResponse),
        ("ClaimOutputs", "claim_outputs", pb.ClaimOutputsResponse),
    )
}


class NativeChannel:
    """A channel of the module. Connects with the first request. When the program ends it is closed, and
    what is called then is an RPC."""

    def __init__(self, module: Any, channel: Any) -> None:
        self.module = module
        self.channel = channel
        self.is_refused = False  # the server knows no sessions
        _channels.add(self)

    @classmethod
    def open(
        cls, settings: Settings, credentials: Credentials, is_preferred: bool
    ) -> NativeChannel | None:
        """None: requests are RPCs of gRPC for Python. See transport.native."""
        module = None if _is_at_exit else transport.native(settings, is_preferred)
        if module is None:
            return None
        return cls(
            module,
            module.Channel(
                target=settings.server,
                ca=credentials.ca,
                key=credentials.key,
                cert=credentials.cert,
                server_name=settings.server_name,
                keepalive_time=settings.keepalive_time,
                keepalive_timeout=settings.keepalive_timeout,
                reconnect_pause_max=settings.delay_max,
            ),
        )

    def fit(self, name: str, request: Any) -> tuple[Method, bytes] | None:
        """With the serialized request. None: it does not fit a session."""
        method = _METHODS.get(name)
        if method is None or self.is_refused or _is_at_exit:
            return None
        if getattr(request, "max_bytes", 0) > _RESPONSE_DATA_BYTES_MAX:
            return None
        message: bytes = request.SerializeToString()
        return (method, message) if len(message) <= _REQUEST_BYTES_MAX else None

    def call(self, name: str, request: Any, timeout: float) -> Any:
        """The response. None: it does not fit a session. transport.Failure."""
        fitting = self.fit(name, request)
        if fitting is None:
            return None
        method, message = fitting
        return self.response_of(method, self.channel.call(method.number, message, timeout))

    def begin(self, name: str, request: Any) -> Begun | None:
        """Sends it, for `end` to wait for. None: it does not fit a session."""
        fitting = self.fit(name, request)
        if fitting is None:
            return None
        method, message = fitting
        return Begun(method, self.channel.begin(method.number, message))

    def end(self, begun: Begun, timeout: float) -> Any:
        """As `call`."""
        return self.response_of(begun.method, begun.request.wait(timeout))

    def response_of(self, method: Method, answer: Any) -> Any:
        """As `call`."""
        if isinstance(answer, bytes):
            return method.response.FromString(answer)
        code, text, status = answer
        if code == _UNIMPLEMENTED:
            self.is_refused = True
            return None
        raise transport.Failure(from_parts(code, text, status))

    def close(self) -> None:
        """Requests under way end with Cancelled."""
        self.channel.close()


_channels: weakref.WeakSet[NativeChannel] = weakref.WeakSet()
_is_at_exit = False


@atexit.register
def _close_all() -> None:
    """A channel's thread must not run when the libraries that it uses are cleaned up."""
    global _is_at_exit
    _is_at_exit = True
    for channel in list(_channels):
        channel.close()


def _after_fork_in_child() -> None:
    global _channels
    _channels = weakref.WeakSet()


os.register_at_fork(after_in_child=_after_fork_in_child)
