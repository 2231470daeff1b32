"""An ext4 file system of a given size on a loop device."""

import os
import subprocess
from typing import Any, Optional


def run(*command: str) -> str:
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout.strip()


def can_mount() -> bool:
    return os.geteuid() == 0 and os.path.exists("/dev/loop-control")


class LoopDisk:
    """Detached when the context ends. The image is in `directory`."""

    def __init__(self, directory: str, megabytes: int):
        self._image = os.path.join(directory, f"disk_{megabytes}")
        self._megabytes = megabytes
        self._device = ""
        self._mounted: Optional[str] = None

    def __enter__(self) -> "LoopDisk":
        with open(self._image, "wb") as image:
            image.truncate(self._megabytes * 1_000_000)
        self._device = run("losetup", "--find", "--show", self._image)
        run("mkfs.ext4", "-q", self._device)
        return self

    def __exit__(self, *_: Any) -> None:
        self.unmount()
        run("losetup", "--detach", self._device)
        os.remove(self._image)

    def mount(self, directory: str) -> None:
        run("mount", self._device, directory)
        self._mounted = directory

    def unmount(self) -> None:
        if self._mounted is not None:
            run("umount", self._mounted)
            self._mounted = None

    @property
    def size_bytes(self) -> int:
        assert self._mounted is not None
        info = os.statvfs(self._mounted)
        return info.f_blocks * info.f_frsize

    def free_bytes(self) -> int:
        assert self._mounted is not None
        info = os.statvfs(self._mounted)
        return info.f_bfree * info.f_frsize
