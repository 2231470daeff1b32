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
from mayfly.batch import Batch, gave_up, split, take_entries
from mayfly.contract import Item, Kind, Result
from mayfly.errors import Cancelled, Error


class _Entry(Generic[Item, Result]):
    __slots__ = ("item", "size_bytes", "deadline", "future")

    def __init__(self, item: Item, size_bytes: int, deadline: float) -> None:
        self.item = item
        self.size_bytes = size_bytes
        self.deadline = deadline
        self.future: asyncio.Future[Result | Error] = asyncio.get_running_loop().create_future()

    def is_abandoned(self) -> bool:
        return self.future.cancelled()


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

    async def call(self, item: Item, deadline: float | None = None) -> Result:
        """One item, with whatever travels at the same time. Raises its error. `deadline` is in
        place of that of the settings."""
        entry: _Entry[Item, Result] = _Entry(
            item, self._kind.size_bytes(item), deadline or self._connection.deadline()
        )
        self._queue.append(entry)
        if not self._is_running:
            self._start()
        result = await entry.future
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
            results += await self._invoke(run, deadline or self._connection.deadline())
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
            try:
                results = await self._invoke([entry.item for entry in entries], entries[0].deadline)
            except Exception as error:  # no request can be made of an item
                _fail(entries, error)
                continue
            self._queue.extendleft(reversed(self._answer(entries, results)))

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
                again.append(entry)
            elif not entry.future.done():
                entry.future.set_result(result)
            elif self._orphan is not None and not isinstance(result, Error):
                self._orphan(result)
        return again

    async def _invoke(self, items: Sequence[Item], deadline: float) -> list[Result | Error]:
        batch = Batch(self._kind, items)
        backoff = Backoff(self._settings, deadline)
        while True:
            request = batch.request()
            try:
                response = await self._connection.invoke(batch.method, request, deadline)
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
