"""What is put and what comes back. Times to live are in seconds or a timedelta, sizes in bytes."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import types
import uuid
from typing import Mapping, NamedTuple, TypeVar

CallId = str | uuid.UUID
Seconds = float | datetime.timedelta
Ttl = Seconds | None
Timeout = Seconds | None


class Outcome(enum.StrEnum):
    """What the platform says of a run."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class CallState(enum.StrEnum):
    PENDING = "pending"
    READY = "ready"
    CLAIMED = "claimed"
    CONSUMED = "consumed"
    DELETED = "deleted"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Metadata:
    """What goes with a payload, sealed as it is."""

    content_type: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    encryption_key_id: str = ""


NO_METADATA = Metadata()


@dataclasses.dataclass(frozen=True, slots=True)
class InputItem:
    """One input of a batch. Without call_id one is minted."""

    data: bytes | bytearray | memoryview
    ttl: Ttl = None
    call_id: CallId = ""
    content_type: str = ""
    labels: Mapping[str, str] | None = None
    encryption_key_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class OutputItem:
    """One output of a batch."""

    call_id: CallId
    data: bytes | bytearray | memoryview
    attempt: int = 1
    outcome: str = Outcome.SUCCESS
    ttl: Ttl = None
    content_type: str = ""
    labels: Mapping[str, str] | None = None
    encryption_key_id: str = ""


_PayloadT = TypeVar("_PayloadT", bound="_Payload")


class _Payload(bytes):
    """The data, and what came with it."""

    call_id: str
    content_type: str = ""
    labels: Mapping[str, str] = types.MappingProxyType({})
    encryption_key_id: str = ""

    def _describe(self: _PayloadT, call_id: str, metadata: Metadata) -> _PayloadT:
        self.call_id = call_id
        if metadata is not NO_METADATA:
            self.content_type = metadata.content_type
            self.labels = metadata.labels
            self.encryption_key_id = metadata.encryption_key_id
        return self

    def __repr__(self) -> str:
        # Payloads are secrets, and end up in logs as easily as anything that has a repr.
        return f"<{type(self).__name__} of call {self.call_id}, {len(self)} bytes>"


class Input(_Payload):
    """An input: bytes with `call_id`, `content_type`, `labels` and `encryption_key_id`."""


class Output(_Payload):
    """An output: bytes with the same, `outcome` (an Outcome) and `attempt`."""

    outcome: Outcome
    attempt: int


@dataclasses.dataclass(frozen=True, slots=True)
class PayloadDescription:
    size_bytes: int
    stored_time: datetime.datetime
    deadline_time: datetime.datetime
    attempt: int  # 0 of an input


@dataclasses.dataclass(frozen=True, slots=True)
class CallDescription:
    """The state of a call. `input` and `output` are None when there is none (any more)."""

    call_id: str
    state: CallState
    input: PayloadDescription | None
    output: PayloadDescription | None


class Claim(NamedTuple):
    """The right to acknowledge an output."""

    call_id: str
    token: bytes
    fence: int
    crc32c: int | None = None  # of what was received; verified by the ack


class Claimed(NamedTuple):
    """An output under a claim. Without data it is too large to have been sent along."""

    claim: Claim
    attempt: int
    outcome: Outcome | None
    size_bytes: int
    metadata: Metadata | None
    data: bytes | None
