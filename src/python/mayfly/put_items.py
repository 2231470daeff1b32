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
from mayfly.errors import Error, InvalidArgument, PayloadTooLarge
from mayfly.v1 import function_io_pb2 as pb

# The approximate size of an item without its data.
ITEM_OVERHEAD_BYTES = 96

# The largest payload of an item. With its metadata it fits into a message of 64 MiB, the default of
# limits.message_bytes_max.
DATA_BYTES_MAX = 60 << 20

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
    accepted = f"InputItem, {arguments.BUFFER}"
    common_ttl = arguments.ttl_from(ttl)
    are_minted, items = [], []
    for index, each in enumerate(arguments.items_from(inputs, "inputs", accepted)):
        if not isinstance(each, (calls.InputItem, bytes, bytearray, memoryview)):
            raise arguments.wrong_type(f"inputs[{index}]", each, accepted)
        try:
            if type(each) is bytes:  # the most common, in a third of the time
                items.append(input_item(new_call_id(), each, common_ttl, NO_METADATA))
                are_minted.append(True)
                continue
            if not isinstance(each, calls.InputItem):
                each = calls.InputItem(each)
            items.append(_input_of(each, common_ttl))
        except (TypeError, InvalidArgument) as error:
            raise _of_item(f"inputs[{index}]", error) from None
        are_minted.append(not each.call_id)
    return are_minted, items


def too_large(name: str, items: list[PutItem]) -> dict[int, Error]:
    """The errors of items that fit into no message, by their index. `name` is the argument's."""
    method = f"put_{name.removesuffix('s')}"
    return {
        index: PayloadTooLarge(
            f"{name}[{index}].data is {size} bytes, limit of an item is {DATA_BYTES_MAX}: put it with "
            f"{method}, which uploads a payload of any size",
            "PAYLOAD_TOO_LARGE", item["call_id"],
        )
        for index, item in enumerate(items)
        if (size := len(item["payload"]["data"])) > DATA_BYTES_MAX
    }


def others(items: list[PutItem], refused: Mapping[int, Error]) -> list[PutItem]:
    """Those that are sent."""
    if not refused:
        return items
    return [item for index, item in enumerate(items) if index not in refused]


def with_refused(
    results: Iterable[Error | None], refused: Mapping[int, Error]
) -> list[Error | None]:
    """The results of all items, from those of the others."""
    found = list(results)
    for index in sorted(refused):
        found.insert(index, refused[index])
    return found


def _input_of(each: calls.InputItem, common_ttl: float | None) -> PutItem:
    return input_item(
        arguments.call_id_from(each.call_id or new_call_id()),
        arguments.bytes_from(each.data),
        common_ttl if each.ttl is None else arguments.ttl_from(each.ttl),
        metadata_from(each.content_type, each.labels, each.encryption_key_id),
    )


def output_items(
    outputs: Iterable[calls.OutputItem], ttl: Ttl
) -> tuple[list[str], list[PutItem]]:
    """The call ids and the items of a batch of outputs."""
    common_ttl = arguments.ttl_from(ttl)
    items = []
    for index, each in enumerate(arguments.items_from(outputs, "outputs", "OutputItem")):
        if not isinstance(each, calls.OutputItem):
            raise arguments.wrong_type(f"outputs[{index}]", each, "OutputItem")
        try:
            items.append(_output_of(each, common_ttl))
        except (TypeError, InvalidArgument) as error:
            raise _of_item(f"outputs[{index}]", error) from None
    return [item["call_id"] for item in items], items


def _output_of(each: calls.OutputItem, common_ttl: float | None) -> PutItem:
    return output_item(
        arguments.call_id_from(each.call_id),
        arguments.bytes_from(each.data),
        each.attempt,
        each.outcome,
        common_ttl if each.ttl is None else arguments.ttl_from(each.ttl),
        metadata_from(each.content_type, each.labels, each.encryption_key_id),
    )


def _of_item(name: str, error: TypeError | InvalidArgument) -> TypeError | InvalidArgument:
    """An error of an argument, as that of a batch's item."""
    if isinstance(error, InvalidArgument):
        return InvalidArgument(f"{name}.{error.message}", error.reason, error.call_id)
    return TypeError(f"{name}.{error}")


def outcome_number(outcome: str) -> Any:
    number = OUTCOME_NUMBERS.get(arguments.text_from(outcome, "outcome"))
    if number is None:
        known = ", ".join(Outcome)
        raise InvalidArgument(f"outcome is {outcome}, known are {known}")
    return number


def metadata_from(
    content_type: str, labels: Mapping[str, str] | None, encryption_key_id: str
) -> Metadata:
    if content_type == "" and labels is None and encryption_key_id == "":
        return NO_METADATA
    return Metadata(
        arguments.text_from(content_type, "content_type"),
        arguments.labels_from(labels),
        arguments.text_from(encryption_key_id, "encryption_key_id"),
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
