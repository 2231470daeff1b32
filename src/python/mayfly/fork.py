"""What has to be done around os.fork, which copies one thread and every lock.

Blocking clients work on in the parent and in the child, whenever and by whichever thread it is forked,
by os.fork or multiprocessing. Before a fork all channels are closed, so that no child keeps a
connection of its parent alive; both open theirs with the next call. Calls under way are repeated in
the parent. What the parent holds or iterates over remains the parent's. A child loads gRPC anew (see
mayfly.transport), so what else uses it there has to be made anew too. A program that uses gRPC before
it imports mayfly sets GRPC_ENABLE_FORK_SUPPORT=0 before that.
"""

from __future__ import annotations

import os
import threading
import weakref


class Forkable:
    """What has channels, threads or locks."""

    def before_fork(self) -> None:
        """In the parent: lets go of what must not be copied."""

    def after_fork_in_parent(self) -> None:
        """Goes on."""

    def after_fork_in_child(self) -> None:
        """Begins anew: no other thread is here, and any lock may be held for ever."""


_lock = threading.Lock()
_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()
_forking: list[Forkable] = []


def register(forkable: Forkable) -> None:
    with _lock:
        _forkables.add(forkable)


def _before() -> None:
    _lock.acquire()
    _forking[:] = list(_forkables)
    for forkable in _forking:
        forkable.before_fork()


def _after_in_parent() -> None:
    forkables = list(_forking)
    _forking.clear()
    _lock.release()
    for forkable in forkables:
        forkable.after_fork_in_parent()


def _after_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    forkables = list(_forking)
    _forking.clear()
    for forkable in forkables:
        forkable.after_fork_in_child()


os.register_at_fork(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)
