"""Ends what a disk was filled with. Each function fails unless all of it ends, or the server does."""

import os
import time
from typing import Iterable, List

from full_disk_server import ID_BATCH, Failure, FullDiskServer, batches

POLL_S = 0.5


def claim_and_ack(server: FullDiskServer, outputs: List[str]) -> None:
    for part in batches(outputs):
        token = os.urandom(16)
        while part:
            claimed = server.call(
                "client", "ClaimOutputs", call_ids=part, max_count=ID_BATCH, claim_token=token
            ).outputs
            acks = [
                {"call_id": one.call_id, "claim_token": token, "fence": one.fence} for one in claimed
            ]
            if not acks:
                raise Failure("stored outputs cannot be claimed")
            for result in server.call("client", "AckOutputs", items=acks).results:
                if result.status.code:
                    raise Failure(f"an ack failed: {result.status}")
            acked = {ack["call_id"] for ack in acks}
            part = [key for key in part if key not in acked]
        server.watch()


def delete(server: FullDiskServer, calls: Iterable[str]) -> None:
    for part in batches(list(calls)):
        for result in server.call("client", "DeleteCalls", call_ids=part).results:
            if result.status.code:
                raise Failure(f"a delete failed: {result.status}")
        server.watch()


def wait_for_expiry(server: FullDiskServer, inputs: List[str], timeout_s: float) -> None:
    """Asks for those that were put last."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        server.watch()
        results = server.call("client", "DescribeCalls", call_ids=inputs[-ID_BATCH:]).results
        if not any(result.input.size_bytes for result in results):
            return
        time.sleep(POLL_S)
    raise Failure("payloads live on after their deadline")
