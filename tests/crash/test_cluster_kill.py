"""Workers of a cluster that are killed, frozen, or killed by the work itself: everything is made once, and what comes late does not count."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import cluster_transfers
import maker_functions
from cluster_makers import maker
from dask_cluster import DaskCluster, dask_cluster
from empiar_mirror.app import Mirror
from empiar_schema.events import Event, JobMade, WorkLost
from empiar_schema.states import Role
from entry_here import everything_below, opened, put_here, rows

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

MOVIES = {f"data/{name}.tif": (Role.MOVIE, f"movie {name}".encode() * 100) for name in "abcdez"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    put_here(folder, MOVIES)
    return folder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path / "dask", workers=2) as found:
        yield found


def made_here(folder: Path) -> dict[str, bytes]:
    """What the same maker makes of the same files without a cluster."""
    folder.mkdir()
    put_here(folder, MOVIES)
    with opened(folder, "", built_in=[maker(maker_functions.shout)]) as mirror:
        assert asyncio.run(mirror.make(None)).made == len(MOVIES)
    return everything_below(folder / "derived")


until = functools.partial(cluster_transfers.until, within_s=90)


def losses(events: Sequence[Event]) -> list[WorkLost]:
    return [event for event in events if isinstance(event, WorkLost)]


def begun(control: Path, worker: int) -> tuple[str, int] | None:
    """The file on which this worker is at work, and the process that does it."""
    for path in control.iterdir():
        stem, parent, child, *ended = path.name.split(".")
        if parent == str(worker) and not ended:
            return stem, int(child)
    return None


@pytest.mark.slow
def test_one_worker_killed_and_one_frozen_everything_is_made_once(
    root: Path, cluster: DaskCluster, tmp_path: Path
) -> None:
    control = tmp_path / "control"
    control.mkdir()
    killed, frozen = cluster.workers
    cluster.start_worker("--nthreads", "2")
    toml = f'[cluster]\nscheduler = "{cluster.address}"\nlease = "3s"\n'
    events: list[Event] = []
    built_in = [maker(maker_functions.when_told, control=str(control))]

    async def scenario(mirror: Mirror) -> None:
        run = asyncio.create_task(mirror.make(None))
        await until(lambda: len(list(control.iterdir())) == 4, cluster.log)
        lost_by_kill, lost_by_frost = begun(control, killed.pid), begun(control, frozen.pid)
        assert lost_by_kill is not None
        assert lost_by_frost is not None
        stem, child = lost_by_frost
        for pid in (child, frozen.pid):
            os.kill(pid, signal.SIGSTOP)
        killed.kill()
        await until(lambda: len(losses(events)) == 2, cluster.log)
        assert {event.subject for event in losses(events)} == {
            f"data/{lost_by_kill[0]}.tif",
            f"data/{stem}.tif",
        }
        # Who is given which file is chance; the run must not be over before the frozen one wakes.
        names = {Path(path).stem for path in MOVIES}
        (control / "last").write_text(max(names - {lost_by_kill[0], stem}))
        (control / "go").touch()
        again = f"data/{stem}.tif"
        await until(
            lambda: any(isinstance(e, JobMade) and e.path.endswith(again) for e in events),
            lambda: f"{events}\n{sorted(control.iterdir())}\n{cluster.log()}",
        )
        # Now the frozen one wakes, in the middle of the run, and ends its work: first the process that does it, so that
        # nobody can end that before it has written, or has tried to.
        os.kill(child, signal.SIGCONT)
        late = control / f"{stem}.{frozen.pid}.{child}.ended"
        await until(late.exists, cluster.log)
        os.kill(frozen.pid, signal.SIGCONT)
        (control / "end").touch()
        report = await run
        assert (report.made, report.failed) == (len(MOVIES), ())

    with opened(root, toml, events, built_in=built_in) as mirror:
        asyncio.run(scenario(mirror))
        assert rows(mirror, "SELECT DISTINCT state, attempts FROM jobs") == [("made", 0)]
        assert rows(mirror, "SELECT count(*) FROM derived") == [(len(MOVIES),)]
        reasons = rows(mirror, "SELECT work, reason FROM leases ORDER BY reason")
        assert [work for work, _ in reasons] == ["make", "make"]
        assert str(reasons[0][1]).startswith("no sign of life for")
        assert reasons[1][1] == "the worker is gone"
    made = [event.path for event in events if isinstance(event, JobMade)]
    assert len(made) == len(set(made)) == len(MOVIES)
    assert everything_below(root / "derived") == made_here(tmp_path / "alone")
    assert everything_below(root / "staging") == {}
    assert no_worker_has_the_catalogue(cluster)


def no_worker_has_the_catalogue(cluster: DaskCluster) -> bool:
    """Whether none of the workers that live has it open."""
    return not any(
        "empiar.db" in os.readlink(entry)
        for worker in cluster.workers
        if worker.poll() is None
        for entry in Path(f"/proc/{worker.pid}/fd").iterdir()
    )


@pytest.mark.slow
def test_work_that_kills_its_workers_is_given_up_and_the_rest_is_made(
    root: Path, cluster: DaskCluster
) -> None:
    toml = f'[cluster]\nscheduler = "{cluster.address}"\nlosses = 2\n'
    cluster.start_worker()
    built_in = [maker(maker_functions.kill_worker)]
    with opened(root, toml, built_in=built_in) as mirror:
        report = asyncio.run(mirror.make(None))
        assert report.made == len(MOVIES) - 1
        [failed] = report.failed
        assert failed.path.endswith("data/a.tif")
        assert failed.error.startswith("it was lost with its worker 2 times")
        assert rows(mirror, "SELECT state FROM jobs WHERE path = 'data/a.tif'") == [("parked",)]
        # Nothing begins it again by itself, and no worker more dies of it.
        assert asyncio.run(mirror.make(None)).made == 0
    assert [worker.poll() for worker in cluster.workers].count(None) == 1
