"""Puts of one kind that go on until they are stopped."""

import os
import random
import threading
from typing import Any, Dict, Iterator, List, Tuple

import grpc
from call_id import new_call_id
from crc32c import crc32c
from full_disk_server import ID_BATCH, Failure, FullDiskServer

MIB = 1 << 20
PUT_THREADS = 4
PAUSE_AFTER_REFUSAL_S = 0.3
LARGE_BYTES = 50 * MIB
UPLOAD_BYTES = 12 * MIB + 345_678
RESOURCE_EXHAUSTED = 8
FILLS = ("small", "medium", "large", "uploads", "outputs")


def content(call_id: str, size: int) -> bytes:
    seed = call_id.encode()
    return (seed * (size // len(seed) + 1))[:size]


UPLOAD_CONTENT = content("f" * 36, UPLOAD_BYTES)


class Filler:
    """Puts of one kind on several threads, and what of them was acknowledged."""

    def __init__(self, server: FullDiskServer, fill: str, ttl_s: int):
        self._server = server
        self._fill = fill
        self._ttl_s = ttl_s
        self._upload_crc32c = crc32c(UPLOAD_CONTENT) if fill == "uploads" else 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: List[threading.Thread] = []
        self.stored: Dict[Tuple[str, str], int] = {}  # by kind and id: size
        self.stored_bytes = 0
        self.refused = 0
        self.refusal = ""
        self.failure = ""
        self.may_break = False

    def start(self) -> None:
        self._stop.clear()
        self._threads = [threading.Thread(target=self._run) for _ in range(PUT_THREADS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self.failure:
            raise Failure(self.failure)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                getattr(self, f"_put_{self._fill}")()
        except (grpc.RpcError, ValueError) as error:  # ValueError: the channel is closed
            if not self.may_break:
                self.failure = f"{type(error).__name__} {error}"
        except Failure as error:
            self.failure = str(error)

    def _put_small(self) -> None:
        self._put_inputs([(str(new_call_id()), random.randint(1, 1000)) for _ in range(ID_BATCH)])

    def _put_medium(self) -> None:
        self._put_inputs([(str(new_call_id()), 60_000) for _ in range(64)])

    def _put_large(self) -> None:
        self._put_inputs([(str(new_call_id()), LARGE_BYTES)])

    def _put_outputs(self) -> None:
        """Inputs, and outputs of some of the inputs stored before."""
        self._put_inputs([(str(new_call_id()), 60_000) for _ in range(32)])
        with self._lock:
            ids = [key for kind, key in self.stored if kind == "input"]
            ids = [key for key in ids if ("output", key) not in self.stored]
        self._put_batch("output", [(key, 30_000) for key in ids[:32]])

    def _put_inputs(self, items: List[Tuple[str, int]]) -> None:
        self._put_batch("input", items)

    def _put_batch(self, kind: str, items: List[Tuple[str, int]]) -> None:
        if not items:
            return
        rpc, role = ("PutInputs", "client") if kind == "input" else ("PutOutputs", "worker")
        requests = []
        for call_id, size in items:
            payload = {"data": content(call_id, size)}
            item = {"call_id": call_id, "payload": payload, "ttl": {"seconds": self._ttl_s}}
            if kind == "output":
                item["attempt"] = 1
            requests.append(item)
        results = self._server.call(role, rpc, items=requests).results
        for (call_id, size), result in zip(items, results):
            self._note(kind, call_id, size, result.status)
        if any(result.status.code for result in results):
            self._stop.wait(PAUSE_AFTER_REFUSAL_S)

    def _put_uploads(self) -> None:
        call_id = str(new_call_id())
        messages = self._server.messages
        request = messages.UploadRequest

        def steps() -> Iterator[Any]:
            item = messages.InputItem(call_id=call_id, ttl={"seconds": self._ttl_s})
            yield request(header={"upload_id": os.urandom(16), "input": item})
            for offset in range(0, UPLOAD_BYTES, MIB):
                data = UPLOAD_CONTENT[offset : offset + MIB]
                yield request(segment={"offset_bytes": offset, "data": data})
            yield request(finish={"size_bytes": UPLOAD_BYTES, "crc32c": self._upload_crc32c})

        try:
            self._server.upload(steps())
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            with self._lock:
                self.refused += 1
                self.refusal = error.details()
            self._stop.wait(PAUSE_AFTER_REFUSAL_S)
            return
        self._note("input", call_id, UPLOAD_BYTES, None)

    def _note(self, kind: str, call_id: str, size: int, status: Any) -> None:
        with self._lock:
            if status is None or status.code == 0:
                self.stored[kind, call_id] = size
                self.stored_bytes += size
                return
            self.refused += 1
            self.refusal = status.message
        details = [detail.type_url.rsplit(".", 1)[-1] for detail in status.details]
        text = str(status)
        if status.code != RESOURCE_EXHAUSTED or "DISK_FULL" not in text or "RetryInfo" not in details:
            raise Failure(f"a put was refused: {text}")
