"""Items of puts, from what the caller says. No I/O."""

from __future__ import annotations

import functools
from typing import Any, Iterable, Mapping

from google.protobuf import duration_pb2

from mayfly import arguments, calls
from mayfly.arguments import Buffer
from mayfly.call_id import new_call_id
from mayfly.calls import NO_METADATA, Metadata, Outcome, Ttl
from mayfly.checksum import crc32c
from mayfly.errors import InvalidArgument
from mayfly.v1 import function_io_pb2 as pb

# What an item has beside its data, about.
ITEM_OVERHEAD_BYTES = 96

# An item of a put as the arguments of its message, which is made in its request: a message that is
# copied into another one costs more than all else.
PutItem = dict[str, Any]

OUTCOME_NUMBERS: dict[str, Any] = {
    outcome: pb.Outcome.Value(f"OUTCOME_{outcome.name}") for outcome in Outcome
}


def input_item(call_id: str, data: bytes, ttl: float | None, metadata: Metadata) -> PutItem:
    item: PutItem = {"call_id": call_id, "payload": _payload(data, metadata)}
    if ttl is not None:
        item["ttl"] = _duration(ttl)
    return item


def with_data(item: PutItem, data: bytes) -> PutItem:
    """An item that was made without data."""
    item["payload"] |= {"data": data, "crc32c": crc32c(data)}
    return item


def output_item(
    call_id: str, data: bytes, attempt: int, outcome: str, ttl: float | None, metadata: Metadata
) -> PutItem:
    attempt = arguments.integer_from(attempt, "attempt")
    if not 1 <= attempt < 1 << 32:
        raise InvalidArgument(f"attempt is {attempt}, limits are 1 and {(1 << 32) - 1}")
    item: PutItem = {
        "call_id": call_id,
        "attempt": attempt,
        "outcome": outcome_number(outcome),
        "payload": _payload(data, metadata),
    }
    if ttl is not None:
        item["ttl"] = _duration(ttl)
    return item


def input_items(
    inputs: Iterable[calls.InputItem | Buffer], ttl: Ttl
) -> tuple[list[bool], list[PutItem]]:
    """The items of a batch, and which of them had their ids minted here. `ttl` is of those that have
    none."""
    are_minted = []
    accepted = f"an iterable of InputItem, {arguments.BUFFER}"
    common_ttl = arguments.ttl_from(ttl)
    items = []
    for index, each in enumerate(arguments.items_from(inputs, "inputs", accepted)):
        name = f"inputs[{index}]"
        if not isinstance(each, calls.InputItem):
            if not isinstance(each, (bytes, bytearray, memoryview)):
                raise arguments.wrong_type(name, each, f"InputItem, {arguments.BUFFER}")
            items.append(input_item(new_call_id(), bytes(each), common_ttl, NO_METADATA))
            are_minted.append(True)
            continue
        metadata = metadata_from(each.content_type, each.labels, each.encryption_key_id, name)
        own_ttl = common_ttl if each.ttl is None else arguments.ttl_from(each.ttl, f"{name}.ttl")
        call_id = each.call_id or new_call_id()
        are_minted.append(not each.call_id)
        items.append(
            input_item(
                arguments.call_id_from(call_id, f"{name}.call_id"),
                arguments.bytes_from(each.data, f"{name}.data"),
                own_ttl,
                metadata,
            )
        )
    return are_minted, items


def output_items(
    outputs: Iterable[calls.OutputItem], ttl: Ttl
) -> tuple[list[str], list[PutItem]]:
    """The same of outputs."""
    common_ttl = arguments.ttl_from(ttl)
    items = []
    accepted = "an iterable of OutputItem"
    for index, each in enumerate(arguments.items_from(outputs, "outputs", accepted)):
        name = f"outputs[{index}]"
        if not isinstance(each, calls.OutputItem):
            raise arguments.wrong_type(name, each, "OutputItem")
        metadata = metadata_from(each.content_type, each.labels, each.encryption_key_id, name)
        own_ttl = common_ttl if each.ttl is None else arguments.ttl_from(each.ttl, f"{name}.ttl")
        items.append(
            output_item(
                arguments.call_id_from(each.call_id, f"{name}.call_id"),
                arguments.bytes_from(each.data, f"{name}.data"),
                each.attempt,
                each.outcome,
                own_ttl,
                metadata,
            )
        )
    return [item["call_id"] for item in items], items


def outcome_number(outcome: str) -> Any:
    number = OUTCOME_NUMBERS.get(arguments.text_from(outcome, "outcome"))
    if number is None:
        known = ", ".join(Outcome)
        raise InvalidArgument(f"outcome is {outcome}, known are {known}")
    return number


def metadata_from(
    content_type: str, labels: Mapping[str, str] | None, encryption_key_id: str, item: str = ""
) -> Metadata:
    """`item` is of which item of a batch, for errors."""
    if content_type == "" and labels is None and encryption_key_id == "":
        return NO_METADATA
    prefix = f"{item}." if item else ""
    return Metadata(
        arguments.text_from(content_type, f"{prefix}content_type"),
        arguments.labels_from(labels, f"{prefix}labels"),
        arguments.text_from(encryption_key_id, f"{prefix}encryption_key_id"),
    )


def put_size(item: PutItem) -> int:
    return len(item["payload"]["data"]) + ITEM_OVERHEAD_BYTES


def _payload(data: bytes, metadata: Metadata) -> dict[str, Any]:
    if metadata is NO_METADATA:
        return {"data": data, "crc32c": crc32c(data)}
    return {
        "data": data,
        "crc32c": crc32c(data),
        "content_type": metadata.content_type,
        "labels": metadata.labels,
        "encryption_key_id": metadata.encryption_key_id,
    }


@functools.lru_cache(maxsize=64)
def _duration(seconds: float) -> duration_pb2.Duration:
    if not 0 < seconds <= 86400:
        raise InvalidArgument(f"ttl is {seconds:g} s, limits are 1 s and 86400 s")
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
