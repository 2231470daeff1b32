"""Call ids as clients make them."""

import secrets
import time
import uuid


def new_call_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562, section 5.7)."""
    now_ms = time.time_ns() // 1_000_000
    version, variant = 7 << 76, 2 << 62
    return uuid.UUID(
        int=now_ms << 80 | version | secrets.randbits(12) << 64 | variant | secrets.randbits(62)
    )
