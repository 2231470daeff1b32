"""Outputs as they arrive: a session with a subscription, opened again when it breaks."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Iterable, Iterator

from mayfly import fork, transport
from mayfly.calls import Claimed
from mayfly.connection import Connection
from mayfly.errors import Cancelled, Error, LimitExceeded, Unavailable
from mayfly.feed import Arrival, Feed, OnArrivals, is_final
from mayfly.outage import Outage
from mayfly.v1 import function_io_pb2 as pb


class Arrivals(fork.Forkable):
    """Has a thread and a stream from the first subscription on. Thread-safe.

    `on_arrivals` gets what arrived, and the claims of outputs that nobody waits for any longer; it is
    called on that thread, and must not block it.
    """

    def __init__(
        self,
        connection: Connection,
        on_arrivals: OnArrivals,
    ) -> None:
        self._connection = connection
        self._on_arrivals = on_arrivals
        self._closed = False
        self._begin()
        fork.register(self)

    def after_fork_in_child(self) -> None:
        transport.abandon(self._call)
        self._begin()

    def _begin(self) -> None:
        # Not entered as a condition: an interrupt of the main thread can leave that locked.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._feed = Feed(self._connection.settings.lease)
        self._thread: threading.Thread | None = None
        self._call: Any = None
        self._outage = Outage(self._connection.settings)

    def subscribe(self, call_ids: Iterable[str]) -> None:
        """Cancelled. InvalidArgument: too many."""
        with self._lock:
            if self._closed:
                raise Cancelled("the client is closed")
            self._feed.subscribe(call_ids)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="mayfly-arrivals", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def unsubscribe(self, call_ids: Iterable[str]) -> None:
        with self._lock:
            self._feed.unsubscribe(call_ids)
            self._changed.notify_all()

    def return_credit(self, claimed: Claimed) -> None:
        with self._lock:
            self._feed.return_credit(claimed)
            if self._feed.credit_is_worth_it():
                self._changed.notify_all()

    def is_current(self, arrival: Arrival) -> bool:
        """Whether the session that brought it is still open. Otherwise its claim may be lost."""
        return arrival.session == self._feed.session

    def outage(self) -> Unavailable | None:
        """Why the server cannot be reached now. None: it can, as far as is known."""
        return self._outage.error()

    def close(self) -> None:
        """Ends the session. The server releases what was not acknowledged in 5 s."""
        with self._lock:
            self._closed = True
            call = self._call
            self._changed.notify_all()
        if call is not None:
            # On a thread, which nothing interrupts: see Connection._drop.
            with contextlib.suppress(RuntimeError):  # the interpreter ends, and with it the stream
                self._connection.tasks.start("mayfly-cancel", call.cancel)

    def _run(self) -> None:
        while True:
            with self._lock:
                while not (self._closed or self._feed.is_waiting()):
                    self._outage.over()
                    self._changed.wait()
                if self._closed:
                    return
            try:
                self._ask_whether_reached()
                self._stream()
                error: Error = Unavailable("the stream ended")
            except Error as caught:
                error = caught
            try:
                if is_final(error):
                    self._outage.over()
                    raise error
                pause = self._outage.pause_after(error)
            except Error as last:
                with self._lock:
                    arrivals = self._feed.fail(last)
                self._on_arrivals(arrivals, [])
                continue
            with contextlib.suppress(Cancelled):  # which the next stream finds too
                self._connection.closing.sleep(pause)

    def _ask_whether_reached(self) -> None:
        """A stream does not tell: it is silent while there are no outputs. Unavailable, TimedOut."""
        if self._connection.was_reached and not self._outage.has_failed():
            return
        with contextlib.suppress(LimitExceeded):  # which is an answer
            with self._connection.stub() as stub:
                stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=self._outage.ask())
        self._connection.reached()
        self._outage.reached()

    def _stream(self) -> None:
        began = time.monotonic()
        try:
            with self._connection.stub() as stub:
                with self._lock:
                    call = stub.Session(self._requests(self._feed.open()))
                    self._call = call
                    if self._closed:
                        call.cancel()
                for response in call:
                    self._outage.over()
                    self._connection.reached()
                    with self._lock:
                        arrivals, strays = self._feed.take(response)
                        self._changed.notify_all()
                    self._on_arrivals(arrivals, strays)
                    self._feed.check(response)
        finally:
            self._outage.lasted(time.monotonic() - began)
            with self._lock:
                self._feed.broken()
                self._call = None
                self._changed.notify_all()

    def _requests(self, session: int) -> Iterator[pb.SessionRequest]:
        """Taken by a thread of gRPC."""
        while True:
            with self._lock:
                while (request := self._request(session)) is None:
                    if self._closed or self._feed.session != session:
                        return
                    self._changed.wait()
            yield request

    def _request(self, session: int) -> pb.SessionRequest | None:
        if self._closed or self._feed.session != session:
            return None
        return self._feed.next_request()
