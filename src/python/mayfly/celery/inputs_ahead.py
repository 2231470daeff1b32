"""Inputs that are put ahead of their tasks, so that tasks sent one after another share messages.

A task's input has to be stored before its message is published, or a worker could be faster. One
message to Mayfly for each task would take longer than all the rest of sending it. So the first task of
a run puts its own input, and later ones put as many as the run has had tasks, up to a limit. Those
that no task has used soon after the run are deleted. A process that is killed leaves them to expire.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import threading
import time
import weakref
from typing import Any, Callable

from celery import signals
from celery.utils.log import get_logger

from mayfly import Client, errors, fork

logger = get_logger(__name__)

# The longest pause between two tasks of a run.
_PAUSE_SECONDS = 0.05
# How many one message puts. More would hardly be faster, and a process that is killed leaves more.
_COUNT_MAX = 32
# Unused ones are deleted after a pause of this length.
_UNUSED_SECONDS = 1.0
# Of a deletion: there is nothing to delete any more, or the process ends its client.
_NOT_TO_TELL = (errors.NotFound, errors.Cancelled)
# How long a process that ends tries to delete unused ones.
_EXIT_SECONDS = 2.0


class InputsAhead(fork.Forkable):
    """Of the tasks that one application sends from this process. Thread-safe."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self.after_fork_in_child()
        fork.register(self)
        _all.add(self)

    def after_fork_in_child(self) -> None:
        """The parent's unused ones stay the parent's."""
        self._lock = threading.Lock()
        self._unused: collections.deque[str] = collections.deque()
        self._stale: list[str] = []  # not to be used any more
        self._run_length = 0
        self._last_use = 0.0
        self._is_swept = False

    def take(self) -> str:
        """The id of a call that has an input and belongs to no task yet."""
        with self._lock:
            pause = time.monotonic() - self._last_use
            self._run_length = self._run_length + 1 if pause < _PAUSE_SECONDS else 0
            count = min(max(1, self._run_length), _COUNT_MAX)
            if pause >= _UNUSED_SECONDS:
                # The sweep is late, or the process was stopped: they may be hours old.
                self._stale += self._unused
                self._unused.clear()
            if self._unused:
                self._last_use = time.monotonic()
                return self._unused.popleft()
        return self._put(count)

    def _put(self, count: int) -> str:
        client = self._client()
        if count == 1:
            found: list[str | errors.Error] = [client.put_input(b"")]
        else:
            found = client.put_inputs([b""] * count, return_exceptions=True)
        call_ids = [each for each in found if isinstance(each, str)]
        if not call_ids:
            raise next(each for each in found if isinstance(each, errors.Error))
        with self._lock:
            self._last_use = time.monotonic()
            self._unused.extend(call_ids[1:])
            self._start_sweep()
        return call_ids[0]

    def _start_sweep(self) -> None:
        if self._is_swept or not (self._unused or self._stale):
            return
        with contextlib.suppress(RuntimeError):  # the interpreter ends, and soon calls `end`
            threading.Thread(target=self._sweep, name="mayfly-inputs", daemon=True).start()
            self._is_swept = True

    def _sweep(self) -> None:
        """Deletes what is unused when the run is over."""
        while True:
            with self._lock:
                left = self._last_use + _UNUSED_SECONDS - time.monotonic()
                if left <= 0.0:
                    self._is_swept = False
                    call_ids = self._take_unused()
                    break
            time.sleep(left)
        self._delete(call_ids, None)

    def _take_unused(self) -> list[str]:
        call_ids = [*self._stale, *self._unused]
        self._stale.clear()
        self._unused.clear()
        return call_ids

    def end(self) -> None:
        """The process ends."""
        with self._lock:
            call_ids = self._take_unused()
        self._delete(call_ids, time.monotonic() + _EXIT_SECONDS)

    def _delete(self, call_ids: list[str], deadline: float | None) -> None:
        if not call_ids:
            return
        for each in self._client()._deletions.call_all(call_ids, deadline):
            if isinstance(each, errors.Error) and not isinstance(each, _NOT_TO_TELL):
                logger.warning("inputs that no task has used stay until they expire: %s", each)
                return


_all: weakref.WeakSet[InputsAhead] = weakref.WeakSet()


@atexit.register
@signals.worker_process_shutdown.connect
def end_all(**_: Any) -> None:
    for each in list(_all):
        each.end()
