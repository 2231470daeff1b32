"""Payloads of any size, a segment at a time, and never a part that looks like the whole."""

from __future__ import annotations

import asyncio
from typing import AsyncIterator, Awaitable, Callable

from mayfly.aio.connection import AsyncConnection
from mayfly.backoff import Backoff
from mayfly.calls import Claimed
from mayfly.download import Reception
from mayfly.errors import ClaimLost, LimitExceeded, TimedOut, Unavailable


async def download(
    connection: AsyncConnection,
    reception: Reception,
    reclaim: Callable[[Claimed], Awaitable[Claimed]] | None = None,
) -> AsyncIterator[bytes]:
    """The segments of a payload; goes on after what can be gone on after.

    `reclaim` gets a claim anew that was lost, or raises.
    """
    backoff = Backoff(connection.settings, connection.deadline())
    while True:
        try:
            async for data in _stream(connection, reception):
                yield data
                backoff.progressed(connection.deadline())
            return
        except Unavailable as error:
            await asyncio.sleep(backoff.pause_after(error))
        except LimitExceeded as error:
            if error.reason != "OVERLOADED":
                raise
            await asyncio.sleep(backoff.pause_after(error))
        except ClaimLost as error:
            if reclaim is None or reception.claimed is None:
                raise
            await asyncio.sleep(backoff.pause_after(error))
            reception.claimed = await reclaim(reception.claimed)


async def _stream(connection: AsyncConnection, reception: Reception) -> AsyncIterator[bytes]:
    async with connection.stub(large=True) as stub:
        call = stub.Download(reception.request())
        responses = call.__aiter__()
        try:
            while True:
                try:
                    async with asyncio.timeout(connection.settings.timeout):
                        response = await anext(responses, None)
                except TimeoutError:
                    raise TimedOut("no progress in time", "", reception.call_id) from None
                if response is None:
                    break
                data = reception.take(response)
                if data:
                    yield data
        finally:
            call.cancel()
    reception.check_finished()
