"""Who a process is to Mayfly: as a client it sends tasks and takes results, as a worker it stores them.

A certificate has one role, so there are two. Each is opened when it is first needed, which in a pool
of processes is after the fork.
"""

from __future__ import annotations

import collections
import os
import threading
from typing import Any, Iterable, Mapping

from celery.exceptions import ImproperlyConfigured

from mayfly import Client, InputItem, Worker, errors, fork

# Ids whose inputs this process has put lately: a chord's body travels with every task of its header.
_REMEMBERED_MAX = 16384

OPTIONS = ("ca", "cert", "key", "worker_cert", "worker_key")


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
        self.after_fork_in_child()
        fork.register(self)
        self._client: Client | None = None
        self._worker: Worker | None = None
        self._put: collections.OrderedDict[str, None] = collections.OrderedDict()

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
    def worker(self) -> Worker:
        """ImproperlyConfigured: there is no worker certificate."""
        with self._lock:
            if self._worker is None:
                self._worker = self._open(Worker, "worker_", "storing results")
            return self._worker

    def _open(self, role: Any, prefix: str, purpose: str) -> Any:
        names = [f"{prefix}cert", f"{prefix}key"]
        variables = [f"MAYFLY_{name.upper()}" for name in names]
        cert, key = (
            self._options.get(name) or os.environ.get(variable)
            for name, variable in zip(names, variables)
        )
        if not cert or not key:
            raise ImproperlyConfigured(
                f"{purpose} needs the certificate of a {role.__name__.lower()}: set "
                f"{' and '.join(variables)}, or give {' and '.join(names)} to mayfly.celery.setup"
            )
        try:
            return role.from_env(
                server=self._server, ca=self._options.get("ca"), cert=cert, key=key
            )
        except errors.InvalidArgument as error:
            raise ImproperlyConfigured(f"{purpose}: {error}") from error

    def put_inputs(self, call_ids: Iterable[str]) -> None:
        """Makes the calls whose outputs will be the results. Those put lately are left out."""
        with self._lock:
            wanted = [call for call in dict.fromkeys(call_ids) if call not in self._put]
        if not wanted:
            return
        try:
            self.client.put_inputs([InputItem(b"", call_id=call) for call in wanted])
        except errors.BatchError as batch:
            raise batch.errors[min(batch.errors)] from None
        with self._lock:
            self._put.update(dict.fromkeys(wanted))
            while len(self._put) > _REMEMBERED_MAX:
                self._put.popitem(last=False)
