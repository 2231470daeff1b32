"""Puts the inputs of tasks before their messages are published, and deletes them when that fails."""

from __future__ import annotations

import contextlib
import contextvars
import datetime
from typing import Any, Callable, Iterator

from celery import canvas as celery_canvas
from celery import signals
from celery._state import get_current_task
from celery.utils.functional import _regen
from kombu.utils.objects import cached_property

from mayfly.celery import canvas, chords
from mayfly.errors import InvalidArgument, TimedOut, Unavailable

_KNOWN = "mayfly_call_ids"
# No store keeps an input for longer, whatever its settings.
_TTL_SECONDS_MAX = 86400
# Options of tasks whose inputs are not put ahead.
_NOT_AHEAD = ("ignore_result", "link", "link_error", "chain", "chord")

# Ids of the group that is being sent, of tasks whose messages were not published yet.
_unsent: contextvars.ContextVar[dict[str, None] | None] = contextvars.ContextVar(
    "mayfly_unsent", default=None
)


class PutsInputs:
    """Part of an application's `amqp`, which publishes the messages of tasks."""

    app: Any

    @cached_property
    def send_task_message(self) -> Callable[..., Any]:
        send: Callable[..., Any] = self._create_task_sender()  # type: ignore[attr-defined]

        def put_and_send(producer: Any, name: str, message: Any, **options: Any) -> Any:
            backend = self.app.backend
            put: list[str] = []
            try:
                require_in_time(message)
                put = put_inputs_of(message, backend)
                require_before_deadline(message, backend)
                result = send(producer, name, message, **options)
            except BaseException as error:
                backend.connections.delete_inputs(put)
                if isinstance(error, InvalidArgument) and fail_instead(message, backend, error):
                    return None
                raise
            if (unsent := _unsent.get()) is not None:
                for call_id in sent_with(message):
                    unsent.pop(call_id, None)
            return result

        return put_and_send


def wrap_sending(app: Any) -> None:
    """A task that was given no id gets that of an input that was put ahead, unless it is delayed or
    brings others along: that takes a message of its own anyway."""
    plain = app.send_task
    if getattr(plain, "is_of_mayfly", False):
        return

    def send_task(name: str, args: Any = None, kwargs: Any = None, countdown: Any = None,
                  eta: Any = None, task_id: Any = None, *rest: Any, **options: Any) -> Any:
        if task_id and not options.get("ignore_result"):
            task_id = str(task_id).lower()  # as it comes back with the result
        if task_id or countdown or eta or any(map(options.get, _NOT_AHEAD)):
            return plain(name, args, kwargs, countdown, eta, task_id, *rest, **options)
        connections = app.backend.connections
        task_id = connections.new_call()
        try:
            return plain(name, args, kwargs, countdown, eta, task_id, *rest, **options)
        except BaseException:
            connections.delete_inputs([task_id])
            raise

    setattr(send_task, "is_of_mayfly", True)
    app.send_task = send_task


def put_inputs_of(message: Any, backend: Any) -> list[str]:
    """Of a task's message: for its own result, unless that is ignored, and for those to follow.
    Returns the ids of those that had none."""
    call_ids = canvas.ids_in_body(message.body)
    own = message.properties["correlation_id"]
    if message.headers.get("ignore_result"):
        backend.connections.remember_ignored(own)
    else:
        call_ids.append(own)
    known = known_ids()
    put: list[str] = backend.put_inputs([call for call in call_ids if call not in known])
    return put


def sent_with(message: Any) -> list[str]:
    """Ids of the task, and of what follows it without its group: of a chord all has to be there."""
    body = message.body
    embed = body if isinstance(body, dict) else body[2]
    alone = {name: embed.get(name) for name in ("callbacks", "errbacks", "chain")}
    return [message.properties["correlation_id"], *canvas.ids_in_embed(alone)]


def require_in_time(message: Any) -> None:
    """InvalidArgument: the task, or one that follows it, is to run when no result can be stored."""
    body = message.body
    embed = body if isinstance(body, dict) else body[2]
    followers = [embed.get(name) for name in ("callbacks", "errbacks", "chain", "chord")]
    delays = [canvas.delay_of(message.headers.get("eta"))]
    for each in canvas.signatures_in(followers):
        options = each.get("options") or {}
        delays.append(canvas.delay_of(options.get("eta"), options.get("countdown")))
    if max(delays) >= _TTL_SECONDS_MAX:
        raise _too_late(message, max(delays), f"{_TTL_SECONDS_MAX} s")


