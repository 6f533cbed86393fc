"""A mirror under trial: its archive, its service, its disk, and those who watch them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from soak.disk import Disk
from soak.reader.journal import Journal
from soak.reader.manner_promises import Death
from soak.reader.mirror_seen import Seen, Violation, key_of
from soak.reader.truth import Key, Truth
from soak.service import Service, configuration

TESTS = Path(__file__).parents[1]


@dataclass
class Archive:
    """The archive's process. It does one thing at a time."""

    folder: Path
    process: asyncio.subprocess.Process
    urls: dict[str, str]

    @classmethod
    async def started(cls, folder: Path, seed: int) -> Archive:
        with (folder / "archive.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "soak.archive_process", folder, str(seed),
                cwd=TESTS, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                env={**os.environ, "PYTHONPATH": str(TESTS)},
            )  # fmt: skip
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        return cls(folder, process, json.loads(line)["urls"])

    async def told(self, *words: str) -> object:
        """What it answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(words).encode() + b"\n")
        await self.process.stdin.drain()
        return json.loads(await asyncio.wait_for(self.process.stdout.readline(), 60))

    async def close(self) -> None:
        """It serves no more, and all that it has recorded is in its files."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 20)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    @property
    def history(self) -> Path:
        return self.folder / "history.jsonl"


#: A service that lost its disk may take so long to end on a busy machine.
WAY_OUT_S: Final = 60.0


@dataclass
class Trial:
    """Everything that the deeds work on."""

    folder: Path
    disk: Disk
    archive: Archive
    service: Service
    journal: Journal
    chance: random.Random
    deaths: list[Death] = field(default_factory=list)
    lies: dict[int, list[float]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    #: What was done, with its time, for whoever reads the end of it.
    diary: list[str] = field(default_factory=list)
    restored: bool = False
    #: When the process lived last that began after the latest death.
    died_quietly: list[float] = field(default_factory=list)
    #: When the disk was last kept from the service, by the timer.
    disk_back_at: float = float("-inf")

    @property
    def root(self) -> Path:
        return self.disk.folder / "empiar"

    @property
    def seen(self) -> Seen:
        return self.journal.seen

    def note(self, what: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {what}"
        self.diary.append(line)
        with (self.folder / "diary.log").open("a") as file:
            file.write(line + "\n")

    async def look(self) -> None:
        """The journal has one sample more, and a service that has ended by itself is a violation."""
        found = await asyncio.to_thread(self.journal.look)
        self.journal.judge(found, await asyncio.to_thread(Truth.read, self.archive.history))

    def disk_is_back(self) -> None:
        """The service may still be on its way out for want of it."""
        self.note("it is no longer")
        self.disk_back_at = time.monotonic()

    def excuses(self, code: int | None) -> bool:
        """Whether the service may have ended with `code` because it had no disk a moment ago."""
        return code == 4 and time.monotonic() - self.disk_back_at < WAY_OUT_S

    async def require_running(self) -> None:
        """The service runs; that it had ended is a violation, unless there was no disk to work on."""
        if self.service.running:
            return
        code = self.service.process.returncode if self.service.process is not None else None
        excused = self.excuses(code)
        self.note(f"the service had ended with {code}{', which is excused' if excused else ''}")
        if not excused:
            self.violations.append(
                Violation("the service goes on through what passes", f"it ended with {code}")
            )
        self.died_quietly.append(time.time())
        await self.service.start()

    async def kill(self) -> None:
        """``kill -9``, with a record of what was under way."""
        at = await self.service.kill()
        parts: dict[str, int] = {}
        names = {str(row["file_id"]): row for row in self.rows("SELECT file_id, empiar_id, path FROM files")}
        for part in (self.root / "staging").glob("*/*.part"):
            if (row := names.get(part.stem)) is not None:
                parts[f"{row['empiar_id']}/{row['path']}"] = part.stat().st_size
        self.deaths.append(Death(at, parts))
        self.note(f"killed with {len(parts)} part files")

    def rows(self, sql: str) -> list[dict[str, str | int | float | None]]:
        """Of the catalogue; nothing where it cannot be read just now."""
        try:
            return self.seen.rows(sql)
        except sqlite3.Error:
            return []

    def arrived(self) -> list[Key]:
        """Copies that are here."""
        return sorted(
            key_of(row) for row in self.rows("SELECT empiar_id, path FROM copies WHERE state = 'arrived'")
        )

    def back_up(self) -> Path:
        """As docs/operations.md says."""
        backup = self.folder / f"backup-{len(self.diary)}.db"
        with closing(sqlite3.connect(self.root / "empiar.db")) as connection:
            connection.execute("VACUUM INTO ?", (str(backup),))
        return backup

    async def restore(self, backup: Path) -> None:
        """As docs/operations.md says; the service is stopped before and started after."""
        self.restored = True
        for suffix in ("-wal", "-shm"):
            (self.root / f"empiar.db{suffix}").unlink(missing_ok=True)
        shutil.copyfile(backup, self.root / "empiar.db")
        verified, _ = await self.service.command("verify", "--quick")
        repaired, said = await self.service.command("repair")
        if verified not in (0, 5) or repaired not in (0, 1):
            self.violations.append(
                Violation(
                    "a restored catalogue works", f"verify {verified}, repair {repaired}: {said[-300:]}"
                )
            )

    async def signalled_with_configuration(self, text: str, expected: str) -> None:
        """SIGHUP with another configuration file, which is as before afterwards; the service has said `expected` of it."""
        await self.service.ready()
        right = self.service.config.read_text()
        said = self.service.log.read_text().count(expected)
        self.service.config.write_text(text)
        self.service.signal(signal.SIGHUP)
        for _ in range(600):
            await asyncio.sleep(0.1)
            if not self.service.running or self.service.log.read_text().count(expected) > said:
                break
        else:
            self.violations.append(Violation("SIGHUP reads the configuration", f"no {expected} in 60 s"))
        self.service.config.write_text(right)


async def prepared(folder: Path, disk: Disk, seed: int) -> Trial:
    """An empty mirror with its archive; nothing runs yet but that."""
    archive = await Archive.started(folder, seed)
    service = Service(folder)
    root = disk.folder / "empiar"
    service.config.write_text(configuration(root, archive.urls))
    code, said = await _init(folder, root)
    assert code == 0, said
    return Trial(folder, disk, archive, service, Journal(Seen(root)), random.Random(seed + 2))


async def _init(folder: Path, root: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "empiar_mirror", "init", root.parent,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()
