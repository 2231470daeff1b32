"""Payloads of any size, a segment at a time, and never a part that looks like the whole."""

from __future__ import annotations

from typing import AsyncIterator, Protocol

from mayfly.aio.connection import AsyncConnection
from mayfly.aio.streams import Responses
from mayfly.backoff import Backoff
from mayfly.calls import Claimed
from mayfly.errors import ClaimLost, LimitExceeded, TimedOut, Unavailable
from mayfly.reception import Reception


class Reclaim(Protocol):
    async def __call__(self, claimed: Claimed) -> Claimed:
        """Gets a claim anew that was lost. ClaimLost: it cannot be had."""


async def download(
    connection: AsyncConnection, reception: Reception, reclaim: Reclaim | None = None
) -> AsyncIterator[bytes]:
    """The segments of a payload; goes on after what can be gone on after."""
    backoff = Backoff(connection.settings, connection.deadline())
    while True:
        try:
            async for data in _stream(connection, reception):
                yield data
                backoff.progressed(connection.deadline())
            return
        except TimedOut as error:
            raise backoff.final(error) from None
        except Unavailable as error:
            await connection.closing.sleep(backoff.pause_after(error))
        except LimitExceeded as error:
            # Other downloads fill the room for what is being sent.
            if error.reason != "OVERLOADED":
                raise
            await connection.closing.sleep(backoff.pause_after(error))
        except ClaimLost as error:
            if reclaim is None or reception.claimed is None:
                raise
            await connection.closing.sleep(backoff.pause_after(error))
            reception.claimed = await reclaim(reception.claimed)


async def _stream(connection: AsyncConnection, reception: Reception) -> AsyncIterator[bytes]:
    async with connection.stub(large=True) as stub:
        call = stub.Download(reception.request())
        async with Responses(connection, call, reception.call_id) as responses:
            async for response in responses:
                if data := reception.take(response):
                    yield data
    reception.check_finished()
