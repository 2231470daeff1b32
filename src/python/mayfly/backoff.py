"""How long to wait before the next attempt."""

from __future__ import annotations

import random
import time

from mayfly.errors import Error, TimedOut, Unavailable
from mayfly.settings import Settings

_DOUBLINGS_MAX = 30


class Backoff:
    """The pauses of one call, which may take until `deadline` (time.monotonic). Never sleeps.

    A call whose last attempt runs out of time, perhaps while gRPC is still connecting, ends as the
    attempt before if that was Unavailable.
    """

    def __init__(
        self, settings: Settings, deadline: float, unavailable: Unavailable | None = None
    ) -> None:
        self._settings = settings
        self.deadline = deadline
        self._failures = 0
        self.unavailable = unavailable  # the error of the attempt before, if it was that

    def left(self) -> float:
        """Seconds until the deadline. Unavailable, TimedOut: it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.unavailable or TimedOut("no answer in time")
        return left

    def final(self, error: Exception) -> Exception:
        """The error of the call, when `error` has ended its last attempt."""
        return self.unavailable if self.unavailable and isinstance(error, TimedOut) else error

    def progressed(self, deadline: float) -> None:
        """Something came: the failures begin anew, and there is time until `deadline`."""
        self._failures = 0
        self.deadline = deadline
        self.unavailable = None

    def pause_after(self, error: Error) -> float:
        """How long to sleep now; raises `error` when there is no time or no attempt left."""
        self._failures += 1
        self.unavailable = error if isinstance(error, Unavailable) else None
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
