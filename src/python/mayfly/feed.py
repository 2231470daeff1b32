"""The client's side of one subscription after another, on one session after another. No I/O, not
thread-safe.

Calls are waited for until they arrive, over as many sessions as it takes. What is under way or with
the consumer takes part of a window; a new subscription gets credit for the rest. All have the same
claim token, so that the claims of one pass to the next.
"""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from typing import Callable, Iterable

from mayfly.calls import Claim, Claimed
from mayfly.contract import BATCH_ITEMS_MAX, MESSAGE_DATA_BYTES_MAX, claimed_output, new_token
from mayfly.errors import (
    Cancelled,
    Error,
    InvalidArgument,
    PermissionDenied,
    ProtocolError,
    from_status,
)
from mayfly.v1 import function_io_pb2 as pb

_WINDOW_ITEMS = 1024
_WINDOW_BYTES = 16 << 20
# The default of limits.stream_subscriptions_max. A server would end the subscription, and with it what
# all others wait for.
_SUBSCRIPTIONS_MAX = 65536
_SUBSCRIPTION = 1  # the number of the only one of a session


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """An output, or why there will be none."""

    call_id: str
    claimed: Claimed | None = None
    error: Error | None = None
    session: int = 0  # which of the feed's


# Gets arrivals, and the claims of outputs that nobody waits for any longer.
OnArrivals = Callable[[list[Arrival], list[Claim]], None]


def weakly(method: OnArrivals) -> OnArrivals:
    """Calls a method while its object lives: whoever waits for it does not keep it alive."""
    reference = weakref.WeakMethod(method)

    def call(arrivals: list[Arrival], strays: list[Claim]) -> None:
        if (alive := reference()) is not None:
            alive(arrivals, strays)

    return call


class Feed:
    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self.token = new_token()
        self.session = 0  # the number of the one under way; 0: none is
        self._last_session = 0
        self._waiting: dict[str, None] = {}
        self._subscribe: dict[str, None] = {}
        self._unsubscribe: dict[str, None] = {}
        self._is_opened = False
        self._taken_items = 0
        self._taken_bytes = 0
        self._credit_items = 0
        self._credit_bytes = 0

    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def subscribe(self, call_ids: Iterable[str]) -> None:
        """InvalidArgument: too many, and none of them is subscribed to."""
        new = [call_id for call_id in call_ids if call_id not in self._waiting]
        count = len(self._waiting) + len(new)
        if count > _SUBSCRIPTIONS_MAX:
            raise InvalidArgument(
                f"{count} calls would be waited for at the same time, limit of a client is "
                f"{_SUBSCRIPTIONS_MAX} (limits.stream_subscriptions_max of the server)"
            )
        for call_id in new:
            self._waiting[call_id] = None
            self._subscribe[call_id] = None
            self._unsubscribe.pop(call_id, None)

    def unsubscribe(self, call_ids: Iterable[str]) -> None:
        for call_id in call_ids:
            if call_id in self._waiting:
                del self._waiting[call_id]
                if call_id in self._subscribe:
                    del self._subscribe[call_id]
                else:
                    self._unsubscribe[call_id] = None

    def return_credit(self, claimed: Claimed) -> None:
        """The consumer is done with it."""
        self._taken_items -= 1
        self._taken_bytes -= len(claimed.data or b"")
        self._credit_items += 1
        self._credit_bytes += len(claimed.data or b"")

    def open(self) -> int:
        """A new session begins. Returns its number."""
        self._last_session += 1
        self.session = self._last_session
        self._is_opened = False
        self._subscribe = dict(self._waiting)
        self._unsubscribe.clear()
        self._credit_items = max(0, _WINDOW_ITEMS - self._taken_items)
        self._credit_bytes = max(0, _WINDOW_BYTES - self._taken_bytes)
        return self.session

    def broken(self) -> None:
        """The session has ended. The server releases what it claimed, unless another begins in 5 s."""
        self.session = 0

    def next_request(self) -> pb.SessionRequest | None:
        """What is to be sent now. None: nothing."""
        if not self.session:
            return None
        message = pb.SessionRequest()
        request = message.subscriptions.add(number=_SUBSCRIPTION)
        if not self._is_opened:
            request.open.claim_token = self.token
            request.open.max_bytes = MESSAGE_DATA_BYTES_MAX
            request.open.lease.FromNanoseconds(round(self._lease_s * 1e9))
            self._is_opened = True
        elif not (self._subscribe or self._unsubscribe or self.credit_is_worth_it()):
            return None
        request.subscribe_call_ids.extend(_take_first(self._subscribe))
        request.unsubscribe_call_ids.extend(_take_first(self._unsubscribe))
        if self._credit_items or self._credit_bytes:
            request.credit.item_count = self._credit_items
            request.credit.bytes = self._credit_bytes
            self._credit_items = 0
            self._credit_bytes = 0
        return message

    def credit_is_worth_it(self) -> bool:
        return self._credit_items * 2 >= _WINDOW_ITEMS or self._credit_bytes * 2 >= _WINDOW_BYTES

    def take(self, response: pb.SessionResponse) -> tuple[list[Arrival], list[Claim]]:
        """What arrived, and claims of what nobody waits for any longer, to be released."""
        arrivals: list[Arrival] = []
        strays: list[Claim] = []
        for part in response.subscriptions:
            self._take_part(part, arrivals, strays)
        return arrivals, strays

    def check(self, response: pb.SessionResponse) -> None:
        """Raises why the subscription has ended, if it has."""
        for part in response.subscriptions:
            if part.HasField("end"):
                raise from_status(part.end, "")

    def _take_part(
        self, part: pb.SubscriptionResponse, arrivals: list[Arrival], strays: list[Claim]
    ) -> None:
        for output in part.outputs:
            call_id = output.call_id
            self._taken_items += 1
            self._taken_bytes += len(output.payload.data)
            try:
                claimed = claimed_output(self.token, output)
            except Error as error:  # damaged: what it took is given back here
                self._taken_items -= 1
                self._taken_bytes -= len(output.payload.data)
                self._credit_items += 1
                self._credit_bytes += len(output.payload.data)
                strays.append(Claim(call_id, self.token, output.fence))
                if self._was_waited_for(call_id):
                    arrivals.append(Arrival(call_id, error=error))
                continue
            if self._was_waited_for(call_id):
                arrivals.append(Arrival(call_id, claimed, session=self.session))
            else:
                self.return_credit(claimed)
                strays.append(claimed.claim)
        for end in part.ended:
            if self._was_waited_for(end.call_id):
                arrivals.append(Arrival(end.call_id, error=from_status(end.status, end.call_id)))

    def fail(self, error: Error) -> list[Arrival]:
        """Asking again does not help: everything that is waited for ends."""
        waiting = list(self._waiting)
        self._waiting.clear()
        # unittest clears the frames of a traceback, which would end the caller's coroutine.
        error = error.with_traceback(None)
        return [Arrival(call_id, error=error) for call_id in waiting]

    def _was_waited_for(self, call_id: str) -> bool:
        if call_id not in self._waiting:
            return False
        del self._waiting[call_id]
        return True


def is_final(error: Error) -> bool:
    """Of what ended a session: all else may be the network's doing."""
    return isinstance(error, (Cancelled, InvalidArgument, PermissionDenied, ProtocolError))


def _take_first(queue: dict[str, None]) -> list[str]:
    taken = list(itertools.islice(queue, BATCH_ITEMS_MAX))
    for call_id in taken:
        del queue[call_id]
    return taken
