#!/usr/bin/python3
"""Fills the disk of a real server with ordinary puts, kills it at the brim, and drains it again.

    full_disk_test.py MAYFLYD PROTOC [--mb N]... [--fill KIND]... [--drain KIND]... [--rounds N]

The data directory is on a loop device of its own, of each size given. In every round puts go on
until they are refused for some seconds; then the server is killed with SIGKILL while puts are in
flight, started again, and asked for everything that it has acknowledged; then all is ended, and puts
must be taken again without a restart. Whatever happens, the server ends only when it is killed, every
start serves, and every refusal is DISK_FULL with a retry delay. Exits with 77 without root or loop
devices.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Dict, Iterator, List, Set, Tuple

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../forensic")]

import grpc
from called_server import CalledServer, generate_messages
from data_copy import crc32c
from loop_disk import LoopDisk, can_mount

SKIPPED = 77
MIB = 1 << 20
PUT_THREADS = 4
LARGE_BYTES = 50 * MIB
UPLOAD_BYTES = 12 * MIB + 345_678
# Puts that are refused for as long, but for little, have filled the disk.
BRIM_S = 6.0
BRIM_PART = 100
FILL_TIMEOUT_S = 600
DRAIN_TIMEOUT_S = 300
# After everything has ended so much of the disk must be stored again.
AGAIN_PART = 5
EXPIRY_TTL_S = 100
LONG_TTL_S = 3600
KILL_WITHIN_S = 0.5
INLINE_BYTES_MAX = 64 << 10
RESOURCE_EXHAUSTED = 8
ID_BATCH = 256
FILLS = ("small", "medium", "large", "uploads", "outputs")


def mint_id() -> str:
    now_ms = int(time.time() * 1000)
    value = now_ms << 80 | 7 << 76 | random.getrandbits(12) << 64 | 2 << 62 | random.getrandbits(62)
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def content(call_id: str, size: int) -> bytes:
    seed = call_id.encode()
    return (seed * (size // len(seed) + 1))[:size]


UPLOAD_CONTENT = content("f" * 36, UPLOAD_BYTES)


class Failure(Exception):
    pass


class Filler:
    """Puts of one kind on several threads, and what of them was acknowledged."""

    def __init__(self, server: "FullDiskServer", messages: Any, fill: str, ttl_s: int):
        self._server = server
        self._messages = messages
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
        self._put_inputs([(mint_id(), random.randint(1, 1000)) for _ in range(ID_BATCH)])

    def _put_medium(self) -> None:
        self._put_inputs([(mint_id(), 60_000) for _ in range(64)])

    def _put_large(self) -> None:
        self._put_inputs([(mint_id(), LARGE_BYTES)])

    def _put_outputs(self) -> None:
        """Inputs, and outputs of some of the inputs stored before."""
        self._put_inputs([(mint_id(), 60_000) for _ in range(32)])
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
            self._stop.wait(0.3)

    def _put_uploads(self) -> None:
        call_id = mint_id()
        request = self._messages.UploadRequest

        def steps() -> Iterator[Any]:
            item = self._messages.InputItem(call_id=call_id, ttl={"seconds": self._ttl_s})
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
            self._stop.wait(0.3)
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


class FullDiskServer(CalledServer):
    def __init__(self, mayflyd: str, messages: Any, disk: LoopDisk, storage: str):
        super().__init__(mayflyd, messages)
        self._storage = storage
        os.mkdir(self.path("data"))
        disk.mount(self.path("data"))
        os.chmod(self.path("data"), 0o700)

    def upload(self, steps: Iterator[Any]) -> Any:
        method = self._channels["client"].stream_unary(
            "/mayfly.v1.FunctionIo/Upload",
            request_serializer=self._messages.UploadRequest.SerializeToString,
            response_deserializer=self._messages.UploadResponse.FromString,
        )
        return method(steps, timeout=60)

    def start_and_kill(self) -> None:
        """Killed while it recovers, or has just done so."""
        process = subprocess.Popen([self._mayflyd, "--config", self.path("mayfly.toml")])
        time.sleep(random.uniform(0, KILL_WITHIN_S))
        process.kill()
        process.wait()

    def check_runs(self) -> None:
        if self._process.poll() is not None:
            raise Failure(f"the server ended by itself, exit code {self._process.poll()}")


class Round:
    def __init__(
        self, options: Any, server: FullDiskServer, messages: Any, disk: LoopDisk, fill: str, drain: str
    ):
        self._options = options
        self._server = server
        self._messages = messages
        self._disk = disk
        self._fill = fill
        self._drain = drain
        # Payloads that may expire just now are not asked for.
        self._lasts = drain != "expiry"
        self._filler = Filler(server, messages, fill, LONG_TTL_S if self._lasts else EXPIRY_TTL_S)
        self.free_min = disk.free_bytes()

    def run(self) -> str:
        began = time.monotonic()
        self._fill_up()
        filled, filled_s = self._filler.stored_bytes, time.monotonic() - began
        self._kill_and_start()
        began = time.monotonic()
        kept = self._check_kept()
        kept_s, began = time.monotonic() - began, time.monotonic()
        self._end_all()
        self._disk.free_up()
        drained_s, began = time.monotonic() - began, time.monotonic()
        again = self._put_again()
        return (
            f"filled {filled // MIB} MiB in {filled_s:.0f} s, {self._filler.refused} refused, least"
            f" free {self.free_min // MIB} MiB; kept {kept} in {kept_s:.0f} s; drained in"
            f" {drained_s:.0f} s; {again // MIB} MiB again after {time.monotonic() - began:.0f} s"
        )

    def _watch(self) -> None:
        self._server.check_runs()
        self.free_min = min(self.free_min, self._disk.free_bytes())

    def _fill_up(self) -> None:
        filler = self._filler
        filler.start()
        end = time.monotonic() + FILL_TIMEOUT_S
        little = self._disk.size_bytes // BRIM_PART
        before, since, refused = 0, time.monotonic(), 0
        while time.monotonic() < end and not filler.failure:
            self._watch()
            if filler.stored_bytes > before + little or filler.refused == refused:
                before, since, refused = filler.stored_bytes, time.monotonic(), filler.refused
            if time.monotonic() - since > BRIM_S:
                return
            time.sleep(0.02)
        filler.stop()
        raise Failure("puts were never refused for long")

    def _kill_and_start(self) -> None:
        self._filler.may_break = True
        self._server.check_runs()
        self._server.kill()
        self._filler.stop()
        for _ in range(self._options.kills):
            self._server.start_and_kill()
        if self._options.foreign:
            self._disk.fill_up()
        self._server.start()

    def _check_kept(self) -> int:
        """Everything that was acknowledged and is not due."""
        if not self._lasts:
            return 0
        stored = self._filler.stored
        inputs = {key: size for (kind, key), size in stored.items() if kind == "input"}
        outputs = {key: size for (kind, key), size in stored.items() if kind == "output"}
        for ids in batches(list(inputs), ID_BATCH):
            results = self._server.call("client", "DescribeCalls", call_ids=ids).results
            for result in results:
                if result.input.size_bytes != inputs[result.call_id]:
                    raise Failure(f"lost an input, the state is {result.state}")
                if result.output.size_bytes < outputs.get(result.call_id, 0):
                    raise Failure(f"lost an output, the state is {result.state}")
            if inputs[ids[0]] <= INLINE_BYTES_MAX:
                self._check_inputs(ids, inputs)
        return len(stored)

    def _check_inputs(self, ids: List[str], sizes: Dict[str, int]) -> None:
        results = self._server.call("worker", "GetInputs", call_ids=ids, max_bytes=32 * MIB).results
        for result in results:
            size = sizes[result.call_id]
            if result.status.code:
                raise Failure(f"lost an input: {result.status.message}")
            if result.payload.data not in (b"", content(result.call_id, size)):
                raise Failure("an input has another content")

    def _end_all(self) -> None:
        if self._drain == "expiry":
            return self._wait_for_expiry()
        outputs = [key for kind, key in self._filler.stored if kind == "output"]
        self._claim_and_ack(outputs)
        self._delete({key for _, key in self._filler.stored} - set(outputs))

    def _claim_and_ack(self, ids: List[str]) -> None:
        for part in batches(ids, ID_BATCH):
            token = os.urandom(16)
            while part:
                claimed = self._server.call(
                    "client", "ClaimOutputs", call_ids=part, max_count=ID_BATCH, claim_token=token
                ).outputs
                acks = [
                    {"call_id": one.call_id, "claim_token": token, "fence": one.fence}
                    for one in claimed
                ]
                if not acks:
                    raise Failure("stored outputs cannot be claimed")
                for result in self._server.call("client", "AckOutputs", items=acks).results:
                    if result.status.code:
                        raise Failure(f"an ack failed: {result.status}")
                acked = {ack["call_id"] for ack in acks}
                part = [key for key in part if key not in acked]
            self._watch()

    def _wait_for_expiry(self) -> None:
        end = time.monotonic() + EXPIRY_TTL_S + DRAIN_TIMEOUT_S
        last = [key for _, key in self._filler.stored][-ID_BATCH:]
        while time.monotonic() < end:
            self._watch()
            results = self._server.call("client", "DescribeCalls", call_ids=last).results
            if not any(result.input.size_bytes for result in results):
                return
            time.sleep(0.5)
        raise Failure("payloads live on after their deadline")

    def _put_again(self) -> int:
        filler = Filler(self._server, self._messages, self._fill, LONG_TTL_S)
        wanted = min(self._disk.size_bytes // AGAIN_PART, self._filler.stored_bytes * 2 // 3)
        filler.start()
        end = time.monotonic() + DRAIN_TIMEOUT_S
        while filler.stored_bytes < wanted and not filler.failure and time.monotonic() < end:
            self._watch()
            time.sleep(0.02)
        filler.stop()
        if filler.stored_bytes < wanted:
            raise Failure(
                f"{filler.stored_bytes // MIB} MiB were taken again, of {wanted // MIB}:"
                f" {filler.refusal}"
            )
        self._delete({key for _, key in filler.stored})
        return filler.stored_bytes

    def _delete(self, ids: Set[str]) -> None:
        for part in batches(list(ids), ID_BATCH):
            for result in self._server.call("client", "DeleteCalls", call_ids=part).results:
                if result.status.code:
                    raise Failure(f"a delete failed: {result.status}")
            self._watch()


def batches(ids: List[str], size: int) -> Iterator[List[str]]:
    for first in range(0, len(ids), size):
        yield ids[first : first + size]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("mayflyd")
    parser.add_argument("protoc")
    parser.add_argument("--mb", type=int, action="append")
    parser.add_argument("--fill", choices=FILLS, action="append")
    parser.add_argument("--drain", choices=("acks", "expiry"), action="append")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--storage", default="disk_reserve_bytes = 0")
    parser.add_argument("--kills", type=int, default=0, help="more of them, while it recovers")
    parser.add_argument("--foreign", action="store_true", help="fill the rest while it is down")
    parser.add_argument("--keep-going", action="store_true")
    options = parser.parse_args()
    if not can_mount():
        print("skipped: without root and loop devices no disk can be filled")
        return SKIPPED
    scratch = tempfile.mkdtemp(prefix="mayfly_full_disk_")
    messages = generate_messages(options.protoc, scratch)
    failed = 0
    try:
        for megabytes in options.mb or [300]:
            for fill in options.fill or FILLS:
                failed += run_disk(options, messages, scratch, megabytes, fill)
                if failed and not options.keep_going:
                    return 1
    finally:
        shutil.rmtree(scratch)
    return 1 if failed else 0


def run_disk(options: Any, messages: Any, scratch: str, megabytes: int, fill: str) -> int:
    with LoopDisk(scratch, megabytes) as disk:
        server = FullDiskServer(options.mayflyd, messages, disk, options.storage)
        name = ""
        try:
            server.start()
            for number in range(options.rounds):
                drains = options.drain or ["acks"]
                drain = drains[number % len(drains)]
                name = f"{megabytes} MB, {fill}, {drain}, round {number + 1}"
                result = Round(options, server, messages, disk, fill, drain).run()
                print(f"{name}: {result}", flush=True)
            if server.stop() != 0:
                raise Failure("the server did not stop cleanly")
        except (Failure, AssertionError, grpc.RpcError) as error:
            print(f"{name}: FAILED: {type(error).__name__} {error}", flush=True)
            with open(server.path("log")) as log:
                print("".join(log.readlines()[-20:]), flush=True)
            return 1
        finally:
            if server._process is not None and server._process.poll() is None:
                server.kill()
            disk.unmount()
            server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
