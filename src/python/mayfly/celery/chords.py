"""Chords, without polling: the worker that ends the last task of a header sends the body.

A chord has a call of its own, whose id travels with the body's signature and whose input is the
header's results, for the workers to read. Whoever has stored a result of the header looks whether
all have ended. Of those who find so at the same time one goes on: who can claim the chord's output.
The claims, of that output and of the header's, are acknowledged when the body has been sent. So a
worker that dies before leaves all to whoever runs its task again; after one that dies in between the
body may run twice, and its first result stands.
"""

from __future__ import annotations

import random
from typing import Any, Iterator

from celery import maybe_signature, states
from celery.exceptions import ChordError
from celery.result import ResultSet, allow_join_result, result_from_tuple
from celery.utils.log import get_logger
from kombu.utils.encoding import ensure_bytes

from mayfly import CallState, Client, errors, new_call_id
from mayfly.celery import canvas
from mayfly.contract import BATCH_ITEMS_MAX

logger = get_logger(__name__)

# In the body's signature.
_CALL_ID = "mayfly_chord"
# Of a header that has not ended, some task is likely to be found at once.
_ASKED_FIRST = 8
# How long to wait for results of the header that somebody else is looking at.
_CLAIM_SECONDS = 3.0

# The server is: it may be back soon.
_AWAY = (errors.Unavailable, errors.TimedOut)


def begin(backend: Any, header: Any, body: Any) -> None:
    """Before the tasks of the header are sent. Changes `body`, which is sent with each of them."""
    call_id = new_call_id()
    put = backend.put_inputs([
        *(member.id for member in members(header)), *canvas.ids_in_signature(body)
    ])
    data = ensure_bytes(backend.encode({"result": header.as_tuple()}))
    try:
        backend.connections.client.put_input(data, ttl=None, call_id=call_id)
    except BaseException:
        backend.connections.delete_inputs([*put, call_id])
        raise
    body[_CALL_ID] = call_id


def ids_of(*bodies: Any) -> list[str]:
    """Of chords with these bodies: their own, and of what follows their headers."""
    found: list[str] = []
    for body in bodies:
        if body is not None:
            found += canvas.ids_in_signature(body)
            found += [body[_CALL_ID]] if _CALL_ID in body else []
    return found


def members(header: Any) -> Iterator[Any]:
    """The single results in a group's, in order."""
    for member in header.results:
        if isinstance(member, ResultSet):
            yield from members(member)
        else:
            yield member


def part_returned(backend: Any, request: Any, state: str, result: Any) -> None:
    """After a task of the header has ended, and its result was stored unless it is ignored."""
    call_id = request.chord.get(_CALL_ID)
    if call_id is None:
        logger.error("task %s: its chord was not sent with mayfly.celery", request.id)
        return
    connections = backend.connections
    worker = connections.worker
    purpose = f"task {request.id}: completing its chord"
    try:
        data = connections.persist(purpose, lambda: worker.get_input(call_id))
    except errors.NotFound:
        return  # It was completed before, and this task ran again.
    header = result_from_tuple(backend.decode(data)["result"], backend.app)
    call_ids = [member.id for member in members(header)]
    if request.id in call_ids and connections.persist(
        purpose, lambda: is_pending(worker, [request.id])
    ):
        backend.store_result(request.id, result, state, request=request)
    if not connections.persist(purpose, lambda: have_ended(worker, call_ids)):
        return
    signature = dict(request.chord)
    del signature[_CALL_ID]
    callback = maybe_signature(signature, app=backend.app)
    try:
        connections.persist(purpose, lambda: complete(backend, call_id, header, callback))
    except Exception as error:
        fail(backend, call_id, callback, error)


def is_pending(worker: Any, call_ids: list[str]) -> bool:
    described = worker.describe_all(call_ids, return_exceptions=True)
    for each in described:
        if isinstance(each, errors.Error):
            raise each  # and not all of them in one: it is looked at whether it may be over soon
    return any(each.state == CallState.PENDING for each in described)


def have_ended(worker: Any, call_ids: list[str]) -> bool:
    """In random order and few at first: a long header is not read through at the end of each of its
    tasks."""
    left = random.sample(call_ids, len(call_ids))
    count = _ASKED_FIRST
    while left:
        asked, left = left[:count], left[count:]
        if is_pending(worker, asked):
            return False
        count = BATCH_ITEMS_MAX
    return True


def complete(backend: Any, call_id: str, header: Any, callback: Any) -> None:
    """Sends the body, unless another worker does. Unavailable, TimedOut: it was not sent."""
    client = backend.connections.client
    backend.connections.worker.put_output(call_id, b"")
    is_sent = False
    try:
        with client.retrieving_all([call_id], timeout=_CLAIM_SECONDS) as (chord,):
            if isinstance(chord, (errors.NotFound, errors.Pending, errors.ClaimLost)):
                return
            if isinstance(chord, errors.Error):
                raise chord
            try:
                send_body(backend, client, header, callback)
            except _AWAY as error:
                if not isinstance(error, errors.Pending):
                    raise
                fail(backend, call_id, callback, error)
            except Exception as error:
                fail(backend, call_id, callback, error)
            is_sent = True
    except errors.Error as error:
        if not is_sent:
            raise
        logger.warning("chord %s stays until it expires: %s", call_id, error)


def send_body(backend: Any, client: Client, header: Any, callback: Any) -> None:
    """Takes the header's results. When it fails they are left to whoever wants to know why."""
    call_ids = [member.id for member in members(header)]
    is_sent = False
    try:
        with client.retrieving_all(call_ids, timeout=_CLAIM_SECONDS) as outputs:
            for member, output in zip(members(header), outputs):
                if isinstance(output, _AWAY) and not isinstance(output, errors.Pending):
                    raise output
                take_into(backend, member, output)
            with allow_join_result():
                value = header.join()
            callback.delay(value)
            is_sent = True
    except errors.BatchError as error:
        if not is_sent:
            raise
        logger.warning("a header's results stay until they expire: %s", error)


def take_into(backend: Any, member: Any, output: Any) -> None:
    """Gives a result of the header its value. ChordError: it has none."""
    error = output
    if not isinstance(output, errors.Error):
        meta = backend.decode_result(output.data)
        if meta["status"] not in states.PROPAGATE_STATES:
            member._maybe_set_cache(meta)
            return
        error = meta["result"]
    cause = error if isinstance(error, BaseException) else None
    raise ChordError(f"Dependency {member.id} raised {error!r}") from cause


def fail(backend: Any, call_id: str, callback: Any, error: Exception) -> None:
    """Whoever waits for the body's result gets the error."""
    logger.error("chord %s: %r", call_id, error, exc_info=error)
    if not isinstance(error, ChordError):
        error = ChordError(repr(error))
    if callback.id:
        backend.chord_error_from_stack(callback, error)
        return
    # A chain or a group has no id of its own.
    for body_id in canvas.ids_in_signature(callback):
        backend.fail_from_current_stack(body_id, error)
