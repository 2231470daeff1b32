#!/usr/bin/python3
"""Large payloads over connections that are cut, and from servers that send them damaged or in part."""

import hashlib
import io
import os
import random
import sys
import time
import unittest
from typing import Any, Callable, Iterator

import mayfly
from both_halves import both_halves
from fake_server import FakeServer
from mayfly import errors
from mayfly.checksum import crc32c
from mayfly.v1 import function_io_pb2 as pb
from python_test_case import LiveTestCase, new_data, pieces_of

SEGMENT_BYTES = 1 << 20
CUTS = 6
RESTART_BYTES = 24 << 20  # more than is under way at a time


@both_halves
class Cuts(LiveTestCase):
    """Nothing is lost, and what has passed does not pass again."""

    # Half of it is more than sockets hold on a machine that is too busy to empty them.
    BYTES = 24 * SEGMENT_BYTES + 12_345

    def setUp(self) -> None:
        self.tcp_proxy = self.proxy()
        seed = int.from_bytes(os.urandom(4), "big")
        print("seed", seed, file=sys.stderr)
        self.rng = random.Random(seed)
        self.data = new_data(self.BYTES)

    def cut(self, direction: str) -> None:
        at = self.rng.randrange(2 * SEGMENT_BYTES, self.BYTES - SEGMENT_BYTES)
        ending = self.rng.choice(["fin", "reset"])
        self.assertEqual(self.tcp_proxy.tell(f"cut-after {direction} {at} {ending}"), "ok")

    def assert_resumed(self, direction: str, before: int) -> None:
        passed = int(self.tcp_proxy.tell(f"passed {direction}")) - before
        self.assertEqual(self.tcp_proxy.tell("wait-for-cut"), "yes")
        # What was under way when it was cut passes twice: what the sockets held.
        self.assertLess(passed, self.BYTES * 3 // 2)

    def test_uploads_go_on(self) -> None:
        client = self.client(server=self.tcp_proxy.target, delay_min=0.01)
        sources: list[Callable[[], Any]] = [
            lambda: self.data,
            lambda: io.BytesIO(self.data),
            lambda: pieces_of(self.data),
        ]
        for index in range(CUTS):
            before = int(self.tcp_proxy.tell("passed to-server"))
            self.cut("to-server")
            call = client.put_input(sources[index % 3]())
            self.assert_resumed("to-server", before)
            self.assertTrue(self.worker().get_input(call) == self.data)

    def test_downloads_go_on(self) -> None:
        direct, worker = self.client(), self.worker()
        client = self.client(server=self.tcp_proxy.target, delay_min=0.01)
        for _ in range(CUTS):
            call = direct.put_input(b"question")
            worker.put_output(call, self.data)
            before = int(self.tcp_proxy.tell("passed to-client"))
            self.cut("to-client")
            with client.retrieving(call, timeout=60) as out:
                digest = hashlib.sha256()
                for piece in out.stream():
                    digest.update(piece)
            self.assertEqual(digest.digest(), hashlib.sha256(self.data).digest())
            self.assert_resumed("to-client", before)
            self.assertEqual(direct.describe(call).state, "consumed")

    def test_an_iterator_is_kept_only_until_the_server_has_it(self) -> None:
        """Longer than what is kept; and its answer is lost."""
        data = new_data(40 * SEGMENT_BYTES)
        client = self.client(server=self.tcp_proxy.target, delay_min=0.01)
        call = client.put_input(pieces_of(data))
        self.assertTrue(self.worker().get_input(call) == data)


@both_halves
class Damaged(LiveTestCase):
    """A download that is not the whole is an error, after whatever came of it."""

    DATA = new_data(3 * SEGMENT_BYTES + 17)

    def setUp(self) -> None:
        self.fake = FakeServer(self.server.path("certificates"))
        self.addCleanup(self.fake.close)

    def steps(self, request: pb.DownloadRequest) -> list[pb.DownloadResponse]:
        """As it should be."""
        payload = pb.Payload(crc32c=crc32c(self.DATA))
        header = pb.DownloadHeader(payload=payload, size_bytes=len(self.DATA))
        steps = [pb.DownloadResponse(header=header)]
        for offset in range(request.offset_bytes, len(self.DATA), SEGMENT_BYTES):
            data = self.DATA[offset : offset + SEGMENT_BYTES]
            segment = pb.DownloadSegment(offset_bytes=offset, data=data)
            steps.append(pb.DownloadResponse(segment=segment))
        finish = pb.DownloadFinish(size_bytes=len(self.DATA), crc32c=crc32c(self.DATA))
        steps.append(pb.DownloadResponse(finish=finish))
        return steps

    def download(self, edit: Callable[[list[pb.DownloadResponse]], Any]) -> bytes:
        """What the client takes for the whole, in memory and in pieces."""

        def edited(request: pb.DownloadRequest) -> Iterator[pb.DownloadResponse]:
            steps = self.steps(request)
            edit(steps)
            yield from steps

        self.fake.download = edited
        worker = self.worker(server=self.fake.target, attempts_max=3, delay_min=0.001)
        call = mayfly.new_call_id()
        results: list[Any] = []
        for ask in (
            lambda: worker.get_input(call),
            lambda: b"".join(worker.stream_input(call)),
        ):
            try:
                results.append(ask())
            except mayfly.Error as error:
                results.append(error)
        if isinstance(results[0], mayfly.Error):
            self.assertEqual({type(each) for each in results}, {type(results[0])})
            raise results[0]
        return bytes(results[0])

    def test_the_whole(self) -> None:
        self.assertTrue(self.download(lambda steps: None) == self.DATA)

    def test_damage(self) -> None:
        def flip(steps: list[pb.DownloadResponse]) -> None:
            data = bytearray(steps[2].segment.data)
            data[4711] ^= 1
            steps[2].segment.data = bytes(data)

        def flip_finish(steps: list[pb.DownloadResponse]) -> None:
            steps[-1].finish.crc32c ^= 1

        def flip_header(steps: list[pb.DownloadResponse]) -> None:
            steps[0].header.payload.crc32c ^= 1

        def shorten(steps: list[pb.DownloadResponse]) -> None:
            del steps[-2]
            steps[-1].finish.size_bytes = steps[0].header.size_bytes = 3 * SEGMENT_BYTES

        def finish_early(steps: list[pb.DownloadResponse]) -> None:
            del steps[-2]

        for edit in (flip, flip_finish, flip_header, shorten, finish_early):
            with self.subTest(edit.__name__), self.assertRaises(errors.PayloadDamaged):
                self.download(edit)

    def test_truncation(self) -> None:
        """Ends that look orderly, however often the rest is asked for."""

        def no_finish(steps: list[pb.DownloadResponse]) -> None:
            del steps[-1]

        def only_the_header(steps: list[pb.DownloadResponse]) -> None:
            del steps[1:]

        def nothing(steps: list[pb.DownloadResponse]) -> None:
            steps.clear()

        for edit in (no_finish, only_the_header, nothing):
            with self.subTest(edit.__name__), self.assertRaises(errors.Unavailable):
                self.download(edit)

    def test_a_segment_at_a_time(self) -> None:
        def one_segment(steps: list[pb.DownloadResponse]) -> None:
            del steps[2:]

        self.assertTrue(self.download(one_segment) == self.DATA)

    def test_a_server_without_room_is_asked_for_the_rest(self) -> None:
        asked: list[int] = []

        def steps(request: pb.DownloadRequest) -> Iterator[pb.DownloadResponse]:
            asked.append(request.offset_bytes)
            return iter(self.steps(request))

        self.fake.download = steps
        self.fake.overloads = 2
        worker = self.worker(server=self.fake.target, delay_min=0.001)
        self.assertTrue(b"".join(worker.stream_input("a call")) == self.DATA)
        self.assertEqual(asked, [0, SEGMENT_BYTES, 2 * SEGMENT_BYTES])

    def test_a_server_that_stalls_is_given_up(self) -> None:
        def stall(request: pb.DownloadRequest) -> Iterator[pb.DownloadResponse]:
            yield from self.steps(request)[:2]
            self.fake.gate.wait()

        self.fake.download = stall
        self.fake.gate.clear()
        pieces = self.worker(server=self.fake.target, timeout=3.0).stream_input("a call")
        self.assertEqual(len(next(pieces)), SEGMENT_BYTES)
        with self.assertRaises(errors.TimedOut):
            next(pieces)

    def test_a_consumer_may_take_its_time(self) -> None:
        self.fake.download = lambda request: iter(self.steps(request))
        pieces = self.worker(server=self.fake.target, timeout=2.0).stream_input("a call")
        received = next(pieces)
        time.sleep(4.5)
        self.assertTrue(received + b"".join(pieces) == self.DATA)

    def test_segments_out_of_place(self) -> None:
        def swap(steps: list[pb.DownloadResponse]) -> None:
            steps[1], steps[2] = steps[2], steps[1]

        def repeat(steps: list[pb.DownloadResponse]) -> None:
            steps.insert(1, steps[1])

        def more(steps: list[pb.DownloadResponse]) -> None:
            steps[-2].segment.data += b"x"

        def after_finish(steps: list[pb.DownloadResponse]) -> None:
            steps.append(steps[-2])

        def no_header(steps: list[pb.DownloadResponse]) -> None:
            del steps[0]

        for edit in (swap, repeat, more, after_finish, no_header):
            with self.subTest(edit.__name__), self.assertRaises(errors.ProtocolError):
                self.download(edit)


@both_halves
class Restart(LiveTestCase):
    """A restart of the server ends every claim."""

    def setUp(self) -> None:
        self.c = self.client(delay_min=0.01, lease=3.0)
        self.w = self.worker(delay_min=0.01)

    def ready(self, data: bytes) -> str:
        call = self.c.put_input(b"")
        self.w.put_output(call, data)
        return call

    def test_a_download_goes_on_from_where_it_was(self) -> None:
        data = new_data(RESTART_BYTES)
        call = self.ready(data)
        with self.c.retrieving(call, timeout=60) as out:
            stream = out.stream()
            pieces = [next(stream)]
            self.server.kill()
            self.server.start()
            pieces += list(stream)
        self.assertTrue(b"".join(pieces) == data)
        self.assertEqual(self.c.describe(call).state, "consumed")

    def test_what_is_held_is_acknowledged_after_it(self) -> None:
        small = self.ready(b"answer")
        with self.c.retrieving(small, timeout=60) as out:
            self.server.kill()
            self.server.start()
            self.assertEqual(out.data, b"answer")
        self.assertEqual(self.c.describe(small).state, "consumed")

    def test_another_output_does_not_follow_on_the_first_half_of_one(self) -> None:
        call = self.ready(new_data(RESTART_BYTES))
        with self.assertRaises(errors.ClaimLost):
            with self.c.retrieving(call, timeout=60) as out:
                stream = out.stream()
                next(stream)
                self.server.kill()
                self.server.start()
                self.w.put_output(call, new_data(RESTART_BYTES), attempt=2)
                list(stream)
        self.assertEqual(self.c.describe(call).output.attempt, 2)


if __name__ == "__main__":
    unittest.main()
