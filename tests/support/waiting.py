"""Waits for what must come to pass, on a machine that may be busy."""

import time
from typing import Any, Callable

WAIT_TIMEOUT_S = 120
POLL_S = 0.01


def wait_until(holds: Callable[[], Any], what: str, timeout_s: float = WAIT_TIMEOUT_S) -> None:
    """AssertionError, which names `what` was waited for, when it does not hold in time."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(POLL_S)
