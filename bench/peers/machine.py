"""Describes the machine, and how much of it other processes used."""

import os
import platform
import re
import resource
import shutil
import subprocess
import time

import servers


def describe(directory):
    """One sentence about the machine and the disk that the servers write to."""
    with open("/proc/cpuinfo") as cpuinfo:
        model = re.search(r"^model name\s*: (.*)$", cpuinfo.read(), re.M)
    file_system = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", directory],
                                 capture_output=True, text=True).stdout.strip()
    return [f"Machine: {os.cpu_count()} cores, {model.group(1) if model else platform.machine()}, "
            f"Linux {platform.release()}, {file_system}; client and servers share the cores."]


def require(directory, memory_bytes, disk_bytes, what):
    """Refuses to begin what would not fit."""
    with open("/proc/meminfo") as meminfo:
        memory_free = int(re.search(r"^MemAvailable: *(\d+)", meminfo.read(), re.M)[1]) << 10
    disk_free = shutil.disk_usage(directory).free
    for kind, needed, free in (("memory", memory_bytes, memory_free), ("disk", disk_bytes, disk_free)):
        if free < needed:
            raise servers.Failure(f"{what} need {needed / 1e9:.1f} GB of {kind}, and "
                                  f"{free / 1e9:.1f} GB are free; --live-calls asks for fewer")


def busy_seconds():
    """CPU time of everything since boot, over all cores; not what the host took away."""
    with open("/proc/stat") as stat:
        fields = [int(field) for field in stat.readline().split()[1:]]
    user, nice, system, _, _, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Tells what share of the cores went to neither us nor our children."""

    def __init__(self):
        self._began = time.monotonic()
        self._busy = busy_seconds()
        self._ours = self._our_seconds()

    @staticmethod
    def _our_seconds():
        total = 0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            total += usage.ru_utime + usage.ru_stime
        return total

    def describe(self, server_seconds):
        """To be called while the servers still run: their time is not that of children yet."""
        elapsed = (time.monotonic() - self._began) * os.cpu_count()
        others = busy_seconds() - self._busy - (self._our_seconds() - self._ours) - server_seconds
        share = max(0, others) / elapsed
        return (f"Other processes, interrupts and the kernel's own threads took {share:.0%} of the "
                "cores meanwhile.")
