"""Outputs of single calls: waited for, held under a claim, acknowledged or released."""

from __future__ import annotations

import os
import threading
import time
from typing import Iterable, Iterator, Sequence

from mayfly import calls, fork
from mayfly.arrivals import Arrivals
from mayfly.batcher import Batcher
from mayfly.calls import Claim, Claimed
from mayfly.connection import Connection
from mayfly.contract import Kinds, output_of, segments_of
from mayfly.download import Reception, check_fits_memory, download
from mayfly.errors import ClaimLost, Error, Pending
from mayfly.feed import Arrival
from mayfly.held import Found, Held, is_same, require_acknowledged, with_claim
from mayfly.holdings import Holdings
from mayfly.waiters import Waiters


class _Waiter:
    __slots__ = ("arrival", "lock")

    def __init__(self) -> None:
        self.arrival: Arrival | None = None
        self.lock = threading.Lock()  # held until something arrives
        self.lock.acquire()


class Retrievals(fork.Forkable):
    """Claims of one client: gets, keeps, ends and gives them back. Thread-safe."""

    def __init__(self, connection: Connection, kinds: Kinds) -> None:
        self.connection = connection
        self._claims = Batcher(connection, kinds.claims, self._on_orphan)
        self._acks = Batcher(connection, kinds.acks)
        self._releases = Batcher(connection, kinds.releases)
        self._renewals = Batcher(connection, kinds.renewals)
        self._arrivals = Arrivals(connection, self._on_arrivals)
        self._closed = False
        self.after_fork_in_child()
        fork.register(self)

    def after_fork_in_child(self) -> None:
        self._lock = threading.Condition()
        self._waiters = Waiters[_Waiter]()
        self._holdings = Holdings(self.connection.settings.lease)
        self._renewer: threading.Thread | None = None

    def close(self) -> None:
        self._arrivals.close()
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    # ---- Waiting

    def claim(self, call_id: str, timeout: float | None) -> Claimed:
        """The output of a call, when it is there. Pending: it was not, `timeout` seconds long."""
        deadline = None if timeout is None else time.monotonic() + timeout
        claimed = self._claims.call(call_id)
        if claimed is not None:
            return claimed
        arrival = self._wait(call_id, deadline)
        if arrival is None:
            raise Pending("there is no output yet", "output_pending", call_id)
        if arrival.error is not None:
            raise arrival.error
        assert arrival.claimed is not None
        return arrival.claimed

    def claim_all(
        self, call_ids: Sequence[str], timeout: float | None
    ) -> list[Claimed | Error]:
        """The same of many, with an error where there is none to be had."""
        deadline = None if timeout is None else time.monotonic() + timeout
        found = Found(call_ids)
        # What is there and did not fit into the answer is asked for again.
        while found.left and found.take(self._claims.call_all(found.left)):
            pass
        if found.left:
            self._wait_for_all(found, deadline)
        return found.in_order()

    def _wait_for_all(self, found: Found, deadline: float | None) -> None:
        """Holds meanwhile what is found."""
        try:
            for claim in found.claims():
                self.hold(claim)
            for call_id in found.left:
                seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
                try:
                    claimed = self.claim(call_id, seconds)
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

    def _wait(self, call_id: str, deadline: float | None) -> Arrival | None:
        left = -1.0 if deadline is None else deadline - time.monotonic()
        if deadline is not None and left <= 0:
            return None
        waiter = _Waiter()
        try:
            with self._lock:
                if self._waiters.add(call_id, waiter):
                    self._arrivals.subscribe([call_id])
            waiter.lock.acquire(timeout=left)
        except BaseException:
            self._leave(call_id, waiter)
            if waiter.arrival is not None:
                self._on_orphan(waiter.arrival.claimed)
            raise
        self._leave(call_id, waiter)
        return waiter.arrival

    def _leave(self, call_id: str, waiter: _Waiter) -> None:
        with self._lock:
            if self._waiters.remove(call_id, waiter):
                self._arrivals.unsubscribe([call_id])

    def _on_arrivals(self, arrivals: list[Arrival], strays: list[Claim]) -> None:
        for arrival in arrivals:
            if arrival.claimed is not None:
                self._arrivals.return_credit(arrival.claimed)
            with self._lock:
                served = self._waiters.serve(arrival)
                for waiter in served:
                    waiter.arrival = arrival
                    waiter.lock.release()
            if not served and arrival.claimed is not None:
                strays.append(arrival.claimed.claim)
        if strays:
            self.release_aside(strays)

    def _free(self, claims: Iterable[Claim]) -> None:
        """They have ended, one way or the other."""
        with self._lock:
            again = [claim.call_id for claim in claims if self._waiters.free(claim.call_id)]
            if again and not self._closed:
                self._arrivals.subscribe(again)

    def _on_orphan(self, claimed: Claimed | None) -> None:
        if claimed is not None:
            self.release_aside([claimed.claim])

    # ---- Holding

    def hold(self, claim: Claim) -> None:
        """Renews it from now on, until `let_go`."""
        with self._lock:
            self._holdings.add(claim, time.monotonic())
            if self._renewer is None:
                self._renewer = threading.Thread(
                    target=self._renew, name="mayfly-renewals", daemon=True
                )
                self._renewer.start()

    def let_go(self, claim: Claim) -> None:
        with self._lock:
            self._holdings.remove(claim)

    def _renew(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                due = self._holdings.next_due()
                now = time.monotonic()
                if due is None or due > now:
                    # What is held later is due later still.
                    wait = self.connection.settings.lease / 3 if due is None else due - now
                    self._lock.wait(wait)
                    continue
                claims = self._holdings.take_due(now)
            for claim, result in zip(claims, self._renewals.call_all(claims)):
                if isinstance(result, ClaimLost):
                    self.let_go(claim)

    # ---- Ending

    def acknowledge(self, claimed: Claimed) -> None:
        """Ends the call. A claim that was lost meanwhile is got again for the same output.

        ClaimLost: another client has it now, or a later attempt replaced it. PayloadDamaged: what
        was received is not what is stored.
        """
        self.let_go(claimed.claim)
        try:
            self._acks.call(claimed.claim)
        except ClaimLost:
            self._acks.call(self.reclaim(claimed).claim)
        finally:
            self._free([claimed.claim])

    def acknowledge_all(self, claimed: list[Claimed]) -> list[Error | None]:
        """As acknowledge, each with its error."""
        with self._lock:
            for each in claimed:
                self._holdings.remove(each.claim)
        claims = [each.claim for each in claimed]
        try:
            results = self._acks.call_all(claims)
            return [
                self._acknowledge_lost(each) if isinstance(result, ClaimLost)
                else result if isinstance(result, Error) else None
                for each, result in zip(claimed, results)
            ]
        finally:
            self._free(claims)

    def _acknowledge_lost(self, claimed: Claimed) -> Error | None:
        try:
            self._acks.call(self.reclaim(claimed).claim)
        except Error as error:
            return error
        return None

    def reclaim(self, claimed: Claimed) -> Claimed:
        """The same output under a new claim."""
        again = self._claims.call(claimed.claim.call_id)
        if again is not None and is_same(again, claimed):
            return with_claim(claimed, again.claim)
        if again is not None:
            self.release(again.claim)
        raise ClaimLost("another client has the output", "claim_lost", claimed.claim.call_id)

    def release(self, claim: Claim) -> None:
        """Gives it back. That it cannot be given back does no harm: it lapses."""
        self.release_all([claim])

    def take_all(self, claimed: list[Claimed]) -> list[calls.Output]:
        """Of outputs whose data came along. BatchError: some could not be acknowledged."""
        require_acknowledged(
            [each.claim.call_id for each in claimed], self.acknowledge_all(claimed)
        )
        return [output_of(each, each.data or b"") for each in claimed]

    def release_all(self, claims: list[Claim]) -> None:
        for claim in claims:
            self.let_go(claim)
        try:
            self._releases.call_all(claims)
        finally:
            self._free(claims)

    def release_aside(self, claims: list[Claim]) -> None:
        threading.Thread(
            target=self.release_all, args=(claims,), name="mayfly-releases", daemon=True
        ).start()


class HeldOutput(Held):
    """An output under a claim, which is renewed. Of one thread."""

    def __init__(self, retrievals: Retrievals, claimed: Claimed) -> None:
        super().__init__(claimed)
        self._retrievals = retrievals
        self._pid = os.getpid()

    @property
    def data(self) -> calls.Output:
        """The whole. PayloadTooLarge: larger than Settings.data_bytes_max; stream() it."""
        if self._output is None:
            bytes_max = self._retrievals.connection.settings.data_bytes_max
            check_fits_memory(self.call_id, self.size_bytes, bytes_max)
            data = b"".join(self.stream())
            self._output = output_of(self.claimed, data)
        return self._output

    def stream(self) -> Iterator[bytes]:
        """The data in pieces of up to 1 MiB. When it ends without an error, that was the whole, as
        it was stored; whatever cuts it short is an error."""
        if self._output is not None:
            yield from segments_of(self._output)
            return
        reception = Reception(self.call_id, self.claimed)
        yield from download(self._retrievals.connection, reception, self._reclaim)
        self.claimed = reception.received_output()
        self.is_received = True

    def _reclaim(self, claimed: Claimed) -> Claimed:
        again = self._retrievals.reclaim(claimed)
        if self._is_held:
            self._retrievals.let_go(claimed.claim)
            self._retrievals.hold(again.claim)
        self.claimed = again
        return again

    def release(self) -> None:
        """Gives the output back at once."""
        self._is_held = False
        self._retrievals.release(self.claimed.claim)

    def hold(self) -> None:
        """Renews the claim from now on."""
        self._retrievals.hold(self.claimed.claim)
        self._is_held = True

    def __enter__(self) -> HeldOutput:
        self.hold()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if os.getpid() != self._pid or not self._is_held:
            return  # after a fork the claim is the parent's
        if kind is None and self.is_received:
            self._is_held = False
            self._retrievals.acknowledge(self.claimed)
        else:
            self.release()
