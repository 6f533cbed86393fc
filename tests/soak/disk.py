"""The disk of the mirror under trial: a small file system of its own where root may mount one."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disk:
    """Where `root` lies. `own`: a file system of its own, which may be filled and made read-only."""

    folder: Path
    own: bool

    @contextmanager
    def full(self) -> Iterator[None]:
        """Somebody else takes all the space that is left, as long as the body runs."""
        taken = self.folder / "somebody-else"
        with taken.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(2**20))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        try:
            yield
        finally:
            taken.unlink()


@contextmanager
def read_only(root: Path) -> Iterator[None]:
    """Nothing below `root` can be opened for writing anew; what is open stays writable, so that no write is broken in two.

    Raises:
        subprocess.CalledProcessError: this process may not mount.
    """
    # Made read-only elsewhere: in place it would be refused while a file is open for writing through it.
    with tempfile.TemporaryDirectory() as aside:
        _run("mount", "--bind", root, aside)
        try:
            _run("mount", "-o", "remount,bind,ro", aside)
            _run("mount", "--bind", aside, root)
        finally:
            _run("umount", aside)
    try:
        yield
    finally:
        _run("umount", "--lazy", root)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """A file system in memory, mounted at `folder`; only the folder, where this process may not mount."""
    folder.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder)
    except (OSError, subprocess.CalledProcessError):
        yield Disk(folder, own=False)
        return
    try:
        yield Disk(folder, own=True)
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            _run("umount", "--lazy", folder)


def _run(*command: str | os.PathLike[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
