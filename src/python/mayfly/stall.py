"""Ends a transfer that makes no progress."""

from __future__ import annotations

import contextlib
import threading
from typing import Callable, Iterator


class StallWatch:
    """Cancels what is waited for when that takes too long. Has a thread while it is entered."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._waits = 0  # odd: a wait is under way
        self._cancel: Callable[[], object] | None = None
        self._ended = False
        self.stalled = False

    def __enter__(self) -> StallWatch:
        threading.Thread(target=self._run, name="mayfly-stall", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @contextlib.contextmanager
    def waiting(self, cancel: Callable[[], object]) -> Iterator[None]:
        self._cancel = cancel
        self._waits += 1
        try:
            yield
        finally:
            self._waits += 1

    def _run(self) -> None:
        with self._changed:
            while not self._ended:
                seen = self._waits
                self._changed.wait(self._timeout_s)
                if not self._ended and seen == self._waits and seen % 2 == 1 and self._cancel:
                    self.stalled = True
                    self._cancel()
                    return
