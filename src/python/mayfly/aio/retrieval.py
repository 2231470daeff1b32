"""Outputs of single calls: waited for, held under a claim, acknowledged or released."""

from __future__ import annotations

import asyncio
import time
from typing import AsyncIterator, Iterable, Sequence

from mayfly import calls
from mayfly.aio.arrivals import AsyncArrivals
from mayfly.aio.batcher import AsyncBatcher
from mayfly.aio.connection import AsyncConnection
from mayfly.aio.download import download
from mayfly.aio.tasks import Tasks
from mayfly.calls import Claim, Claimed
from mayfly.contract import Kinds, output_of, segments_of
from mayfly.download import Reception, check_fits_memory
from mayfly.errors import ClaimLost, Error, Pending
from mayfly.feed import Arrival
from mayfly.held import Found, Held, is_same, require_acknowledged, with_claim
from mayfly.holdings import Holdings
from mayfly.waiters import Waiters


class AsyncRetrievals:
    """Claims of one client: gets, keeps, ends and gives them back."""

    def __init__(self, connection: AsyncConnection, tasks: Tasks, kinds: Kinds) -> None:
        self.connection = connection
        self.tasks = tasks
        self._claims = AsyncBatcher(connection, tasks, kinds.claims, self._on_orphan)
        self._acks = AsyncBatcher(connection, tasks, kinds.acks)
        self._releases = AsyncBatcher(connection, tasks, kinds.releases)
        self._renewals = AsyncBatcher(connection, tasks, kinds.renewals)
        self._arrivals = AsyncArrivals(connection, tasks, self._on_arrivals)
        self._waiters = Waiters[asyncio.Future[Arrival]]()
        self._holdings = Holdings(connection.settings.lease)
        self._renewer: asyncio.Task[None] | None = None

    def close(self) -> None:
        self._arrivals.close()

    # ---- Waiting

    async def claim(self, call_id: str, timeout: float | None) -> Claimed:
        """The output of a call, when it is there. Pending: it was not, `timeout` seconds long."""
        deadline = None if timeout is None else time.monotonic() + timeout
        claimed = await self._claims.call(call_id)
        if claimed is not None:
            return claimed
        arrival = await self._wait(call_id, deadline)
        if arrival.error is not None:
            raise arrival.error
        assert arrival.claimed is not None
        return arrival.claimed

    async def claim_all(
        self, call_ids: Sequence[str], timeout: float | None
    ) -> list[Claimed | Error]:
        """The same of many, with an error where there is none to be had."""
        deadline = None if timeout is None else time.monotonic() + timeout
        found = Found(call_ids)
        # What is there and did not fit into the answer is asked for again.
        while found.left and found.take(await self._claims.call_all(found.left)):
            pass
        if found.left:
            await self._wait_for_all(found, deadline)
        return found.in_order()

    async def _wait_for_all(self, found: Found, deadline: float | None) -> None:
        """Holds meanwhile what is found."""
        try:
            for claim in found.claims():
                self.hold(claim)
            for call_id in found.left:
                seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
                try:
                    claimed = await self.claim(call_id, seconds)
                except Error as error:
                    found.add(call_id, error)
                    continue
                found.add(call_id, claimed)
                self.hold(claimed.claim)
        except BaseException:
            for claim in found.claims():
                self.let_go(claim)
            self.release_aside(found.claims())
            raise

    async def _wait(self, call_id: str, deadline: float | None) -> Arrival:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise Pending("there is no output yet", "output_pending", call_id)
        waiter: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()
        try:
            if self._waiters.add(call_id, waiter):
                self._arrivals.subscribe([call_id])
            await asyncio.wait([waiter], timeout=left)
        except asyncio.CancelledError:
            if waiter.done():
                self._on_orphan(waiter.result().claimed)
            raise
        finally:
            if self._waiters.remove(call_id, waiter):
                self._arrivals.unsubscribe([call_id])
        if not waiter.done():
            raise Pending("there is no output yet", "output_pending", call_id)
        return waiter.result()

    def _on_arrivals(self, arrivals: list[Arrival], strays: list[Claim]) -> None:
        for arrival in arrivals:
            served = self._waiters.serve(arrival)
            for waiter in served:
                waiter.set_result(arrival)
            if arrival.claimed is not None:
                self._arrivals.return_credit(arrival.claimed)
                if not served:
                    strays.append(arrival.claimed.claim)
        if strays:
            self.release_aside(strays)

    def _free(self, claims: Iterable[Claim]) -> None:
        """They have ended, one way or the other."""
        again = [claim.call_id for claim in claims if self._waiters.free(claim.call_id)]
        if again and not self._arrivals.is_closed:
            self._arrivals.subscribe(again)

    def _on_orphan(self, claimed: Claimed | None) -> None:
        if claimed is not None:
            self.release_aside([claimed.claim])

    # ---- Holding

    def hold(self, claim: Claim) -> None:
        """Renews it from now on, until `let_go`."""
        self._holdings.add(claim, time.monotonic())
        if self._renewer is None:
            self._renewer = self.tasks.start(self._renew())

    def let_go(self, claim: Claim) -> None:
        self._holdings.remove(claim)

    async def _renew(self) -> None:
        while True:
            due = self._holdings.next_due()
            now = time.monotonic()
            if due is None or due > now:
                # What is held later is due later still.
                pause = self.connection.settings.lease / 3 if due is None else due - now
                await asyncio.sleep(pause)
                continue
            claims = self._holdings.take_due(now)
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
        for each in claimed:
            self.let_go(each.claim)
        claims = [each.claim for each in claimed]
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
        raise ClaimLost("another client has the output", "claim_lost", claimed.claim.call_id)

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
        for claim in claims:
            self.let_go(claim)
        try:
            await self._releases.call_all(claims)
        finally:
            self._free(claims)

    def release_aside(self, claims: list[Claim]) -> None:
        self.tasks.start(self.release_all(claims))


