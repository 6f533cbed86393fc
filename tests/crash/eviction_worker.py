"""A mirror that evicts and kills itself: `eviction_worker.py CONFIG [--at STEP]`, by SIGKILL, without a word."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from empiar_mirror.app import Mirror
from empiar_mirror.eviction import evicting
from empiar_mirror.eviction.planning import Order
from empiar_mirror.eviction.tree import ArchiveTree
from empiar_schema.configuration import load
from empiar_schema.events import Event, EvictionStepTaken
from empiar_schema.paths import RemotePath

#: Files that are gone when it dies between two of them.
REMOVED_BEFORE = 2


def die() -> None:
    """The process ends here."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingTree(ArchiveTree):
    """Dies after some files, before anything is durable or recorded."""

    removed = 0

    def remove(self, remote: RemotePath, size: int) -> str | None:
        """As `ArchiveTree.remove`, if it lives."""
        if self.removed == REMOVED_BEFORE:
            die()
        self.removed += 1
        return super().remove(remote, size)


async def main() -> int:
    """One eviction; returns how many files are gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--at")
    options = parser.parse_args()

    def killer(event: Event) -> None:
        if isinstance(event, EvictionStepTaken) and event.step == options.at:
            die()

    if options.at == "between":
        setattr(evicting, "ArchiveTree", DyingTree)  # noqa: B010 - a re-exported class cannot be assigned
    settings = load(options.config, environ={}, cwd=Path.cwd())
    with Mirror.open(settings, observer=killer) as mirror:
        order = Order("SELECT empiar_id FROM entries", "a test", listed_within=1e10)
        removed = await mirror.evict(order)
    return removed.done.files


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
