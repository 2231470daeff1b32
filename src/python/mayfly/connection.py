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

# How long a fork waits for calls under way to notice that their channel was closed.
_FORK_TIMEOUT_S = 5.0
_RECONNECT_MIN_MS = 100


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
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MIN_MS),
        ("grpc.max_reconnect_backoff_ms", round(settings.delay_max * 1000)),
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

    Thread-safe. A fork closes the channels, in both processes; calls under way are repeated in the
    parent, and forgotten in the child.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._files = PemFiles.read(settings)
        self._closed = False
        self._forget()
        fork.register(self)

    def _forget(self) -> None:
        self._changed = threading.Condition()
        self._channels: dict[bool, Any] = {}
        self._stubs: dict[bool, Any] = {}
        self._under_way = 0
        self._forking = False

    @contextlib.contextmanager
    def stub(self, large: bool = False) -> Iterator[Any]:
        """The stub for one call. What ends the call is raised as an `Error`."""
        with self._changed:
            while self._forking:
                self._changed.wait()
            if self._closed:
                raise Cancelled("the client is closed")
            if large not in self._stubs:
                self._channels[large] = transport.grpc().secure_channel(
                    self.settings.server,
                    self._files.credentials(),
                    channel_options(self.settings),
                )
                self._stubs[large] = transport.new_stub(self._channels[large])
            stub = self._stubs[large]
            self._under_way += 1
        try:
            yield stub
        except Error:
            raise
        except Exception as error:
            known = transport.error_of(error)
            if isinstance(error, ValueError) and "closed channel" in str(error):
                known = Cancelled(str(error))  # between two statements
            if known is None:
                raise
            raise self._translated(known) from None
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _translated(self, error: Error) -> Error:
        # The server cancels nothing; a fork does.
        if isinstance(error, Cancelled) and not self._closed:
            return Unavailable("the call was interrupted")
        return error

    def invoke(self, method: str, request: Any, deadline: float) -> Any:
        """A unary call, repeated while the server cannot be reached and there is time."""
        backoff = Backoff(self.settings, deadline)
        while True:
            try:
                with self.stub() as stub:
                    return getattr(stub, method)(request, timeout=backoff.left())
            except Unavailable as error:
                time.sleep(backoff.pause_after(error))

    def close(self) -> None:
        """Calls under way end with Cancelled."""
        with self._changed:
            self._closed = True
        self._close_channels()

    def _close_channels(self) -> None:
        with self._changed:
            channels = list(self._channels.values())
            self._channels.clear()
            self._stubs.clear()
        for channel in channels:
            channel.close()

    def before_fork(self) -> None:
        with self._changed:
            self._forking = True
        self._close_channels()
        with self._changed:
            self._changed.wait_for(lambda: self._under_way == 0, _FORK_TIMEOUT_S)

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        transport.abandon((self._channels, self._stubs))
        self._forget()
