"""Puts the inputs of tasks before their messages are published."""

from __future__ import annotations

from typing import Any, Callable

from celery import signals
from celery._state import get_current_task
from kombu.utils.objects import cached_property

from mayfly.celery import canvas

_KNOWN = "mayfly_call_ids"


class PutsInputs:
    """Part of an application's `amqp`, which publishes the messages of tasks."""

    app: Any

    @cached_property
    def send_task_message(self) -> Callable[..., Any]:
        send: Callable[..., Any] = self._create_task_sender()  # type: ignore[attr-defined]

        def put_and_send(producer: Any, name: str, message: Any, **options: Any) -> Any:
            put_inputs_of(message, self.app.backend)
            return send(producer, name, message, **options)

        return put_and_send


def put_inputs_of(message: Any, backend: Any) -> None:
    """Of a task's message: for its own result, unless that is ignored, and for those to follow."""
    call_ids = canvas.ids_in_body(message.body)
    if not message.headers.get("ignore_result"):
        call_ids.append(message.properties["correlation_id"])
    known = known_ids()
    backend.put_inputs([call for call in call_ids if call not in known])


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
