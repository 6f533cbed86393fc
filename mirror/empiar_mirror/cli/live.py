"""`status --live`: the status drawn again and again, beside whichever process works."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from empiar_mirror.cli.invocation import Invocation
from empiar_mirror.instance_lock import holder
from empiar_mirror.live_facts import LiveFacts, Rates, read_live
from empiar_mirror.metrics.client import channel_bytes
from empiar_mirror.reading import reading
from empiar_schema.faults import ConfigFault, EmpiarMirrorError, ExitCode

if TYPE_CHECKING:
    from empiar_schema.settings import Settings

#: So often it is looked whether a key was pressed or the terminal has another size, in seconds.
_LOOK_S: Final = 0.2


def show(invocation: Invocation, ids: tuple[int, ...], *, every_s: float) -> ExitCode:
    """Shows the status until q or Ctrl-C: as a view on a terminal, or as a line of JSON each time.

    Raises:
        ConfigFault: standard output is no terminal, and lines were not asked for.
    """
    settings = invocation.settings()
    if not invocation.as_json and not sys.stdout.isatty():
        raise ConfigFault(
            "a live view needs a terminal", hint="use --live --json, which writes a line each time"
        )
    # That the first look works is worth an exit code of its own; later ones may fail and come back.
    first = _look(settings, ids)
    with contextlib.suppress(KeyboardInterrupt):
        if invocation.as_json:
            _write_lines(settings, ids, first, every_s=every_s)
        else:
            _draw(settings, ids, first, every_s=every_s)
    return ExitCode.OK


def _look(settings: Settings, ids: tuple[int, ...]) -> LiveFacts:
    with reading(settings.root) as connection:
        worker = holder(settings.root)
        return read_live(connection, settings, list(ids) or None, now=time.time(), worker=worker)


def _write_lines(settings: Settings, ids: tuple[int, ...], facts: LiveFacts, *, every_s: float) -> None:
    rates = Rates()
    while True:
        rates.look(time.monotonic(), facts.entry_bytes)
        document = {
            **asdict(facts),
            "bytes_per_s": rates.total(),
            "files_left": facts.status.files_left,
            "bytes_left": facts.status.bytes_left,
        }
        click.echo(json.dumps(document, ensure_ascii=False, default=str))
        time.sleep(every_s)
        while True:
            try:
                facts = _look(settings, ids)
                break
            except EmpiarMirrorError as fault:
                click.echo(json.dumps({"at": time.time(), "error": str(fault)}, ensure_ascii=False))
                time.sleep(every_s)


def _draw(settings: Settings, ids: tuple[int, ...], facts: LiveFacts, *, every_s: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from empiar_mirror.live_screen import screen

    console = Console()
    rates, channels = Rates(), Rates()
    trouble: str | None = None
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            rates.look(time.monotonic(), facts.entry_bytes)
            told = channel_bytes(settings.daemon.address)
            if told is not None:
                channels.look(time.monotonic(), told)
            speeds = None if told is None else {str(name): channels.of(name) or 0.0 for name in told}
            due = time.monotonic() + every_s
            size = None
            while time.monotonic() < due:
                if size != console.size:
                    size = console.size
                    view = screen(facts, rates, speeds, settings, height=size.height)
                    live.update(Text(trouble, style="red") if trouble else view, refresh=True)
                if pressed(min(_LOOK_S, max(0.0, due - time.monotonic()))) in ("q", "Q"):
                    return
            try:
                facts, trouble = _look(settings, ids), None
            except EmpiarMirrorError as fault:
                trouble = f"{fault}; it is looked again"


class _Keys:
    """Keys as they are pressed; without a terminal to press them on, only time goes by."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __call__(self, wait_s: float) -> str | None:
        """The key pressed within this time, if any."""
        if self._descriptor is None:
            time.sleep(wait_s)
            return None
        ready, _, _ = select.select([self._descriptor], [], [], wait_s)
        if not ready:
            return None
        key = os.read(self._descriptor, 1).decode("ascii", "replace")
        if not key:  # the terminal is gone
            raise KeyboardInterrupt
        return key


@contextlib.contextmanager
def _keys() -> Iterator[_Keys]:
    """Keys come without Enter and are not shown meanwhile; afterwards the terminal is as it was."""
    if not sys.stdin.isatty():
        yield _Keys(None)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _Keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
