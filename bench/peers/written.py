"""What is written to disk for each byte of payload."""

import disk
import lives
import machine
import redis_client
import rows as r

SIZE_BYTES = 1024
DISK_BYTES = 8 << 30

BATCH = 32
SECONDS = 10
SECONDS_QUICK = 2

# Small beside the payload, so that nearly all of it is flushed and merged.
UNREAD_CALLS, UNREAD_MEMTABLE = 1_000_000, "64MiB"
UNREAD_CALLS_QUICK, UNREAD_MEMTABLE_QUICK = 100_000, "16MiB"

NOTES = [
    "Bytes written: sectors of a disk of the server's own, a file system in a file, with its "
    f"journal. Acked young: lives in batches of {BATCH} for {SECONDS} s, of which inputs and "
    "outputs are the payload, and a regular stop.",
    f"Unread: {UNREAD_CALLS:,} inputs that are not read, a regular stop, which flushes, a start and "
    f"a stop. storage.memtable_bytes is {UNREAD_MEMTABLE} there, so that what a day of flushes and "
    "merges does to a call happens to these. Redis' file is written as it comes, and anew whenever "
    "it has doubled.",
]


def count(run, kind, act, **options):
    """Bytes that a server of `kind` wrote for one byte of payload, of which `act` tells how much."""
    run.progress(f"bytes written, {kind}")
    with disk.Disk(run.directory, DISK_BYTES) as own:
        start = run.fleet.start_mayfly if kind == "mayfly" else run.fleet.start_redis
        before = own.written_bytes()
        server = start(f"{kind}-written", "relaxed" if kind == "mayfly" else "everysec",
                       parent=own.path, **options)
        try:
            payload_bytes = act(run, kind, server)
            server.stop()
            return (own.written_bytes() - before) / payload_bytes
        finally:
            run.fleet.remove(server)


def live_for_a_moment(run, kind, server):
    options = lives.driver_options(kind, lives.batch(SIZE_BYTES, BATCH))
    report = run.drive(server, kind, warm_up=0, seconds=SECONDS_QUICK if run.quick else SECONDS,
                       **options)
    return 2 * SIZE_BYTES * report["lives"]


def stay_unread(run, kind, server):
    calls = UNREAD_CALLS_QUICK if run.quick else UNREAD_CALLS
    run.scale(server, f"{kind}-fill", calls=calls, payload_bytes=SIZE_BYTES)
    if kind == "redis":
        redis_client.wait_for_rewrite(server.port, run.fleet.certificates)
    else:
        server.stop()
        server.start()
    return calls * SIZE_BYTES


def rows(run):
    if not disk.is_possible():
        run.notes.append("Bytes written were not counted: that takes root and a loop device.")
        return
    machine.require(run.directory, 1 << 30, DISK_BYTES, "the bytes written")
    memtable = UNREAD_MEMTABLE_QUICK if run.quick else UNREAD_MEMTABLE
    for shape, act, options, aim in (
            (f"acked young, batch_{BATCH}", live_for_a_moment, {}, "Mayfly <= 1.3"),
            ("unread", stay_unread, {"memtable": memtable}, "Mayfly <= 3")):
        mayfly = count(run, "mayfly", act, **options)
        redis = count(run, "redis", act)
        yield r.row("written_per_payload_byte", SIZE_BYTES, shape, "relaxed",
                    "Redis, appendfsync everysec", [redis], "bytes", [mayfly], aim)
