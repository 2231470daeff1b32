"""Runs a test class over both halves of the client.

The tests are written as for the blocking half. An asyncio object is driven as if it blocked: each of
its methods runs on one event loop, that of a thread, while the caller waits.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
from typing import Any

import mayfly

_END = object()


def both_halves(case: Any) -> None:
    """Makes two classes of one: NAMEBlocking and NAMEAsyncio."""
    module = sys.modules[case.__module__]
    for half, opener in (("Blocking", _open_blocking), ("Asyncio", _open_asyncio)):
        name = case.__name__ + half
        members = {"__module__": case.__module__, "open_half": staticmethod(opener)}
        setattr(module, name, type(name, (case,), members))


def _open_blocking(kind: Any, *arguments: Any, **settings: Any) -> Any:
    return kind(*arguments, **settings)


def _open_asyncio(kind: Any, *arguments: Any, **settings: Any) -> Any:
    """`kind` is the blocking class."""
    return Driven(getattr(mayfly, f"Async{kind.__name__}")(*arguments, **settings))


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all: the distribution's gRPC complains of a second one in a process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


def _drive(function: Any, *arguments: Any, **options: Any) -> Any:
    async def call() -> Any:
        result = function(*arguments, **options)
        return await result if inspect.isawaitable(result) else result

    return _driven(asyncio.run_coroutine_threadsafe(call(), _loop()).result())


def _driven(value: Any) -> Any:
    if isinstance(value, list):
        return [_driven(each) for each in value]
    is_inside = type(value).__module__.startswith("mayfly.aio")
    return Driven(value) if is_inside or _is_asynchronous(value) else value


def _is_asynchronous(value: Any) -> bool:
    return hasattr(value, "__aenter__") or hasattr(value, "__anext__")


class Driven:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "data" and isinstance(self._inner, mayfly.AsyncHeldOutput):
            return _drive(self._inner.read)
        if name == "close" and hasattr(self._inner, "aclose"):
            name = "aclose"
        value = getattr(self._inner, name)
        return functools.partial(_drive, value) if inspect.ismethod(value) else _driven(value)

    def __enter__(self) -> Any:
        return _drive(self._inner.__aenter__)

    def __exit__(self, *ended: Any) -> Any:
        return _drive(self._inner.__aexit__, *ended)

    def __iter__(self) -> Driven:
        return self

    def __next__(self) -> Any:
        item = _drive(anext, self._inner, _END)
        if item is _END:
            raise StopIteration
        return item
