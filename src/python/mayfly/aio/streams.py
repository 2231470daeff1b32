"""Streaming calls of payloads, which end when they make no progress."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterable, AsyncIterator

from mayfly.aio.connection import AsyncConnection
from mayfly.errors import Cancelled, TimedOut


class Responses(AsyncIterator[Any]):
    """The responses of `call`, a context that cancels it at its end.

    TimedOut: the next one did not come within Settings.timeout.
    """

    def __init__(self, connection: AsyncConnection, call: Any, call_id: str) -> None:
        self._connection = connection
        self._call = call
        self._responses = call.__aiter__()
        self._timeout_s = connection.settings.timeout
        self._call_id = call_id

    async def __aenter__(self) -> Responses:
        self._connection.streams.add(self._call)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def __anext__(self) -> Any:
        self._connection.closing.check()  # what was received before is still there
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await anext(self._responses)
        except TimeoutError:
            raise TimedOut("no progress in time", "", self._call_id) from None
        self._connection.reached()
        return response


class Answer:
    """The one answer to the requests of a call. `method` is the stub's."""

    def __init__(self, method: Any, requests: AsyncIterable[Any]) -> None:
        self._call = method(requests)
        self._answer = asyncio.ensure_future(self._receive())

    async def _receive(self) -> Any:
        return await self._call

    async def wait(self, timeout_s: float) -> bool:
        """Whether it is there, which may be an error."""
        done, _ = await asyncio.wait([self._answer], timeout=timeout_s)
        return bool(done)

    def check(self) -> None:
        """Raises the error if it is one."""
        try:
            self._answer.result()
        except asyncio.CancelledError:  # the call was, not this task
            raise Cancelled("the call was cancelled") from None

    def cancel(self) -> None:
        self._call.cancel()
