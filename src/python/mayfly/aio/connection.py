"""The connection of an asyncio client to its server: opened by the first call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any, AsyncIterator

from mayfly import fork, transport
from mayfly.backoff import Backoff
from mayfly.connection import PemFiles, channel_options
from mayfly.errors import Cancelled, Error, Unavailable
from mayfly.settings import Settings


class AsyncConnection(fork.Forkable):
    """Two channels: large payloads have their own, so that small ones never wait behind them.

    Of one event loop, and of the process that made it.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._files = PemFiles.read(settings)
        self._channels: dict[bool, Any] = {}
        self._stubs: dict[bool, Any] = {}
        self._is_closed = False
        self._pid = os.getpid()
        fork.register(self)

    def after_fork_in_child(self) -> None:
        transport.abandon((dict(self._channels), dict(self._stubs)))

    @contextlib.asynccontextmanager
    async def stub(self, large: bool = False) -> AsyncIterator[Any]:
        """The stub for one call. What ends the call is raised as an `Error`."""
        if self._is_closed:
            raise Cancelled("the client is closed")
        if os.getpid() != self._pid:
            raise Error("an asyncio client does not survive a fork, make one after it")
        if large not in self._stubs:
            self._channels[large] = transport.grpc().aio.secure_channel(
                self.settings.server,
                self._files.credentials(),
                channel_options(self.settings),
            )
            self._stubs[large] = transport.new_stub(self._channels[large])
        try:
            yield self._stubs[large]
        except Error:
            raise
        except Exception as error:
            if (known := transport.error_of(error)) is None:
                raise
            raise self._translated(known) from None
        except asyncio.CancelledError:
            # Closing the channel cancels its calls in the same way as their tasks are cancelled.
            task = asyncio.current_task()
            if not self._is_closed or task is None or task.cancelling():
                raise
            raise Cancelled("the client is closed") from None

    def _translated(self, error: Error) -> Error:
        # The server cancels nothing.
        if isinstance(error, Cancelled) and not self._is_closed:
            return Unavailable("the call was interrupted")
        return error

    async def invoke(self, method: str, request: Any, deadline: float) -> Any:
        """A unary call, repeated while the server cannot be reached and there is time."""
        backoff = Backoff(self.settings, deadline)
        while True:
            try:
                async with self.stub() as stub:
                    return await getattr(stub, method)(request, timeout=backoff.left())
            except Unavailable as error:
                await asyncio.sleep(backoff.pause_after(error))

    def deadline(self) -> float:
        """Of a call that begins now."""
        return time.monotonic() + self.settings.timeout

    async def close(self) -> None:
        """Calls under way end with Cancelled."""
        self._is_closed = True
        channels = list(self._channels.values())
        self._channels.clear()
        self._stubs.clear()
        for channel in channels:
            await channel.close()
