"""Who a process is to Mayfly: as a client it sends tasks and takes results, as a worker it stores them.

A certificate has one role, so there are two. Each is opened when it is first needed, which in a pool
of processes is after the fork.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import random
import threading
import time
from typing import Any, Callable, Iterable, Mapping, TypeVar

from celery.exceptions import ImproperlyConfigured
from celery.utils.log import get_logger

from mayfly import Client, InputItem, Worker, arguments, errors, fork
from mayfly.calls import CallDescription
from mayfly.celery.inputs_ahead import InputsAhead
from mayfly.identity import Identity
from mayfly.settings import Settings

logger = get_logger(__name__)

ResultT = TypeVar("ResultT")

# Ids whose inputs this process has put lately: a chord's body travels with every task of its header.
_REMEMBERED_MAX = 16384

_IDENTITIES = ("ca", "cert", "key", "worker_cert", "worker_key")
# Those of mayfly.Settings that are no identity.
_SETTINGS = tuple(
    field.name for field in dataclasses.fields(Settings)
    if field.name not in ("server", "ca", "cert", "key")
)
_STORE_RETRY_MAX = "task_store_retry_max"
_STORE_RETRY_MAX_SECONDS = 600.0
OPTIONS = (*_IDENTITIES, _STORE_RETRY_MAX, *_SETTINGS)
# Errors that may be over at the next try; a certificate may be replaced.
RECOVERABLE = (
    errors.Unavailable, errors.TimedOut, errors.LimitExceeded, errors.CertificateInvalid,
)
# Between two tries of what has to be done in the end.
_PERSIST_PAUSE_SECONDS = 2.0
# Tries of one of those tries, which are over within seconds.
_PERSIST_ATTEMPTS_MAX = 5
_WARNING_SECONDS = 60.0
_WORKER_PROFILE = "worker"


class Connections(fork.Forkable):
    """The two identities of one application; its threads and backends share them."""

    def __init__(self, server: str | None, options: Mapping[str, Any]) -> None:
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise ImproperlyConfigured(
                f"result_backend_transport_options: unknown option {unknown[0]}, "
                f"wants {', '.join(OPTIONS)}"
            )
        self._server = server
        self._options = options
        self._settings = {name: options[name] for name in _SETTINGS if name in options}
        try:
            # The files are looked at when they are needed: not everyone has both identities.
            self.settings = Settings("server", "ca", "cert", "key", **self._settings)
            self.store_retry_max = arguments.seconds_from(
                options.get(_STORE_RETRY_MAX, _STORE_RETRY_MAX_SECONDS), _STORE_RETRY_MAX
            )
        except (TypeError, errors.InvalidArgument) as error:
            raise ImproperlyConfigured(f"result_backend_transport_options: {error}") from None
        self.after_fork_in_child()
        fork.register(self)
        self._client: Client | None = None
        self._worker: Worker | None = None
        self._storing: Worker | None = None
        self._ahead = InputsAhead(lambda: self.client)
        self._put: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._ignored: collections.OrderedDict[str, None] = collections.OrderedDict()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()

    @property
    def client(self) -> Client:
        """ImproperlyConfigured: there is no client certificate."""
        with self._lock:
            if self._client is None:
                purpose = "sending tasks, taking results and completing chords"
                self._client = self._open(Client, "", purpose)
            return self._client

    @property
    def storing(self) -> Worker:
        """As `worker`, for `persist`: its calls fail soon, so that it is told why."""
        with self._lock:
            if self._storing is None:
                attempts = min(self.settings.attempts_max, _PERSIST_ATTEMPTS_MAX)
                self._storing = self._open(
                    Worker, "worker_", "storing results", attempts_max=attempts
                )
            return self._storing

    @property
    def worker(self) -> Worker:
        """ImproperlyConfigured: there is no worker certificate."""
        with self._lock:
            if self._worker is None:
                self._worker = self._open(Worker, "worker_", "storing results")
            return self._worker

    def check_worker(self) -> None:
        """ImproperlyConfigured: results cannot be stored. Opens no connection."""
        try:
            Identity(self.worker._settings).current()
        except errors.Error as error:
            raise ImproperlyConfigured(f"storing results: {error}") from error

    def _open(self, role: Any, prefix: str, purpose: str, **settings: Any) -> Any:
        """Without a certificate in the options or variables, that of the config file: for a worker
        its profile `worker`."""
        names = [f"{prefix}cert", f"{prefix}key"]
        variables = [f"MAYFLY_{name.upper()}" for name in names]
        cert, key = (
            self._options.get(name) or os.environ.get(variable)
            for name, variable in zip(names, variables)
        )
        identity: dict[str, Any] = {"cert": cert, "key": key}
        environment: Mapping[str, str] = os.environ
        if not cert and not key:
            identity["profile"] = _WORKER_PROFILE if prefix else ""
            # Those are a client's.
            environment = {name: value for name, value in os.environ.items()
                           if name not in ("MAYFLY_CERT", "MAYFLY_KEY")}
        elif not cert or not key:
            raise ImproperlyConfigured(_needs(role, purpose, names, variables))
        try:
            return role.from_env(
                server=self._server, ca=self._options.get("ca"), environment=environment,
                **identity, **{**self._settings, **settings},
            )
        except errors.InvalidArgument as error:
            needs = purpose if cert else _needs(role, purpose, names, variables)
            raise ImproperlyConfigured(f"{needs}: {error}") from error

    def describe(self, call_id: str) -> CallDescription:
        """With either identity."""
        try:
            endpoint: Client | Worker = self.client
        except ImproperlyConfigured:
            endpoint = self.worker
        return endpoint.describe(call_id)

    def put_inputs(self, call_ids: Iterable[str]) -> list[str]:
        """Makes the calls whose outputs will be the results, and returns which were made. Those put
        lately are left out."""
        with self._lock:
            wanted = [call for call in dict.fromkeys(call_ids) if call not in self._put]
        if not wanted:
            return []
        try:
            self.client.put_inputs([InputItem(b"", call_id=call) for call in wanted])
        except errors.BatchError as batch:
            failed = {wanted[index] for index in batch.errors}
            self._delete([call for call in wanted if call not in failed])
            raise batch.errors[min(batch.errors)] from None
        self._remember_put(wanted)
        return wanted

    def new_call(self) -> str:
        """The id of a call whose input was put, for a task that was given none."""
        call_id = self._ahead.take()
        self._remember_put([call_id])
        return call_id

    def _remember_put(self, call_ids: list[str]) -> None:
        with self._lock:
            self._put.update(dict.fromkeys(call_ids))
            while len(self._put) > _REMEMBERED_MAX:
                self._put.popitem(last=False)

    def delete_inputs(self, call_ids: Iterable[str]) -> None:
        """Of tasks that were not sent. One that cannot be deleted expires."""
        call_ids = list(dict.fromkeys(call_ids))
        with self._lock:
            for call_id in call_ids:
                self._put.pop(call_id, None)
        self._delete(call_ids)

    def _delete(self, call_ids: list[str]) -> None:
        if not call_ids:
            return
        for error in self.client.delete_all(call_ids, return_exceptions=True):
            if isinstance(error, errors.Error) and not isinstance(error, errors.NotFound):
                logger.warning("inputs of tasks that were not sent stay until they expire: %s", error)
                return

    def remember_ignored(self, call_id: str) -> None:
        """A task was sent whose result is ignored: there is no call of this id."""
        with self._lock:
            self._ignored[call_id] = None
            while len(self._ignored) > _REMEMBERED_MAX:
                self._ignored.popitem(last=False)

    def is_ignored(self, call_id: str) -> bool:
        return call_id in self._ignored

    def persist(self, purpose: str, function: Callable[[], ResultT]) -> ResultT:
        """Repeats it while the server is away or has no room, for up to task_store_retry_max. Warns of
        the first failure, and once a minute."""
        began = time.monotonic()
        warned: float | None = None
        while True:
            try:
                result = function()
            except RECOVERABLE as error:
                now = time.monotonic()
                left = began + self.store_retry_max - now
                pause = max(error.retry_after, _PERSIST_PAUSE_SECONDS * (0.5 + random.random()))
                if pause > left:
                    raise
                if warned is None or now - warned >= _WARNING_SECONDS:
                    warned = now
                    logger.warning("%s failed, is tried again for up to %.0f s: %s", purpose, left, error)
            else:
                if warned is not None:
                    logger.info("%s succeeded after %.0f s", purpose, time.monotonic() - began)
                return result
            time.sleep(pause)


def _needs(role: Any, purpose: str, names: list[str], variables: list[str]) -> str:
    is_worker = role is Worker
    table = f"[profiles.{_WORKER_PROFILE}] of the file" if is_worker else "the file"
    return (
        f"{purpose} needs the certificate of a {role.__name__.lower()}: set {' and '.join(variables)}, "
        f"give {' and '.join(names)} to mayfly.celery.setup, or cert and key to {table} that "
        "MAYFLY_CONFIG names"
    )
