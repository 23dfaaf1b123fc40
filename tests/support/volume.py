"""Small real file systems for tests: mounted below a temporary directory, taken apart with the test. Needs root."""

import atexit
import os
import subprocess

from .process import temporary_directory
from .scenario import Skip

_mounted = []


def _run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Skip(str(error))
    if done.returncode != 0:
        raise Skip(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@atexit.register
def unmount_all():
    while _mounted:
        subprocess.run(["umount", "-l", _mounted.pop()], capture_output=True)


class Volume:
    """A tmpfs or an ext4 in a file. `path` is where it is mounted."""

    def __init__(self, kind="tmpfs", megabytes=8, backing=None, options=""):
        self.kind, self.path = kind, temporary_directory("tessera-volume-")
        if kind == "tmpfs":
            _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m{options}", "tmpfs", self.path)
        else:
            self.image = os.path.join(backing or temporary_directory(), "image")
            with open(self.image, "wb") as file:
                file.truncate(megabytes << 20)
            _run("mkfs.ext4", "-q", "-m", "0", self.image)
            _run("mount", "-o", f"loop{options}", self.image, self.path)
        _mounted.append(self.path)

    def fill(self, name="ballast"):
        """Leaves not a byte; returns the file that does it."""
        ballast = os.path.join(self.path, name)
        with open(ballast, "wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
        return ballast

    def remount(self, options):
        _run("mount", "-o", f"remount,{options}", self.path)

    def unmount(self):
        subprocess.run(["umount", "-l", self.path], check=True)
        _mounted.remove(self.path)
