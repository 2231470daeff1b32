"""Call ids are UUIDs of version 7 (RFC 9562), minted by whoever puts the input."""

from __future__ import annotations

import os
import time


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
    """What a caller has to know whose own id was refused; empty when the clocks agree."""
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
    number = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | (7 << 76)  # version
    number = number & ~(0x3 << 62) | (2 << 62)  # variant
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
