"""Outputs of many calls, claimed, acknowledged and given back in batches."""

from __future__ import annotations

import os
from typing import Sequence

from mayfly.aio.held_output import AsyncHeldOutput
from mayfly.aio.retrieval import AsyncRetrievals
from mayfly.calls import Claimed
from mayfly.errors import Error
from mayfly.held import require_acknowledged, split_received


class AsyncHeldOutputs:
    """See AsyncClient.retrieving_all. Belongs to what entered it."""

    def __init__(self, retrievals: AsyncRetrievals, found: Sequence[Claimed | Error]) -> None:
        self._retrievals = retrievals
        self._found = found
        self._held: list[AsyncHeldOutput] = []
        self._pid = os.getpid()

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
        if os.getpid() != self._pid:
            return  # after a fork the claims are the parent's
        received, unread = split_received(self._held) if kind is None else ([], self._held)
        await self._retrievals.release_all([each.claimed.claim for each in unread])
        results = await self._retrievals.acknowledge_all([each.claimed for each in received])
        require_acknowledged([each.call_id for each in received], results)
