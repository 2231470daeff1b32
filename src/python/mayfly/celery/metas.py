"""What a task's result looks like to Celery: a dictionary with its status and its result."""

from __future__ import annotations

from typing import Any

from celery import states

from mayfly import errors

# Of results that are not there any more. Celery is told that they are ready, so that nobody waits
# for them, and `get` raises NotFound.
_ENDED_BY_REASON = {
    "OUTPUT_CONSUMED": "CONSUMED",
    "CALL_DELETED": "DELETED",
    "CALL_EXPIRED": "EXPIRED",
    "CALL_UNKNOWN": "UNKNOWN",
}
ENDED_STATES = frozenset(_ENDED_BY_REASON.values())

_TIMEOUTS = frozenset(("TimeLimitExceeded", "SoftTimeLimitExceeded"))


class Seen(dict[str, Any]):
    """A result that was looked at and is still in the store.

    False, unlike one that was taken: by that Celery's results decide whether `get` has to ask the
    store.
    """

    def __bool__(self) -> bool:
        return False


def pending() -> dict[str, Any]:
    return {"status": states.PENDING, "result": None}


def ended(error: errors.NotFound) -> dict[str, Any]:
    return Seen(status=_ENDED_BY_REASON.get(error.reason, "UNKNOWN"), result=error)


def outcome_of(state: str, result: Any) -> str:
    """Mayfly's outcome of a task in one of Celery's ready states."""
    if state == states.SUCCESS:
        return "success"
    if state == states.REVOKED:
        return "cancelled"
    name = result.get("exc_type") if isinstance(result, dict) else type(result).__name__
    return "timeout" if name in _TIMEOUTS else "failure"
