"""The connection of an asyncio client to its server: opened by the first call."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import time
import weakref
from typing import Any, AsyncIterator, Callable

from mayfly import fork, probe, transport
from mayfly.aio.concurrency import Closing, Tasks
from mayfly.aio.native import Answers
from mayfly.backoff import Backoff
from mayfly.channels import Channel, Channels
from mayfly.errors import Cancelled, Error, TimedOut, Unavailable
from mayfly.settings import Settings


def _secure_channel(*arguments: Any) -> Any:
    return transport.grpc().aio.secure_channel(*arguments)


async def _close(channel: Channel) -> None:
    if (closing := channel.close()) is not None:
        await closing


class AsyncConnection(fork.Forkable):
    """Of one event loop, and of the process that made it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tasks = Tasks()
        self._channels = Channels(settings, prefers_native=False)
        self._calls: collections.Counter[bool] = collections.Counter()  # under way on each channel
        self.closing = Closing()
        self.was_reached = False  # the server, by any call
        self.before_close: Callable[[], None] | None = None
        self.streams: weakref.WeakSet[Any] = weakref.WeakSet()  # downloads under way
        self._loop: asyncio.AbstractEventLoop | None = None  # that of the first call
        self._pid = os.getpid()
        self._answers = Answers()
        fork.register(self)

    def after_fork_in_child(self) -> None:
        self._channels.abandon()

    @contextlib.asynccontextmanager
    async def stub(self, large: bool = False) -> AsyncIterator[Any]:
        """The stub for one call. What ends the call is raised as an `Error`."""
        async with self._channel(large) as channel:
            yield channel.stub

    @contextlib.asynccontextmanager
    async def _channel(self, large: bool = False) -> AsyncIterator[Channel]:
        """As `stub`."""
        self.closing.check()
        if os.getpid() != self._pid:
            raise Error("an asyncio client does not survive a fork, make one after it")
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise Error("an asyncio client belongs to one event loop, make one in each")
        # It has to stay while the call is under way.
        opened = self._channels.channel(large, _secure_channel)
        self._calls[large] += 1
        try:
            yield opened
            self.reached()
        except Cancelled as error:
            raise self._translated(error) from None
        except Exception as error:
            if (known := transport.error_of(error)) is None:
                raise
            # Of several calls the last to end so: closing the channel would cancel the others.
            if self._calls[large] == 1:
                for channel in self._channels.take_outdated(large, known):
                    await _close(channel)
            if self._channels.is_replaced(opened, known):
                raise Unavailable("the certificate was replaced") from None
            raise await self._explained(self._translated(known)) from None
        except asyncio.CancelledError:
            # Closing the channel cancels its calls in the same way as their tasks are cancelled.
            task = asyncio.current_task()
            if not self.closing.is_set or task is None or task.cancelling():
                raise
            raise Cancelled("the client is closed") from None
        finally:
            self._calls[large] -= 1

    def _translated(self, error: Error) -> Error:
        if isinstance(error, Cancelled):  # not by the server, which cancels nothing
            if self.closing.is_set:
                return Cancelled("the client is closed")
            return Unavailable("the call was interrupted")
        return error

    async def _explained(self, error: Error) -> Error:
        """With the reason why there is no connection, if it is a certificate's."""
        credentials = self._channels.to_probe(error)
        if credentials is None:
            return self._channels.explained_again(error)
        refusal = await asyncio.to_thread(probe.refusal_of, self.settings, credentials)
        return self._channels.explained(error, refusal, credentials)

    async def invoke(self, method: str, request: Any, backoff: Backoff) -> Any:
        """A unary call, repeated while the server cannot be reached and there is time."""
        while True:
            left = backoff.left()
            try:
                async with self._channel() as channel:
                    response = None
                    if channel.native is not None:
                        response = await self._answers.call(channel.native, method, request, left)
                    if response is None:
                        response = await getattr(channel.stub, method)(request, timeout=left)
                    return response
            except Unavailable as error:
                await self.closing.sleep(backoff.pause_after(error))
            except TimedOut as error:
                raise backoff.final(error) from None

    def reached(self) -> None:
        """The server has answered a call, or on a stream."""
        self.was_reached = True
        self._channels.reached()

    def deadline(self) -> float:
        """Of a call that begins now."""
        return time.monotonic() + self.settings.timeout

    async def close(self) -> None:
        """Calls under way end with Cancelled."""
        if self.before_close is not None:
            self.before_close()
        self.closing.set()
        await self.tasks.cancel_all()
        for call in list(self.streams):  # which gRPC does not find by their tasks
            call.cancel()
        for channel in self._channels.take_all():
            await _close(channel)
        self._answers.close()
