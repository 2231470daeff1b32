"""Single calls of many tasks travel together.

A call that finds none of its kind under way leaves with those of the same turn of the event loop;
the others leave together when the answer has come.
"""

from __future__ import annotations

import asyncio
import collections
import copy
import time
from typing import Any, Callable, Generic, Iterable, Sequence

from mayfly.aio.connection import AsyncConnection
from mayfly.backoff import Backoff
from mayfly.batch import Batch, gave_up, out_of_time, split, take_entries
from mayfly.contract import Item, Kind, Result
from mayfly.errors import Cancelled, Error, Unavailable


class _Entry(Generic[Item, Result]):
    __slots__ = ("item", "size_bytes", "deadline", "unavailable", "future")

    def __init__(self, item: Item, size_bytes: int, deadline: float) -> None:
        self.item = item
        self.size_bytes = size_bytes
        self.deadline = deadline
        self.unavailable: Unavailable | None = None  # of a message that it was in
        self.future: asyncio.Future[Result | Error] = asyncio.get_running_loop().create_future()

    def is_abandoned(self) -> bool:
        return self.future.done()


class AsyncBatcher(Generic[Item, Result]):
    """Of one kind of call. `orphan` gets results whose task was cancelled."""

    def __init__(
        self,
        connection: AsyncConnection,
        kind: Kind[Item, Result],
        orphan: Callable[[Result], None] | None = None,
    ) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._kind = kind
        self._orphan = orphan
        self._queue: collections.deque[_Entry[Item, Result]] = collections.deque()
        self._under_way: list[_Entry[Item, Result]] = []
        self._is_running = False
        self._backoff: Backoff | None = None  # of the message under way

    async def call(self, item: Item, deadline: float | None = None) -> Result:
        """One item, with whatever travels at the same time. Raises its error. `deadline` is in
        place of that of the settings."""
        entry: _Entry[Item, Result] = _Entry(
            item, self._kind.size_bytes(item), deadline or self._connection.deadline()
        )
        self._queue.append(entry)
        if not self._is_running:
            self._start()
        expiry = asyncio.get_running_loop().call_later(
            max(0.0, entry.deadline - time.monotonic()), self._expire, entry
        )
        try:
            result = await entry.future
        except asyncio.CancelledError:
            # If the answer came at the last moment.
            if not entry.future.cancelled() and entry.future.exception() is None:
                self._give_to_orphan(entry.future.result())
            raise
        finally:
            expiry.cancel()
        if isinstance(result, Error):
            raise copy.copy(result)  # it may be that of others too
        return result

    async def call_all(
        self, items: Iterable[Item], deadline: float | None = None
    ) -> list[Result | Error]:
        """A batch of any size, which travels by itself. Raises nothing of its items. Without a
        `deadline` of the whole, that of the settings is of each message."""
        results: list[Result | Error] = []
        for run in split(self._kind, items, self._settings.batch_bytes_max):
            backoff = Backoff(self._settings, deadline or self._connection.deadline())
            results += await self._invoke(run, backoff)
        return results

    def _start(self) -> None:
        self._is_running = True
        task = self._connection.tasks.start("mayfly-batch", self._run)
        task.add_done_callback(self._on_end)

    async def _run(self) -> None:
        if self._settings.linger > 0:
            await asyncio.sleep(self._settings.linger)
        while entries := take_entries(self._queue, self._settings.batch_bytes_max):
            self._under_way = entries
            first = entries[0]
            self._backoff = backoff = Backoff(self._settings, first.deadline, first.unavailable)
            try:
                results = await self._invoke([entry.item for entry in entries], backoff)
            except Exception as error:  # no request can be made of an item
                _fail(entries, error)
                continue
            self._queue.extendleft(reversed(self._answer(entries, results)))

    def _expire(self, entry: _Entry[Item, Result]) -> None:
        """Its time is over, though not that of the message that it waits for."""
        if self._under_way and entry is self._under_way[0]:
            return  # the message has the same time
        if not entry.future.done():
            entry.future.set_result(out_of_time(entry, self._backoff))

    def _on_end(self, task: asyncio.Task[Any]) -> None:
        """Not in the task: one that is cancelled before its first step runs nothing."""
        entries, self._under_way = self._under_way, []
        self._is_running = False
        if task.cancelled():
            _fail([*entries, *self._queue], Cancelled("the client is closed"))
            self._queue.clear()
        elif self._queue:
            self._start()

    def _answer(
        self, entries: list[_Entry[Item, Result]], results: list[Result | Error]
    ) -> list[_Entry[Item, Result]]:
        """Returns those that have time left, when only the first one's is over."""
        again = []
        now = time.monotonic()
        for entry, result in zip(entries, results):
            if gave_up(result) and entry is not entries[0] and entry.deadline > now:
                entry.unavailable = result if isinstance(result, Unavailable) else None
                again.append(entry)
            elif not entry.future.done():
                entry.future.set_result(result)
            else:
                self._give_to_orphan(result)
        return again

    def _give_to_orphan(self, result: Result | Error) -> None:
        if self._orphan is not None and not isinstance(result, Error):
            self._orphan(result)

    async def _invoke(self, items: Sequence[Item], backoff: Backoff) -> list[Result | Error]:
        batch = Batch(self._kind, items)
        while True:
            request = batch.request()
            try:
                response = await self._connection.invoke(batch.method, request, backoff)
                if (reason := batch.take(request, response)) is None:
                    return batch.results
                await self._connection.closing.sleep(backoff.pause_after(reason))
            except Error as error:
                batch.fail(error)
                return batch.results


def _fail(entries: Iterable[_Entry[Any, Any]], error: Exception) -> None:
    for entry in entries:
        if entry.future.done():
            continue
        if isinstance(error, Error):
            entry.future.set_result(error)
        else:
            entry.future.set_exception(error)
