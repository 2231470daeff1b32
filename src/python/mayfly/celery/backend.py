"""The result backend: a worker puts a result, `get` takes it, once, and then it is gone."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any, Iterable, Iterator

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import ImproperlyConfigured, Reject, TimeoutError
from celery.result import ResultSet, result_from_tuple
from celery.utils.log import get_logger
from kombu.utils.encoding import ensure_bytes
from vine import promise

from mayfly import CallState, Client, HeldOutput, errors
from mayfly.celery import chords, metas
from mayfly.celery.connections import RECOVERABLE, Connections
from mayfly.celery.publishing import PutsInputs

logger = get_logger(__name__)

# Of a request whose success could not be stored.
_UNSTORED = "mayfly_success_unstored"
_TTL_SECONDS_MIN = 1
_TTL_SECONDS_MAX = 86400
# How long a look waits for an output that somebody else holds, who may be looking too.
_LOOK_SECONDS = 1.0
# How often callbacks are called during a wait. Celery's own, which looks whether an earlier task of
# the chain has failed, asks the store again for each of them.
_CALLBACK_SECONDS = 1.0
_OWN_CALLBACK_SECONDS = 10.0


class Backend(BaseBackend):
    """See mayfly.celery. One for each thread of an application."""

    READY_STATES = states.READY_STATES | metas.ENDED_STATES
    supports_native_join = True
    supports_autoexpire = True
    persistent = True

    def __init__(self, app: Any, url: str | None = None, **options: Any) -> None:
        # Celery would keep the last results in the clear, for whoever asks again.
        super().__init__(app, url=url, max_cached_results=-1, **options)
        self.ttl = ttl_seconds(app, self.expires)
        self.connections = connections_of(app, url)

    # ---- sending

    def on_task_call(self, producer: Any, task_id: str) -> dict[str, Any]:
        if not isinstance(self.app.amqp, PutsInputs):
            raise ImproperlyConfigured("call mayfly.celery.setup(app) where the app is made")
        return {}

    def put_inputs(self, call_ids: Iterable[str]) -> list[str]:
        """Before the tasks of these ids are sent. Returns those that had no input yet."""
        call_ids = list(call_ids)
        for call_id in call_ids:
            require_call_id(call_id)
        return self.connections.put_inputs(call_ids)

    def apply_chord(self, header_result_args: Any, body: Any, **_: Any) -> None:
        chords.begin(self, self.app.GroupResult(*header_result_args), body)

    # ---- storing

    def _store_result(self, task_id: str, result: Any, state: str, traceback: Any = None,
                      request: Any = None, **_: Any) -> Any:
        # What is put cannot be put again with another content: a task under way leaves no trace.
        if state not in states.READY_STATES:
            return result
        if getattr(request, _UNSTORED, False):
            return result  # Celery would store that a success could not be stored, as a failure
        meta = self._get_result_meta(result=result, state=state, traceback=traceback,
                                     request=request)
        meta["task_id"] = task_id
        data = ensure_bytes(self.encode(meta))
        outcome = metas.outcome_of(state, result)
        worker = self.connections.storing
        try:
            self.connections.persist(
                f"task {task_id}: storing its result",
                lambda: worker.put_output(task_id, data, outcome=outcome, ttl=self.ttl),
            )
        except RECOVERABLE as error:
            logger.error("task %s: its result could not be stored: %s", task_id, error)
            if state != states.SUCCESS or request is None:
                raise
            setattr(request, _UNSTORED, True)
            # With acks_late the message goes back to the broker.
            raise Reject(error, requeue=True) from error
        except (errors.Conflict, errors.OutputClaimed):
            logger.warning("task %s ran again: its first result stands", task_id)
        except errors.NotFound as error:
            logger.warning("task %s: nobody can take its result, it is dropped: %s", task_id, error)
        return result

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        chords.part_returned(self, request, state, result)

    # ---- taking

    def wait_for(self, task_id: str, timeout: float | None = None, interval: float = 0.5,
                 no_ack: bool = True, on_interval: Any = None) -> dict[str, Any]:
        """Takes the result, when it is there.

        TimeoutError: it was not there in time, or the server was away.
        mayfly.errors.NotFound: it is not there any more.
        """
        self._ensure_not_eager()
        if (error := unknown_id(task_id)) is not None:
            raise error
        outage = Outage(self.connections.settings.timeout, timeout)
        for seconds in slices(timeout, on_interval):
            try:
                return self.take(task_id, seconds)
            except errors.Unavailable as error:
                outage.go_on_after(error)
            except errors.TimedOut as error:
                outage.learn(error)
        raise TimeoutError("The operation timed out." + outage.said()) from outage.error

    def wait_for_pending(self, result: Any, timeout: float | None = None, interval: float = 0.5,
                         no_ack: bool = True, on_message: Any = None, on_interval: Any = None,
                         callback: Any = None, propagate: bool = True) -> Any:
        meta = self.wait_for(result.id, timeout, interval, no_ack, on_interval)
        result._maybe_set_cache(meta)
        if on_message is not None:
            on_message(meta)
        return result.maybe_throw(propagate=propagate, callback=callback)

    def take(self, task_id: str, seconds: float | None) -> dict[str, Any]:
        with self.connections.client.retrieving(task_id, timeout=seconds) as output:
            meta: dict[str, Any] = self.decode_result(output.data)
            return meta

    def iter_native(self, result: Any, timeout: float | None = None, interval: float = 0.5,
                    no_ack: bool = True, on_message: Any = None,
                    on_interval: Any = None) -> Iterator[tuple[str, Any]]:
        """The members' results as they arrive, each taken when the next is asked for."""
        self._ensure_not_eager()
        waited_for = {}
        for member in result.results:
            if isinstance(member, ResultSet):
                yield member.id, member.results
            elif member._cache:
                yield member.id, member._cache
            else:
                waited_for[member.id] = member
        for task_id, meta in self.get_many(waited_for, timeout, interval, no_ack, on_message,
                                           on_interval):
            # Whoever asks the same result again has no other way to get it.
            waited_for[task_id]._maybe_set_cache(meta)
            yield task_id, meta

    def get_many(self, task_ids: Iterable[str], timeout: float | None = None,
                 interval: float = 0.5, no_ack: bool = True, on_message: Any = None,
                 on_interval: Any = None, max_iterations: int | None = None,
                 READY_STATES: frozenset[str] = states.READY_STATES,
                 ) -> Iterator[tuple[str, Any]]:
        """Takes results as they arrive."""
        waited_for = {str(each).lower(): each for each in task_ids}
        for error in filter(None, map(unknown_id, waited_for)):
            raise error
        outage = Outage(self.connections.settings.timeout, timeout)
        for seconds in slices(timeout, on_interval):
            try:
                with self.connections.client.as_completed(waited_for, seconds) as outputs:
                    for task_id, output in outputs:
                        meta = self.decode_result(output)
                        asked_for = waited_for.pop(task_id)
                        if on_message is not None:
                            on_message(meta)
                        yield asked_for, meta
                return
            except errors.Unavailable as error:
                outage.go_on_after(error)
            except errors.TimedOut as error:
                outage.learn(error)
        raise TimeoutError(f"Operation timed out ({timeout})" + outage.said()) from outage.error

    # ---- looking

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        if self.connections.is_ignored(task_id):
            return metas.pending()
        if (unknown := unknown_id(task_id)) is not None:
            return metas.ended(unknown)
        client = self.connections.client
        if client.describe(task_id).state == CallState.PENDING:
            return metas.pending()
        try:
            with looking(client, task_id, _LOOK_SECONDS) as output:
                meta = metas.Seen(self.decode_result(output.data))
        except errors.NotFound as error:
            return metas.ended(error)
        except errors.TimedOut:
            return metas.pending()
        if meta.get("children"):
            meta["children"] = [result_from_tuple(child, self.app) for child in meta["children"]]
        return meta

    def exception_safe_to_retry(self, error: Exception) -> bool:
        return isinstance(error, RECOVERABLE)

    # ---- forgetting

    def _forget(self, task_id: str) -> None:
        try:
            self.connections.client.delete(task_id)
        except errors.NotFound:
            pass

    # ---- groups

    def _save_group(self, group_id: str, result: Any) -> Any:
        """Needs the certificates of both roles, as whatever is stored by one and read by the other."""
        self.put_inputs([group_id])
        data = ensure_bytes(self.encode({"result": result.as_tuple()}))
        self.connections.worker.put_output(group_id, data, ttl=self.ttl)
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        try:
            with looking(self.connections.client, group_id, 0) as output:
                saved = self.decode(output.data)
        except (errors.NotFound, errors.TimedOut):
            return None
        return {"result": result_from_tuple(saved["result"], self.app)}

    def _delete_group(self, group_id: str) -> None:
        self._forget(group_id)


