"""Outputs of many calls, in the order in which they arrive."""

from __future__ import annotations

import os
import time
from typing import Any, AsyncIterator, Generic, Iterable, NoReturn, TypeVar

from mayfly import calls, fork
from mayfly.aio.arrivals import AsyncArrivals
from mayfly.aio.concurrency import Queue
from mayfly.aio.held_output import AsyncHeldOutput
from mayfly.aio.retrieval import AsyncRetrievals
from mayfly.calls import Claim
from mayfly.endpoint import not_to_pickle
from mayfly.errors import Error, Pending, TimedOut
from mayfly.feed import Arrival, weakly
from mayfly.outage import not_in_time

# Acks travel together; while outputs arrive there is no hurry.
_ACKS_MAX = 128


# An output, or one or an error.
ResultT = TypeVar("ResultT")


class AsyncCompletion(AsyncIterator[tuple[str, ResultT]], Generic[ResultT]):
    """See AsyncClient.as_completed. One consumer iterates over it, in the process that made it."""

    _is_closed = True  # while it is made

    def __init__(
        self,
        client: object,
        retrievals: AsyncRetrievals,
        call_ids: Iterable[str],
        timeout: float | None,
        return_exceptions: bool,
    ) -> None:
        self._client = client  # which would close when nobody has it
        self._retrievals = retrievals
        self._return_exceptions = return_exceptions
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pid = os.getpid()
        self._arrived = Queue[Arrival]()
        self._left = dict.fromkeys(call_ids)
        self._delivered: AsyncHeldOutput | None = None
        self._to_ack: list[AsyncHeldOutput] = []
        self._arrivals = AsyncArrivals(retrievals.connection, weakly(self._on_arrivals))
        if self._left:
            self._arrivals.subscribe(self._left)
        self._is_closed = False

    def _on_arrivals(self, arrivals: list[Arrival], strays: list[Claim]) -> None:
        for arrival in arrivals:
            if arrival.claimed is not None:
                self._retrievals.hold(arrival.claimed.claim)
            self._arrived.put_nowait(arrival)
        if strays:
            self._retrievals.release_aside(strays)

    def __aiter__(self) -> AsyncCompletion[ResultT]:
        return self

    async def __anext__(self) -> tuple[str, ResultT]:
        if os.getpid() != self._pid:
            raise Error("as_completed was called before this process was forked")
        await self._take_delivered()
        while self._left and not self._is_closed:
            arrival = await self._next_arrival()
            if arrival.claimed is not None and not self._arrivals.is_current(arrival):
                # Its session has ended, and perhaps its claim: it will come again.
                self._retrievals.let_go(arrival.claimed.claim)
                self._arrivals.return_credit(arrival.claimed)
                self._arrivals.subscribe([arrival.call_id])
                continue
            del self._left[arrival.call_id]
            try:
                result: Any = await self._deliver(arrival)
            except Error as error:
                if not self._return_exceptions:
                    raise
                result = error
            return arrival.call_id, result
        await self.aclose()
        raise StopAsyncIteration

    async def _next_arrival(self) -> Arrival:
        if self._arrived.empty():
            await self._acknowledge()
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        arrival = await self._arrived.take(left)
        if arrival is None:
            raise self._not_in_time()
        return arrival

    def _not_in_time(self) -> TimedOut:
        count = len(self._left)
        text = "1 call has no output yet" if count == 1 else f"{count} calls have no output yet"
        outage = self._arrivals.outage()
        if outage is None:
            return Pending(f"{text}, or another client holds it", "OUTPUT_PENDING")
        return not_in_time(text, outage)

    async def _deliver(self, arrival: Arrival) -> calls.Output:
        if arrival.error is not None:
            raise arrival.error
        assert arrival.claimed is not None
        held = AsyncHeldOutput(self._retrievals, arrival.claimed)
        try:
            output = await held._read()
        except BaseException:
            await held.release()
            raise
        finally:
            self._arrivals.return_credit(arrival.claimed)
        self._delivered = held
        return output

    async def _take_delivered(self) -> None:
        """The consumer came back for more, so what it got is safe."""
        if self._delivered is None:
            return
        self._to_ack.append(self._delivered)
        self._delivered = None
        if len(self._to_ack) >= _ACKS_MAX:
            await self._acknowledge()

    async def _acknowledge(self) -> None:
        held, self._to_ack = self._to_ack, []
        for error in await self._retrievals.acknowledge_all([each.claimed for each in held]):
            if error is not None:
                raise error

    async def aclose(self) -> None:
        """Acknowledges what was consumed, and gives everything else back."""
        if self._is_closed or fork.is_gone(self._pid):
            return
        self._is_closed = True
        try:
            if self._delivered is not None:
                await self._delivered.release()
            await self._acknowledge()
        finally:
            # Only now: with the stream end the claims that it made.
            self._arrivals.close()
            while not self._arrived.empty():
                arrival = self._arrived.get_nowait()
                if arrival.claimed is not None:
                    self._retrievals.let_go(arrival.claimed.claim)

    async def __aenter__(self) -> AsyncCompletion[ResultT]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        raise not_to_pickle(self)

    def __del__(self) -> None:
        # The loop was left early.
        if not self._is_closed:
            self._retrievals.connection.tasks.finalize(self.aclose)
