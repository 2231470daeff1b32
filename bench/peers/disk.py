"""A separate disk for a server, so that the bytes written to it can be counted.

The kernel's accounting per process is unsuitable: it counts a page when it is dirtied, and newer
kernels count all pages of its folio. So this is a file system in a file on a loop device. The
device's count of sectors includes data, journal and the rest. This takes root.
"""

import os
import pathlib
import subprocess

import servers

SECTOR_BYTES = 512
WRITTEN_SECTORS_FIELD = 6


def is_possible():
    return os.geteuid() == 0 and pathlib.Path("/dev/loop-control").exists()


def command(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != 0:
        raise servers.Failure(f"{' '.join(str(word) for word in words)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Disk:
    """ext4, mounted within `with` at `path`, which is the server's directory to be."""

    def __init__(self, directory, size_bytes):
        self.path = directory / "disk"
        self._image = directory / "disk.image"
        self._size_bytes = size_bytes
        self._device = None
        self._is_mounted = False

    def __enter__(self):
        self.path.mkdir()
        with self._image.open("w") as image:
            image.truncate(self._size_bytes)
        try:
            # All of it now: the kernel would write tables in the background, and be counted.
            command("mkfs.ext4", "-q", "-F", "-E",
                    "lazy_itable_init=0,lazy_journal_init=0,nodiscard", self._image)
            self._device = command("losetup", "--find", "--show", "--direct-io=on", self._image)
            command("mount", self._device, self.path)
            self._is_mounted = True
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._is_mounted:
            command("umount", self.path)
        if self._device:
            command("losetup", "--detach", self._device)
        self._image.unlink()
        self.path.rmdir()

    def written_bytes(self):
        command("sync", "--file-system", self.path)
        stat = pathlib.Path("/sys/block", pathlib.Path(self._device).name, "stat").read_text()
        return int(stat.split()[WRITTEN_SECTORS_FIELD]) * SECTOR_BYTES
