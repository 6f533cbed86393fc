"""`kill -9` at every step of one file's journey, and at twenty random moments of a 1 GiB entry."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.link import Link
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.stretches import UNPROVEN_BYTES
from independent import assert_mirrored, assert_tidy
from lives import Life, ended

WORKER = Path(__file__).with_name("worker.py")
ID = 10190
#: No life lasts longer than this many bytes, so that twenty of them never finish the gigabyte, however quick the machine.
MOST_BYTES_A_LIFE = 50_000_000
STEPS = ["claimed", "transferred", "verified", "synced", "linked", "recorded", "tidied"]


async def work(config: Path, *options: str, kill_after_s: float | None = None) -> tuple[int, str]:
    """Exit status and standard error of one worker."""
    return await ended(Life(WORKER, str(config), str(ID), *options), kill_after_s)


def configure(rehearsal: Rehearsal, folder: Path, transfer: str = "") -> Path:
    config = folder / "empiar-mirror.toml"
    config.write_text(
        rehearsal.settings_toml(folder / "mirror")
        + "[crawl]\nrequests_per_s = 1000\n[transfer]\nrequests_per_s = 1000\n"
        + transfer
    )
    return config


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_the_next_start_puts_everything_right(tmp_path: Path, step: str) -> None:
    entry = big_entry(ID, {"a.mrc": 3 * 2**20, "b.mrc": 70_000, "c.mrc": 2**20, "d.mrc": 5})
    async with Rehearsal([entry]) as rehearsal:
        config = configure(rehearsal, tmp_path)
        for nth in ("1", "3"):
            status, errors = await work(config, "--at", step, "--nth", nth)
            if status == 0:
                break  # an earlier life had done so much that the step came less often
            assert status == -signal.SIGKILL, errors
        status, errors = await work(config)
        assert status == 0, errors
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert_tidy(tmp_path / "mirror")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_twenty_kills_in_a_gigabyte_cost_at_most_a_block_each(tmp_path: Path, channel: str) -> None:
    files = {f"big_{n:02d}.mrc": 64 * 2**20 for n in range(16)}
    chance = random.Random(20)
    log = tmp_path / "served.log"
    async with Rehearsal([big_entry(ID, files)], link=Link(bytes_per_s=10e6), log_file=log) as rehearsal:
        # One connection a file, so that the length of a part file is how far its bytes had come.
        config = configure(rehearsal, tmp_path, f'channels = ["{channel}"]\nconnections_per_file = 1\n')
        kills = 0
        while kills < 20:
            seen = len(rehearsal.log)
            before = part_lengths(tmp_path / "mirror")
            timed = kills % 2 == 1
            most = MOST_BYTES_A_LIFE if timed else chance.randrange(1, MOST_BYTES_A_LIFE)
            status, errors = await work(
                config, "--after-bytes", str(most), kill_after_s=0.3 + chance.random() if timed else None
            )
            await asyncio.sleep(0.5)  # the server logs a request when it has ended, the killed ones too
            assert_little_was_fetched_again(rehearsal, seen, before)
            assert status == -signal.SIGKILL, f"ended too early or badly after {kills} kills: {errors}"
            kills += 1
        seen, before = len(rehearsal.log), part_lengths(tmp_path / "mirror")
        status, errors = await work(config)
        assert status == 0, errors
        assert_little_was_fetched_again(rehearsal, seen, before)
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert_tidy(tmp_path / "mirror")


def part_lengths(root: Path) -> dict[str, int]:
    """How far each file's bytes had come when the process died, by the file's path at the server."""
    import sqlite3

    if not (root / "empiar.db").exists():
        return {}
    conn = sqlite3.connect(f"file:{root / 'empiar.db'}?mode=ro", uri=True)
    paths = {str(i): f"{ID}/{path}" for i, path in conn.execute("SELECT file_id, path FROM files")}
    conn.close()
    return {
        paths[part.stem]: part.stat().st_size
        for part in (root / "staging").glob("*/*.part")
        if part.stem in paths
    }


def assert_little_was_fetched_again(rehearsal: Rehearsal, seen: int, before: dict[str, int]) -> None:
    """The first request for each begun file, as the server saw it, begins at most one promised block before its end."""
    first: dict[str, int] = {}
    for request in rehearsal.log[seen:]:
        if request.method in ("GET", "RETR") and request.path in before:
            first.setdefault(request.path, request.start_offset)
    for path, start in first.items():
        assert before[path] - start <= UNPROVEN_BYTES, path
