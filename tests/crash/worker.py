"""A mirror that kills itself: `worker.py CONFIG ID [--at STEP | --at-event NAME] [--nth N] [--after-bytes N]`, by SIGKILL, without a word."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from empiar_mirror.app import Mirror
from empiar_schema.configuration import load
from empiar_schema.events import BytesMoved, Event, StepTaken


class Killer:
    """An observer that ends the process at a given step or event, or after so many bytes."""

    def __init__(self, step: str | None, event: str | None, nth: int, after_bytes: int | None) -> None:
        self.step = step
        self.event = event
        self.nth = nth
        self.after_bytes = after_bytes

    def __call__(self, event: Event) -> None:
        if (isinstance(event, StepTaken) and event.step == self.step) or event.name == self.event:
            self.nth -= 1
            if self.nth <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(event, BytesMoved) and self.after_bytes is not None:
            self.after_bytes -= event.count
            if self.after_bytes <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def main() -> int:
    """One sync."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("id", type=int)
    parser.add_argument("--at")
    parser.add_argument("--at-event")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--after-bytes", type=int)
    options = parser.parse_args()
    secret = "EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET"
    environ = {secret: os.environ[secret]} if secret in os.environ else {}
    settings = load(options.config, environ=environ, cwd=Path.cwd())
    killer = Killer(options.at, options.at_event, options.nth, options.after_bytes)
    with Mirror.open(settings, observer=killer, create=True) as mirror:
        report = await mirror.sync([options.id])
    for failed in report.transfer.failed:
        print(failed, file=sys.stderr)
    return len(report.transfer.failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
