"""The channels of one client."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, Callable

from mayfly import transport
from mayfly.errors import Error, PermissionDenied, Unavailable
from mayfly.identity import Credentials, Identity
from mayfly.native import Begun, NativeChannel
from mayfly.settings import Settings

_RECONNECT_MIN_MS = 100
_NEVER_MS = (1 << 31) - 1
_RENEW_INTERVAL_S = 1.0
_PROBE_INTERVAL_S = 1.0


class Channel:
    """The way to the server with one certificate: for requests a session of mayfly._native, where that
    can be, and for the rest a channel of gRPC for Python, opened when it is needed. Is closed when
    nobody has it any more: a call keeps it while it is under way.
    """

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        is_native: bool | None,
        secure_channel: Any,
    ) -> None:
        """`is_native`: whether a session is preferred; None: it has none."""
        self.credentials = credentials
        self.opened = time.monotonic()
        self.native: NativeChannel | None = None
        if is_native is not None:
            self.native = NativeChannel.open(settings, credentials, is_native)
        self.rpcs: Any = None  # gRPC's channel
        self._settings = settings
        self._secure_channel = secure_channel
        self._stub: Any = None
        self._is_closed = False
        self._lock = threading.Lock()

    @property
    def stub(self) -> Any:
        """ValueError, as gRPC raises it: the channel is closed."""
        if self._stub is None:
            with self._lock:
                if self._stub is None:
                    self._open_stub()
        return self._stub

    def _open_stub(self) -> None:
        if self._is_closed:
            raise ValueError("Channel closed!")
        credentials = self.credentials
        self.rpcs = self._secure_channel(
            self._settings.server,
            transport.grpc().ssl_channel_credentials(
                credentials.ca, credentials.key, credentials.cert
            ),
            _options(self._settings),
        )
        self._stub = transport.new_stub(self.rpcs)

    def call(self, method: str, request: Any, timeout: float) -> Any:
        """One attempt of a unary call, of the blocking half."""
        if self.native is not None:
            response = self.native.call(method, request, timeout)
            if response is not None:
                return response
        return getattr(self.stub, method)(request, timeout=timeout)

    def begin(self, method: str, request: Any) -> Begun | None:
        """Sends it, for `end` to wait for. None: `call` is to do both."""
        return None if self.native is None else self.native.begin(method, request)

    def end(self, begun: Begun, method: str, request: Any, timeout: float) -> Any:
        """As `call`."""
        assert self.native is not None
        response = self.native.end(begun, timeout)
        return self.call(method, request, timeout) if response is None else response

    def close(self) -> Any:
        """Calls under way end with Cancelled. Returns what gRPC's close does: nothing, or a coroutine."""
        with self._lock:
            self._is_closed = True
        if self.native is not None:
            self.native.close()
        return None if self.rpcs is None else self.rpcs.close()


class Channels:
    """Two channels: large payloads have their own, so that small ones never wait behind them.

    Each is opened by its first call, which is when the name of the server is resolved. When the server
    cannot be reached there is another channel, at most once a second: by itself gRPC 1.51 may stop
    connecting for ever when the name has two addresses, and is resolved again just while the first
    refuses, or the second takes longer to fail than the first to be tried again.

    When the certificate was replaced, the next call opens another channel, and those under way end on
    theirs. Not thread-safe.
    """

    def __init__(self, settings: Settings, prefers_native: bool) -> None:
        """InvalidArgument: a file cannot be read. gRPC's own credentials must not be there before a
        fork."""
        self._settings = settings
        self._prefers_native = prefers_native
        transport.transport_of(settings)
        self.identity = Identity(settings)
        self._open: dict[bool, Channel] = {}
        self._probed = -_PROBE_INTERVAL_S
        self._credentials: Credentials | None = None  # when they were last looked at
        self._found = ""  # by the last probe with these, since the server was last reached
        self._alive = weakref.WeakSet[Channel]()  # those with calls under way too

    def channel(self, large: bool, secure_channel: Callable[..., Any]) -> Channel:
        """`secure_channel` opens gRPC's, blocking or asyncio's. CertificateInvalid."""
        credentials = self._current()
        opened = self._open.get(large)
        if opened is None or opened.credentials is not credentials:
            is_native = None if large else self._prefers_native
            opened = Channel(self._settings, credentials, is_native, secure_channel)
            self._open[large] = opened
            self._alive.add(opened)
        return opened

    def _current(self) -> Credentials:
        """CertificateInvalid."""
        credentials = self.identity.current()
        if credentials is not self._credentials:
            self._credentials = credentials
            self._found = ""
        return credentials

    def reached(self) -> None:
        """The server has answered: what comes later has another reason."""
        self._found = ""

    def take_outdated(self, large: bool, error: Error) -> list[Channel]:
        """To be closed after a call on it ended so: the channel, if another one may reach the server."""
        if not isinstance(error, Unavailable) or error.reason:
            return []  # the server has spoken
        channel = self._open.get(large)
        if channel is None or time.monotonic() - channel.opened < _RENEW_INTERVAL_S:
            return []
        del self._open[large]
        return [channel]

    def is_replaced(self, channel: Channel, error: Error) -> bool:
        """Whether a call ended so because its certificate expired, and there is a newer one."""
        if not isinstance(error, PermissionDenied) or error.reason not in ("", "IDENTITY_INVALID"):
            return False
        return self._current() is not channel.credentials

    def to_probe(self, error: Error) -> Credentials | None:
        """With which to find out why a call ended so, if the connection may be refused."""
        if not isinstance(error, Unavailable) or error.reason:
            return None
        now = time.monotonic()
        if now - self._probed < _PROBE_INTERVAL_S:
            return None
        self._probed = now
        return self._current()

    def explained(
        self, error: Error, refusal: Error | str | None, credentials: Credentials
    ) -> Error:
        """With what a probe has found with `credentials`."""
        if isinstance(refusal, Error):
            return refusal
        if refusal is not None and credentials is self._credentials:
            self._found = refusal
        return self.explained_again(error)

    def explained_again(self, error: Error) -> Error:
        """With what the last probe has found: the last of many attempts says it too."""
        if not self._found or not isinstance(error, Unavailable) or error.reason:
            return error
        return Unavailable(error.message + self._found, "", error.call_id, error.retry_after)

    def drop(self, channel: Channel) -> None:
        """Later calls have another one."""
        for large, opened in list(self._open.items()):
            if opened is channel:
                del self._open[large]
        self._alive.discard(channel)

    def take_all(self) -> list[Channel]:
        """To be closed."""
        channels = list(self._alive)
        self._open.clear()
        self._alive.clear()
        return channels

    def abandon(self) -> None:
        """In the child of a fork."""
        transport.abandon(self._open)
        for channel in self._alive:
            transport.abandon(channel)
        self._open = {}
        self._alive = weakref.WeakSet()


def _options(settings: Settings) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", round(settings.keepalive_time * 1000)),
        ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MIN_MS),
        ("grpc.max_reconnect_backoff_ms", round(settings.delay_max * 1000)),
        ("grpc.dns_min_time_between_resolutions_ms", _NEVER_MS),
        # Repeating is done here, where it is known what may be repeated.
        ("grpc.enable_retries", 0),
        # A connection of its own, whatever other clients of the process have.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if settings.server_name:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return options
