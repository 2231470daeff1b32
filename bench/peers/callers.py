"""Lives of calls from many concurrent callers, each with one call at a time.

Mayfly's C++ client batches the requests of its callers, and so does a shared connection to Redis.
The client's batching is compared with unary RPCs of each caller, and with raw requests of each on a
Session. What a Session saves of the transport alone is measured on the server that stores nothing.
"""

import rows as r

KIB = 1 << 10

FULL = {"repetitions": 5, "seconds": 1.2, "warm_up": 0.4}
QUICK = {"repetitions": 2, "seconds": 0.8, "warm_up": 0.2}

SIZES = [KIB, 64 * KIB]
CALLERS = [1, 64, 256]

AIMS = {(KIB, 64): ">= 1", (KIB, 256): ">= 1", (64 * KIB, 64): ">= 1.3", (64 * KIB, 256): ">= 1.3"}

# Of Sessions over unary RPCs, both to the null server.
SESSION_AIMS = {(KIB, 64): ">= 4", (KIB, 256): ">= 8"}

NOTES = [
    "callers_N: N callers, each with one call at a time; the next step of a life begins when the one "
    "before was answered. Mayfly's callers share one client of each role, which sends what they ask "
    "for at one time in one message and receives outputs on one stream. Redis' share one connection, "
    "on which all that they ask for at one time goes out in one write. In unary RPCs, acks ride on "
    "the next claim; so they do by Session, where all callers of a connection share one for each "
    "role, and what they send while the responses of one message are taken up goes out in one "
    "message. Beside the null server, the column Mayfly has the same server by Session.",
]


def rows(run):
    settings = QUICK if run.quick else FULL
    for size_bytes in SIZES:
        for callers in CALLERS:
            yield from compare(size_bytes, callers, measure(run, size_bytes, callers, settings))


def measure(run, size_bytes, callers, settings):
    """Lives per second by peer, in turns."""
    options = {"payload_bytes": size_bytes, "batch": 1, "lanes": callers,
               "seconds": settings["seconds"], "warm_up": settings["warm_up"]}
    unary = {"connections": 1 if size_bytes < 64 * KIB else 2, "acks_ride": True}
    turns = [("client", run.fleet.mayfly_relaxed, "client", {}),
             ("unary", run.fleet.mayfly_relaxed, "mayfly", unary),
             ("session", run.fleet.mayfly_relaxed, "mayfly", {**unary, "session": True}),
             ("redis", run.fleet.redis_everysec, "redis", {"connections": 1})]
    if (size_bytes, callers) in SESSION_AIMS:
        turns += [("null unary", run.fleet.null, "mayfly", unary),
                  ("null session", run.fleet.null, "mayfly", {**unary, "session": True})]
    rates = {name: [] for name, *_ in turns}
    for repetition in range(settings["repetitions"]):
        for name, server, subcommand, of_peer in turns:
            run.progress(f"{r.size_text(size_bytes)}, {callers} callers, {name}, "
                         f"{repetition + 1} of {settings['repetitions']}")
            rates[name].append(run.drive(server, subcommand, **options, **of_peer)["lives_per_s"])
    return rates


def compare(size_bytes, callers, rates):
    for peer, name, aim in (
            ("Redis, appendfsync everysec", "redis", AIMS.get((size_bytes, callers))),
            ("Mayfly, unary RPCs", "unary", None),
            ("Mayfly, raw requests by Session", "session", None)):
        yield r.row("callers", size_bytes, f"callers_{callers}", "relaxed", peer, rates[name],
                    "lives/s", rates["client"], aim)
    if (size_bytes, callers) in SESSION_AIMS:
        yield r.row("session_over_unary", size_bytes, f"callers_{callers}", "none",
                    "server that stores nothing, unary RPCs", rates["null unary"], "lives/s",
                    rates["null session"], SESSION_AIMS[size_bytes, callers])