class _Looked(Exception):
    """Ends a look, which gives the output back."""


@contextlib.contextmanager
def looking(client: Client, call_id: str, seconds: float) -> Iterator[HeldOutput]:
    """An output, which stays in the store. NotFound, Pending."""
    try:
        with client.retrieving(call_id, timeout=seconds) as output:
            yield output
            raise _Looked
    except _Looked:
        pass


def slices(timeout: float | None, on_interval: Any) -> Iterator[float | None]:
    """What to wait at a time, in seconds, with the callback in between. None: for ever."""
    step = None
    if on_interval is not None:
        # AsyncResult.get gives a promise of its own.
        step = _OWN_CALLBACK_SECONDS if isinstance(on_interval, promise) else _CALLBACK_SECONDS
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if end is None else max(0.0, end - time.monotonic())
        yield left if step is None else step if left is None else min(left, step)
        if end is not None and time.monotonic() >= end:
            return
        if on_interval is not None:
            on_interval()


class Outage:
    """How long the server has not been there for one wait, which is made of slices."""

    def __init__(self, seconds_max: float, timeout: float | None) -> None:
        self._seconds_max = seconds_max
        self._has_timeout = timeout is not None
        self._began = 0.0
        self.error: errors.Error | None = None

    def go_on_after(self, error: errors.Error) -> None:
        """Raises an error if it has been away for too long: TimeoutError of a wait with a timeout,
        which is what callers expect of any backend."""
        if self.error is None:
            self._began = time.monotonic()
        self.error = error
        if time.monotonic() - self._began < self._seconds_max:
            return
        if self._has_timeout:
            raise TimeoutError("The operation timed out." + self.said()) from error
        raise error

    def learn(self, error: errors.TimedOut) -> None:
        """Of a slice that is over: whether the server could be reached at its end."""
        if isinstance(error.__cause__, errors.Unavailable):
            self.go_on_after(error.__cause__)
        else:
            self.error = None

    def said(self) -> str:
        """For the text of an error."""
        return "" if self.error is None else f" The server is away: {self.error}"


