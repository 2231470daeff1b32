"""Streaming calls of payloads, which end when they make no progress."""

from __future__ import annotations

import os
import threading
from typing import Any, Iterable, Iterator

from mayfly import fork, transport
from mayfly.connection import Connection
from mayfly.errors import TimedOut


class Responses(Iterator[Any]):
    """The responses of `call`, a context that cancels it at its end. Has a thread meanwhile.

    TimedOut: the next one did not come within Settings.timeout.
    """

    def __init__(self, connection: Connection, call: Any, call_id: str) -> None:
        self._connection = connection
        self._call = call
        self._timeout_s = connection.settings.timeout
        self._call_id = call_id
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._waits = 0  # odd: a wait is under way
        self._is_over = False
        self._is_stalled = False

    def __enter__(self) -> Responses:
        threading.Thread(target=self._watch, name="mayfly-stall", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if fork.is_gone(self._pid):
            transport.abandon(self._call)  # a fork may be dropping what its parent iterates over
            return
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._call.cancel()

    def __next__(self) -> Any:
        self._waits += 1
        try:
            response = next(self._call)
            self._connection.reached()
            return response
        except StopIteration:
            raise
        except Exception:
            if self._is_stalled:
                raise TimedOut("no progress in time", "", self._call_id) from None
            raise
        finally:
            self._waits += 1

    def _watch(self) -> None:
        with self._changed:
            while not self._is_over:
                seen = self._waits
                self._changed.wait(self._timeout_s)
                if not self._is_over and seen == self._waits and seen % 2 == 1:
                    self._is_stalled = True
                    self._call.cancel()
                    return


class Answer:
    """The one answer to the requests of a call. `method` is the stub's."""

    def __init__(self, method: Any, requests: Iterable[Any]) -> None:
        self._call = method.future(requests)
        self._is_there = threading.Event()
        self._call.add_done_callback(lambda _: self._is_there.set())

    def wait(self, timeout_s: float) -> bool:
        """Whether it is there, which may be an error."""
        return self._is_there.wait(timeout_s)

    def check(self) -> None:
        """Raises the error if it is one."""
        self._call.result()

    def cancel(self) -> None:
        self._call.cancel()
