"""A server that holds many calls: what each costs, how it starts, and how fast it still is.

A live call here is an input of 1 KiB that was put and is never retrieved; in Redis it is a key with
such a value.
"""

import contextlib

import lives
import machine
import redis_client
import rows as r

SIZE_BYTES = 1024
# What fits into the time of a whole run; the aims are for AIM_CALLS and stated only there.
LIVE_CALLS = 2_000_000
AIM_CALLS = 5_000_000
LIVE_CALLS_QUICK = 100_000
FEW_CALLS = 10_000

# Starts of Mayfly, each after further puts, so that each has something to recover.
STARTS = 3
TOP_UP_SHARE = 25
START_SECONDS_MAX = 300

AIMS = {"rss": "<= 0.1", "start": "Mayfly <= 2", "rate": "Mayfly >= 0.8"}

RATE_BATCH = 32
RATE_FULL = {"repetitions": 5, "seconds": 1.2, "warm_up": 0.4}
RATE_QUICK = {"repetitions": 2, "seconds": 0.8, "warm_up": 0.2}

# What both servers take for each call while one of them holds all and the other does too. Redis
# copies pages while it rewrites its append-only file, and then has two of them.
MEMORY_BYTES_PER_CALL = 2300
DISK_BYTES_PER_CALL = 5600

NOTES = [
    "Memory: what is resident after the puts less what was when the server was empty. Of Mayfly, all "
    "of it, then without the pages of files (above all the mapped slot file), which the kernel can "
    "take back.",
    f"Start: from before exec to the answer to DescribeCalls of a known call, in Redis to GET of a "
    f"known key. Mayfly was killed {STARTS} times, after further puts each time; all of a sample of "
    "1,000 inputs could then be read. Files were in the page cache, as they are after a crash of "
    "the process.",
]


def live_calls(run):
    return run.live_calls or (LIVE_CALLS_QUICK if run.quick else LIVE_CALLS)


def name_of(calls):
    return f"{calls / 1e6:g} M live" if calls >= 1_000_000 else f"{calls // 1000} k live"


class Many:
    """A server with many calls and another of its kind with few, and their measurements."""

    def __init__(self, run, kind, start):
        self.run = run
        self.kind = kind
        self.many = start(f"{kind}-many")
        self.few = start(f"{kind}-few")
        self.sample = run.directory / f"{kind}-sample"

    def put(self, server, calls, **options):
        return self.run.scale(server, f"{self.kind}-fill", calls=calls, **options)

    def fill(self, calls):
        """What the memory grows by."""
        self.put(self.few, FEW_CALLS)
        before = self.many.memory_bytes()
        report = self.put(self.many, calls, sample=self.sample)
        self.run.notes.append(f"{calls:,} puts in batches, one after another: {self.kind} took "
                              f"{report['seconds']:.0f} s.")
        self.settle()
        after = self.many.memory_bytes()
        return {name: (after[name] - before[name]) / calls for name in after}

    def settle(self):
        """Waits for what the server still does of its own accord."""

    def remove(self):
        self.run.fleet.remove(self.many)
        self.run.fleet.remove(self.few)


class ManyInMayfly(Many):
    def __init__(self, run):
        super().__init__(run, "mayfly", lambda name: run.fleet.start_mayfly(name, "relaxed"))

    def starts(self, calls):
        seconds = []
        for turn in range(STARTS):
            if turn:
                self.put(self.many, calls // TOP_UP_SHARE)
            self.many.kill()
            launched = self.many.launch()
            report = self.run.scale(self.many, "mayfly-probe", sample=self.sample,
                                    seconds=START_SECONDS_MAX)
            seconds.append(report["first_answer_s"] - launched)
            if report["readable"] != report["calls"]:
                raise self.run.failure(f"{self.many.name} lost calls when it was killed: {report}")
        return seconds


class ManyInRedis(Many):
    def __init__(self, run):
        super().__init__(run, "redis", lambda name: run.fleet.start_redis(name, "everysec"))

    def settle(self):
        redis_client.wait_for_rewrite(self.many.port, self.run.fleet.certificates)

    def starts(self, calls):
        del calls
        self.many.kill()
        launched = self.many.launch()
        answered = redis_client.wait_for_key(self.many.port, self.run.fleet.certificates,
                                             self.sample.read_text().split()[0],
                                             START_SECONDS_MAX)
        return [answered - launched]


def rates(run, peers):
    """{kind: lives per second with many calls over that with few}, measured in turns."""
    settings = RATE_QUICK if run.quick else RATE_FULL
    ratios = {peer.kind: [] for peer in peers}
    for repetition in range(settings["repetitions"]):
        for peer in peers:
            run.progress(f"lives with many calls, {peer.kind}, {repetition + 1} of "
                         f"{settings['repetitions']}")
            options = lives.driver_options(peer.kind, lives.batch(SIZE_BYTES, RATE_BATCH))
            many, few = (run.drive(server, peer.kind, seconds=settings["seconds"],
                                   warm_up=settings["warm_up"], **options)["lives_per_s"]
                         for server in (peer.many, peer.few))
            ratios[peer.kind].append(many / few)
    return ratios


def rows(run):
    calls = live_calls(run)
    machine.require(run.directory, calls * MEMORY_BYTES_PER_CALL, calls * DISK_BYTES_PER_CALL,
                    f"{calls} live calls")
    with contextlib.ExitStack() as at_end:
        peers = []
        memory, starts = {}, {}
        for kind in (ManyInMayfly, ManyInRedis):
            peer = kind(run)
            at_end.callback(peer.remove)
            peers.append(peer)
            run.progress(f"puts of {calls} calls, {peer.kind}")
            memory[peer.kind] = peer.fill(calls)
            run.progress(f"starts with {calls} calls, {peer.kind}")
            starts[peer.kind] = peer.starts(calls)
        ratios = rates(run, peers)
    shape = name_of(calls)
    aims = AIMS if calls >= AIM_CALLS else {}
    redis = "Redis, appendfsync everysec"
    yield r.row("rss_per_live_call", SIZE_BYTES, shape, "relaxed", redis,
                [memory["redis"]["VmRSS"]], "bytes", [memory["mayfly"]["VmRSS"]], aims.get("rss"))
    yield r.row("rss_per_live_call", SIZE_BYTES, f"{shape}, anonymous", "relaxed", redis,
                [memory["redis"]["RssAnon"]], "bytes", [memory["mayfly"]["RssAnon"]])
    yield r.row("start_after_kill", SIZE_BYTES, shape, "relaxed", redis, starts["redis"], "s",
                starts["mayfly"], aims.get("start"))
    yield r.row("rate_at_many_calls", SIZE_BYTES, f"batch_{RATE_BATCH}, {shape}", "relaxed", redis,
                ratios["redis"], "of the rate with few", ratios["mayfly"], aims.get("rate"))
