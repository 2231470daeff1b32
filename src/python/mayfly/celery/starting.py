"""Refuses a Celery worker that could not store results, before it takes a task."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.exceptions import ImproperlyConfigured

from mayfly.celery.backend import Backend

_GREEN_POOLS = ("gevent", "eventlet")


class NeedsWorkerCertificate(bootsteps.Step):
    """Part of each worker of an application. Opens no connection: processes are forked later."""

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        require_threads(parent.pool_cls)
        backend = parent.app.backend
        if isinstance(backend, Backend) and not parent.app.conf.task_ignore_result:
            backend.connections.check_worker()


def require_threads(pool: Any) -> None:
    """`pool` is its class, or where that is."""
    name = pool if isinstance(pool, str) else pool.__module__
    for each in _GREEN_POOLS:
        if each in name:
            raise ImproperlyConfigured(
                f"results in Mayfly: the pool {each} cannot be used, since gRPC stops all of its tasks "
                "while one waits; use --pool prefork, threads or solo"
            )
