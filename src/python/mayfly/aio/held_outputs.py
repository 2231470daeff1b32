"""Outputs of many calls, claimed, acknowledged and given back in batches."""

from __future__ import annotations

import os
from typing import Sequence

from mayfly import calls, fork
from mayfly.aio.held_output import AsyncHeldOutput
from mayfly.aio.retrieval import AsyncRetrievals
from mayfly.calls import Claim, Claimed
from mayfly.contract import output_of
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
        if fork.is_gone(self._pid):
            return  # after a fork the claims are the parent's
        received, unread = split_received(self._held) if kind is None else ([], self._held)
        await self._retrievals.release_all([each.claimed.claim for each in unread])
        results = await self._retrievals.acknowledge_all([each.claimed for each in received])
        require_acknowledged([each.call_id for each in received], results)


async def take_each(
    retrievals: AsyncRetrievals, found: Sequence[Claimed | Error]
) -> list[calls.Output | Error]:
    """The outputs of those that can be had, with an error for each of the others."""
    ready = [each for each in found if isinstance(each, Claimed) and each.data is not None]
    ended = dict(
        zip((each.claim for each in ready), await retrievals.acknowledge_all(ready))
    )
    large: dict[Claim, calls.Output | Error] = {}  # of calls that are named twice too
    taken: list[calls.Output | Error] = []
    for each in found:
        if isinstance(each, Error):
            taken.append(each)
        elif each.data is None:
            if each.claim not in large:
                large[each.claim] = await _take_large(retrievals, each)
            taken.append(large[each.claim])
        else:
            taken.append(ended[each.claim] or output_of(each, each.data))
    return taken


async def _take_large(retrievals: AsyncRetrievals, claimed: Claimed) -> calls.Output | Error:
    try:
        async with AsyncHeldOutput(retrievals, claimed) as held:
            return await held._read()
    except Error as error:
        return error
