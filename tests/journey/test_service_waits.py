"""The loops of the service, alone: what waits holds up nothing else, and is not forgotten."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import maker_functions
from cluster_makers import maker
from empiar_mirror.app import Mirror
from empiar_mirror.reports import ScrubEnd
from empiar_mirror.root_guard import RootGuard
from empiar_mirror.service.layouts import Layouts
from empiar_mirror.service.rests import Rests
from empiar_mirror.service.scrubs import Scrubs
from empiar_schema.events import DerivedDamaged, Event, JobFailed, Paused, ScrubEnded, ScrubStepTaken
from empiar_schema.settings import Settings
from empiar_schema.states import Role
from entry_here import opened, put_here, rows

A, B = 10017, 10028
DAY = 86_400.0
#: Works when the file `repaired` stands beside it.
MOODY = """
import pathlib, sys
if not pathlib.Path(sys.argv[0]).with_name("repaired").exists():
    sys.exit("the licence server does not answer")
pathlib.Path(sys.argv[2]).write_bytes(b"average")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    put_here(folder, {"data/a.tif": (Role.MOVIE, b"movie a" * 100)}, empiar_id=A)
    put_here(folder, {"data/b.mrc": (Role.MICROGRAPH, b"micrograph b" * 100)}, empiar_id=B)
    return folder


def moody_hook(root: Path) -> str:
    program = root.parent / "moody.py"
    program.write_text(MOODY)
    return (
        f'[hook.moody]\ncommand = ["{sys.executable}", "{program}", "{{input}}", "{{output}}"]\n'
        'outputs = [{ path = "{stem}.mrc", kind = "micrograph" }]\nretries = 5\nretry_wait = "20h"\n'
    )


def rests_of(mirror: Mirror) -> Rests:
    return Rests(mirror, RootGuard.of(mirror.settings.root), asyncio.Event(), 0.1)


@asynccontextmanager
async def laying_out(mirror: Mirror, *touched: int) -> AsyncIterator[Layouts]:
    """The loop, at work; something of these entries has just come."""
    rests = rests_of(mirror)
    layouts = Layouts(mirror, rests, 0.1)
    for empiar_id in touched:
        layouts.observe(DerivedDamaged(empiar_id, "derived/x", "is missing"))
    task = asyncio.create_task(layouts.run())
    try:
        yield layouts
    finally:
        rests.stopped.set()
        mirror.stop()
        layouts.wake()
        await task


