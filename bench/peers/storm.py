"""A storm: many calls fall due in the same second, while others go through their lives."""

import concurrent.futures
import contextlib
import time

import lives
import machine
import redis_client
import rows as r

SIZE_BYTES = 1024
CALLS = 1_000_000
CALLS_QUICK = 50_000
LANES = 16

# Puts are at least that fast; what is left of the time before the storm is waited for.
PUTS_PER_S_MIN = 25_000
LEAD_SECONDS = 20
QUIET_SECONDS = 10
STORM_SECONDS = 10
WATCH_SECONDS = 120
# Between two drivers, for one to end and the other to connect.
GAP_SECONDS = 1.5
# When the sample is looked at: a deadline counts from when the put arrived, a little later than
# when its ttl was chosen.
SAMPLE_AFTER_SECONDS = 1
# Keys of the lives that are under way.
LIVES_KEYS_MAX = 2 * LANES
MEMORY_BYTES_PER_CALL = 2300
DISK_BYTES_PER_CALL = 4000

NOTES = [
    f"Storm: lives go on (unary_{LANES}) while calls that were put before fall due in the same "
    f"second, with one ttl or PXAT for each that makes it so. Quiet: {QUIET_SECONDS} s before it; "
    f"storm: the {STORM_SECONDS} s from the deadline on. {SAMPLE_AFTER_SECONDS} s after the "
    "deadline a sample of 1,000 calls was looked at: none could be read, and Mayfly called all "
    "EXPIRED, or the run would have ended.",
    "Mayfly's clock_jump_grace is 0 s here: with the default of 15 min a new store on a machine "
    "whose kernel says that no time service keeps its clock begins to erase only after those.",
    "Removed: in Mayfly when the slot file, read every half second, holds no secret of theirs any "
    "more, and their rows are gone; in Redis when DBSIZE has fallen. Redis frees the value; its "
    "append-only file keeps it. Section expiry has when Mayfly's calls can be opened by nobody.",
]


class Storm:
    """One server, its calls that end together, and what the others of its lives meet."""

    def __init__(self, run, kind, server, calls):
        self.run = run
        self.kind = kind
        self.server = server
        self.sample = run.directory / f"{kind}-storm-sample"
        self.end = time.time() + LEAD_SECONDS + calls / PUTS_PER_S_MIN
        run.progress(f"puts of {calls} calls that end together, {kind}")
        run.scale(server, f"{kind}-fill", calls=calls, sample=self.sample,
                  end=round(self.end * 1000))
        if self.left() < QUIET_SECONDS + GAP_SECONDS:
            raise run.failure(f"{kind}: {calls} puts took too long for the storm that was planned: "
                              f"{self.left():.0f} s are left before it")

    def left(self):
        return self.end - time.time()

    def measure(self):
        """p99 of a life in us, quiet and in the storm, and the seconds to when all is removed."""
        time.sleep(max(0, self.left() - QUIET_SECONDS - 2 * GAP_SECONDS))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            removed = pool.submit(self.removed_within)
            sample = pool.submit(self.check_sample)
            quiet = self.lives_p99_us(warm_up=GAP_SECONDS / 2,
                                      seconds=self.left() - GAP_SECONDS * 1.5)
            storm = self.lives_p99_us(warm_up=self.left(), seconds=STORM_SECONDS)
            while not removed.done():
                self.lives_p99_us(warm_up=0, seconds=1)
            sample.result()
            if quiet is None or storm is None:
                raise self.run.failure(f"{self.server.name}: no life ended for {STORM_SECONDS} s")
            return quiet, storm, removed.result()

    def lives_p99_us(self, warm_up, seconds):
        self.run.progress(f"lives before, in and after the storm, {self.kind}")
        options = lives.driver_options(self.kind, lives.unary(SIZE_BYTES, LANES))
        report = self.run.drive(self.server, self.kind, warm_up=max(0, warm_up), seconds=seconds,
                                **options)
        return report["life_us"]["p99"] if report["life_us"] else None


class StormInMayfly(Storm):
    def __init__(self, run, calls):
        super().__init__(run, "mayfly", run.fleet.start_mayfly("mayfly-storm", "relaxed"), calls)

    def removed_within(self):
        end_monotonic = time.monotonic() + self.left()
        report = self.run.scale(None, "slot-watch",
                                slot_file=self.server.directory / "data/keys/slots",
                                seconds=self.left() + WATCH_SECONDS)
        if report["erased_s"] is None:
            raise self.run.failure(f"{self.server.name}: {report['counts'][-1][1]} of "
                                   f"{report['live_at_start']} calls are not removed "
                                   f"{WATCH_SECONDS} s after their deadline")
        return report["erased_s"] - end_monotonic

    def check_sample(self):
        time.sleep(self.left() + SAMPLE_AFTER_SECONDS)
        report = self.run.scale(self.server, "mayfly-probe", sample=self.sample)
        if report["states"] != {"CALL_STATE_EXPIRED": report["calls"]} or report["readable"]:
            raise self.run.failure(f"{self.server.name}: calls outlive their deadline: {report}")


class StormInRedis(Storm):
    def __init__(self, run, calls):
        super().__init__(run, "redis", run.fleet.start_redis("redis-storm", "everysec"), calls)

    def connect(self):
        return redis_client.connect(self.server.port, self.run.fleet.certificates)

    def removed_within(self):
        client = self.connect()
        while self.left() > -WATCH_SECONDS:
            if client.dbsize() <= LIVES_KEYS_MAX:
                return -self.left()
            time.sleep(0.5)
        raise self.run.failure(f"{self.server.name}: keys are left {WATCH_SECONDS} s after their "
                               "deadline")

    def check_sample(self):
        time.sleep(self.left() + SAMPLE_AFTER_SECONDS)
        client = self.connect()
        for key in self.sample.read_text().split():
            if client.get(key) is not None:
                raise self.run.failure(f"{self.server.name}: keys outlive their deadline")


def rows(run):
    calls = CALLS_QUICK if run.quick else min(run.live_calls or CALLS, CALLS)
    machine.require(run.directory, calls * MEMORY_BYTES_PER_CALL, calls * DISK_BYTES_PER_CALL,
                    f"{calls} calls that fall due at once")
    measured = {}
    for kind in (StormInMayfly, StormInRedis):
        with contextlib.ExitStack() as at_end:
            storm = kind(run, calls)
            at_end.callback(run.fleet.remove, storm.server)
            measured[storm.kind] = storm.measure()
    quiet, storm, removed = zip(measured["mayfly"], measured["redis"])
    shape = f"{calls:,} due"
    redis = "Redis, appendfsync everysec"
    for name, (mayfly_us, redis_us) in (("quiet", quiet), ("storm", storm)):
        yield r.row("life_p99", SIZE_BYTES, f"unary_{LANES}, {name}", "relaxed", redis, [redis_us],
                    "us", [mayfly_us])
    yield r.row("life_p99_in_storm", SIZE_BYTES, f"unary_{LANES}, {shape}", "relaxed", redis,
                [storm[1] / quiet[1]], "of the quiet one", [storm[0] / quiet[0]], "Mayfly <= 1.3")
    yield r.row("removed_within", SIZE_BYTES, shape, "relaxed", redis, [removed[1]], "s",
                [removed[0]])