def require_before_deadline(message: Any, backend: Any) -> None:
    """The same by the server's limit, which ends the call: it is asked when a task is delayed."""
    eta = message.headers.get("eta")
    if eta is None or message.headers.get("ignore_result"):
        return
    described = backend.connections.describe(message.properties["correlation_id"])
    if described.input is None:
        return
    now = datetime.datetime.now(datetime.timezone.utc)
    left = (described.input.deadline_time - now).total_seconds()
    if (delay := canvas.delay_of(eta)) >= left:
        raise _too_late(message, delay, f"{left:.0f} s, when the input of the task expires")


def _too_late(message: Any, delay: float, limit: str) -> InvalidArgument:
    return InvalidArgument(
        f"countdown or eta is {delay:.0f} s from now, the limit is {limit}: no result could be "
        "stored (retention.default_ttl of the server, 24 h at most)",
        "", message.properties["correlation_id"],
    )


def fail_instead(message: Any, backend: Any, error: InvalidArgument) -> bool:
    """Makes the error the result of a task that a worker cannot send. Of a retry Celery would tell
    the broker only. Of a task that follows, the one before it would fail. Whether it is such a
    follower."""
    task_id = message.properties["correlation_id"]
    task = get_current_task()
    if task is None or task_id not in known_ids():
        return False
    is_retry = task.request.id == task_id
    backend.mark_as_failure(task_id, error, request=task.request if is_retry else None)
    return not is_retry


@contextlib.contextmanager
def together(backend: Any, call_ids: list[str], chord_ids: list[str]) -> Iterator[None]:
    """Puts the inputs of a group in few messages. When it was not sent to its end, those of tasks
    that were not sent are deleted, and those of its chord, which cannot be completed."""
    known = known_ids()
    wanted = [call for call in call_ids if call not in known]
    unsent = dict.fromkeys([*wanted, *(call for call in chord_ids if call not in known)])
    token = _unsent.set(unsent)
    try:
        backend.put_inputs(wanted)
        yield
    except (Unavailable, TimedOut):
        raise  # nothing can be deleted either, and to try would take as long again
    except BaseException:
        backend.connections.delete_inputs(unsent)
        raise
    finally:
        _unsent.reset(token)


def ids_of_group(tasks: list[Any]) -> list[str]:
    """`tasks` as a group is about to send them: signature, result and group id."""
    call_ids: list[str] = []
    for signature, result, _ in tasks:
        found = canvas.ids_in_signature(signature)
        if ignores_result(signature):
            found = [call_id for call_id in found if call_id != result.id]
        call_ids += found
    return call_ids


def ignores_result(signature: Any) -> bool:
    told = signature.options.get("ignore_result")
    return bool(getattr(signature.type, "ignore_result", False) if told is None else told)


def wrap_groups() -> None:
    """Celery has no other place from which all tasks of a group are seen before the first is sent."""
    plain = celery_canvas.group._apply_tasks
    if getattr(plain, "is_of_mayfly", False):
        return
    plain_freeze = celery_canvas.group._freeze_group_tasks

    def freeze_group_tasks(self: Any, *arguments: Any, **options: Any) -> Any:
        # Of a chord whose header is a generator, Celery would send those tasks only that were not
        # looked at before.
        if isinstance(self.tasks, _regen) and isinstance(self.app.amqp, PutsInputs):
            self.tasks = list(self.tasks)
        return plain_freeze(self, *arguments, **options)

    def apply_tasks(self: Any, tasks: Any, producer: Any = None, app: Any = None, *rest: Any,
                    chord: Any = None, **options: Any) -> Iterator[Any]:
        app = app or self.app
        if not isinstance(app.amqp, PutsInputs) or app.conf.task_always_eager:
            yield from plain(self, tasks, producer, app, *rest, chord=chord, **options)
            return
        tasks = list(tasks)
        call_ids = ids_of_group(tasks)
        if _unsent.get() is not None:
            # Of a group in a group: the outer one has its ids too.
            yield from plain(self, iter(tasks), producer, app, *rest, chord=chord, **options)
            return
        chord_ids = chords.ids_of(chord, *(each[0].options.get("chord") for each in tasks))
        with together(app.backend, call_ids, chord_ids):
            results = list(
                plain(self, iter(tasks), producer, app, *rest, chord=chord, **options)
            )
        yield from results

    setattr(apply_tasks, "is_of_mayfly", True)
    celery_canvas.group._apply_tasks = apply_tasks
    celery_canvas.group._freeze_group_tasks = freeze_group_tasks


def known_ids() -> frozenset[str]:
    """What was put when the message of the task that runs here was published."""
    task = get_current_task()
    return getattr(task.request, _KNOWN, frozenset()) if task else frozenset()


@signals.task_prerun.connect
def remember_ids(task: Any = None, **_: Any) -> None:
    """Before the task runs: what is sent when it has run takes the next link out of its chain."""
    request = task.request
    own = [] if request.ignore_result else [request.id]
    setattr(request, _KNOWN, frozenset([*own, *canvas.ids_in_embed(vars(request))]))
