"""The channels of one client."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Callable

from mayfly import transport
from mayfly.errors import Error, InvalidArgument, Unavailable
from mayfly.settings import Settings

_RECONNECT_MIN_MS = 100
_NEVER_MS = (1 << 31) - 1
_RENEW_INTERVAL_S = 1.0


@dataclasses.dataclass(frozen=True)
class _Channel:
    channel: Any
    stub: Any
    opened: float  # time.monotonic


class Channels:
    """Two channels: large payloads have their own, so that small ones never wait behind them.

    Each is opened by its first call, which is when the name of the server is resolved. When the server
    cannot be reached there is another channel, at most once a second: by itself gRPC 1.51 may stop
    connecting for ever when the name has two addresses, and is resolved again just while the first
    refuses, or the second takes longer to fail than the first to be tried again. Not thread-safe.
    """

    def __init__(self, settings: Settings) -> None:
        """InvalidArgument: a file cannot be read. gRPC's own credentials must not be there before a
        fork."""
        self._settings = settings
        self._ca = _read("ca", settings.ca)
        self._key = _read("key", settings.key)
        self._cert = _read("cert", settings.cert)
        self._open: dict[bool, _Channel] = {}

    def stub(self, large: bool, secure_channel: Callable[..., Any]) -> Any:
        """`secure_channel` is gRPC's, blocking or asyncio's."""
        if large not in self._open:
            channel = secure_channel(
                self._settings.server,
                transport.grpc().ssl_channel_credentials(self._ca, self._key, self._cert),
                _options(self._settings),
            )
            stub = transport.new_stub(channel)
            self._open[large] = _Channel(channel, stub, time.monotonic())
        return self._open[large].stub

    def take_outdated(self, large: bool, error: Error) -> list[Any]:
        """To be closed after a call on it ended so: the channel, if another one may reach the server."""
        if not isinstance(error, Unavailable) or error.reason:
            return []  # the server has spoken
        channel = self._open.get(large)
        if channel is None or time.monotonic() - channel.opened < _RENEW_INTERVAL_S:
            return []
        del self._open[large]
        return [channel.channel]

    def take_all(self) -> list[Any]:
        """To be closed."""
        channels = [channel.channel for channel in self._open.values()]
        self._open.clear()
        return channels

    def abandon(self) -> None:
        """In the child of a fork."""
        transport.abandon(self._open)
        self._open = {}


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


def _read(name: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InvalidArgument(f"{name}: cannot be read: {error.strerror}") from None
