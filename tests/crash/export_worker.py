"""An export that kills itself: `export_worker.py ROOT OUT --at STEP`, by SIGKILL, without a word."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import signal
from pathlib import Path

from empiar_mirror.export import beside
from empiar_mirror.export.exporting import Wish, export_all
from empiar_schema.settings import Settings


def die(*_: object) -> None:
    """The process ends here."""
    os.kill(os.getpid(), signal.SIGKILL)


def cannot_exchange(one: Path, other: Path) -> None:
    """As on a file system that cannot swap names; the new folder's own name is what it dies of."""
    setattr(Path, "rename", _rename)  # noqa: B010 - a method cannot be assigned
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _rename(self: Path, target: Path) -> Path:
    if self.name == "tree":
        die()
    self.replace(target)
    return target


def main() -> None:
    """One export of all views as CSV, from a copy of the catalogue."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--at", choices=["table", "between", "removing"])
    options = parser.parse_args()
    if options.at == "between":
        setattr(beside, "exchange", cannot_exchange)  # noqa: B010 - a re-exported function cannot be assigned
    if options.at == "removing":
        setattr(shutil, "rmtree", die)  # noqa: B010 - the same
    told = die if options.at == "table" else None
    export_all(Settings(root=options.root), options.out, Wish("csv", force=True, copy_from=0), told=told)


if __name__ == "__main__":
    main()
