"""How long a stream has not reached its server. No I/O."""

from __future__ import annotations

import time

from mayfly.backoff import pause_before
from mayfly.errors import Error, TimedOut, Unavailable
from mayfly.settings import Settings

# More than a connection takes to fail.
_CONNECTED_SECONDS = 60.0
_ANSWER_SECONDS_MIN = 0.05


class Outage:
    """The failures in a row of one stream after another. It ends them when the server could not be
    reached for Settings.timeout: a restart of that length is waited for.

    One thread changes it; any may ask for its `error`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failures = 0
        self._began: tuple[float, Error] | None = None  # time.monotonic, and the last cause
        self._asked: float | None = None

    def has_failed(self) -> bool:
        return self._failures > 0

    def ask(self) -> float:
        """The server is asked whether it is there. Returns how many seconds it has to answer."""
        self._asked = time.monotonic()
        if self._began is None:
            return self._settings.timeout
        return max(_ANSWER_SECONDS_MIN, self._left(self._began[0]))

    def reached(self) -> None:
        """It has answered. Streams that end all the same are still counted."""
        self._began = None
        self._asked = None

    def lasted(self, seconds: float) -> None:
        """So long was a stream open, or connecting."""
        if seconds >= _CONNECTED_SECONDS:
            self.over()

    def over(self) -> None:
        """A stream works, or the wait has ended."""
        self._began = None
        self._asked = None
        self._failures = 0

    def pause_after(self, error: Error) -> float:
        """How long to sleep before the next attempt; raises when there is none."""
        self._failures += 1
        pause = pause_before(self._failures, self._settings)
        is_over = self._failures >= self._settings.attempts_max
        if isinstance(error, (Unavailable, TimedOut)):
            began, cause = self._began or (self._asked or time.monotonic(), error)
            # The last attempts have little time: an earlier one says why the server is not reached.
            if isinstance(error, Unavailable) or not isinstance(cause, Unavailable):
                cause = error
            self._began = (began, cause)
            left = self._left(began)
            is_over = is_over or left <= 0
            pause = min(pause, max(0.0, left))  # the last attempt is at the very end
        else:
            self.reached()
        if is_over:
            error = self.error() or error
            self.over()
            raise error
        return max(error.retry_after, pause)

    def _left(self, began: float) -> float:
        return began + self._settings.timeout - time.monotonic()

    def error(self) -> Unavailable | None:
        """Why the server cannot be reached now. None: it can, as far as is known."""
        began = self._began
        if began is None:
            return None
        seconds = time.monotonic() - began[0]
        cause = began[1]
        return Unavailable(
            f"the server could not be reached for {seconds:.1f} s: {cause.message}", cause.reason
        )


def not_in_time(text: str, outage: Unavailable, call_id: str = "") -> TimedOut:
    """At the end of a wait, when the server could not be reached."""
    error = TimedOut(f"{text}: {outage.message}", outage.reason, call_id)
    error.__cause__ = outage
    return error
