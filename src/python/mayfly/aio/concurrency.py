"""How tasks wait for each other and start others; see mayfly.concurrency."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any, Callable, Coroutine, Generic, TypeVar

from mayfly.errors import Cancelled

ValueT = TypeVar("ValueT")

Lock = asyncio.Lock


class Guard(contextlib.nullcontext[None]):
    """Does nothing: between two awaits a task is alone on its event loop."""


class Waiter(Generic[ValueT]):
    """One task waits until another one sets a value, which happens once."""

    __slots__ = ("value", "_future")

    def __init__(self) -> None:
        self.value: ValueT | None = None
        self._future: asyncio.Future[None] | None = None

    def set(self, value: ValueT) -> None:
        self.value = value
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout: float | None) -> None:
        """For up to `timeout` seconds."""
        if self.value is None:
            self._future = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._future], timeout=timeout)


class Closing:
    """Whether a client is closed. Ends the pauses of its calls when it is."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Cancelled: it is."""
        if self.is_set:
            raise Cancelled("the client is closed")
        if sys.is_finalizing():  # gRPC would wait for ever
            raise Cancelled("the interpreter ends")

    async def sleep(self, seconds: float) -> None:
        """Cancelled: it is, or is meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self.check()


class Queue(asyncio.Queue[ValueT]):
    async def take(self, timeout: float | None) -> ValueT | None:
        """None: nothing came for `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await self.get()
        except TimeoutError:
            return None


class Inbox(Queue[ValueT]):
    """Of one that waits for many values, as a Waiter for one."""

    def set(self, value: ValueT) -> None:
        self.put_nowait(value)


class Tasks:
    """Tasks that run beside what started them. Keeps references to them, which asyncio does not."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # once one was started

    def start(
        self, name: str, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object
    ) -> asyncio.Task[Any]:
        self._loop = asyncio.get_running_loop()
        task = self._loop.create_task(function(*arguments), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def finalize(self, function: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Called by __del__, which cannot await, on any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(self.start, "mayfly-finalizer", function)

    async def cancel_all(self) -> None:
        """Returns when they have ended, but for the caller's, a finalizer."""
        running = [task for task in self._running if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
