"""A disk that becomes read-only in the middle of the work, as file systems do after an error: a sentence, and nothing lost or unproven."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.link import Link
from empiar_mirror.rehearsal.server import Rehearsal
from independent import assert_mirrored, assert_tidy, content
from mirrors import opened, settings_for
from soak.disk import read_only

ID = 10190
FILES = {f"m{n:02d}.mrc": 2 * 2**20 for n in range(12)}


@pytest.fixture(autouse=True)
def _may_mount(tmp_path: Path) -> None:
    try:
        with read_only(tmp_path):
            pass
    except subprocess.CalledProcessError as refused:
        pytest.skip(f"nothing can be mounted here, which takes root: {refused.stderr!r}")


async def sync(folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "empiar_mirror", "sync", str(ID), cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def test_a_disk_that_becomes_read_only_ends_the_work_with_exit_4_and_loses_nothing(
    tmp_path: Path,
) -> None:
    async with Rehearsal([big_entry(ID, FILES)], link=Link(bytes_per_s=1e6)) as rehearsal:
        settings = settings_for(rehearsal, tmp_path, more="connections = 2\n")
        root = settings.root
        with opened(settings) as mirror:
            await mirror.crawl([ID])
        process = await sync(tmp_path)
        try:
            async with asyncio.timeout(90):
                while not list((root / "staging").glob("*/*.part")):
                    assert process.returncode is None
                    await asyncio.sleep(0.02)
            with read_only(root):
                said, _ = await asyncio.wait_for(process.communicate(), 90)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        text = said.decode()
        assert process.returncode == 4, text
        assert "read-only" in text.lower(), text
        assert "Traceback" not in text
        for file in (root / "archive").rglob("*.mrc"):
            below = str(file.relative_to(root / "archive" / str(ID))).encode()
            assert file.read_bytes() == content(rehearsal, ID, below)
        rehearsed = await sync(tmp_path)
        said, _ = await rehearsed.communicate()
        assert rehearsed.returncode == 0, said.decode()
        assert_mirrored(rehearsal, root, ID)
        assert_tidy(root)


async def test_commands_say_that_the_disk_is_read_only(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, {"a.mrc": 5000})]) as rehearsal:
        settings = settings_for(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.sync([ID])
        with read_only(settings.root):
            process = await sync(tmp_path)
            said, _ = await process.communicate()
        assert process.returncode == 4, said.decode()
        assert "read-only" in said.decode().lower()
        assert "Traceback" not in said.decode()
