"""Refuses a Celery worker that could not store results, before it takes a task."""

from __future__ import annotations

from typing import Any

from celery import bootsteps

from mayfly.celery.backend import Backend


class NeedsWorkerCertificate(bootsteps.Step):
    """Part of each worker of an application. Opens no connection: processes are forked later."""

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        backend = parent.app.backend
        if isinstance(backend, Backend) and not parent.app.conf.task_ignore_result:
            backend.connections.check_worker()
