"""How long to wait before the next attempt."""

from __future__ import annotations

import random
import time

from mayfly.errors import Error, TimedOut
from mayfly.settings import Settings

_DOUBLINGS_MAX = 30


class Backoff:
    """The pauses of one call, which may take until `deadline` (time.monotonic). Never sleeps."""

    def __init__(self, settings: Settings, deadline: float) -> None:
        self._settings = settings
        self.deadline = deadline
        self._failures = 0

    def left(self) -> float:
        """Seconds until the deadline; TimedOut when it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimedOut("no answer in time")
        return left

    def progressed(self, deadline: float) -> None:
        """Something came: the failures begin anew, and there is time until `deadline`."""
        self._failures = 0
        self.deadline = deadline

    def pause_after(self, error: Error) -> float:
        """How long to sleep now; raises `error` when there is no time or no attempt left."""
        self._failures += 1
        if self._failures >= self._settings.attempts_max:
            raise error
        pause = max(pause_before(self._failures, self._settings), error.retry_after)
        if time.monotonic() + pause >= self.deadline:
            raise error
        return pause


def pause_before(failures: int, settings: Settings) -> float:
    """After so many failures in a row, 1 or more."""
    longest = settings.delay_min * float(1 << min(failures - 1, _DOUBLINGS_MAX))
    return min(settings.delay_max, longest) * (1 - random.random() / 2)
