"""What is written to disk for calls that live for a moment only. scale.py has those that stay."""

import lives
import rows as r

SIZE_BYTES = 1024
BATCH = 32
SECONDS = 15
SECONDS_QUICK = 2

NOTES = [
    f"Acked young: lives in batches of {BATCH} for {SECONDS} s on a fresh server, then a regular "
    "stop; inputs and outputs are its payload.",
]


def written_per_payload_byte(run, kind, server, **options):
    run.progress(f"bytes written, {kind}")
    report = run.drive(server, kind, payload_bytes=SIZE_BYTES, batch=BATCH,
                       lanes=lives.BATCH_LANES, warm_up=0,
                       seconds=SECONDS_QUICK if run.quick else SECONDS, **options)
    server.stop()
    written = server.written_bytes / (2 * SIZE_BYTES * report["lives"])
    run.fleet.remove(server)
    return written


def rows(run):
    mayfly = written_per_payload_byte(run, "mayfly",
                                      run.fleet.start_mayfly("mayfly-written", "relaxed"),
                                      **lives.GRPC_OPTIONS)
    redis = written_per_payload_byte(run, "redis",
                                     run.fleet.start_redis("redis-written", "everysec"),
                                     connections=lives.REDIS_CONNECTIONS_MAX)
    yield r.row("written_per_payload_byte", SIZE_BYTES, f"acked young, batch_{BATCH}", "relaxed",
                "Redis, appendfsync everysec", [redis], "bytes", [mayfly], "Mayfly <= 1.3")