async def until(moment: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not moment():
            await asyncio.sleep(0.02)


def laid_out(root: Path, empiar_id: int) -> bool:
    """Layouts and manifest are there; the layout's own documents come last."""
    return (root / f"manifests/{empiar_id}/manifest-sha256.txt").exists() and (
        root / f"manifests/{empiar_id}/cryoppp/tagmanifest-sha256.txt"
    ).exists()


async def test_a_job_that_waits_for_a_day_holds_up_neither_its_entry_nor_another(root: Path) -> None:
    events: list[Event] = []
    with opened(root, moody_hook(root), events) as mirror:
        async with laying_out(mirror, A, B):
            await until(lambda: laid_out(root, B))
            assert laid_out(root, A)
            assert rows(mirror, "SELECT empiar_id, state FROM jobs") == [(A, "failed")]
            # Its time comes, and the program can be used again.
            (root.parent / "repaired").touch()
            mirror.clock = lambda: time.time() + DAY
            await until(lambda: rows(mirror, "SELECT state FROM jobs") == [("made",)])
        assert len([event for event in events if isinstance(event, JobFailed)]) == 1


async def test_a_job_that_waited_when_the_service_ended_is_tried_at_its_time_by_the_next(root: Path) -> None:
    with opened(root, moody_hook(root)) as mirror:
        await mirror.finish([A])
        assert rows(mirror, "SELECT state, attempts FROM jobs") == [("failed", 1)]
    (root.parent / "repaired").touch()
    with opened(root, moody_hook(root)) as mirror:
        async with laying_out(mirror, B):
            await until(lambda: laid_out(root, B))
            assert rows(mirror, "SELECT state, attempts FROM jobs") == [("failed", 1)], "not before its time"
            mirror.clock = lambda: time.time() + DAY
            await until(lambda: rows(mirror, "SELECT state FROM jobs") == [("made",)])


async def test_a_job_that_nobody_tries_any_more_is_not_asked_for_again_and_again(root: Path) -> None:
    with opened(root, moody_hook(root)) as mirror:
        await mirror.finish([A])
    events: list[Event] = []
    elsewhere = moody_hook(root) + f"entries = [{B}]\n"
    with opened(root, elsewhere, events) as mirror:
        mirror.clock = lambda: time.time() + DAY
        async with laying_out(mirror) as layouts:
            await until(lambda: A in layouts._later and layouts._later[A].failures == 1)
            assert layouts._later[A].at > mirror.clock()
    assert not [event for event in events if isinstance(event, JobFailed)]


async def test_a_cluster_that_is_away_holds_up_what_needs_it_only(root: Path) -> None:
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    away = '[cluster]\nscheduler = "tcp://127.0.0.1:9"\nconnect = "0.2s"\n'
    events: list[Event] = []
    with opened(root, away, events, built_in=[maker(maker_functions.shout)]) as mirror:
        async with laying_out(mirror, A, B) as layouts:
            await until(lambda: laid_out(root, B))
            assert laid_out(root, A), "what has arrived is shown meanwhile"
            assert [event.until[:5] for event in events if isinstance(event, Paused)] == [str(A)]
            mirror.settings = mirror.settings.model_copy(
                update={"cluster": mirror.settings.cluster.model_copy(update={"otherwise": "local"})}
            )
            mirror.clock = lambda: time.time() + DAY
            layouts.wake()
            await until(lambda: rows(mirror, "SELECT state FROM jobs") == [("made",)])


# --- scrub ------------------------------------------------------------------------------------------------------


def reload(mirror: Mirror, table: str, **values: object) -> None:
    """The settings are others, as after SIGHUP."""
    settings: Settings = mirror.settings
    new = getattr(settings, table).model_copy(update=values)
    mirror.settings = settings.model_copy(update={table: new})


async def test_a_file_that_closed_hours_interrupt_is_read_on_by_the_service_through_a_reload(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a file that takes longer than the hours would never be proven."""
    put_here(root, {"data/large.dat": (Role.OTHER, b"x" * 3_000_000)}, empiar_id=A)
    events: list[Event] = []
    pieces = 0

    def open_for_two_pieces(now: float, hours: str) -> bool:
        del now, hours
        return len([e for e in events if isinstance(e, ScrubStepTaken) and e.step == "read"]) < pieces

    monkeypatch.setattr("empiar_mirror.scrub.hours_open", open_for_two_pieces)
    with opened(root, '[scrub]\nbytes_per_s = "2MB"\n', events) as mirror:
        mirror.clock = lambda: time.time() + 10 * 365 * DAY
        ended: list[ScrubEnded] = []
        scrubs = Scrubs(mirror, rests_of(mirror), 600.0, wanted=lambda: None)
        while not ended or ended[-1].why == ScrubEnd.HOURS:
            pieces += 2
            await scrubs._scrub()
            ended = [event for event in events if isinstance(event, ScrubEnded)]
            reload(mirror, "transfer", connections=1 + len(ended) % 5)
        files = (root / "archive").rglob("*.*")
        assert len(ended) > 2
        assert sum(one.bytes for one in ended) == sum(f.stat().st_size for f in files), (
            "nothing was read twice"
        )
        before = scrubs._scrubber
        reload(mirror, "scrub", bytes_per_s=10**9)
        await scrubs._scrub()
        assert scrubs._scrubber is not before
        scrubs._end()


async def test_a_file_that_leaves_while_its_reading_is_interrupted_is_let_go(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_here(root, {"data/large.dat": (Role.OTHER, b"x" * 3_000_000)}, empiar_id=A)
    events: list[Event] = []

    def open_for_four_pieces(now: float, hours: str) -> bool:
        """The fourth is in the middle of the large file, wherever its turn comes."""
        del now, hours
        return len([event for event in events if isinstance(event, ScrubStepTaken)]) < 4

    monkeypatch.setattr("empiar_mirror.scrub.hours_open", open_for_four_pieces)
    with opened(root, '[scrub]\nbytes_per_s = "2MB"\n', events) as mirror:
        mirror.clock = lambda: time.time() + 10 * 365 * DAY
        scrubber = mirror.scrubber(mirror.settings.scrub)
        await scrubber.run(lambda: False)
        assert scrubber._interrupted is not None
        (root / "archive" / str(A) / "data" / "large.dat").unlink()
        await scrubber.run(lambda: False)
        assert scrubber._interrupted is None
        scrubber.close()
