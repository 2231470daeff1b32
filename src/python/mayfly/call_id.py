"""Call ids are UUIDs of version 7 (RFC 9562), minted by whoever puts the input."""

from __future__ import annotations

import os
import time


# The digit with the variant, by a random one.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

# How far the server's clock is ahead of this machine's, once that is known.
_ahead_s = 0.0


def local_time() -> float:
    """This machine's."""
    return time.time()


def server_time() -> float:
    """As time.time, by the server's clock if that is known to be another."""
    return time.time() + _ahead_s


def learn_time(server_s: float, asked_s: float) -> None:
    """The server said what time it is, between `asked_s` of local_time and now."""
    global _ahead_s
    _ahead_s = server_s - (asked_s + time.time()) / 2


def said_of_clocks() -> str:
    """The difference, for the error of a caller's own id; empty when the clocks agree."""
    minutes = round(abs(_ahead_s) / 60)
    if minutes < 1:
        return ""
    direction = "behind" if _ahead_s > 0 else "ahead of"
    return f"; your clock is {minutes} min {direction} the server's: new_call_id() knows that now"


def new_call_id() -> str:
    """A new call id, for now, in text.

    Mint it before the put if the put may be repeated after an error: with another id it is another
    call. The server takes ids whose time is within limits.id_window (5 min) of its own. If
    this machine's clock is further off, a client learns that when an id is refused, and ids are of the
    server's time from then on.
    """
    milliseconds = time.time_ns() // 1_000_000 + round(_ahead_s * 1000)
    time_text = f"{milliseconds:012x}"
    noise = os.urandom(10).hex()
    return (
        f"{time_text[:8]}-{time_text[8:]}-7{noise[:3]}-{_VARIANT[noise[3]]}{noise[4:7]}-{noise[7:19]}"
    )
