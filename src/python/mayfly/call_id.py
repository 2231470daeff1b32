"""Call ids are UUIDs of version 7 (RFC 9562), minted by whoever puts the input."""

from __future__ import annotations

import os
import time


def new_call_id() -> str:
    """A new call id, for now, in text.

    Mint it before the put if the put may be repeated after an error: with another id it is another
    call. The server takes ids whose time is within limits.id_window (5 min) of its own.
    """
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | (7 << 76)  # version
    number = number & ~(0x3 << 62) | (2 << 62)  # variant
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
