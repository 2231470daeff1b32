"""The connection of a client to its server: opened by the first call, in each process anew."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from typing import Any, Iterator

from mayfly import fork, transport
from mayfly.backoff import Backoff
from mayfly.errors import Cancelled, Error, InvalidArgument, Unavailable
from mayfly.settings import Settings

_RECONNECT_MIN_MS = 100
_RESOLVE_MIN_MS = 2_000


@dataclasses.dataclass(frozen=True)
class PemFiles:
    """What the settings name; read once. gRPC's own credentials must not be there before a fork."""

    ca: bytes
    key: bytes
    cert: bytes

    @classmethod
    def read(cls, settings: Settings) -> PemFiles:
        """InvalidArgument: a file cannot be read."""
        return cls(
            _read("ca", settings.ca), _read("key", settings.key), _read("cert", settings.cert)
        )

    def credentials(self) -> Any:
        return transport.grpc().ssl_channel_credentials(self.ca, self.key, self.cert)


def channel_options(settings: Settings) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", round(settings.keepalive_time * 1000)),
        ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MIN_MS),
        ("grpc.max_reconnect_backoff_ms", round(settings.delay_max * 1000)),
        # A connection to every address that the name has. With gRPC's default, one to the first that
        # can be reached, gRPC 1.51 stops connecting for ever when a resolution ends just while the
        # first address refuses.
        ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
        # A server that has moved is found as soon as one that was started again: by default, half a
        # minute later.
        ("grpc.dns_min_time_between_resolutions_ms", _RESOLVE_MIN_MS),
        # Repeating is done here, where it is known what may be repeated.
        ("grpc.enable_retries", 0),
        # A connection of its own, whatever other clients of the process have.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if settings.server_name:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return options


def _read(name: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InvalidArgument(f"{name}: cannot be read: {error.strerror}") from None


class Connection(fork.Forkable):
    """Two channels: large payloads have their own, so that small ones never wait behind them.

    Thread-safe. The child of a fork forgets them, and opens its own.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._files = PemFiles.read(settings)
        self._closed = False
        self._begin()
        fork.register(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[bool, Any] = {}
        self._stubs: dict[bool, Any] = {}

    def after_fork_in_child(self) -> None:
        transport.abandon((self._channels, self._stubs))
        self._begin()

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """Around whatever waits for gRPC: what ends a call is raised as an `Error`."""
        try:
            yield
        except Exception as error:
            known = self._known(error)
            if known is error:
                raise
            raise known from None

    def _known(self, error: Exception) -> Exception:
        """As an `Error`, if it is of gRPC."""
        if isinstance(error, ValueError) and "closed channel" in str(error):
            known: Error | None = Cancelled(str(error))  # between two statements
        else:
            known = transport.error_of(error)
        if isinstance(known, Cancelled) and not self._closed:
            return Unavailable("the call was interrupted")  # the server cancels nothing
        return known or error

    def stub(self, large: bool = False) -> Any:
        with self._lock:
            if self._closed:
                raise Cancelled("the client is closed")
            if large not in self._stubs:
                self._channels[large] = transport.grpc().secure_channel(
                    self.settings.server,
                    self._files.credentials(),
                    channel_options(self.settings),
                )
                self._stubs[large] = transport.new_stub(self._channels[large])
            return self._stubs[large]

    def invoke(self, method: str, request: Any, deadline: float) -> Any:
        """A unary call, repeated while the server cannot be reached and there is time."""
        backoff = Backoff(self.settings, deadline)
        while True:
            try:
                return getattr(self.stub(), method)(request, timeout=backoff.left())
            except Exception as error:
                known = self._known(error)
                if not isinstance(known, Unavailable):
                    raise known from None
            time.sleep(backoff.pause_after(known))

    def close(self) -> None:
        """Calls under way end with Cancelled."""
        with self._lock:
            self._closed = True
            channels = list(self._channels.values())
            self._channels.clear()
            self._stubs.clear()
        for channel in channels:
            channel.close()
