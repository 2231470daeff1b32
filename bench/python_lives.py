#!/usr/bin/python3
"""Lives of calls a second through the Python client, beside python3-redis doing the same over TLS.

  bench/python_lives.py [--rounds 5] [--seconds 3] [--transports native,grpcio] [--json FILE]
                        [--binary-dir DIR]

Installs what is missing (as root or with sudo) and builds the release, unless --binary-dir has a build.
A life is put input, get input, put output, take output exactly once, all gone; payloads are 1 KiB of
random bytes, and each that comes back is compared. Redis: SET with EX, GET, SET with EX, GETDEL, DEL.
One Python process has all the threads, both servers run on this machine with the same certificates,
and the two take turns.

  single      one thread, one call at a time
  threads_64  64 threads like that; Mayfly's client batches by itself, Redis has a connection each
  batch_256   one thread, batches of 256 given as such; in Redis pipelines

A transport is how the requests of Mayfly's client travel: by its native module, or by gRPC for Python.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "peers"))

import release  # noqa: E402
import rows as r  # noqa: E402
import servers  # noqa: E402

TARGETS = ["mayflyd", "mayfly_python"]
PAYLOAD_BYTES = 1024
POOL_PAYLOADS = 512
TTL_SECONDS = 3600
THREADS = 64
BATCH_CALLS = 256
AIM = ">= 1"


class Pool:
    """Payloads that do not repeat soon, made before the time is taken."""

    def __init__(self):
        self._payloads = [os.urandom(PAYLOAD_BYTES) for _ in range(POOL_PAYLOADS)]

    def of(self, life):
        """Input and output."""
        return (self._payloads[life % POOL_PAYLOADS], self._payloads[(life + 1) % POOL_PAYLOADS])


class Mayfly:
    def __init__(self, server, certificates, transport):
        self.name = transport
        files = {"ca": str(certificates / "ca.pem"), "transport": transport}
        target = f"127.0.0.1:{server.port}"
        self._client, self._worker = (
            role(target, cert=str(certificates / f"{name}.pem"),
                 key=str(certificates / f"{name}.key"), **files)
            for role, name in ((mayfly.Client, "client"), (mayfly.Worker, "worker")))

    def close(self):
        self._client.close()
        self._worker.close()

    def live(self, given, expected):
        client, worker = self._client, self._worker
        call = client.put_input(given, ttl=TTL_SECONDS)
        require(worker.get_input(call) == given)
        worker.put_output(call, expected, ttl=TTL_SECONDS)
        require(client.retrieve(call) == expected)

    def live_batch(self, pairs):
        client, worker = self._client, self._worker
        calls = client.put_inputs([given for given, _ in pairs], ttl=TTL_SECONDS)
        require(worker.get_inputs(calls) == [given for given, _ in pairs])
        worker.put_outputs([mayfly.OutputItem(call, expected) for call, (_, expected)
                            in zip(calls, pairs)], ttl=TTL_SECONDS)
        require(client.retrieve_all(calls) == [expected for _, expected in pairs])


class Redis:
    name = "redis"

    def __init__(self, server, certificates):
        self._redis = redis_client.connect(server.port, certificates)

    def close(self):
        self._redis.connection_pool.disconnect()

    def live(self, given, expected):
        # As long as a call's id, and as random.
        call = mayfly.new_call_id()
        store = self._redis
        require(store.set(f"i{call}", given, ex=TTL_SECONDS))
        require(store.get(f"i{call}") == given)
        require(store.set(f"o{call}", expected, ex=TTL_SECONDS))
        require(store.getdel(f"o{call}") == expected)
        require(store.delete(f"i{call}") == 1)

    def live_batch(self, pairs):
        calls = [mayfly.new_call_id() for _ in pairs]
        require(all(self._pipeline("set", [
            (f"i{call}", given, TTL_SECONDS) for call, (given, _) in zip(calls, pairs)])))
        require(self._pipeline("get", [(f"i{call}",) for call in calls])
                == [given for given, _ in pairs])
        require(all(self._pipeline("set", [
            (f"o{call}", expected, TTL_SECONDS) for call, (_, expected) in zip(calls, pairs)])))
        require(self._pipeline("getdel", [(f"o{call}",) for call in calls])
                == [expected for _, expected in pairs])
        require(self._pipeline("delete", [(f"i{call}",) for call in calls]) == [1] * len(calls))

    def _pipeline(self, command, arguments):
        pipeline = self._redis.pipeline(transaction=False)
        for words in arguments:
            getattr(pipeline, command)(*words)
        return pipeline.execute()


def require(is_so):
    if not is_so:
        raise servers.Failure("what came back is not what was put")


class Window:
    """Counts the lives that end in it. It opens when every thread has lived once, connected by then,
    and the threads go on until after its end."""

    def __init__(self, seconds, threads):
        self._seconds = seconds
        self._lives = 0
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(threads, action=self._open)
        self.failure = None

    def _open(self):
        self.end = time.monotonic() + self._seconds

    def wait_until_open(self):
        self._barrier.wait()

    def add(self, lives):
        if time.monotonic() < self.end:
            with self._lock:
                self._lives += lives

    def is_over(self):
        return self.failure is not None or time.monotonic() >= self.end

    def fail(self, failure):
        self.failure = self.failure or failure
        self._barrier.abort()

    def rate(self):
        if self.failure is not None:
            raise self.failure
        return self._lives / self._seconds


def live_until_over(store, pool, window, batch, first_life):
    def live_at(life):
        if batch == 1:
            store.live(*pool.of(life))
        else:
            store.live_batch([pool.of(life + i) for i in range(batch)])

    life = first_life
    try:
        live_at(life)
        window.wait_until_open()
        while not window.is_over():
            life += batch
            live_at(life)
            window.add(batch)
    except Exception as failure:
        window.fail(failure)


def measure(store, pool, seconds, threads, batch):
    window = Window(seconds, threads)
    lanes = [threading.Thread(target=live_until_over, args=(store, pool, window, batch, 37 * lane))
             for lane in range(threads)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    return window.rate()


SHAPES = {"single": (1, 1), "threads_64": (THREADS, 1), "batch_256": (1, BATCH_CALLS)}
# What a crash and a loss of power may take is the same on both sides.
DURABILITIES = {"relaxed": "everysec", "sync": "always"}


def compare(fleet, durability, arguments):
    """Rows of one durability, one for each shape."""
    pool = Pool()
    server = fleet.start_mayfly(f"mayfly-{durability}", durability)
    stores = [Mayfly(server, fleet.certificates, transport) for transport in arguments.transports]
    stores.append(Redis(fleet.start_redis(f"redis-{durability}", DURABILITIES[durability]),
                        fleet.certificates))
    with contextlib.ExitStack() as stack:
        for store in stores:
            stack.callback(store.close)
        for shape, (threads, batch) in SHAPES.items():
            samples = {store.name: [] for store in stores}
            for round_number in range(arguments.rounds):
                # Neither is always the one that comes first.
                for store in stores if round_number % 2 == 0 else reversed(stores):
                    samples[store.name].append(
                        measure(store, pool, arguments.seconds, threads, batch))
                if sys.stderr.isatty():
                    print(f"\r\033[K{durability} {shape} {round_number + 1}/{arguments.rounds}",
                          end="", file=sys.stderr, flush=True)
            for transport in arguments.transports:
                yield r.row(f"python lives by {transport}", PAYLOAD_BYTES, shape, durability, "redis",
                            samples["redis"], "lives/s", samples[transport], AIM)


def render(rows):
    return table.markdown(
        ["shape", "durability", "transport", "Mayfly (min-max)", "python3-redis (min-max)", "ratio", "aim"],
        [[row["shape"], row["durability"], row["figure"].split()[-1], *(
            "{median:.0f} ({min:.0f}-{max:.0f})".format(**row[side])
            for side in ("mayfly", "peer_value")), f"{row['ratio']:.2f}",
            "met" if r.meets(row) else f"{row['aim']}: not met"] for row in rows])


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each round and shape")
    parser.add_argument("--transports", type=lambda names: names.split(","), default=["native"],
                        help="of Mayfly's client: native, grpcio or both, with a comma")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the rows")
    parser.add_argument("--binary-dir", type=pathlib.Path, help="what is built already")
    return parser.parse_args()


def load(binary_dir):
    """Imports what is there only after the build: Mayfly's client, and modules that use packages
    which the build installs."""
    global mayfly, redis_client, table
    sys.path.insert(0, str(binary_dir / "src/python/lib"))
    import mayfly
    import redis_client
    import table


def main():
    arguments = read_arguments()
    if arguments.binary_dir is None:
        release.build(TARGETS)
    binary_dir = arguments.binary_dir or release.BINARY_DIR
    load(binary_dir)
    with tempfile.TemporaryDirectory(dir=binary_dir, prefix="lives-") as directory:
        fleet = servers.Fleet(release.SOURCE_DIR, binary_dir, pathlib.Path(directory))
        with contextlib.closing(fleet):
            rows = [row for durability in DURABILITIES
                    for row in compare(fleet, durability, arguments)]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(render(rows))


if __name__ == "__main__":
    try:
        main()
    except (servers.Failure, subprocess.CalledProcessError) as failure:
        sys.exit(f"python_lives: {failure}")
