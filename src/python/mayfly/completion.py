"""Outputs of many calls, in the order in which they arrive."""

from __future__ import annotations

import os
import queue
import time
from typing import Iterable, Iterator

from mayfly import calls
from mayfly.arrivals import Arrivals, weakly
from mayfly.calls import Claim
from mayfly.errors import Error, TimedOut
from mayfly.feed import Arrival
from mayfly.retrieval import HeldOutput, Retrievals

# Acks travel together; while outputs arrive there is no hurry.
ACKS_MAX = 128


class Completion(Iterator[tuple[str, calls.Output | Error]]):
    """See Client.as_completed. Of one thread."""

    def __init__(
        self,
        retrievals: Retrievals,
        call_ids: Iterable[str],
        timeout: float | None,
        return_exceptions: bool,
    ) -> None:
        self._retrievals = retrievals
        self._return_exceptions = return_exceptions
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pid = os.getpid()
        self._arrived: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._left = dict.fromkeys(call_ids)
        self._delivered: HeldOutput | None = None
        self._to_ack: list[HeldOutput] = []
        self._is_closed = False
        self._arrivals = Arrivals(retrievals.connection, weakly(self._on_arrivals))
        if self._left:
            self._arrivals.subscribe(self._left)

    def _on_arrivals(self, arrivals: list[Arrival], strays: list[Claim]) -> None:
        for arrival in arrivals:
            if arrival.claimed is not None:
                self._retrievals.hold(arrival.claimed.claim)
            self._arrived.put(arrival)
        if strays:
            self._retrievals.release_aside(strays)

    def __iter__(self) -> Completion:
        return self

    def __next__(self) -> tuple[str, calls.Output | Error]:
        if os.getpid() != self._pid:
            raise Error("as_completed was called before this process was forked")
        self._take_delivered()
        while self._left and not self._is_closed:
            arrival = self._next_arrival()
            if arrival.claimed is not None and not self._arrivals.is_current(arrival.claimed):
                # Its stream has ended, and released it: it will come again.
                self._retrievals.let_go(arrival.claimed.claim)
                self._arrivals.return_credit(arrival.claimed)
                self._arrivals.subscribe([arrival.call_id])
                continue
            del self._left[arrival.call_id]
            try:
                return arrival.call_id, self._deliver(arrival)
            except Error as error:
                if not self._return_exceptions:
                    raise
                return arrival.call_id, error
        self.close()
        raise StopIteration

    def _next_arrival(self) -> Arrival:
        if self._arrived.empty():
            self._acknowledge()
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        try:
            return self._arrived.get(timeout=left)
        except queue.Empty:
            raise TimedOut(f"{len(self._left)} calls have no output yet") from None

    def _deliver(self, arrival: Arrival) -> calls.Output:
        if arrival.error is not None:
            raise arrival.error
        assert arrival.claimed is not None
        held = HeldOutput(self._retrievals, arrival.claimed)
        try:
            output = held.data
        except BaseException:
            held.release()
            self._arrivals.return_credit(arrival.claimed)
            raise
        self._arrivals.return_credit(arrival.claimed)
        self._delivered = held
        return output

    def _take_delivered(self) -> None:
        """The consumer came back for more, so what it got is safe."""
        if self._delivered is None:
            return
        self._to_ack.append(self._delivered)
        self._delivered = None
        if len(self._to_ack) >= ACKS_MAX:
            self._acknowledge()

    def _acknowledge(self) -> None:
        held, self._to_ack = self._to_ack, []
        errors = self._retrievals.acknowledge_all([each.claimed for each in held])
        for error in errors:
            if error is not None:
                raise error

    def close(self) -> None:
        """Acknowledges what was consumed, and gives everything else back."""
        if self._is_closed or os.getpid() != self._pid:
            return
        self._is_closed = True
        try:
            if self._delivered is not None:
                self._delivered.release()
            self._acknowledge()
        finally:
            # Only now: with the stream end the claims that it made.
            self._arrivals.close()
            while not self._arrived.empty():
                arrival = self._arrived.get()
                if arrival.claimed is not None:
                    self._retrievals.let_go(arrival.claimed.claim)

    def __enter__(self) -> Completion:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # nobody is there to be told
            pass
