"""A mirror that scrubs and kills itself: `scrub_worker.py CONFIG ID [--at STEP] [--nth N]`, by SIGKILL, without a word."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from empiar_mirror.app import Mirror
from empiar_schema.configuration import load
from empiar_schema.events import Event, ScrubStepTaken


class Killer:
    """An observer that ends the process at a given step."""

    def __init__(self, step: str | None, nth: int) -> None:
        self.step = step
        self.nth = nth

    def __call__(self, event: Event) -> None:
        if isinstance(event, ScrubStepTaken) and event.step == self.step:
            self.nth -= 1
            if self.nth <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def main() -> int:
    """One run of scrubbing; returns how many files were damaged."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("id", type=int)
    parser.add_argument("--at")
    parser.add_argument("--nth", type=int, default=1)
    options = parser.parse_args()
    settings = load(options.config, environ={}, cwd=Path.cwd())
    with Mirror.open(settings, observer=Killer(options.at, options.nth)) as mirror:
        report = await mirror.scrub([options.id])
    return len(report.damaged)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
