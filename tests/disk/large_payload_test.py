#!/usr/bin/python3
"""Fills a small disk with payloads of 100 MB and ends them: their room is back within seconds.

    large_payload_test.py MAYFLYD PROTOC

The data directory is on a loop device of its own. Outputs are uploaded until they are refused, and
never may less be free than storage.disk_reserve_bytes. They end by acks, by their deadline, and by acks
after the server was killed with uploads under way; each time the room they took is free within
ROOM_S, and the next upload is taken. Exits with 77 without root or loop devices.
"""

import os
import shutil
import sys
import tempfile
import threading
import time
from typing import Any, Callable, Iterator, List, Optional, Sequence

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))

import drain
import grpc
from call_id import new_call_id
from called_server import generate_messages
from crc32c import crc32c
from full_disk_server import Failure, FullDiskServer, serve
from loop_disk import LoopDisk, can_mount

SKIPPED = 77
MIB = 1 << 20
DISK_MB = 800
RESERVE_BYTES = 100 * MIB
UPLOAD_BYTES = 95 * MIB + 345_678
UPLOAD_THREADS = 2
# Fewer than fit, at least.
UPLOADS_MIN = 4
LONG_TTL_S = 3600
SHORT_TTL_S = 60
# Seconds, and a machine that is busy.
ROOM_S = 20.0
# Small rows, logs and a file system's own notes may take so much that was free before.
SMALL_BYTES = 12 * MIB
POLL_S = 0.02

CONTENT = bytes(range(256)) * (UPLOAD_BYTES // 256 + 1)
CRC32C = crc32c(CONTENT[:UPLOAD_BYTES])


class Uploads:
    """Outputs that are uploaded until one is refused, or until they are stopped."""

    def __init__(self, server: FullDiskServer, ttl_s: int):
        self._server = server
        self._ttl_s = ttl_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.stored: List[str] = []
        # Refused or broken off: they could be resumed for a while, and keep their room.
        self.unfinished: List[str] = []
        self.last_deadline = 0.0
        self.refusal = ""
        self.failure = ""
        self._threads = [threading.Thread(target=self._run) for _ in range(UPLOAD_THREADS)]
        for thread in self._threads:
            thread.start()

    @property
    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            call_id = str(new_call_id())
            try:
                self.upload(call_id)
            except grpc.RpcError as error:
                with self._lock:
                    self.unfinished.append(call_id)
                if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                    self.refusal = error.details()
                else:
                    self.failure = f"{error.code()} {error.details()}"
                self._stop.set()

    def upload(self, call_id: str) -> None:
        messages = self._server.messages
        began = time.time()
        item = {"call_id": call_id, "payload": {"data": b"input"}, "ttl": {"seconds": self._ttl_s}}
        put = self._server.call("client", "PutInputs", items=[item]).results[0].status
        if put.code:
            with self._lock:
                if put.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]:
                    self.refusal = put.message
                else:
                    self.failure = put.message
            self._stop.set()
            return

        def steps() -> Iterator[Any]:
            ttl = {"seconds": self._ttl_s}
            output = messages.OutputItem(call_id=call_id, attempt=1, ttl=ttl)
            yield messages.UploadRequest(header={"upload_id": os.urandom(16), "output": output})
            for offset in range(0, UPLOAD_BYTES, MIB):
                data = CONTENT[offset : min(offset + MIB, UPLOAD_BYTES)]
                yield messages.UploadRequest(segment={"offset_bytes": offset, "data": data})
            end = {"size_bytes": UPLOAD_BYTES, "crc32c": CRC32C}
            yield messages.UploadRequest(finish=end)

        self._server.upload(steps(), role="worker")
        with self._lock:
            self.stored.append(call_id)
            # From a moment before the header came on.
            self.last_deadline = max(self.last_deadline, began + self._ttl_s)


