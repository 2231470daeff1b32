"""How threads wait for each other and start others.

mayfly.aio.concurrency has the same names for tasks. Modules whose blocking twin is generated use only
these names.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from typing import Callable, Generic, TypeVar

from mayfly.errors import Cancelled

ValueT = TypeVar("ValueT")

# Guards state that threads share. Nothing waits while it is held.
Guard = threading.Lock
# May be held while its holder waits.
Lock = threading.Lock


class Waiter(Generic[ValueT]):
    """One thread waits until another one sets a value, which happens once."""

    __slots__ = ("value", "_lock")

    def __init__(self) -> None:
        self.value: ValueT | None = None
        self._lock = threading.Lock()  # held until there is a value; cheaper than an Event
        self._lock.acquire()

    def set(self, value: ValueT) -> None:
        self.value = value
        self._lock.release()

    def wait(self, timeout: float | None) -> None:
        """For up to `timeout` seconds."""
        self._lock.acquire(timeout=-1.0 if timeout is None else timeout)


class Closing:
    """Whether a client is closed. Ends the pauses of its calls when it is."""

    def __init__(self) -> None:
        self._event = threading.Event()

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

    def sleep(self, seconds: float) -> None:
        """Cancelled: it is, or is meanwhile."""
        self._event.wait(seconds)
        self.check()


class Queue(queue.SimpleQueue[ValueT]):
    def take(self, timeout: float | None) -> ValueT | None:
        """None: nothing came for `timeout` seconds."""
        try:
            return self.get(timeout=timeout)
        except queue.Empty:
            return None


class Inbox(Queue[ValueT]):
    """Of one that waits for many values, as a Waiter for one."""

    def set(self, value: ValueT) -> None:
        self.put_nowait(value)


class Tasks:
    """Threads that run beside what started them. They do not keep the process alive."""

    def start(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        threading.Thread(target=function, args=arguments, name=name, daemon=True).start()

    def finalize(self, function: Callable[[], object]) -> None:
        """Called by __del__: nobody is there to be told of an error."""
        with contextlib.suppress(Exception):
            function()
