"""Outputs of many calls, claimed, acknowledged and given back in batches."""

from __future__ import annotations

import os
from typing import Sequence

from mayfly.calls import Claimed
from mayfly.errors import Error
from mayfly.held import require_acknowledged, split_received
from mayfly.retrieval import HeldOutput, Retrievals


class HeldOutputs:
    """See Client.retrieving_all. Of one thread."""

    def __init__(self, retrievals: Retrievals, found: Sequence[Claimed | Error]) -> None:
        self._retrievals = retrievals
        self._found = found
        self._held: list[HeldOutput] = []
        self._pid = os.getpid()

    def __enter__(self) -> list[HeldOutput | Error]:
        found: list[HeldOutput | Error] = [
            each if isinstance(each, Error) else HeldOutput(self._retrievals, each)
            for each in self._found
        ]
        self._held = [each for each in found if isinstance(each, HeldOutput)]
        for held in self._held:
            held.hold()
        return found

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if os.getpid() != self._pid:
            return  # after a fork the claims are the parent's
        received, unread = split_received(self._held) if kind is None else ([], self._held)
        self._retrievals.release_all([each.claimed.claim for each in unread])
        results = self._retrievals.acknowledge_all([each.claimed for each in received])
        require_acknowledged([each.call_id for each in received], results)
