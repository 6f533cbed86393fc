"""`kill -9` at every moment of a Globus task: the next process finds and follows the same task, and nothing is submitted twice."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.globus.faults import GlobusFault, GlobusFaultKind
from empiar_mirror.rehearsal.server import Rehearsal
from globus_mirrors import SECRET, globus_settings, standing_in
from independent import assert_mirrored, assert_tidy
from lives import Life, ended

WORKER = Path(__file__).with_name("worker.py")
ID = 10190
ENTRY = big_entry(ID, {f"m_{n:03d}.mrc": 60_000 + n for n in range(120)})
STEPS = ["claimed", "transferred", "verified", "synced", "linked", "recorded", "tidied"]
_K = GlobusFaultKind


def worker(folder: Path, *options: str) -> Life:
    return Life(WORKER, str(folder / "empiar-mirror.toml"), str(ID), *options, environment=SECRET)


async def to_the_end(folder: Path, *options: str) -> int:
    status, errors = await ended(worker(folder, *options))
    assert status in (0, -signal.SIGKILL), errors
    return status


async def killed_when(folder: Path, moment: Callable[[], bool]) -> bool:
    """A worker lives until the moment; whether it was killed, and had not ended before."""
    life = worker(folder)
    try:
        while life.returncode is None and not moment():
            await asyncio.sleep(0.001)
    finally:
        life.kill()
    status, _ = await ended(life)
    return status == -signal.SIGKILL


def more_submissions_than(rehearsal: Rehearsal, count: int) -> Callable[[], bool]:
    return lambda: len(rehearsal.globus.submissions) > count


def answers_lost(rehearsal: Rehearsal, count: int) -> Callable[[], bool]:
    return lambda: (
        rehearsal.globus.book.struck[_K.LOSE_ANSWER] >= count and bool(rehearsal.globus.submissions)
    )


def after_s(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until


def all_is_well(rehearsal: Rehearsal, folder: Path, *, bundles: int) -> None:
    """The mirror is complete, and the service has seen each bundle as one task, and copied each file once."""
    assert_mirrored(rehearsal, folder / "mirror", ID)
    assert_tidy(folder / "mirror")
    submissions = rehearsal.globus.submissions
    assert len(submissions) == len({s.task_id for s in submissions}) == bundles
    assert len(rehearsal.globus.tasks) == bundles
    assert set(rehearsal.globus.copies.values()) == {1}
    assert rehearsal.bytes_served() == 0


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_of_a_delivered_file(tmp_path: Path, step: str) -> None:
    async with Rehearsal([ENTRY], globus=standing_in(tmp_path)) as rehearsal:
        globus_settings(rehearsal, tmp_path, globus="bundle_files = 50")
        for nth in ("1", "40"):
            if await to_the_end(tmp_path, "--at", step, "--nth", nth) == 0:
                break
        assert await to_the_end(tmp_path) == 0
        all_is_well(rehearsal, tmp_path, bundles=3)


@pytest.mark.parametrize(
    "event", ["globus.submitted", "globus.progressed", "globus.ended", "attempt.began", "bytes.moved"]
)
async def test_killed_at_any_event(tmp_path: Path, event: str) -> None:
    async with Rehearsal([ENTRY], globus=standing_in(tmp_path)) as rehearsal:
        globus_settings(rehearsal, tmp_path, globus="bundle_files = 50")
        for nth in ("1", "2"):
            if await to_the_end(tmp_path, "--at-event", event, "--nth", nth) == 0:
                break
        assert await to_the_end(tmp_path) == 0
        all_is_well(rehearsal, tmp_path, bundles=3)


async def test_killed_when_the_service_has_just_taken_the_submission(tmp_path: Path) -> None:
    """Before the answer can be on record here: the same submission id finds the same task."""
    async with Rehearsal([ENTRY], globus=standing_in(tmp_path)) as rehearsal:
        globus_settings(rehearsal, tmp_path, globus="bundle_files = 50")
        for count in (1, 2, 3):
            seen = len(rehearsal.globus.submissions)
            assert await killed_when(tmp_path, more_submissions_than(rehearsal, seen)), count
        assert await to_the_end(tmp_path) == 0
        all_is_well(rehearsal, tmp_path, bundles=3)


async def test_killed_when_the_answer_to_the_submission_was_lost(tmp_path: Path) -> None:
    faults = [GlobusFault(kind=_K.LOSE_ANSWER, match="POST */transfer", times=2)]
    async with Rehearsal([ENTRY], globus=standing_in(tmp_path, faults=faults)) as rehearsal:
        globus_settings(rehearsal, tmp_path)
        for count in (1, 2):
            # A fault counts as struck when it is chosen: the first must have made its task, too.
            assert await killed_when(tmp_path, answers_lost(rehearsal, count))
        assert await to_the_end(tmp_path) == 0
        all_is_well(rehearsal, tmp_path, bundles=1)
        assert rehearsal.globus.submissions[0].times >= 2


@pytest.mark.slow
async def test_killed_at_random_moments(tmp_path: Path) -> None:
    chance = random.Random(4)
    async with Rehearsal([ENTRY], globus=standing_in(tmp_path, rate=1e6)) as rehearsal:
        globus_settings(rehearsal, tmp_path, globus="bundle_files = 25")
        for _ in range(12):
            if not await killed_when(tmp_path, after_s(0.8 + chance.random() * 1.5)):
                break
        assert await to_the_end(tmp_path) == 0
        all_is_well(rehearsal, tmp_path, bundles=5)
