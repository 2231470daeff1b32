"""Outputs as they arrive: a session with a subscription, opened again when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, AsyncIterator, Iterable

from mayfly.aio.connection import AsyncConnection
from mayfly.calls import Claimed
from mayfly.errors import Cancelled, Error, LimitExceeded, Unavailable
from mayfly.feed import Arrival, Feed, OnArrivals, is_final
from mayfly.outage import Outage
from mayfly.v1 import function_io_pb2 as pb


class AsyncArrivals:
    """Has a task and a stream from the first subscription on.

    `on_arrivals` gets what arrived, and the claims of outputs that nobody waits for any longer.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        on_arrivals: OnArrivals,
    ) -> None:
        self._connection = connection
        self._on_arrivals = on_arrivals
        self._feed = Feed(connection.settings.lease)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._outage = Outage(connection.settings)
        self._is_closed = False

    def subscribe(self, call_ids: Iterable[str]) -> None:
        """Cancelled. InvalidArgument: too many."""
        if self._is_closed:
            raise Cancelled("the client is closed")
        self._feed.subscribe(call_ids)
        if self._task is None:
            self._task = self._connection.tasks.start("mayfly-arrivals", self._serve)
            self._task.add_done_callback(self._on_end)
        self._changed.set()

    def unsubscribe(self, call_ids: Iterable[str]) -> None:
        self._feed.unsubscribe(call_ids)
        self._changed.set()

    def return_credit(self, claimed: Claimed) -> None:
        self._feed.return_credit(claimed)
        if self._feed.credit_is_worth_it():
            self._changed.set()

    def is_current(self, arrival: Arrival) -> bool:
        """Whether the session that brought it is still open. Otherwise its claim may be lost."""
        return arrival.session == self._feed.session

    def outage(self) -> Unavailable | None:
        """Why the server cannot be reached now. None: it can, as far as is known."""
        return self._outage.error()

    def close(self) -> None:
        """Ends the session. The server releases what was not acknowledged in 5 s."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()

    def _on_end(self, task: asyncio.Task[Any]) -> None:
        """Not in the task: one that is cancelled before its first step runs nothing."""
        self._on_arrivals(self._feed.fail(Cancelled("the client is closed")), [])

    async def _serve(self) -> None:
        while not self._is_closed:
            while not self._feed.is_waiting():
                self._outage.over()
                self._changed.clear()
                await self._changed.wait()
            try:
                await self._ask_whether_reached()
                await self._stream()
                error: Error = Unavailable("the stream ended")
            except Error as caught:
                error = caught
            try:
                if is_final(error) or self._is_closed:
                    self._outage.over()
                    raise error
                pause = self._outage.pause_after(error)
            except Error as last:
                self._on_arrivals(self._feed.fail(last), [])
                continue
            await asyncio.sleep(pause)

    async def _ask_whether_reached(self) -> None:
        """A stream does not tell: it is silent while there are no outputs. Unavailable, TimedOut."""
        if self._connection.was_reached and not self._outage.has_failed():
            return
        with contextlib.suppress(LimitExceeded):  # which is an answer
            async with self._connection.stub() as stub:
                await stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=self._outage.ask())
        self._connection.reached()
        self._outage.reached()

    async def _stream(self) -> None:
        call: Any = None
        began = time.monotonic()
        try:
            async with self._connection.stub() as stub:
                call = stub.Session(self._requests(self._feed.open()))
                async for response in call:
                    self._outage.over()
                    self._connection.reached()
                    arrivals, strays = self._feed.take(response)
                    self._changed.set()
                    self._on_arrivals(arrivals, strays)
                    self._feed.check(response)
        finally:
            self._outage.lasted(time.monotonic() - began)
            self._feed.broken()
            self._changed.set()
            if call is not None:
                call.cancel()

    async def _requests(self, session: int) -> AsyncIterator[pb.SessionRequest]:
        while self._feed.session == session:
            request = self._feed.next_request()
            if request is not None:
                yield request
                continue
            self._changed.clear()
            await self._changed.wait()