class LargePayloads:
    def __init__(self, server: FullDiskServer):
        self._server = server
        self._free_at_first = server.disk.free_bytes()

    def fill(
        self,
        ttl_s: int,
        is_enough: Optional[Callable[[Uploads], bool]] = None,
        others: Sequence[str] = (),
    ) -> Uploads:
        self._server.free_min = self._server.disk.free_bytes()
        uploads = Uploads(self._server, ttl_s)
        while uploads.is_running and not (is_enough and is_enough(uploads)):
            self._server.watch()
            time.sleep(POLL_S)
        if is_enough is None:
            uploads.join()
            if uploads.failure:
                raise Failure(uploads.failure)
            if "disk" not in uploads.refusal:
                raise Failure(f"it was not the disk that refused: {uploads.refusal}")
            fitting = len(uploads.stored) + len(others)
            if fitting < UPLOADS_MIN:
                raise Failure(f"only {fitting} uploads fit")
            print(f"{fitting} uploads fit, {self._server.free_min // MIB} MiB were free at least")
        if self._server.free_min < RESERVE_BYTES:
            raise Failure(f"{self._server.free_min} bytes were free, the reserve is {RESERVE_BYTES}")
        return uploads

    def wait_for_room(self, since: float, what: str) -> None:
        """`since` is when the payloads ended, by time.time()."""
        while self._server.disk.free_bytes() < self._free_at_first - SMALL_BYTES:
            self._server.watch()
            if time.time() - since > ROOM_S:
                missing = self._free_at_first - self._server.disk.free_bytes()
                raise Failure(f"{missing // MIB} MiB are not free {ROOM_S:.0f} s after {what}")
            time.sleep(POLL_S)
        room_s = time.time() - since
        self.put_again(since)
        print(
            f"{what}: room is back after {room_s:.2f} s, the next upload is stored after"
            f" {time.time() - since:.2f} s",
            flush=True,
        )

    def put_again(self, since: float) -> None:
        # None begins for some seconds after others have waited for room.
        while True:
            uploads = self.fill(LONG_TTL_S, is_enough=lambda each: len(each.stored) > 0)
            uploads.join()
            if uploads.failure:
                raise Failure(uploads.failure)
            drain.delete(self._server, uploads.unfinished)
            if uploads.stored:
                return drain.claim_and_ack(self._server, uploads.stored)
            if time.time() - since > 2 * ROOM_S:
                raise Failure(f"puts do not go on: {uploads.refusal}")
            time.sleep(1)

    def run(self) -> None:
        filled = self.fill(LONG_TTL_S)
        drain.delete(self._server, filled.unfinished)
        drain.claim_and_ack(self._server, filled.stored)
        self.wait_for_room(time.time(), "acks")

        filled = self.fill(SHORT_TTL_S)
        self.wait_for_room(filled.last_deadline, "expiry")

        under_way = self.fill(LONG_TTL_S, is_enough=lambda each: len(each.stored) >= 3)
        self._server.kill()
        under_way.join()
        self._server.start()
        found = self._server.call("client", "DescribeCalls", call_ids=under_way.stored).results
        sizes = [result.output.size_bytes for result in found]
        if sizes != [UPLOAD_BYTES] * len(sizes):
            raise Failure(f"an output was lost by a kill: {sizes}")
        drain.delete(self._server, under_way.unfinished)
        filled = self.fill(LONG_TTL_S, others=under_way.stored)
        drain.delete(self._server, filled.unfinished)
        drain.claim_and_ack(self._server, under_way.stored + filled.stored)
        self.wait_for_room(time.time(), "acks after a kill")


def main() -> int:
    if not can_mount():
        print("skipped: without root and loop devices no disk can be filled")
        return SKIPPED
    scratch = tempfile.mkdtemp(prefix="mayfly_large_payload_")
    try:
        messages = generate_messages(sys.argv[2], scratch)
        with LoopDisk(scratch, DISK_MB) as disk:
            settings = f'disk_reserve_bytes = "{RESERVE_BYTES // MIB}MiB"'
            server = FullDiskServer(sys.argv[1], messages, disk, settings)
            served = serve(server, lambda: LargePayloads(server).run(), lambda: "large payloads")
            return 0 if served else 1
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    sys.exit(main())
