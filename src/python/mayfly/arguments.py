"""Arguments as callers give them, in the one form that the rest of the package uses.

A wrong type is a TypeError that names the argument and the accepted types, before anything is sent.
Numbers, ids and texts of the right type are checked by the server, or where they are used.
"""

from __future__ import annotations

import datetime
import math
import os
import uuid
from typing import Any, Iterable, Mapping

from mayfly.errors import InvalidArgument

Path = str | os.PathLike[str]
Buffer = bytes | bytearray | memoryview

BUFFER = "bytes, bytearray or memoryview"
DATA = f"{BUFFER}, a binary file, a pathlib.Path or an iterator of bytes"

# No payload lives for so long. Locks and event loops take some centuries at most.
_FOR_EVER_SECONDS = 366 * 86400.0


def wrong_type(name: str, value: object, accepted: str) -> TypeError:
    return TypeError(f"{name} is {type(value).__name__}, accepted: {accepted}")


def call_id_from(value: Any, name: str = "call_id") -> str:
    """In lower case, as the server writes ids: an answer is found by its id."""
    if isinstance(value, str):
        return _encodable(value, name).lower()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise wrong_type(name, value, "str or uuid.UUID")


def call_ids_from(values: Any) -> list[str]:
    items = list(_items_of(values, "call_ids", "an iterable of str or uuid.UUID"))
    if all(type(value) is str and value.isascii() and value.islower() for value in items):
        return items
    return [call_id_from(value, f"call_ids[{index}]") for index, value in enumerate(items)]


def items_from(values: Any, name: str, accepted: str) -> list[Any]:
    """Those of a batch; `accepted` is of each."""
    return list(_items_of(values, name, f"an iterable of {accepted}"))


def bytes_from(value: Any, name: str = "data") -> bytes:
    if type(value) is bytes:
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise wrong_type(name, value, BUFFER)


def seconds_from(value: Any, name: str) -> float:
    """Of a number or a timedelta."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    raise wrong_type(name, value, "a number of seconds or datetime.timedelta")


def timeout_from(value: Any) -> float | None:
    """None: for ever."""
    if value is None:
        return None
    seconds = seconds_from(value, "timeout")
    if math.isnan(seconds):
        raise InvalidArgument("timeout is nan, expected a number of seconds")
    if seconds < 0:
        raise InvalidArgument(
            f"timeout is {seconds:g} seconds, least is 0; None waits without a limit"
        )
    return seconds if seconds < _FOR_EVER_SECONDS else None


def ttl_from(value: Any) -> float | None:
    return None if value is None else seconds_from(value, "ttl")


def integer_from(value: Any, name: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise wrong_type(name, value, "int")


def text_from(value: Any, name: str) -> str:
    if isinstance(value, str):
        return _encodable(value, name)
    raise wrong_type(name, value, "str")


def labels_from(value: Any) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise wrong_type("labels", value, "a mapping of str to str")
    return {
        text_from(label, "labels: a name"): text_from(text, f"labels[{label!r}]")
        for label, text in value.items()
    }


def path_from(value: Any, name: str) -> str:
    """Of a file's name, in text."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(path, str):
        return path
    raise wrong_type(name, value, "str or pathlib.Path")


def _items_of(values: Any, name: str, accepted: str) -> Iterable[Any]:
    # Text and bytes are iterables too, of what nobody means.
    is_one = isinstance(values, (str, bytes, bytearray, memoryview))
    if is_one or not isinstance(values, Iterable):
        raise wrong_type(name, values, accepted)
    return values


def _encodable(text: str, name: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(f"{name} is not text that UTF-8 can encode") from None
    return text
