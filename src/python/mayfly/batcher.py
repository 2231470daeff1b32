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
from typing import Any, Callable, Generic, Iterable, Sequence

from mayfly import fork
from mayfly.backoff import Backoff
from mayfly.batch import Batch, gave_up, out_of_time, split, take_entries
from mayfly.connection import Connection
from mayfly.contract import AHEAD_BYTES, BATCH_ITEMS_MAX, Item, Kind, Result
from mayfly.errors import Error, Unavailable


# So many messages of one batch are under way at a time on a session: the server works on one while
# the next is made.
_MESSAGES_AHEAD = 4


class _Entry(Generic[Item, Result]):
    __slots__ = ("item", "size_bytes", "deadline", "unavailable", "result", "is_answered", "leads",
                 "abandoned", "lock")

    def __init__(self, item: Item, size_bytes: int, deadline: float) -> None:
        self.item = item
        self.size_bytes = size_bytes
        self.deadline = deadline
        self.unavailable: Unavailable | None = None  # of a message that it was in
        self.result: Result | Error | None = None
        self.is_answered = False
        self.leads = False
        self.abandoned = False
        self.lock = threading.Lock()  # held while there is nothing to wake up for
        self.lock.acquire()

    def is_abandoned(self) -> bool:
        return self.abandoned


class _Message(Generic[Item, Result]):
    """A batch, and its request that is made or under way."""

    __slots__ = ("batch", "request", "begun")

    def __init__(self, batch: Batch[Item, Result]) -> None:
        self.batch = batch
        self.request = batch.request()
        self.begun: Any = None


class Batcher(fork.Forkable, Generic[Item, Result]):
    """Of one kind of call. Thread-safe. `orphan` gets results that nobody waits for any longer."""

    def __init__(
        self,
        connection: Connection,
        kind: Kind[Item, Result],
        orphan: Callable[[Result], None] | None = None,
    ) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._kind = kind
        self._orphan = orphan
        self.after_fork_in_child()
        fork.register(self)

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._queue: collections.deque[_Entry[Item, Result]] = collections.deque()
        self._is_led = False
        self._backoff: Backoff | None = None  # of the message under way

    def call(self, item: Item, deadline: float | None = None) -> Result:
        """One item, with whatever travels at the same time. Raises its error. `deadline` is in
        place of that of the settings."""
        deadline = deadline or self._connection.deadline()
        entry: _Entry[Item, Result] = _Entry(item, self._kind.size_bytes(item), deadline)
        try:
            with self._lock:
                self._queue.append(entry)
                entry.leads = not self._is_led
                self._is_led = True
            if not entry.leads:
                self._await(entry)
            if entry.leads:
                self._lead(entry)
        except BaseException:  # an interrupt may come anywhere
            self._abandon(entry)
            raise
        if isinstance(entry.result, Error):
            raise copy.copy(entry.result)  # it may be that of others too
        return entry.result  # type: ignore[return-value]

    def call_all(
        self, items: Iterable[Item], deadline: float | None = None
    ) -> list[Result | Error]:
        """A batch of any size, which travels by itself. Raises nothing of its items. Without a
        `deadline` of the whole, that of the settings is of each message."""
        results: list[Result | Error] = []
        under_way: collections.deque[_Message[Item, Result]] = collections.deque()
        sends_ahead = self._connection.sends_ahead()
        bytes_max = self._settings.batch_bytes_max
        if sends_ahead:
            bytes_max = min(bytes_max, AHEAD_BYTES)
        for run in split(self._kind, items, bytes_max):
            message = _Message(Batch(self._kind, run))
            if sends_ahead:
                message.begun = self._connection.begin(message.batch.method, message.request)
            under_way.append(message)
            if not sends_ahead or len(under_way) == _MESSAGES_AHEAD:
                results += self._end(under_way.popleft(), deadline)
        while under_way:
            results += self._end(under_way.popleft(), deadline)
        return results

    def _end(
        self, message: _Message[Item, Result], deadline: float | None
    ) -> list[Result | Error]:
        return self._go_on(message, Backoff(self._settings, deadline or self._connection.deadline()))

    def _await(self, entry: _Entry[Item, Result]) -> None:
        if not entry.lock.acquire(timeout=max(0.0, entry.deadline - time.monotonic())):
            raise copy.copy(out_of_time(entry, self._backoff))

    def _abandon(self, entry: _Entry[Item, Result]) -> None:
        with self._lock:
            entry.abandoned = True
            if entry.leads:
                self._pass_on(entry)
        self._give_to_orphan(entry)  # if the answer came at the last moment

    def _lead(self, own: _Entry[Item, Result]) -> None:
        self._backoff = backoff = Backoff(self._settings, own.deadline, own.unavailable)
        if self._settings.linger > 0 and len(self._queue) < BATCH_ITEMS_MAX:
            time.sleep(self._settings.linger)
        entries: list[_Entry[Item, Result]] = []
        try:
            with self._lock:
                entries = take_entries(self._queue, self._settings.batch_bytes_max)
            results = self._invoke([entry.item for entry in entries], backoff)
            self._answer(own, entries, results)
        finally:
            again = [each for each in entries if each is not own and not each.is_answered]
            with self._lock:
                self._queue.extendleft(reversed(again))
                self._pass_on(own)

    def _answer(
        self,
        own: _Entry[Item, Result],
        entries: list[_Entry[Item, Result]],
        results: list[Result | Error],
    ) -> None:
        """Leaves out those that have time left, when only the leader's is over."""
        now = time.monotonic()
        for entry, result in zip(entries, results):
            if gave_up(result) and entry is not own and entry.deadline > now:
                entry.unavailable = result if isinstance(result, Unavailable) else None
                continue
            entry.result = result
            entry.is_answered = True
            entry.lock.release()
            if entry.abandoned:
                self._give_to_orphan(entry)

    def _give_to_orphan(self, entry: _Entry[Item, Result]) -> None:
        result, entry.result = entry.result, None
        if self._orphan is not None and result is not None and not isinstance(result, Error):
            self._orphan(result)

    def _pass_on(self, own: _Entry[Item, Result]) -> None:
        own.leads = False
        while self._queue and self._queue[0].abandoned:
            self._queue.popleft()
        self._is_led = bool(self._queue)
        if self._is_led:
            self._queue[0].leads = True
            self._queue[0].lock.release()

    def _invoke(self, items: Sequence[Item], backoff: Backoff) -> list[Result | Error]:
        return self._go_on(_Message(Batch(self._kind, items)), backoff)

    def _go_on(
        self, message: _Message[Item, Result], backoff: Backoff
    ) -> list[Result | Error]:
        batch = message.batch
        while True:
            request, begun, message.begun = message.request, message.begun, None
            try:
                response = self._connection.invoke(batch.method, request, backoff, begun)
                if (reason := batch.take(request, response)) is None:
                    return batch.results
                self._connection.closing.sleep(backoff.pause_after(reason))
            except Error as error:
                batch.fail(error)
                return batch.results
            message.request = batch.request()
