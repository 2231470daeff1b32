"""Requests of tasks on a session of the module mayfly._native; see mayfly.native."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from mayfly import transport
from mayfly.errors import TimedOut
from mayfly.native import NativeChannel


class Answers:
    """Of one event loop, which is woken once for all that have come."""

    def __init__(self) -> None:
        self._mailbox: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keys = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def call(self, channel: NativeChannel, name: str, request: Any, timeout: float) -> Any:
        """As NativeChannel.call."""
        fitting = channel.fit(name, request)
        if fitting is None:
            return None
        method, message = fitting
        loop = self._loop or self._open(channel)
        key = next(self._keys)
        future = self._waiting[key] = loop.create_future()
        expiry = loop.call_later(timeout, _expire, future)
        under_way = channel.channel.start(method.number, message, self._mailbox, key)
        try:
            answer = await future
        except BaseException:
            under_way.abandon()
            raise
        finally:
            expiry.cancel()
            self._waiting.pop(key, None)
        return channel.response_of(method, answer)

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._mailbox.descriptor)

    def _open(self, channel: NativeChannel) -> asyncio.AbstractEventLoop:
        self._mailbox = channel.module.Mailbox()
        self._loop = loop = asyncio.get_running_loop()
        loop.add_reader(self._mailbox.descriptor, _deliver, self._mailbox, self._waiting)
        return loop


def _deliver(mailbox: Any, waiting: dict[int, asyncio.Future[Any]]) -> None:
    for key, answer in mailbox.take_all():
        future = waiting.pop(key, None)
        if future is not None and not future.done():
            future.set_result(answer)


def _expire(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(transport.Failure(TimedOut("Deadline Exceeded")))
