"""The ids that a message brings along for tasks that are sent later.

Celery mints the ids of a chain's later links and of a chord's header and body when the first message
is sent. Mayfly takes a new call only within minutes of its id's time, so their inputs are put then
too, whenever the tasks themselves will be sent.
"""

from __future__ import annotations

import datetime
from typing import Any, Iterator, Mapping


def ids_in_body(body: Any) -> list[str]:
    """Ids in the body of a task's message, of Celery's protocol 1 or 2."""
    return ids_in_embed(body if isinstance(body, dict) else body[2])


def ids_in_embed(embed: Mapping[str, Any]) -> list[str]:
    """Ids in what follows a task: the callbacks, errbacks, chain and chord of its message."""
    found: list[str] = []
    for name in ("callbacks", "errbacks", "chain", "chord"):
        _collect(embed.get(name), found)
    return found


def ids_in_signature(signature: Mapping[str, Any]) -> list[str]:
    """Ids in a signature and in all that it leads to."""
    found: list[str] = []
    _collect(signature, found)
    return found


def signatures_in(part: Any) -> Iterator[Mapping[str, Any]]:
    """Every signature in what a message or a signature leads to."""
    if isinstance(part, (list, tuple)):
        for member in part:
            yield from signatures_in(member)
    elif isinstance(part, dict) and "task" in part:
        yield part
        options, arguments = part.get("options") or {}, part.get("kwargs") or {}
        if part.get("subtask_type") in ("group", "chain", "chord"):
            for name in ("tasks", "header", "body"):
                yield from signatures_in(arguments.get(name))
        for name in ("link", "link_error", "chain", "chord"):
            yield from signatures_in(options.get(name))


def delay_of(eta: Any, countdown: Any = None) -> float:
    """Seconds until a task is to run, at the earliest; `eta` is a datetime or its text."""
    if isinstance(eta, str):
        eta = datetime.datetime.fromisoformat(eta)
    if isinstance(eta, datetime.datetime):
        zone = eta.tzinfo or datetime.timezone.utc
        return (eta.replace(tzinfo=zone) - datetime.datetime.now(zone)).total_seconds()
    return float(countdown or 0.0)


def _collect(part: Any, found: list[str]) -> None:
    if isinstance(part, (list, tuple)):
        for member in part:
            _collect(member, found)
        return
    if not isinstance(part, dict) or "task" not in part:
        return
    options = part.get("options") or {}
    arguments = part.get("kwargs") or {}
    kind = part.get("subtask_type")
    if kind in ("group", "chain"):
        _collect(arguments.get("tasks"), found)
    elif kind == "chord":
        _collect(arguments.get("header"), found)
        _collect(arguments.get("body"), found)
    elif options.get("task_id"):
        # Not of the kinds above: theirs names the group, or the last link, which has it too.
        found.append(options["task_id"])
    for name in ("link", "link_error", "chain", "chord"):
        _collect(options.get(name), found)
