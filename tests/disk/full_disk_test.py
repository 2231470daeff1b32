#!/usr/bin/python3
"""Fills the disk of a real server with ordinary puts, kills it at the brim, and drains it again.

    full_disk_test.py MAYFLYD PROTOC [--mb N]... [--fill KIND]... [--drain KIND]... [--rounds N]

The data directory is on a loop device of its own, of each size given. In every round puts go on
until they are refused for some seconds; then the server is killed with SIGKILL while puts are in
flight, started again, and asked for everything that it has acknowledged; then all is ended, and puts
must be taken again without a restart. Whatever happens, the server ends only when it is killed, every
start serves, and every refusal is DISK_FULL with a retry delay. Exits with 77 without root or loop
devices.
"""

import argparse
import os
import shutil
import sys
import tempfile
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))

from called_server import generate_messages
from fill_round import Round
from filler import FILLS
from full_disk_server import FullDiskServer, serve
from loop_disk import LoopDisk, can_mount

SKIPPED = 77


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("mayflyd")
    parser.add_argument("protoc")
    parser.add_argument("--mb", type=int, action="append")
    parser.add_argument("--fill", choices=FILLS, action="append")
    parser.add_argument("--drain", choices=("acks", "expiry"), action="append")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--storage", default="disk_reserve_bytes = 0")
    parser.add_argument("--kills", type=int, default=0, help="more of them, while it recovers")
    parser.add_argument("--foreign", action="store_true", help="fill the rest while it is down")
    parser.add_argument("--keep-going", action="store_true")
    options = parser.parse_args()
    if not can_mount():
        print("skipped: without root and loop devices no disk can be filled")
        return SKIPPED
    scratch = tempfile.mkdtemp(prefix="mayfly_full_disk_")
    messages = generate_messages(options.protoc, scratch)
    failed = 0
    try:
        for megabytes in options.mb or [300]:
            for fill in options.fill or FILLS:
                failed += run_disk(options, messages, scratch, megabytes, fill)
                if failed and not options.keep_going:
                    return 1
    finally:
        shutil.rmtree(scratch)
    return 1 if failed else 0


def run_disk(options: Any, messages: Any, scratch: str, megabytes: int, fill: str) -> int:
    name = ""
    with LoopDisk(scratch, megabytes) as disk:
        server = FullDiskServer(options.mayflyd, messages, disk, options.storage)

        def run_rounds() -> None:
            nonlocal name
            for number in range(options.rounds):
                drains = options.drain or ["acks"]
                how = drains[number % len(drains)]
                name = f"{megabytes} MB, {fill}, {how}, round {number + 1}"
                result = Round(options, server, fill, how).run()
                print(f"{name}: {result}", flush=True)

        return 0 if serve(server, run_rounds, lambda: name) else 1


if __name__ == "__main__":
    sys.exit(main())
