"""The connection of a client to its server: opened by the first call, in each process anew."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from typing import Any, Callable, Iterator

from mayfly import fork, probe, transport
from mayfly.backoff import Backoff
from mayfly.channels import Channel, Channels
from mayfly.concurrency import Closing, Tasks
from mayfly.errors import Cancelled, Error, Unavailable
from mayfly.native import Begun
from mayfly.settings import Settings


# How gRPC says that a call was begun on a channel that has just been closed.
_CLOSED = re.compile("closed channel|Channel closed")


def _secure_channel(*arguments: Any) -> Any:
    return transport.grpc().secure_channel(*arguments)


class Connection(fork.Forkable):
    """Thread-safe. The child of a fork forgets the channels, and opens its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tasks = Tasks()
        self._channels = Channels(settings, prefers_native=True)
        self.closing = Closing()
        self.was_reached = False  # the server, by any call
        self.before_close: Callable[[], None] | None = None
        self._lock = threading.Lock()
        fork.register(self)

    def after_fork_in_child(self) -> None:
        self._channels.abandon()
        was_closed = self.closing.is_set
        self.closing = Closing()
        if was_closed:
            self.closing.set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def stub(self, large: bool = False) -> Iterator[Any]:
        """The stub for one call. What ends the call is raised as an `Error`."""
        channel = self._channel(large)  # it has to stay while the call is under way
        try:
            yield channel.stub
            self.reached()
        except Exception as error:
            known = self._known(error, channel, large)
            if known is error:
                raise
            raise known from None
        except GeneratorExit:  # the reader of a download has left
            raise
        except BaseException:
            self._drop(channel)
            raise

    def _drop(self, channel: Channel | None) -> None:
        """After an interrupt, which may have left a lock of gRPC's channel locked for ever: later calls
        have another one. It is closed by a thread, which in that case waits and keeps it: to free it
        would take the lock too."""
        if channel is None or channel.rpcs is None:  # mayfly._native leaves nothing locked
            return
        with self._lock:
            self._channels.drop(channel)
        with contextlib.suppress(RuntimeError):  # the interpreter ends
            self.tasks.start("mayfly-close", channel.close)

    def _known(self, error: Exception, channel: Channel | None, large: bool = False) -> Exception:
        """As an `Error`, if it is of gRPC. A channel that does not reach the server is given up."""
        if isinstance(error, ValueError) and _CLOSED.search(str(error)):
            known: Error | None = Cancelled(str(error))  # between two statements
        else:
            known = transport.error_of(error)
        if known is None:
            if not isinstance(error, Error):  # raised by a signal handler, as Celery's time limit
                self._drop(channel)
            return error
        with self._lock:
            outdated = self._channels.take_outdated(large, known)
            if channel is not None and self._channels.is_replaced(channel, known):
                return Unavailable("the certificate was replaced")
        # Calls that are still under way on it are interrupted, and repeated.
        for each in outdated:
            each.close()
        if isinstance(known, Cancelled):  # not by the server, which cancels nothing
            if self.closing.is_set:
                return Cancelled("the client is closed")
            return Unavailable("the call was interrupted")
        return self._explained(known)

    def _explained(self, error: Error) -> Error:
        """With the reason why there is no connection, if it is a certificate's."""
        with self._lock:
            credentials = self._channels.to_probe(error)
        if credentials is None:
            return self._channels.explained_again(error)
        refusal = probe.refusal_of(self.settings, credentials)
        return self._channels.explained(error, refusal, credentials)

    def _channel(self, large: bool = False) -> Channel:
        with self._lock:
            self.closing.check()
            return self._channels.channel(large, _secure_channel)

    def sends_ahead(self) -> bool:
        """Whether `begin` does anything."""
        try:
            native = self._channel().native
        except Error:  # which the call meets too
            return False
        return native is not None and not native.is_refused

    def begin(self, method: str, request: Any) -> tuple[Channel, Begun] | None:
        """Sends the first attempt of a call, for `invoke` to go on with. None: that begins it."""
        try:
            channel = self._channel()
        except Error:  # which `invoke` meets too
            return None
        begun = channel.begin(method, request)
        return None if begun is None else (channel, begun)

    def invoke(
        self,
        method: str,
        request: Any,
        backoff: Backoff,
        begun: tuple[Channel, Begun] | None = None,
    ) -> Any:
        """A unary call, repeated while the server cannot be reached and there is time."""
        while True:
            left = backoff.left()
            channel = None
            try:
                if begun is None:
                    channel = self._channel()
                    response = channel.call(method, request, left)
                else:
                    (channel, first), begun = begun, None
                    response = channel.end(first, method, request, left)
                self.reached()
                return response
            except Exception as error:
                known = self._known(error, channel)
                if not isinstance(known, Unavailable):
                    raise backoff.final(known) from None
            except BaseException:
                self._drop(channel)
                raise
            self.closing.sleep(backoff.pause_after(known))

    def reached(self) -> None:
        """The server has answered a call, or on a stream."""
        self.was_reached = True
        self._channels.reached()

    def deadline(self) -> float:
        """Of a call that begins now."""
        return time.monotonic() + self.settings.timeout

    def close(self) -> None:
        """Calls under way end with Cancelled."""
        if self.before_close is not None:
            self.before_close()
        with self._lock:
            self.closing.set()
            channels = self._channels.take_all()
        for channel in channels:
            channel.close()
