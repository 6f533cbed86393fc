"""A signal that comes before a command is at work: it ends with 130 like later, and nothing is left that the next start does not put in order."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.daemon import Daemon
from empiar_schema.events import nobody
from empiar_schema.states import Role
from entry_here import ID, put_here, settings_with

CONFIGURATION = '[daemon]\nlisten = ""\n[archive]\nhttps_url = "http://127.0.0.1:9/"\n'


@asynccontextmanager
async def command(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """``empiar-mirror`` with these arguments; it does not outlive the body."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "empiar_mirror", *arguments, cwd=folder, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: asyncio.subprocess.Process) -> str:
    """What it said, after it has ended with 130."""
    _, said = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 130, said.decode()
    assert b"Traceback" not in said, said.decode()
    return said.decode()


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGTERM, ["run"]), (signal.SIGINT, ["run"]), (signal.SIGTERM, ["sync", str(ID)])],
)
async def test_while_a_start_puts_things_in_order(
    tmp_path: Path, number: signal.Signals, words: list[str]
) -> None:
    root = tmp_path / "mirror"
    root.mkdir()
    put_here(root, {"data/a.mrc": (Role.MICROGRAPH, b"a" * 1000)})
    settings_with(root, CONFIGURATION)
    with closing(sqlite3.connect(root / "empiar.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # the start cannot write, and waits
        async with command(root, *words) as process:
            async with asyncio.timeout(90):
                lock = root / ".lock"
                while not (lock.exists() and f"pid {process.pid}," in lock.read_text()):
                    await asyncio.sleep(0.02)
            process.send_signal(number)
            connection.execute("ROLLBACK")
            await ended(process)
    with Mirror.open(settings_with(root, CONFIGURATION), observer=nobody) as mirror:
        assert (await mirror.verify([ID])).damaged == ()


async def test_between_the_start_and_the_loops(tmp_path: Path) -> None:
    put_here(tmp_path, {"data/a.mrc": (Role.MICROGRAPH, b"a" * 1000)})
    with Mirror.open(settings_with(tmp_path, CONFIGURATION), observer=nobody) as mirror:
        daemon = Daemon(mirror, lambda: mirror.settings)
        daemon.stop()
        await asyncio.wait_for(daemon.run(), 60)
