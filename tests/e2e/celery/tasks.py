"""The application under test, used by the workers and by the test."""

import json
import os
import pathlib
import signal
import time

import celery

import mayfly.celery


def new_app(**identity):
    app = celery.Celery("tasks", broker=os.environ["CELERY_TEST_BROKER"])
    app.conf.update(
        broker_connection_retry_on_startup=False,
        broker_transport_options={
            "visibility_timeout": int(os.environ["CELERY_TEST_VISIBILITY_SECONDS"])
        },
        task_default_queue=os.environ["CELERY_TEST_QUEUE"],
        result_extended=True,
        worker_prefetch_multiplier=1,
    )
    if "CELERY_TEST_EXPIRES" in os.environ:
        app.conf.result_expires = int(os.environ["CELERY_TEST_EXPIRES"])
    mayfly.celery.setup(app, **identity, **json.loads(os.environ["CELERY_TEST_OPTIONS"]))
    return app


app = new_app()


class Refused(Exception):
    """Of the tests' own, to see that its type travels."""


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def repeat(text, count):
    return text * count


@app.task
def fail(text):
    raise Refused(text)


@app.task(ignore_result=True)
def add_ignored(x, y):
    return x + y


@app.task
def wait_for(path, value=None):
    """Returns when the file is there."""
    while not pathlib.Path(path).exists():
        time.sleep(0.01)
    return value


@app.task(acks_late=True)
def wait_for_late(path, value=None):
    return wait_for(path, value)


@app.task(bind=True)
def retry_in(self, seconds):
    raise self.retry(countdown=seconds)


@app.task(bind=True, max_retries=3)
def succeed_at_retry(self, retry):
    if self.request.retries < retry:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task(bind=True)
def replaced(self, x, y):
    raise self.replace(add.s(x, y))


@app.task
def add_in_subtask(x, y):
    """Sends a task and leaves its result to whoever asked for this one's."""
    return add.delay(x, y).id


@app.task
def die():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(soft_time_limit=1)
def overrun():
    time.sleep(600)


@app.task(acks_late=True)
def hang_once(path):
    """The first run says that it has begun, and hangs."""
    began = pathlib.Path(path)
    if began.exists():
        return "second run"
    began.touch()
    time.sleep(600)
    return "first run"


@app.task(bind=True)
def store_twice(self, first, second):
    """As if the task had been run by two workers: the other one's result came first."""
    self.backend.store_result(self.request.id, first, "SUCCESS", request=self.request)
    return second
