"""Outputs of many calls, claimed, acknowledged and given back in batches."""

from __future__ import annotations

import os
from typing import Sequence

from mayfly.errors import Error
from mayfly.held import require_acknowledged, split_received
from mayfly.retrieval import HeldOutput, Retrievals


class HeldOutputs:
    """See Client.retrieving_all. Of one thread."""

    def __init__(
        self, retrievals: Retrievals, call_ids: Sequence[str], timeout: float | None
    ) -> None:
        self._retrievals = retrievals
        self._call_ids = call_ids
        self._timeout = timeout
        self._held: list[HeldOutput] = []
        self._pid = os.getpid()

    def __enter__(self) -> list[HeldOutput | Error]:
        found: list[HeldOutput | Error] = [
            claimed if isinstance(claimed, Error) else HeldOutput(self._retrievals, claimed)
            for claimed in self._retrievals.claim_all(self._call_ids, self._timeout)
        ]
        self._held = [each for each in found if isinstance(each, HeldOutput)]
        for each in self._held:
            each.hold()
        return found

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if os.getpid() != self._pid:
            return  # after a fork the claims are the parent's
        received, unread = split_received(self._held) if kind is None else ([], self._held)
        self._retrievals.release_all([each.claimed.claim for each in unread])
        results = self._retrievals.acknowledge_all([each.claimed for each in received])
        require_acknowledged(received, results)