def is_call_id(task_id: str) -> bool:
    try:
        return uuid.UUID(task_id).version == 7
    except ValueError:
        return False


def unknown_id(task_id: str) -> errors.NotFound | None:
    """Of an id that no task of this backend can have."""
    if is_call_id(task_id):
        return None
    return errors.NotFound("no task of this backend has an id of this form", "CALL_UNKNOWN", task_id)


def require_call_id(task_id: str) -> None:
    """ValueError: Mayfly cannot keep the result of a task with this id."""
    if not is_call_id(task_id):
        raise ValueError(
            f"task_id {task_id} is not a UUID of version 7: take it from mayfly.new_call_id(), "
            "or leave it out and call mayfly.celery.setup(app)"
        )


def ttl_seconds(app: Any, expires: float | None) -> float | None:
    """None, which is the server's default, when the application says nothing."""
    if not app.conf.value_set_for("result_expires"):
        return None
    if expires is None or not _TTL_SECONDS_MIN <= expires <= _TTL_SECONDS_MAX:
        raise ImproperlyConfigured(
            f"result_expires is {expires} s, limits are {_TTL_SECONDS_MIN} and {_TTL_SECONDS_MAX}"
        )
    return float(expires)


def connections_of(app: Any, url: str | None) -> Connections:
    """Those of the application, whichever thread's backend asks."""
    server = (url or "").partition("://")[2].strip("/")
    connections = Connections(server or None, app.conf.result_backend_transport_options)
    # Of two threads that come at once, both get the first one's.
    return vars(app).setdefault("mayfly_connections", connections)  # type: ignore[no-any-return]
