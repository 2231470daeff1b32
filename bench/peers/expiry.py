"""How soon what falls due can be opened by nobody, and what it costs to remove it.

The second in which calls are due is closed when both copies of its hour's cell in the keyring say that
a later one is the first open second: that much of a cell is in clear (src/keys/keyring_format.h).
"""

import concurrent.futures
import math
import struct
import time

import machine
import rows as r

SIZE_BYTES = 1024
COUNTS = [1_000, 100_000, 1_000_000]
COUNTS_QUICK = [1_000, 20_000]
REPETITIONS = 3
REPETITIONS_OF_THE_LARGEST = 1

PUTS_PER_S_MIN = 20_000
LEAD_SECONDS = 3
WATCH_SECONDS = 120
POLL_SECONDS = 0.002
MEMORY_BYTES_PER_CALL = 2300
DISK_BYTES_PER_CALL = 4000

SECONDS_PER_HOUR = 3600
COPY_OFFSETS = [bank * 131072 + copy * 65536 + 4096 for bank in (0, 1) for copy in (0, 1)]
CELLS = 64
CELL_BYTES = 512
CELL_HEAD = struct.Struct(">IqI")  # number, hour, first open second

NOTES = [
    "Expiry: inputs that fall due in the same second, relaxed. Closed: from the end of that second to "
    f"when both copies of its cell are overwritten, looked at every {1000 * POLL_SECONDS:.0f} ms, "
    "beside the same with 1,000 inputs. Removed: the server's CPU from then until the slot file, read "
    "every half second, holds none of their secrets, beside its CPU of putting them.",
]


def rows(run):
    counts = COUNTS_QUICK if run.quick else COUNTS
    machine.require(run.directory, counts[-1] * MEMORY_BYTES_PER_CALL,
                    counts[-1] * DISK_BYTES_PER_CALL, f"{counts[-1]} calls that fall due at once")
    measured = {}
    for count in counts:
        times = REPETITIONS_OF_THE_LARGEST if count == COUNTS[-1] else REPETITIONS
        measured[count] = [measure(run, count) for _ in range(times)]
    few = [each["closed_s"] for each in measured[counts[0]]]
    for count in counts:
        yield r.row("closed_within", SIZE_BYTES, f"{count:,} due", "relaxed", "1,000 due", few, "s",
                    [each["closed_s"] for each in measured[count]], "Mayfly <= 0.2")
    for count in counts[1:]:
        yield r.row("removal_cpu", SIZE_BYTES, f"{count:,} due", "relaxed", "putting them",
                    [each["put_cpu_s"] for each in measured[count]], "s of CPU",
                    [each["removal_cpu_s"] for each in measured[count]], "<= 0.2")


def measure(run, count):
    run.progress(f"{count} calls that fall due in one second")
    server = run.fleet.start_mayfly("mayfly-expiry", "relaxed")
    try:
        end_s = math.ceil(time.time() + LEAD_SECONDS + count / PUTS_PER_S_MIN)
        before_s = server.cpu_seconds()
        # In the middle of the second: a deadline counts from when the put arrived.
        run.scale(server, "mayfly-fill", calls=count, end=1000 * end_s - 500)
        put_cpu_s = server.cpu_seconds() - before_s
        left_s = end_s - time.time()
        if left_s < 1:
            raise run.failure(f"{count} puts took too long: {left_s:.1f} s are left")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            watch = pool.submit(run.scale, None, "slot-watch",
                                slot_file=server.directory / "data/keys/slots",
                                seconds=left_s + WATCH_SECONDS)
            closed_s = closed_after(run, server, end_s)
            at_close_s = server.cpu_seconds()
            if watch.result()["erased_s"] is None:
                raise run.failure(f"{count} calls are not removed after {WATCH_SECONDS} s")
            removal_cpu_s = server.cpu_seconds() - at_close_s
        return {"closed_s": closed_s, "put_cpu_s": put_cpu_s, "removal_cpu_s": removal_cpu_s}
    finally:
        run.fleet.remove(server)


def closed_after(run, server, due_s):
    """Seconds from the end of that second until its chain key is overwritten in both copies."""
    time.sleep(max(0, due_s - time.time() - 0.1))
    hour, second = divmod(due_s, SECONDS_PER_HOUR)
    with open(server.directory / "data/keys/keyring", "rb") as keyring:
        while time.time() < due_s + WATCH_SECONDS:
            if all(first_open > second for first_open in open_seconds(keyring, hour)):
                return time.time() - due_s
            time.sleep(POLL_SECONDS)
    raise run.failure(f"the second {due_s} is not closed after {WATCH_SECONDS} s")


def open_seconds(keyring, hour):
    """The first open second of the hour's keys, in every copy."""
    for offset in COPY_OFFSETS:
        keyring.seek(offset)
        copy = keyring.read(CELLS * CELL_BYTES)
        for cell in range(CELLS):
            number, its_hour, first_open = CELL_HEAD.unpack_from(copy, cell * CELL_BYTES)
            if number and its_hour == hour:
                yield first_open
