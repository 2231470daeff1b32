"""Streamed payloads: uploaded and downloaded through the C++ client."""

import rows as r

GIB = 1 << 30
MIB = 1 << 20

FULL = {"repetitions": 5, "payload_bytes": GIB}
QUICK = {"repetitions": 2, "payload_bytes": 256 * MIB}

# Transfers at a time; together they have the bytes of one.
LANES = [1, 4]

AIM = ">= 0.7"

NOTES = [
    "transfers_N: N payloads at one time, together of the given size, each streamed in segments of "
    "1 MiB with its CRC-32C, and compared when it comes back. The null server keeps the messages in "
    "memory as they came: it is the same client, gRPC, TLS and bytes. Mayfly hashes, encrypts and "
    "writes them; its downloads come from the page cache. MB are 10^6 bytes.",
]


def rows(run):
    settings = QUICK if run.quick else FULL
    for lanes in LANES:
        yield from compare(lanes, settings["payload_bytes"], measure(run, lanes, settings))


def measure(run, lanes, settings):
    turns = [("mayfly", run.fleet.mayfly_relaxed), ("null", run.fleet.null)]
    reports = {name: [] for name, _ in turns}
    for repetition in range(settings["repetitions"]):
        for name, server in turns:
            run.progress(f"{lanes} transfers, {name}, {repetition + 1} of "
                         f"{settings['repetitions']}")
            reports[name].append(run.drive(server, "client-transfers", lanes=lanes,
                                           payload_bytes=settings["payload_bytes"] // lanes))
    return reports


def compare(lanes, size_bytes, reports):
    for step in ("upload", "download"):
        mayfly, null = ([report[f"{step}_mb_per_s"] for report in reports[name]]
                        for name in ("mayfly", "null"))
        yield r.row(f"{step}_over_null", size_bytes, f"transfers_{lanes}", "relaxed",
                    "server that stores nothing", null, "MB/s", mayfly, AIM)