class AsyncHeldOutput(Held):
    """An output under a claim, which is renewed."""

    def __init__(self, retrievals: AsyncRetrievals, claimed: Claimed) -> None:
        super().__init__(claimed)
        self._retrievals = retrievals

    async def read(self) -> calls.Output:
        """The whole. PayloadTooLarge: larger than Settings.data_bytes_max; stream() it."""
        if self._output is None:
            bytes_max = self._retrievals.connection.settings.data_bytes_max
            check_fits_memory(self.call_id, self.size_bytes, bytes_max)
            data = b"".join([piece async for piece in self.stream()])
            self._output = output_of(self.claimed, data)
        return self._output

    async def stream(self) -> AsyncIterator[bytes]:
        """The data in pieces of up to 1 MiB. When it ends without an error, that was the whole, as
        it was stored; whatever cuts it short is an error."""
        if self._output is not None:
            for piece in segments_of(self._output):
                yield piece
            return
        reception = Reception(self.call_id, self.claimed)
        async for piece in download(self._retrievals.connection, reception, self._reclaim):
            yield piece
        self.claimed = reception.received_output()
        self.is_received = True

    async def _reclaim(self, claimed: Claimed) -> Claimed:
        again = await self._retrievals.reclaim(claimed)
        if self._is_held:
            self._retrievals.let_go(claimed.claim)
            self._retrievals.hold(again.claim)
        self.claimed = again
        return again

    async def release(self) -> None:
        """Gives the output back at once."""
        self._is_held = False
        await self._retrievals.release(self.claimed.claim)

    def hold(self) -> None:
        """Renews the claim from now on."""
        self._retrievals.hold(self.claimed.claim)
        self._is_held = True

    async def __aenter__(self) -> AsyncHeldOutput:
        self.hold()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._is_held:
            return
        if kind is None and self.is_received:
            self._is_held = False
            await self._retrievals.acknowledge(self.claimed)
        else:
            await self.release()
