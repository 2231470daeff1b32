"""An ext4 file system of a given size on a loop device."""

import os
import subprocess
from typing import Any, Optional


MIB = 1 << 20


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
        self.megabytes = megabytes
        self._device = ""
        self._mounted: Optional[str] = None

    def __enter__(self) -> "LoopDisk":
        with open(self._image, "wb") as image:
            image.truncate(self.megabytes * 1_000_000)
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

    def fill_up(self) -> None:
        """Takes all that is free, as another program might."""
        with open(self._foreign_file(), "wb", buffering=0) as file:
            for size in (MIB, 4096):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass
            os.fsync(file.fileno())

    def free_up(self) -> None:
        if os.path.exists(self._foreign_file()):
            os.remove(self._foreign_file())

    def _foreign_file(self) -> str:
        assert self._mounted is not None
        return os.path.join(self._mounted, "foreign")

    @property
    def size_bytes(self) -> int:
        assert self._mounted is not None
        info = os.statvfs(self._mounted)
        return info.f_blocks * info.f_frsize

    def free_bytes(self) -> int:
        assert self._mounted is not None
        info = os.statvfs(self._mounted)
        return info.f_bfree * info.f_frsize
