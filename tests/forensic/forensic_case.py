"""Stores and ends payloads whose plaintexts are known, on a real server, and reads copies of its
data."""

import hashlib
import os
import shutil
import struct
import uuid
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import called_server_case
from call_id import new_call_id
from data_copy import INPUT, OUTPUT, Call, DataCopy, Payload, Row
from keyring import due_second
from slot_file import Slot

INLINE_BYTES = 5000
# Four segments, the last one short.
LARGE_BYTES = (3 << 20) + 54_321
TENANT_NUMBERS = range(8)
TOMBSTONE_TTL_MS = 15 * 60 * 1000
CONSUMED, DELETED = 1, 2
OUTCOME_FAILURE = 2


class Stored(NamedTuple):
    """A payload that was acknowledged, with what its row must say."""

    call_id: uuid.UUID
    kind: int
    attempt: int
    data: bytes
    deadline_ms: int

    @property
    def due_s(self) -> int:
        return due_second(self.deadline_ms)


class Found(NamedTuple):
    row: Row
    call: Call
    payload: Payload
    secret: bytes = b""
    # The beginnings of its segments' ciphertext.
    segments: Tuple[bytes, ...] = ()


def new_data(size: int) -> bytes:
    """Payload bytes that hold the same marker again and again, so that any piece shows it."""
    marker = b"MARKER" + os.urandom(13).hex().encode()
    return (marker * (size // len(marker) + 1))[:size]


def milliseconds(timestamp: Any) -> int:
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000


def slot_of(record: Union[Row, Slot]) -> Tuple[int, int]:
    return (record.slot if isinstance(record, Row) else record.number, record.generation)


def find(copy: DataCopy, stored: Stored) -> Optional[Found]:
    """Opens a payload with its own slot's secret, wherever its row lies."""
    for slot in copy.slots:
        if slot.state != "live":
            continue
        for row in copy.rows_of(slot.number, slot.generation):
            for input_key in copy.input_keys(row, every=False):
                for tenant in TENANT_NUMBERS:
                    call = Call(stored.call_id.bytes, tenant, stored.kind)
                    payload = copy.open_row(row, call, input_key)
                    if payload is not None and payload.data == stored.data:
                        return Found(row, call, payload)
    return None


class ForensicCase(called_server_case.CalledServerCase):
    """One life of a server each."""

    def setUp(self) -> None:
        super().setUp()
        # By how much the server's clocks are ahead.
        self.ahead_s = 0
        # What was found of each payload while it was there.
        self.found: Dict[Stored, Found] = {}
        # Of the calls that were ended, as their rows must be.
        self.tombstones: List[bytes] = []

    # Operations; each succeeds.

    def put_input(self, size: int, ttl_s: float = 0) -> Stored:
        return self.put_inputs(1, size, ttl_s)[0]

    def put_inputs(self, count: int, size: int, ttl_s: float) -> List[Stored]:
        """One batch of calls with the same deadline."""
        calls = [(new_call_id(self.ahead_s), new_data(size)) for _ in range(count)]
        items = [self.item(call_id, data, ttl_s) for call_id, data in calls]
        results = self.server.call("client", "PutInputs", items=items).results
        return [
            self.stored(result, call_id, INPUT, 0, data)
            for result, (call_id, data) in zip(results, calls)
        ]

    def put_output(
        self, call_id: uuid.UUID, size: int, attempt: int, ttl_s: float = 0
    ) -> Stored:
        data = new_data(size)
        item = self.item(call_id, data, ttl_s)
        item.update(attempt=attempt, outcome=OUTCOME_FAILURE)
        response = self.server.call("worker", "PutOutputs", items=[item])
        return self.stored(response.results[0], call_id, OUTPUT, attempt, data)

    @staticmethod
    def item(call_id: uuid.UUID, data: bytes, ttl_s: float) -> dict:
        payload = {"data": data, "content_type": "text/marker", "labels": {"colour": "blue"}}
        item = {"call_id": str(call_id), "payload": payload}
        if ttl_s:
            item["ttl"] = {"seconds": int(ttl_s), "nanos": int(ttl_s % 1 * 1e9)}
        return item

    def stored(
        self, result: Any, call_id: uuid.UUID, kind: int, attempt: int, data: bytes
    ) -> Stored:
        self.assertEqual(result.status.code, 0, result.status.message)
        return Stored(call_id, kind, attempt, data, milliseconds(result.deadline_time))

    def retrieve(self, call_id: uuid.UUID) -> None:
        token = os.urandom(16)
        request = {"call_ids": [str(call_id)], "claim_token": token, "max_bytes": 60 << 20}
        claimed = self.server.call("client", "ClaimOutputs", **request).outputs[0]
        item = {"call_id": str(call_id), "claim_token": token, "fence": claimed.fence}
        result = self.server.call("client", "AckOutputs", items=[item]).results[0]
        self.assertEqual(result.status.code, 0, result.status.message)
        self.remember_end(call_id, CONSUMED, result.erase_time, hashlib.sha256(token).digest()[:16])

    def delete(self, call_id: uuid.UUID) -> None:
        result = self.server.call("client", "DeleteCalls", call_ids=[str(call_id)]).results[0]
        self.assertEqual(result.status.code, 0, result.status.message)
        self.remember_end(call_id, DELETED, result.erase_time, bytes(16))

    def remember_end(
        self, call_id: uuid.UUID, reason: int, ended: Any, token: bytes
    ) -> None:
        ended_ms = milliseconds(ended)
        tombstone = struct.pack(">BBQQ16s", 1, reason, ended_ms, ended_ms + TOMBSTONE_TTL_MS, token)
        for kind in (INPUT, OUTPUT):
            rows = [
                found.row
                for each, found in self.found.items()
                if (each.call_id, each.kind) == (call_id, kind)
            ]
            # A replaced output is not the call's any more.
            row = max(rows, key=lambda each: each.attempt, default=None)
            tombstone += struct.pack(">IQ", *((row.slot, row.generation) if row else (0, 0)))
        self.tombstones.append(tombstone)

    def read_copy(self, path: str) -> DataCopy:
        copy = DataCopy(path, self.server.root_key)
        shutil.rmtree(path)
        for text in [b"MARKER", b"text/marker", b"colour"]:
            self.assertEqual(copy.places_of(text), [], "plaintext lies there")
        for secret in [self.server.root_key, *(chain.key for chain in copy.keyring.chains)]:
            self.assertEqual(copy.places_of(secret), [], "a key lies there in the clear")
        self.assertEqual([slot for slot in copy.slots if slot.state == "damaged"], [])
        return copy
