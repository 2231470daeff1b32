"""An output under a claim: what there is to know about it. No I/O."""

from __future__ import annotations

from typing import NoReturn, Sequence, TypeVar

from mayfly import calls
from mayfly.calls import Claim, Claimed, Outcome
from mayfly.contract import output_of
from mayfly.endpoint import not_to_pickle
from mayfly.errors import BatchError, Error


def is_same(again: Claimed, claimed: Claimed) -> bool:
    """Whether a new claim is of the output that was received under an old one: an attempt has one
    output only."""
    crc32c = claimed.claim.crc32c
    return (
        again.attempt == claimed.attempt
        and again.size_bytes == claimed.size_bytes
        and (None in (again.claim.crc32c, crc32c) or again.claim.crc32c == crc32c)
    )


def with_claim(claimed: Claimed, claim: Claim) -> Claimed:
    """The output under another claim, with the checksum of that: the server compares an ack with
    what it has sent under the claim, which of a large output is nothing."""
    return claimed._replace(claim=claim)


class Held:
    def __reduce__(self) -> NoReturn:
        raise not_to_pickle(self)

    def __init__(self, claimed: Claimed) -> None:
        self.claimed = claimed
        self._output: calls.Output | None = None
        if claimed.data is not None:
            self._output = output_of(claimed, claimed.data)
        self.is_received = claimed.data is not None
        self._is_held = False

    @property
    def call_id(self) -> str:
        return self.claimed.claim.call_id

    @property
    def size_bytes(self) -> int:
        return self.claimed.size_bytes

    @property
    def attempt(self) -> int:
        return self.claimed.attempt

    @property
    def outcome(self) -> Outcome | None:
        """None until a large output has been read."""
        return self.claimed.outcome

    @property
    def content_type(self) -> str:
        """Empty until a large output has been read."""
        return self.claimed.metadata.content_type if self.claimed.metadata else ""

    @property
    def labels(self) -> dict[str, str]:
        """Empty until a large output has been read."""
        return dict(self.claimed.metadata.labels) if self.claimed.metadata else {}


HeldT = TypeVar("HeldT", bound=Held)


def split_received(held: list[HeldT]) -> tuple[list[HeldT], list[HeldT]]:
    """Those that may be acknowledged, and those of which there is more to be read."""
    received: list[HeldT] = []
    unread: list[HeldT] = []
    for each in held:
        (received if each.is_received else unread).append(each)
    return received, unread


def require_acknowledged(call_ids: list[str], results: Sequence[Error | None]) -> None:
    """BatchError: some could not be."""
    errors = {index: error for index, error in enumerate(results) if error is not None}
    if errors:
        raise BatchError(errors, call_ids)


class Found:
    """What is found of many calls that are asked for, and what is left to ask for."""

    def __init__(self, call_ids: Sequence[str]) -> None:
        self._call_ids = call_ids
        self._found: dict[str, Claimed | Error] = {}
        self._left = dict.fromkeys(call_ids)

    @property
    def left(self) -> list[str]:
        return list(self._left)

    def is_complete(self) -> bool:
        return not self._left

    def take(self, results: Sequence[Claimed | None | Error]) -> bool:
        """Of those that are left, in their order. Whether there was any."""
        count = len(self._left)
        for call_id, result in zip(self.left, results):
            if result is not None:
                self.add(call_id, result)
        return len(self._left) < count

    def add(self, call_id: str, result: Claimed | Error) -> None:
        self._found[call_id] = result
        self._left.pop(call_id, None)

    def claims(self) -> list[Claim]:
        return [each.claim for each in self._found.values() if isinstance(each, Claimed)]

    def in_order(self) -> list[Claimed | Error]:
        return [self._found[call_id] for call_id in self._call_ids]
