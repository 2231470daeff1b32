"""What single calls that travel together have in common, blocking or not. No I/O."""

from __future__ import annotations

import collections
from typing import Any, Generic, Iterable, Protocol, Sequence, TypeVar

from mayfly.backoff import Backoff
from mayfly.contract import BATCH_ITEMS_MAX, Item, Kind, Result
from mayfly.errors import Error, ProtocolError, TimedOut, Unavailable


class Entry(Protocol):
    """A single call that waits to travel."""

    size_bytes: int
    unavailable: Unavailable | None

    def is_abandoned(self) -> bool:
        """Whether nobody waits for it any longer."""


EntryT = TypeVar("EntryT", bound=Entry)

_UNANSWERED = Unavailable()


def take_entries(queue: collections.deque[EntryT], bytes_max: int) -> list[EntryT]:
    """The first ones, as many as fit a message."""
    entries: list[EntryT] = []
    bytes_taken = 0
    while queue and len(entries) < BATCH_ITEMS_MAX:
        bytes_taken += queue[0].size_bytes
        if entries and bytes_taken > bytes_max:
            break
        entry = queue.popleft()
        if not entry.is_abandoned():
            entries.append(entry)
    return entries


def split(
    kind: Kind[Item, Result], items: Iterable[Item], bytes_max: int
) -> Iterable[list[Item]]:
    """Runs of items that fit a message each."""
    run: list[Item] = []
    bytes_taken = 0
    for item in items:
        size = kind.size_bytes(item)
        if run and (len(run) >= BATCH_ITEMS_MAX or bytes_taken + size > bytes_max):
            yield run
            run, bytes_taken = [], 0
        run.append(item)
        bytes_taken += size
    if run:
        yield run


def gave_up(result: object) -> bool:
    """Whether more time could have helped."""
    return isinstance(result, (Unavailable, TimedOut))


def out_of_time(entry: Entry, under_way: Backoff | None) -> Error:
    """Of a single call: Unavailable if its own message ended so, or the one that it waits for has so
    far, whose pauses are those of `under_way`."""
    unavailable = entry.unavailable
    if unavailable is None and under_way is not None:
        unavailable = under_way.unavailable
    return unavailable or TimedOut("no answer in time")


class Batch(Generic[Item, Result]):
    """The items of one batch, over all requests it takes: the server may be ready for some only."""

    def __init__(self, kind: Kind[Item, Result], items: Sequence[Item]) -> None:
        self._kind = kind
        self._items = items
        self._todo = list(range(len(items)))
        self.method = kind.method
        self.results: list[Result | Error] = [_UNANSWERED] * len(items)

    def request(self) -> Any:
        return self._kind.request([self._items[index] for index in self._todo])

    def take(self, request: Any, response: Any) -> Unavailable | None:
        """None: it is complete. Otherwise why to ask for the rest once more."""
        asked = [self._items[index] for index in self._todo]
        try:
            answers = self._kind.results(request, response, asked)
        except ProtocolError as error:
            self.fail(error)
            return None
        for index, answer in zip(self._todo, answers):
            self.results[index] = answer
        self._todo = [
            index for index in self._todo if isinstance(self.results[index], Unavailable)
        ]
        reason = self.results[self._todo[0]] if self._todo else None
        return reason if isinstance(reason, Unavailable) else None

    def fail(self, error: Error) -> None:
        """The request failed as a whole, which is the error of each of its items. One that an earlier
        request could not do keeps the reason for that when there was no time for another."""
        for index in self._todo:
            if self.results[index] is _UNANSWERED or not gave_up(error):
                self.results[index] = error
