"""The commands with the Globus channel, as a person runs them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.globus.accounts import CLIENT_SECRET
from empiar_mirror.rehearsal.server import Rehearsal
from globus_mirrors import SECRET, globus_settings, standing_in
from independent import assert_mirrored
from mirrors import opened

ID = 10190


async def command(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``empiar-mirror``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "empiar_mirror",
        *arguments,
        cwd=folder,
        env=os.environ | SECRET,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    assert CLIENT_SECRET not in out.decode() + err.decode()
    return process.returncode, out.decode(), err.decode()


async def test_an_entry_comes_by_globus_and_every_command_tells_of_it(tmp_path: Path) -> None:
    entry = big_entry(ID, {f"m_{n:03d}.mrc": 60_000 + n for n in range(60)})
    async with Rehearsal([entry], globus=standing_in(tmp_path, rate=1e6)) as rehearsal:
        with opened(
            globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus="from_bytes = 0")
        ):
            pass  # the catalogue is there
        status, _, errors = await command(tmp_path, "crawl", str(ID))
        assert status == 0, errors

        running = asyncio.create_task(command(tmp_path, "sync", str(ID), "--channel", "globus"))
        while not any(task.files_transferred > 3 for task in rehearsal.globus.tasks):
            assert not running.done()
            await asyncio.sleep(0.05)
        # The task is on its way while commands look at it, however long they take to start.
        rehearsal.globus.hold()
        _, out, _ = await command(tmp_path, "status")
        task = rehearsal.globus.tasks[0]
        assert f"https://app.globus.org/activity/{task.task_id}/overview" in out
        _, out, _ = await command(tmp_path, "why", f"{ID}/data/m_059.mrc")
        assert "Globus" in out
        rehearsal.globus.release()
        status, out, errors = await running
        assert status == 0, errors
        assert "61 files arrived" in out
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        _, out, _ = await command(
            tmp_path, "query", "SELECT state, files, files_delivered FROM globus_tasks", "--format", "json"
        )
        assert json.loads(out) == [{"state": "ended", "files": 61, "files_delivered": 0}]


async def test_the_plan_explains_which_way_an_entry_goes(tmp_path: Path) -> None:
    entries = [big_entry(ID, {"large.mrc": 5_000_000}), big_entry(ID + 1, {"small.mrc": 50_000})]
    async with Rehearsal(entries, globus=standing_in(tmp_path)) as rehearsal:
        ids = (str(ID), str(ID + 1))
        limit = 'from_bytes = "1MB"'
        with opened(globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus=limit)):
            pass
        status, _, errors = await command(tmp_path, "crawl", *ids)
        assert status == 0, errors
        _, out, _ = await command(tmp_path, "plan", *ids, "--explain")
        assert "is at least globus.from_bytes" in out
        assert "is below globus.from_bytes" in out
        _, out, _ = await command(tmp_path, "plan", *ids, "--json")
        assert {route["channel"] for route in json.loads(out)["routes"]} == {"globus", "https"}


@pytest.mark.parametrize("options", [(), ("--faults",)])
async def test_the_rehearsal_by_globus(tmp_path: Path, options: tuple[str, ...]) -> None:
    status, out, errors = await command(
        tmp_path, "rehearse", "--globus", *options, "--json", "--keep", "kept"
    )
    assert status == 0, errors
    assert json.loads(out)["good"], out
    _, out, _ = await command(
        tmp_path / "kept",
        "query",
        "SELECT count(*) AS n FROM copies WHERE channel = 'globus'",
        "--format",
        "json",
    )
    # Names that are no UTF-8 are left to HTTPS.
    assert json.loads(out)[0]["n"] > (100 if options else 245)
