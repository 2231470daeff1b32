"""gRPC, as this process can use it.

gRPC's threads do not survive a fork, and what it does about that by itself can stop the parent for
ever in its second fork: in 1.51 the fork may wait for a thread that waits for the fork. So that is
turned off (GRPC_ENABLE_FORK_SUPPORT=0, which has to be set before the first use of gRPC in the
process), and a process whose parent had imported grpc loads a copy of its own, with threads and locks
of its own, in 25 ms. The copy takes the place of the other, of which nothing is touched any more, and
nothing freed, because freeing waits for threads too.

The module mayfly._native has gRPC in it, and is loaded as a copy in the child of a fork likewise.

Importing mayfly imports neither; the first call does.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import threading
from typing import Any

from mayfly.errors import Error, InvalidArgument, from_status_of_rpc
from mayfly.settings import TRANSPORTS, Settings

_CORE = "grpc._cython.cygrpc"
_NATIVE = "mayfly._native"

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_lock = threading.Lock()
# What sys.modules has was imported before the fork.
_is_stale = False
_is_native_stale = False


def grpc() -> Any:
    """The module."""
    global _is_stale
    with _lock:
        if _is_stale:
            _renew()
            _is_stale = False
        import grpc as module

        return module


def native(settings: Settings, is_preferred: bool) -> Any | None:
    """The module; None: requests are RPCs of gRPC for Python. `is_preferred`: also when the settings
    do not ask for it. InvalidArgument: there is none, though it is asked for."""
    wanted = transport_of(settings)
    if wanted == "grpcio" or (wanted == "auto" and not is_preferred):
        return None
    global _is_native_stale
    with _lock:
        if _is_native_stale:
            _renew_native()
            _is_native_stale = False
        try:
            return importlib.import_module(_NATIVE)
        except ImportError as error:
            if wanted == "native":
                raise InvalidArgument(f"transport is native, and cannot be: {error}") from None
            return None


def transport_of(settings: Settings) -> str:
    """InvalidArgument: the environment names none."""
    if settings.transport != "auto":
        return settings.transport
    named = os.environ.get("MAYFLY_PYTHON_TRANSPORT") or "auto"
    if named not in TRANSPORTS:
        raise InvalidArgument(
            f"MAYFLY_PYTHON_TRANSPORT is {named!r}, expected {', '.join(TRANSPORTS)}"
        )
    return named


def new_stub(channel: Any) -> Any:
    grpc()
    from mayfly.v1 import function_io_pb2_grpc

    stub: Any = function_io_pb2_grpc.FunctionIoStub  # generated without types
    return stub(channel)


class Failure(Exception):
    """A request on a session ended with an error."""

    def __init__(self, error: Error) -> None:
        self.error = error


def error_of(error: Exception) -> Error | None:
    """Of what gRPC raised; None: something else did. RpcError has many classes, of each copy."""
    if isinstance(error, Failure):
        return error.error
    if hasattr(error, "code") and hasattr(error, "trailing_metadata"):
        return from_status_of_rpc(error)
    return None


def abandon(of_parent: Any) -> None:
    """Never frees an object of gRPC that was copied by a fork."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(of_parent))


def _renew() -> None:
    old = {name: module for name, module in sys.modules.items() if _is_of_grpc(name)}
    abandon(old)
    for name in old:
        del sys.modules[name]
    _import_copy("grpc", _CORE, str(old[_CORE].__file__))


def _renew_native() -> None:
    old = sys.modules.pop(_NATIVE)
    abandon(old)
    _import_copy(_NATIVE, _NATIVE, str(old.__file__))


def _import_copy(package: str, extension: str, path: str) -> None:
    finder = _CopyFinder(extension, path)
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(package)
    finally:
        sys.meta_path.remove(finder)


def _is_of_grpc(name: str) -> bool:
    return name == "grpc" or name.startswith("grpc.")


class _CopyFinder(importlib.abc.MetaPathFinder):
    """Finds an extension module in a copy of its file: from the file itself it would be the same
    again."""

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        descriptor = os.memfd_create(name)  # has to stay open, debuggers and unwinders read it
        with open(path, "rb") as file, open(descriptor, "wb", closefd=False) as copy:
            copy.write(file.read())
        self._path = f"/proc/self/fd/{descriptor}"

    def find_spec(
        self, name: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        loader = importlib.machinery.ExtensionFileLoader(name, self._path)
        return importlib.util.spec_from_file_location(name, self._path, loader=loader)


def _after_fork_in_child() -> None:
    global _lock, _is_stale, _is_native_stale
    _lock = threading.Lock()
    _is_stale = _CORE in sys.modules
    _is_native_stale = _NATIVE in sys.modules


os.register_at_fork(after_in_child=_after_fork_in_child)
