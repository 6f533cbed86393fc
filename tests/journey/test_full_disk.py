"""A disk that is full, becomes full, or may not be filled: the work stops with a sentence, and goes on where it was."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import BytesMoved, Event, Paused
from empiar_schema.faults import ExitCode, StorageFault
from empiar_schema.settings import Settings
from independent import assert_mirrored, assert_tidy, content
from mirrors import opened, rows, settings_for

ID = 10190
FILES = {f"m{n}.mrc": 4 * 2**20 for n in range(5)}
TOTAL = sum(FILES.values())


@dataclass
class SmallDisk:
    """A file system of our own in memory."""

    folder: Path

    def resize(self, megabytes: int) -> None:
        mount(self.folder, "-o", f"remount,size={megabytes}m")


def mount(folder: Path, *options: str) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here, which takes root: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """16 MiB at `folder`."""
    small = SmallDisk(tmp_path / "disk")
    small.folder.mkdir()
    mount(small.folder, "-o", "size=16m")
    try:
        yield small
    finally:
        subprocess.run(["umount", "--lazy", small.folder], check=True)


def assert_nothing_unproven(rehearsal: Rehearsal, root: Path) -> None:
    """What stands in the archive is right to the last byte, and the catalogue is sound."""
    base = root / "archive" / str(ID)
    for file in base.rglob("*"):
        if file.is_file():
            assert file.read_bytes() == content(rehearsal, ID, os.fsencode(file.relative_to(base)))
    conn = sqlite3.connect(f"file:{root / 'empiar.db'}?mode=ro", uri=True)
    assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    conn.close()


@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_an_entry_larger_than_the_disk_stops_with_a_sentence_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: SmallDisk, channel: str
) -> None:
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        settings = settings_for(rehearsal, disk.folder, more=f'channels = ["{channel}"]\n')
        root = disk.folder / "mirror"
        events: list[Event] = []
        with opened(settings, events) as mirror:
            for _ in range(2):
                with pytest.raises(StorageFault, match="bytes do not fit") as caught:
                    await mirror.sync([ID])
                assert caught.value.full
                assert (caught.value.exit_code, bool(caught.value.hint)) == (ExitCode.STORAGE, True)
                assert any(isinstance(event, Paused) for event in events)
            arrived = rows(mirror, "SELECT count(*) FROM copies WHERE state = 'arrived'")
            assert arrived == [(4,)], "what fits is here: three files and the header"
        assert_nothing_unproven(rehearsal, root)
        disk.resize(64)
        with opened(settings) as mirror:
            report = await mirror.sync([ID])
            assert report.transfer.failed == ()
        assert_mirrored(rehearsal, root, ID)
        assert_tidy(root)
        assert rehearsal.bytes_served() < TOTAL * 1.2


def fill(folder: Path) -> Path:
    """Somebody else takes all space that is left on the disk; returns the file that does."""
    taken = folder / "somebody-else"
    with taken.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return taken


@dataclass
class Filler:
    """Fills the disk when our bytes come."""

    folder: Path
    after_bytes: int
    taken: Path | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, BytesMoved) and self.taken is None:
            self.after_bytes -= event.count
            if self.after_bytes <= 0:
                self.taken = fill(self.folder)


@pytest.mark.parametrize("after_bytes", [1, 5_000_000, 9_000_000])
async def test_a_disk_that_others_fill_meanwhile_costs_nothing_but_time(
    disk: SmallDisk, after_bytes: int
) -> None:
    disk.resize(48)
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        settings = settings_for(rehearsal, disk.folder)
        root = disk.folder / "mirror"
        filler = Filler(disk.folder, after_bytes)
        fault = await refused(settings, filler)
        assert fault.exit_code is ExitCode.STORAGE
        assert re.search("no space left|disk is full", str(fault), re.IGNORECASE)
        assert_nothing_unproven(rehearsal, root)
        assert filler.taken is not None
        filler.taken.unlink()
        with opened(settings) as mirror:
            report = await mirror.sync([ID])
            assert report.transfer.failed == ()
        assert_mirrored(rehearsal, root, ID)
        assert_tidy(root)


async def refused(settings: Settings, filler: Filler) -> StorageFault:
    """The refusal with which a sync ends when `filler` has done its work."""
    mirror = Mirror.open(settings, observer=filler, create=True)
    try:
        with pytest.raises(StorageFault) as caught:
            await mirror.sync([ID])
    finally:
        mirror.close()
    return caught.value


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ('quota = "13MiB"', "the quota is 13,631,488 bytes"),
        ("high_watermark = 0.01\nlow_watermark = 0.005", "high watermark"),
    ],
)
async def test_limits_of_the_configuration_are_kept_and_named(tmp_path: Path, limit: str, why: str) -> None:
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        root = tmp_path / "mirror"
        with opened(settings_for(rehearsal, tmp_path, more=f"[disk]\n{limit}\n")) as mirror:
            with pytest.raises(StorageFault, match=why):
                await mirror.sync([ID])
            here = rows(mirror, "SELECT coalesce(sum(bytes_here), 0) FROM copies WHERE state = 'arrived'")[0][
                0
            ]
            assert isinstance(here, int)
            assert here <= 13 * 2**20
        assert_nothing_unproven(rehearsal, root)
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            assert (await mirror.sync([ID])).transfer.failed == ()
        assert_mirrored(rehearsal, root, ID)


def test_a_full_disk_is_exit_4_and_a_sentence_at_the_command_line(disk: SmallDisk) -> None:
    made = cli(disk.folder, "init", str(disk.folder))
    assert made.returncode == 0, made.stderr
    fill(disk.folder)
    for command in (["sync", "10017"], ["verify"], ["repair"]):
        done = cli(disk.folder, *command)
        assert done.returncode == ExitCode.STORAGE, (command, done.stderr)
        assert "Traceback" not in done.stderr
        assert re.search("no space|disk is full", done.stderr, re.IGNORECASE), done.stderr


def cli(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "empiar_mirror", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
