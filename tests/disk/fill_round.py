"""A round: fills the disk, kills the server at the brim, starts it, drains it, and fills it again."""

import time
from typing import Any, Dict, List

import drain
from filler import MIB, Filler, content
from full_disk_server import Failure, FullDiskServer, batches

# Puts that are refused for as long, but for little, have filled the disk.
BRIM_S = 6.0
BRIM_PART = 100
FILL_TIMEOUT_S = 600
DRAIN_TIMEOUT_S = 300
# After everything has ended so much of the disk must be stored again.
AGAIN_PART = 5
EXPIRY_TTL_S = 100
LONG_TTL_S = 3600
INLINE_BYTES_MAX = 64 << 10


class Round:
    """`options` are those of full_disk_test.py."""

    def __init__(self, options: Any, server: FullDiskServer, fill: str, how: str):
        self._options = options
        self._server = server
        self._disk = server.disk
        self._fill = fill
        # Payloads that may expire just now are not asked for.
        self._lasts = how != "expiry"
        self._filler = Filler(server, fill, LONG_TTL_S if self._lasts else EXPIRY_TTL_S)
        server.free_min = server.disk.free_bytes()

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
            f" free {self._server.free_min // MIB} MiB; kept {kept} in {kept_s:.0f} s; drained in"
            f" {drained_s:.0f} s; {again // MIB} MiB again after {time.monotonic() - began:.0f} s"
        )

    def _fill_up(self) -> None:
        filler = self._filler
        filler.start()
        end = time.monotonic() + FILL_TIMEOUT_S
        little = self._disk.size_bytes // BRIM_PART
        before, since, refused = 0, time.monotonic(), 0
        while time.monotonic() < end and not filler.failure:
            self._server.watch()
            if filler.stored_bytes > before + little or filler.refused == refused:
                before, since, refused = filler.stored_bytes, time.monotonic(), filler.refused
            if time.monotonic() - since > BRIM_S:
                return
            time.sleep(0.02)
        filler.stop()
        raise Failure("puts were never refused for long")

    def _kill_and_start(self) -> None:
        self._filler.may_break = True
        self._server.watch()
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
        for ids in batches(list(inputs)):
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
        stored = self._filler.stored
        if not self._lasts:
            ids = [key for _, key in stored]
            return drain.wait_for_expiry(self._server, ids, EXPIRY_TTL_S + DRAIN_TIMEOUT_S)
        outputs = [key for kind, key in stored if kind == "output"]
        drain.claim_and_ack(self._server, outputs)
        drain.delete(self._server, {key for _, key in stored} - set(outputs))

    def _put_again(self) -> int:
        filler = Filler(self._server, self._fill, LONG_TTL_S)
        wanted = min(self._disk.size_bytes // AGAIN_PART, self._filler.stored_bytes * 2 // 3)
        filler.start()
        end = time.monotonic() + DRAIN_TIMEOUT_S
        while filler.stored_bytes < wanted and not filler.failure and time.monotonic() < end:
            self._server.watch()
            time.sleep(0.02)
        filler.stop()
        if filler.stored_bytes < wanted:
            raise Failure(
                f"{filler.stored_bytes // MIB} MiB were taken again, of {wanted // MIB}:"
                f" {filler.refusal}"
            )
        drain.delete(self._server, {key for _, key in filler.stored})
        return filler.stored_bytes
