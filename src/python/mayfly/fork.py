"""What has to be done around os.fork, which copies one thread and every lock.

Blocking clients work on in the parent and in the child, whenever and by whichever thread it is forked,
by os.fork or multiprocessing. The parent notices nothing. The child forgets the channels of its
parent, and opens its own with the next call; what the parent holds, waits for and iterates over remains
the parent's. The child loads gRPC anew (see mayfly.transport), so what else uses gRPC there has to be
made anew too. A program that uses gRPC before it imports mayfly sets GRPC_ENABLE_FORK_SUPPORT=0 before
that. Until a child ends or executes another program it keeps the parent's sockets open: of a parent
that dies meanwhile, claims are not released at once but lapse.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref


def is_gone(pid: int) -> bool:
    """Whether what was opened in process `pid` has to be left alone: this is a child of it, or the
    interpreter ends, when threads have stopped with any lock."""
    return os.getpid() != pid or sys.is_finalizing()


class Forkable:
    """What has channels, threads or locks."""

    def after_fork_in_child(self) -> None:
        """Begins anew: no other thread is here, and any lock may be held for ever."""


_lock = threading.Lock()
_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()
_forkables_at_fork: list[Forkable] = []


def register(forkable: Forkable) -> None:
    with _lock:
        _forkables.add(forkable)


def _after_in_child() -> None:
    for forkable in _forkables_at_fork:
        forkable.after_fork_in_child()
    _after_in_parent()


def _after_in_parent() -> None:
    _forkables_at_fork.clear()
    _lock.release()


def _before() -> None:
    # Not in the child: another thread may be changing the set.
    _lock.acquire()
    _forkables_at_fork.extend(_forkables)


os.register_at_fork(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)
