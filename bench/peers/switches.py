"""How often a lone caller's request puts threads of the server to sleep and wakes them.

A count, and so the same on every machine, while what one costs is 5 us on some and 100 us on others.
"""

import os
import pathlib
import statistics
import sys
import time

import rows as r
from release import BINARY_DIR

REQUESTS = 200
QUICK_REQUESTS = 40
PAYLOAD_BYTES = 1024
# A server is at rest when nothing has changed for so long.
QUIET_SECONDS = 0.004

STEPS = ["put", "get", "put_output", "claim", "ack"]
AIMS = {"put": "Mayfly <= 0", "get": "Mayfly <= 0", "put_output": "Mayfly <= 0",
        "claim": "Mayfly <= 0", "ack": "Mayfly <= 1"}

NOTES = [
    "switches: voluntary context switches of all the server's threads for one request of a lone "
    "caller, 1 KiB, relaxed. Mayfly's are those beyond the null server's. Medians of "
    f"{REQUESTS} requests, each with time to come to rest.",
]


def rows(run):
    requests = QUICK_REQUESTS if run.quick else REQUESTS
    run.progress("switches")
    mayfly = count(run.fleet, run.fleet.mayfly_relaxed, requests)
    null = count(run.fleet, run.fleet.null, requests)
    for step in STEPS:
        base = statistics.median(null[step])
        yield r.row("switches", PAYLOAD_BYTES, step, "relaxed", "null server", null[step],
                    "switches", [samples - base for samples in mayfly[step]], AIMS[step])


def count(fleet, server, requests):
    """Switches by step."""
    caller = Caller(fleet.certificates, server.port)
    samples = {step: [] for step in STEPS}
    try:
        for life in range(-requests // 4, requests):  # the first ones warm up
            for step, call in caller.life():
                before = at_rest(server)
                call()
                if life >= 0:
                    samples[step].append(at_rest(server) - before)
    finally:
        caller.close()
    return samples


def at_rest(server):
    """Its switches so far, once they stay as they are."""
    count = server.voluntary_switches()
    while True:
        time.sleep(QUIET_SECONDS)
        later = server.voluntary_switches()
        if later == count:
            return count
        count = later


class Caller:
    """Unary RPCs, one at a time, without what a client of ours would do beside."""

    def __init__(self, certificates, port):
        sys.path.insert(0, str(BINARY_DIR / "src/python/lib"))
        import grpc
        from mayfly.v1 import function_io_pb2, function_io_pb2_grpc

        self._messages = function_io_pb2
        self._channels = []

        def stub(role):
            files = [pathlib.Path(certificates, name).read_bytes()
                     for name in ("ca.pem", f"{role}.key", f"{role}.pem")]
            channel = grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(*files))
            self._channels.append(channel)
            return function_io_pb2_grpc.FunctionIoStub(channel)

        self._client, self._worker = stub("client"), stub("worker")

    def close(self):
        for channel in self._channels:
            channel.close()

    def life(self):
        """Its steps, each to be called before the next is taken."""
        import mayfly

        v1 = self._messages
        call_id = mayfly.new_call_id()
        data = bytes(PAYLOAD_BYTES)
        token = os.urandom(16)
        claimed = []
        ttl = {"ttl": {"seconds": 3600}}
        payload = {"data": data, "crc32c": mayfly.checksum.crc32c(data)}
        yield "put", lambda: answered(self._client.PutInputs(v1.PutInputsRequest(
            items=[{"call_id": call_id, "payload": payload, **ttl}])))
        yield "get", lambda: answered(self._worker.GetInputs(v1.GetInputsRequest(
            call_ids=[call_id])))
        yield "put_output", lambda: answered(self._worker.PutOutputs(v1.PutOutputsRequest(
            items=[{"call_id": call_id, "attempt": 1, "outcome": v1.OUTCOME_SUCCESS,
                    "payload": payload, **ttl}])))
        yield "claim", lambda: claimed.extend(self._client.ClaimOutputs(v1.ClaimOutputsRequest(
            call_ids=[call_id], claim_token=token)).outputs)
        yield "ack", lambda: answered(self._client.AckOutputs(v1.AckOutputsRequest(
            items=[{"call_id": call_id, "claim_token": token, "fence": claimed[0].fence,
                    "crc32c": payload["crc32c"]}])))


def answered(response):
    for result in response.results:
        if result.status.code:
            raise RuntimeError(result.status.message)
