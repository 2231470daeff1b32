"""Lives of calls: put input, get input, put output, take output exactly once, delete both.

Mayfly, Redis and a server that stores nothing take turns, so that other load on the machine affects
all of them.
"""

import dataclasses

import rows as r

KIB = 1 << 10
MIB = 1 << 20

# Batches under way at one time, the same for all. With one or two, client and server wait for each
# other; with four the null server is at its best and Redis close to it. Mayfly, whose acks wait for
# the disk, would gain from more.
BATCH_LANES = 4

# Where Redis is measured with a connection per caller too, beside its fastest.
CONNECTION_EACH = (KIB, "unary_64")

FULL = {"repetitions": 5, "seconds": 1.2, "warm_up": 0.4}
QUICK = {"repetitions": 2, "seconds": 0.8, "warm_up": 0.2}


@dataclasses.dataclass(frozen=True)
class Shape:
    size_bytes: int
    batch: int
    lanes: int
    in_quick: bool = False

    @property
    def name(self):
        return f"unary_{self.lanes}" if self.batch == 1 else f"batch_{self.batch}"


def unary(size_bytes, lanes, in_quick=False):
    return Shape(size_bytes, 1, lanes, in_quick)


def batch(size_bytes, calls, in_quick=False):
    return Shape(size_bytes, calls, BATCH_LANES, in_quick)


SHAPES = [
    unary(KIB, 1, True), unary(KIB, 16), unary(KIB, 64, True), batch(KIB, 32, True),
    batch(KIB, 256, True),
    unary(16 * KIB, 1), unary(16 * KIB, 16), unary(16 * KIB, 64), batch(16 * KIB, 32),
    batch(16 * KIB, 256),
    unary(64 * KIB, 1), unary(64 * KIB, 16, True), unary(64 * KIB, 64), batch(64 * KIB, 8, True),
    unary(MIB, 1), unary(MIB, 4, True),
]

PUT_P50_AIM = "<= 1.3"

NOTES = [
    "A life in Redis: SET with EX 86400, GET, SET with EX 86400, GETDEL, DEL. In Mayfly: PutInputs, "
    "GetInputs, PutOutputs, ClaimOutputs, whose request takes the acks of the caller's life before "
    "along; likewise with the null server. Every payload is compared with what was put; one "
    "difference or error would have ended the run.",
    "Mayfly does within these figures what Redis does not: payloads are encrypted on disk, each "
    "under a key of its own; acks are answered after that key was overwritten and synced, under "
    "relaxed durability too; an output is held under a claim until it is acknowledged, where "
    "GETDEL loses it with the connection. Redis keeps deleted values in its append-only file "
    "until the next rewrite.",
    f"unary_N: N calls at one time, each by itself; batch_N: {BATCH_LANES} batches of N at one "
    "time. gRPC over one connection per role, two for batches and from 64 KiB on; Redis over four, "
    "sixteen from 16 KiB on and for batches under always, on which commands of independent callers "
    "are pipelined. That is the fastest for each; what a connection per caller makes of Redis is a "
    "row of its own. The client of Redis has one thread, like Redis; that of gRPC has gRPC's own.",
]


def grpc_options(shape):
    """The best of 1, 2 and 4 connections on two cores, and of both ways to acknowledge."""
    return {"connections": 1 if shape.batch == 1 and shape.size_bytes < 64 * KIB else 2,
            "acks_ride": True}


def redis_options(shape, durability):
    """Callers share few connections, so that what they say at one time goes out in one write. But
    Redis reads 16 KiB of each connection between two syncs: larger things want more of them.
    """
    is_large = shape.size_bytes >= 16 * KIB or (durability == "always" and shape.batch > 1)
    return {"connections": min(shape.lanes * shape.batch, 16 if is_large else 4)}


