"""How threads wait for each other and start others.

mayfly.aio.concurrency has the same names for tasks. Modules whose blocking twin is generated use only
these names.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import sys
import threading
import time
from typing import Callable, Generic, TypeVar

from mayfly.errors import Cancelled

ValueT = TypeVar("ValueT")

# How long a process that ends waits for finalizers.
_EXIT_SECONDS = 2.0

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
        """Called by __del__, on any thread, which may have any lock: so `function` has a thread of its
        own. Nobody is there to be told of an error."""
        if sys.is_finalizing():  # no other thread runs any more
            return
        thread = threading.Thread(
            target=_finalize, args=(function,), name="mayfly-finalizer", daemon=True
        )
        _finalizers.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends
            _finalizers.discard(thread)


_finalizers: set[threading.Thread] = set()


def _finalize(function: Callable[[], object]) -> None:
    try:
        with contextlib.suppress(Exception):
            function()
    finally:
        _finalizers.discard(threading.current_thread())


@atexit.register
def _wait_for_finalizers() -> None:
    end = time.monotonic() + _EXIT_SECONDS
    for thread in [each for each in list(_finalizers) if each.is_alive()]:
        thread.join(max(0.0, end - time.monotonic()))
