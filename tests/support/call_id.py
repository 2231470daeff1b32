"""Call ids as clients make them."""

import secrets
import time
import uuid


def new_call_id(ahead_s: int = 0) -> uuid.UUID:
    """A UUIDv7 (RFC 9562, section 5.7), on a clock that is so far ahead."""
    now_ms = time.time_ns() // 1_000_000 + ahead_s * 1000
    version, variant = 7 << 76, 2 << 62
    return uuid.UUID(
        int=now_ms << 80 | version | secrets.randbits(12) << 64 | variant | secrets.randbits(62)
    )
