"""Who waits for which call's output on the stream that a client has for all of them. No I/O, not
thread-safe."""

from __future__ import annotations

from typing import Generic, TypeVar

from mayfly.feed import Arrival

WaiterT = TypeVar("WaiterT")


class Waiters(Generic[WaiterT]):
    """An output that arrived goes to one waiter, and its call is taken until that one is done with
    it. Meanwhile others wait without a subscription: the claim is the stream's, so on the same
    stream they would be sent the same output."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[WaiterT]] = {}
        self._taken: set[str] = set()

    def add(self, call_id: str, waiter: WaiterT) -> bool:
        """Whether to subscribe."""
        self._waiting.setdefault(call_id, []).append(waiter)
        return call_id not in self._taken

    def remove(self, call_id: str, waiter: WaiterT) -> bool:
        """Whether to unsubscribe."""
        waiting = self._waiting.get(call_id)
        if waiting is None or waiter not in waiting:
            return False
        waiting.remove(waiter)
        if waiting:
            return False
        del self._waiting[call_id]
        return True

    def take_all(self) -> list[tuple[str, WaiterT]]:
        """With their calls. None is left."""
        taken = [(call_id, each) for call_id in self._waiting for each in self._waiting[call_id]]
        self._waiting.clear()
        return taken

    def serve(self, arrival: Arrival) -> list[WaiterT]:
        """To whom it goes: an output to one, an end to all."""
        waiting = self._waiting.pop(arrival.call_id, [])
        if arrival.claimed is None or not waiting:
            return waiting
        self._taken.add(arrival.call_id)
        if len(waiting) > 1:
            self._waiting[arrival.call_id] = waiting[1:]
        return waiting[:1]

    def free(self, call_id: str) -> bool:
        """The one that it went to is done. Whether to subscribe, for the others."""
        if call_id not in self._taken:
            return False
        self._taken.remove(call_id)
        return call_id in self._waiting
