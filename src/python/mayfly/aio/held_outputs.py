"""Outputs of many calls, claimed, acknowledged and given back in batches."""

from __future__ import annotations

from typing import Sequence

from mayfly.aio.retrieval import AsyncHeldOutput, AsyncRetrievals
from mayfly.calls import Claimed
from mayfly.errors import Error
from mayfly.held import require_acknowledged, split_received


class AsyncHeldOutputs:
    """See AsyncClient.retrieving_all."""

    def __init__(self, retrievals: AsyncRetrievals, found: Sequence[Claimed | Error]) -> None:
        self._retrievals = retrievals
        self._found = found
        self._held: list[AsyncHeldOutput] = []
    async def __aenter__(self) -> list[AsyncHeldOutput | Error]:
        found: list[AsyncHeldOutput | Error] = [
            each if isinstance(each, Error) else AsyncHeldOutput(self._retrievals, each)
            for each in self._found
        ]
        self._held = [each for each in found if isinstance(each, AsyncHeldOutput)]
        for held in self._held:
            held.hold()
        return found

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        received, unread = split_received(self._held) if kind is None else ([], self._held)
        await self._retrievals.release_all([each.claimed.claim for each in unread])
        results = await self._retrievals.acknowledge_all([each.claimed for each in received])
        require_acknowledged([each.call_id for each in received], results)