def driver_options(kind, shape):
    """life_driver's, for a section that measures such lives in a state of its own."""
    connections = (grpc_options(shape) if kind == "mayfly"
                   else redis_options(shape, "everysec"))
    return {"payload_bytes": shape.size_bytes, "batch": shape.batch, "lanes": shape.lanes,
            **connections}


def null_aim(shape):
    if shape.size_bytes >= 64 * KIB:
        return ">= 0.7"
    return {1: ">= 0.85", 32: ">= 0.5", 256: ">= 0.45"}[shape.batch]


def redis_aim(shape, durability):
    if durability == "sync":
        if shape.size_bytes >= 64 * KIB:
            return ">= 1.5"
        return ">= 1.2" if shape.size_bytes == KIB and shape.batch > 1 else None
    if shape.size_bytes == MIB:
        return ">= 1"
    return {(KIB, 256): ">= 0.9", (64 * KIB, 8): ">= 1.3"}.get((shape.size_bytes, shape.batch))


def measure(run, shape, settings):
    """Reports of life_driver per peer, in turns."""
    fleet = run.fleet
    options = {"payload_bytes": shape.size_bytes, "batch": shape.batch, "lanes": shape.lanes,
               "seconds": settings["seconds"], "warm_up": settings["warm_up"]}
    turns = [("mayfly relaxed", fleet.mayfly_relaxed, "mayfly", grpc_options(shape)),
             ("redis everysec", fleet.redis_everysec, "redis",
              redis_options(shape, "everysec")),
             ("mayfly sync", fleet.mayfly_sync, "mayfly", grpc_options(shape)),
             ("redis always", fleet.redis_always, "redis",
              redis_options(shape, "always")),
             ("null", fleet.null, "mayfly", grpc_options(shape))]
    if (shape.size_bytes, shape.name) == CONNECTION_EACH:
        each = {"connections": shape.lanes}
        turns += [("redis everysec, each", fleet.redis_everysec, "redis", each),
                  ("redis always, each", fleet.redis_always, "redis", each)]
    reports = {name: [] for name, *_ in turns}
    for repetition in range(settings["repetitions"]):
        for name, server, subcommand, peer_options in turns:
            run.progress(f"{r.size_text(shape.size_bytes)} {shape.name}, {name}, "
                         f"{repetition + 1} of {settings['repetitions']}")
            reports[name].append(run.drive(server, subcommand, **options, **peer_options))
    return reports


def compare(shape, reports):
    rates = {name: [report["lives_per_s"] for report in of_peer]
             for name, of_peer in reports.items()}
    for durability, redis in (("relaxed", "everysec"), ("sync", "always")):
        mayfly = rates[f"mayfly {durability}"]
        yield r.row("lives_over_redis", shape.size_bytes, shape.name, durability,
                    f"Redis, appendfsync {redis}", rates[f"redis {redis}"], "lives/s", mayfly,
                    redis_aim(shape, durability))
        if f"redis {redis}, each" in rates:
            yield r.row("lives_over_redis", shape.size_bytes, shape.name, durability,
                        f"Redis, appendfsync {redis}, a connection per caller",
                        rates[f"redis {redis}, each"], "lives/s", mayfly)
        # A server without a disk is no measure for one that waits for it: reported without an aim.
        yield r.row("lives_over_null", shape.size_bytes, shape.name, durability,
                    "server that stores nothing", rates["null"], "lives/s", mayfly,
                    null_aim(shape) if durability == "relaxed" else None)
    if (shape.size_bytes, shape.name) == (KIB, "unary_1"):
        put_us = {name: [report["step_us"]["put_input"]["p50"] for report in reports[name]]
                  for name in ("mayfly relaxed", "null")}
        yield r.row("put_p50_over_null", KIB, shape.name, "relaxed", "server that stores nothing",
                    put_us["null"], "us", put_us["mayfly relaxed"], PUT_P50_AIM)


def rows(run):
    settings = QUICK if run.quick else FULL
    for shape in SHAPES:
        if shape.in_quick or not run.quick:
            yield from compare(shape, measure(run, shape, settings))
