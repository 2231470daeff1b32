"""Outputs of single calls: waited for, held under a claim, acknowledged or released."""

from __future__ import annotations

import time
from typing import Iterable, Sequence

from mayfly import calls, fork
from mayfly.aio.arrivals import AsyncArrivals
from mayfly.aio.batcher import AsyncBatcher
from mayfly.aio.concurrency import Guard, Inbox, Waiter
from mayfly.aio.connection import AsyncConnection
from mayfly.calls import Claim, Claimed
from mayfly.contract import Kinds, output_of
from mayfly.errors import Cancelled, ClaimLost, Error, Pending, TimedOut
from mayfly.feed import Arrival
from mayfly.held import Found, is_same, require_acknowledged, with_claim
from mayfly.holdings import Holdings
from mayfly.outage import not_in_time
from mayfly.waiters import Waiters

# The least time for a request, also when its caller does not wait for an output: connecting takes
# time.
_LOOK_SECONDS = 2.0


class AsyncRetrievals(fork.Forkable):
    """Claims of one client: gets, keeps, ends and gives them back."""

    def __init__(self, connection: AsyncConnection, kinds: Kinds) -> None:
        self.connection = connection
        self._claims = AsyncBatcher(connection, kinds.claims, self._on_orphan)
        self._acks = AsyncBatcher(connection, kinds.acks)
        self._releases = AsyncBatcher(connection, kinds.releases)
        self._renewals = AsyncBatcher(connection, kinds.renewals)
        self._arrivals = AsyncArrivals(connection, self._on_arrivals)
        self._is_closed = False
        self.after_fork_in_child()
        fork.register(self)

    def after_fork_in_child(self) -> None:
        self._guard = Guard()  # of all that follows
        self._waiters = Waiters[Waiter[Arrival] | Inbox[Arrival]]()
        self._holdings = Holdings(self.connection.settings.lease)
        self._is_renewing = False
        self._closing = Waiter[bool]()

    def close(self) -> None:
        with self._guard:
            if self._is_closed:
                return
            self._is_closed = True
            self._closing.set(True)
            for call_id, waiter in self._waiters.take_all():
                waiter.set(Arrival(call_id, error=Cancelled("the client is closed")))
        self._arrivals.close()

    # ---- Waiting

    async def claim(self, call_id: str, timeout: float | None) -> Claimed:
        """The output of a call, when it is there. Pending: it was not, `timeout` seconds long."""
        deadline = None if timeout is None else time.monotonic() + timeout
        claimed = await self._claims.call(call_id, self._request_deadline(timeout))
        if claimed is not None:
            return claimed
        arrival = await self._wait(call_id, deadline)
        if arrival is None:
            raise self._not_in_time(call_id)
        if arrival.error is not None:
            raise arrival.error
        assert arrival.claimed is not None
        return arrival.claimed

    def _not_in_time(self, call_id: str) -> TimedOut:
        outage = self._arrivals.outage()
        if outage is None:
            text = "there is no output yet, or another client holds it"
            return Pending(text, "OUTPUT_PENDING", call_id)
        return not_in_time("no output came", outage, call_id)

    async def claim_all(
        self, call_ids: Sequence[str], timeout: float | None
    ) -> list[Claimed | Error]:
        """The same of many, with an error where there is none to be had."""
        deadline = None if timeout is None else time.monotonic() + timeout
        found = Found(call_ids)
        # What is there and did not fit into the answer is asked for again.
        while not found.is_complete() and found.take(
            await self._claims.call_all(found.left, self._request_deadline(timeout))
        ):
            pass
        if not found.is_complete():
            await self._wait_for_all(found, deadline)
        return found.in_order()

    def _request_deadline(self, timeout: float | None) -> float:
        """Of a request for outputs: the caller's, but time enough to connect."""
        seconds = self.connection.settings.timeout
        if timeout is not None:
            seconds = min(seconds, max(timeout, _LOOK_SECONDS))
        return time.monotonic() + seconds

    async def _wait_for_all(self, found: Found, deadline: float | None) -> None:
        """Holds meanwhile what is found. One subscription for all, and one deadline."""
        inbox = Inbox[Arrival]()
        try:
            for claim in found.claims():
                self.hold(claim)
            self._enter(found.left, inbox)
            while not found.is_complete():
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                arrival = await inbox.take(left)
                if arrival is None:
                    break
                self._receive(found, arrival)
        except BaseException:
            self._leave_all(found, inbox)
            for claim in found.claims():
                self.let_go(claim)
            self.release_aside(found.claims())
            raise
        self._leave_all(found, inbox)
        for call_id in found.left:
            found.add(call_id, self._not_in_time(call_id))

    def _enter(self, call_ids: Sequence[str], inbox: Inbox[Arrival]) -> None:
        with self._guard:
            if self._is_closed:
                raise Cancelled("the client is closed")
            self._arrivals.subscribe(
                [call_id for call_id in call_ids if self._waiters.add(call_id, inbox)]
            )

    def _receive(self, found: Found, arrival: Arrival) -> None:
        claimed = arrival.claimed
        found.add(arrival.call_id, claimed or arrival.error or Pending())
        if claimed is not None:
            self.hold(claimed.claim)

    def _leave_all(self, found: Found, inbox: Inbox[Arrival]) -> None:
        """What came at the last moment is found too."""
        with self._guard:
            self._arrivals.unsubscribe(
                [call_id for call_id in found.left if self._waiters.remove(call_id, inbox)]
            )
        while not inbox.empty():
            self._receive(found, inbox.get_nowait())

    async def _wait(self, call_id: str, deadline: float | None) -> Arrival | None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return None
        waiter = Waiter[Arrival]()
        try:
            with self._guard:
                if self._is_closed:
                    raise Cancelled("the client is closed")
                if self._waiters.add(call_id, waiter):
                    self._arrivals.subscribe([call_id])
            await waiter.wait(left)
        except BaseException:
            self._leave(call_id, waiter)
            if waiter.value is not None:
                self._on_orphan(waiter.value.claimed)
            raise
        self._leave(call_id, waiter)
        return waiter.value

    def _leave(self, call_id: str, waiter: Waiter[Arrival]) -> None:
        with self._guard:
            if self._waiters.remove(call_id, waiter):
                self._arrivals.unsubscribe([call_id])

    def _on_arrivals(self, arrivals: list[Arrival], strays: list[Claim]) -> None:
        for arrival in arrivals:
            if arrival.claimed is not None:
                self._arrivals.return_credit(arrival.claimed)
            with self._guard:
                served = self._waiters.serve(arrival)
                for waiter in served:
                    waiter.set(arrival)
            if not served and arrival.claimed is not None:
                strays.append(arrival.claimed.claim)
        if strays:
            self.release_aside(strays)

    def _free(self, claims: Iterable[Claim]) -> None:
        """They have ended, one way or the other."""
        with self._guard:
            again = [claim.call_id for claim in claims if self._waiters.free(claim.call_id)]
            if again and not self._is_closed:
                self._arrivals.subscribe(again)

    def _on_orphan(self, claimed: Claimed | None) -> None:
        if claimed is not None:
            self.release_aside([claimed.claim])

    # ---- Holding

    def hold(self, claim: Claim) -> None:
        """Renews it from now on, until `let_go`."""
        with self._guard:
            self._holdings.add(claim, time.monotonic())
            if not self._is_renewing:
                self._is_renewing = True
                self.connection.tasks.start("mayfly-renewals", self._renew)

    def let_go(self, *claims: Claim) -> None:
        with self._guard:
            for claim in claims:
                self._holdings.remove(claim)

    async def _renew(self) -> None:
        while not self._is_closed:
            with self._guard:
                now = time.monotonic()
                claims = self._holdings.take_due(now)
                due = self._holdings.next_due()
            if not claims:
                # What is held later is due later still.
                pause = self.connection.settings.lease / 3 if due is None else due - now
                await self._closing.wait(pause)
                continue
            for claim, result in zip(claims, await self._renewals.call_all(claims)):
                if isinstance(result, ClaimLost):
                    self.let_go(claim)

    # ---- Ending

    async def acknowledge(self, claimed: Claimed) -> None:
        """Ends the call. A claim that was lost meanwhile is got again for the same output.

        ClaimLost: another client has it now, or a later attempt replaced it. PayloadDamaged: what
        was received is not what is stored.
        """
        self.let_go(claimed.claim)
        try:
            await self._acks.call(claimed.claim)
        except ClaimLost:
            await self._acks.call((await self.reclaim(claimed)).claim)
        finally:
            self._free([claimed.claim])

    async def acknowledge_all(self, claimed: list[Claimed]) -> list[Error | None]:
        """As acknowledge, each with its error."""
        claims = [each.claim for each in claimed]
        self.let_go(*claims)
        errors: list[Error | None] = []
        try:
            for each, result in zip(claimed, await self._acks.call_all(claims)):
                if isinstance(result, ClaimLost):
                    errors.append(await self._acknowledge_lost(each))
                else:
                    errors.append(result if isinstance(result, Error) else None)
            return errors
        finally:
            self._free(claims)

    async def _acknowledge_lost(self, claimed: Claimed) -> Error | None:
        try:
            await self._acks.call((await self.reclaim(claimed)).claim)
        except Error as error:
            return error
        return None

    async def reclaim(self, claimed: Claimed) -> Claimed:
        """The same output under a new claim."""
        again = await self._claims.call(claimed.claim.call_id)
        if again is not None and is_same(again, claimed):
            return with_claim(claimed, again.claim)
        if again is not None:
            await self.release(again.claim)
        raise ClaimLost("another client has the output", "CLAIM_LOST", claimed.claim.call_id)

    async def release(self, claim: Claim) -> None:
        """Gives it back. That it cannot be given back does no harm: it lapses."""
        await self.release_all([claim])

    async def take_all(self, claimed: list[Claimed]) -> list[calls.Output]:
        """Of outputs whose data came along. BatchError: some could not be acknowledged."""
        require_acknowledged(
            [each.claim.call_id for each in claimed], await self.acknowledge_all(claimed)
        )
        return [output_of(each, each.data or b"") for each in claimed]

    async def release_all(self, claims: list[Claim]) -> None:
        self.let_go(*claims)
        try:
            await self._releases.call_all(claims)
        finally:
            self._free(claims)

    def release_aside(self, claims: list[Claim]) -> None:
        self.connection.tasks.start("mayfly-releases", self.release_all, claims)
