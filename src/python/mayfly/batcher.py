"""Single calls of many threads travel together.

A thread that finds no call of its kind under way makes one, at once, in the thread itself: alone, it
pays nothing. Those that come meanwhile queue up, and the first of them takes all with it when the
answer has come.
"""

from __future__ import annotations

import collections
import copy
import threading
import time
from typing import Generic, Iterable

from mayfly import fork
from mayfly.backoff import Backoff
from mayfly.connection import Connection
from mayfly.contract import BATCH_ITEMS_MAX, Item, Kind, Result, split
from mayfly.errors import Error, TimedOut, Unavailable


class _Entry(Generic[Item, Result]):
    __slots__ = ("item", "size_bytes", "deadline", "result", "leads", "abandoned", "lock")

    def __init__(self, item: Item, size_bytes: int, deadline: float) -> None:
        self.item = item
        self.size_bytes = size_bytes
        self.deadline = deadline
        self.result: Result | Error | None = None
        self.leads = False
        self.abandoned = False
        self.lock = threading.Lock()  # held while there is nothing to wake up for
        self.lock.acquire()


class Batcher(fork.Forkable, Generic[Item, Result]):
    """Of one kind of call. Thread-safe."""

    def __init__(self, connection: Connection, kind: Kind[Item, Result]) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._kind = kind
        self.after_fork_in_child()
        fork.register(self)

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._queue: collections.deque[_Entry[Item, Result]] = collections.deque()
        self._led = False

    def call(self, item: Item) -> Result:
        """One item, with whatever travels at the same time. Raises its error."""
        deadline = time.monotonic() + self._settings.timeout
        entry = _Entry[Item, Result](item, self._kind.size_bytes(item), deadline)
        with self._lock:
            self._queue.append(entry)
            entry.leads = not self._led
            self._led = True
        if not entry.leads:
            self._await(entry)
        if entry.leads:
            self._lead(entry)
        if isinstance(entry.result, Error):
            raise copy.copy(entry.result)  # it may be that of others too
        return entry.result  # type: ignore[return-value]

    def call_all(self, items: Iterable[Item]) -> list[Result | Error]:
        """A batch of any size, which travels by itself. Raises nothing of its items."""
        results: list[Result | Error] = []
        for run in split(self._kind, items, self._settings.batch_bytes_max):
            deadline = time.monotonic() + self._settings.timeout
            results += self._invoke(run, deadline)
        return results

    def _await(self, entry: _Entry[Item, Result]) -> None:
        try:
            if not entry.lock.acquire(timeout=max(0.0, entry.deadline - time.monotonic())):
                raise TimedOut("no answer in time")
        except BaseException:
            with self._lock:
                entry.abandoned = True
                if entry.leads:
                    self._pass_on()
            raise

    def _lead(self, own: _Entry[Item, Result]) -> None:
        if self._settings.linger > 0 and len(self._queue) < BATCH_ITEMS_MAX:
            time.sleep(self._settings.linger)
        with self._lock:
            entries = self._take()
        try:
            results = self._invoke([entry.item for entry in entries], own.deadline)
        except BaseException:
            with self._lock:
                self._queue.extendleft(entry for entry in reversed(entries) if entry is not own)
                self._pass_on()
            raise
        now = time.monotonic()
        again = []
        for entry, result in zip(entries, results):
            gave_up = isinstance(result, (Unavailable, TimedOut))
            if gave_up and entry is not own and entry.deadline > now:
                again.append(entry)  # only the leader's time is over
                continue
            entry.result = result
            entry.lock.release()
        with self._lock:
            self._queue.extendleft(reversed(again))
            self._pass_on()

    def _take(self) -> list[_Entry[Item, Result]]:
        entries = [self._queue.popleft()]
        bytes_taken = entries[0].size_bytes
        while self._queue and len(entries) < BATCH_ITEMS_MAX:
            bytes_taken += self._queue[0].size_bytes
            if bytes_taken > self._settings.batch_bytes_max:
                break
            entry = self._queue.popleft()
            if not entry.abandoned:
                entries.append(entry)
        return entries

    def _pass_on(self) -> None:
        while self._queue and self._queue[0].abandoned:
            self._queue.popleft()
        self._led = bool(self._queue)
        if self._led:
            self._queue[0].leads = True
            self._queue[0].lock.release()

    def _invoke(self, items: list[Item], deadline: float) -> list[Result | Error]:
        """Repeats what the server was not ready for, item by item."""
        results: list[Result | Error] = [Unavailable()] * len(items)
        todo = list(range(len(items)))
        backoff = Backoff(self._settings, deadline)
        while True:
            asked = [items[index] for index in todo]
            request = self._kind.request(asked)
            try:
                response = self._connection.invoke(self._kind.method, request, deadline)
                answers = self._kind.results(request, response, asked)
            except Error as error:
                answers = [error] * len(asked)
                for index, answer in zip(todo, answers):
                    results[index] = answer
                return results
            for index, answer in zip(todo, answers):
                results[index] = answer
            todo = [index for index in todo if isinstance(results[index], Unavailable)]
            if not todo:
                return results
            try:
                time.sleep(backoff.pause_after(results[todo[0]]))  # type: ignore[arg-type]
            except Error:
                return results
