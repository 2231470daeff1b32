"""Celery's results in Mayfly: encrypted, taken once, gone when they were taken.

    from celery import Celery
    import mayfly.celery

    app = Celery("shop", broker="redis://localhost")
    mayfly.celery.setup(app)        # MAYFLY_SERVER, MAYFLY_CA, MAYFLY_CERT ... say where and who

    @app.task
    def add(x, y):
        return x + y

    result = add.delay(2, 2)
    result.get(timeout=10)          # 4; from anywhere else: NotFound, OUTPUT_CONSUMED

A certificate has one role. Who sends tasks and takes results needs a client's (MAYFLY_CERT and
MAYFLY_KEY); a Celery worker needs a worker's, to store results (MAYFLY_WORKER_CERT and
MAYFLY_WORKER_KEY), and a client's too when its tasks send tasks or belong to chords.

What is different from other backends:

  * A task's id is its call's id, a UUIDv7: `setup` makes kombu mint those, in this process. A
    task_id of one's own comes from mayfly.new_call_id(), at most five minutes before it is sent.
  * get() and join() take results: the same result object remembers what it took, any other raises
    mayfly.errors.NotFound. ready(), state, result and the like only look.
  * What is not there any more raises NotFound at once. Its state is CONSUMED, DELETED, EXPIRED or
    UNKNOWN, and ready() is true, so that nobody waits for it. An ignored result is PENDING in the
    process that sent its task, and UNKNOWN elsewhere.
  * A result stays for `result_expires`, 1 s to 24 h, from when it was stored; without that setting
    as long as the server's retention.default_ttl says. A task has to end within the latter from
    when it was sent, countdown and retries included: a longer countdown or eta is refused when the
    task is sent, and makes a retry fail.
  * Nothing is stored of a task under way: STARTED, RETRY and states of one's own look PENDING.
  * A task that runs twice has one result, the first that was stored.
  * Of tasks that are sent one after another the inputs share messages: up to 32 are put ahead of their
    tasks, and deleted when no task has used them. A process that is killed leaves them to expire.
  * When the broker takes no message, or not all of a group, the inputs of the others are deleted.
  * A chord takes its header's results, of which there are at most claims.outstanding_max (10,000),
    and leaves them when one has failed. Its body is sent by the worker that ends the header's last
    task, not by polling; if that worker dies at that very moment, it may be sent twice.
  * GroupResult.save() needs the certificates of both roles.

For pools of processes (prefork) and threads, and solo. Workers with gevent or eventlet, which gRPC does
not know, do not start.
"""

from __future__ import annotations

from typing import Any

from celery.utils.imports import symbol_by_name
from kombu.utils.uuid import uuid as kombu_uuid

from mayfly import new_call_id
from mayfly.celery.backend import Backend
from mayfly.celery.publishing import PutsInputs, wrap_groups, wrap_sending
from mayfly.celery.starting import NeedsWorkerCertificate

__all__ = ["Backend", "setup"]


def setup(
    app: Any,
    server: str | None = None,
    *,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    worker_cert: str | None = None,
    worker_key: str | None = None,
    task_store_retry_max: float | None = None,
    **settings: Any,
) -> None:
    """Makes Mayfly the result backend of `app`. Call it where the app is made, in every process that
    sends its tasks or runs them.

    What is not given comes from MAYFLY_SERVER, MAYFLY_CA, MAYFLY_CERT, MAYFLY_KEY,
    MAYFLY_WORKER_CERT and MAYFLY_WORKER_KEY, and what is not there either from the file that
    MAYFLY_CONFIG names: a worker's certificate and key from its table [profiles.worker].

    A worker tries for `task_store_retry_max` seconds (default 600) to store a result while the server
    is away. After that the message of a success returns to the broker if the task has acks_late, and
    otherwise the result is lost; it never becomes a failure. It warns at the first failure and once a
    minute. `settings` are those of mayfly.Settings:
    with timeout=2, sending a task, state, ready() and result fail within 2 s when the server is away
    (default 30). get(timeout=...) needs no longer than it is told. All of them may be in
    result_backend_transport_options instead, which `setup` adds to.

    ImproperlyConfigured, at the start of a Celery worker: it has no worker's certificate, and stores
    results; or its pool is gevent's or eventlet's.
    """
    options = {
        "ca": ca, "cert": cert, "key": key, "worker_cert": worker_cert, "worker_key": worker_key,
        "task_store_retry_max": task_store_retry_max, **settings,
    }
    app.conf.result_backend = f"{Backend.__module__}:{Backend.__name__}+mayfly://{server or ''}"
    app.conf.result_backend_transport_options = {
        **(app.conf.result_backend_transport_options or {}),
        **{name: value for name, value in options.items() if value is not None},
    }
    amqp = symbol_by_name(app.amqp_cls)
    app.steps["worker"].add(NeedsWorkerCertificate)
    wrap_groups()
    wrap_sending(app)
    if not issubclass(amqp, PutsInputs):
        app.amqp_cls = type(amqp.__name__, (PutsInputs, amqp), {})
        vars(app).pop("amqp", None)
    # All of Celery mints ids by this function, which has no other place to say which kind.
    kombu_uuid.__defaults__ = (new_call_id,)
