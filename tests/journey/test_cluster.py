"""A mirror with a Dask cluster: verification, scrubbing and the doctor, and clusters that are away, strange, or die."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import maker_functions
from cluster_makers import maker
from dask_cluster import DaskCluster, dask_cluster, until
from empiar_mirror.doctor_cluster import examine_cluster
from empiar_mirror.findings import Finding
from empiar_mirror.reports import VerifyReport
from empiar_schema.events import Event, JobMade, Paused, WorkerRefused
from empiar_schema.faults import ClusterFault, ConfigFault
from empiar_schema.states import Role
from entry_here import NOW, opened, put_here, rows, settings_with

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

FILES = {
    **{f"data/{n}.tif": (Role.MOVIE, f"movie {n}".encode() * 1000) for n in range(8)},
    "data/large.dat": (Role.OTHER, b"x" * 3_000_000),
}
DEAD = "tcp://127.0.0.1:9"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    put_here(folder, FILES)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Nobody kills its workers."""
    with dask_cluster(tmp_path_factory.mktemp("dask"), workers=2) as found:
        yield found


def damage(root: Path, name: str) -> None:
    file = root / "archive" / "10017" / "data" / name
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)


def toml(address: str, more: str = "") -> str:
    return f'[cluster]\nscheduler = "{address}"\nparcel_bytes = "20kB"\n{more}'


@pytest.mark.slow
def test_workers_verify_and_scrub_what_is_here_and_find_what_is_damaged(
    root: Path, cluster: DaskCluster
) -> None:
    damage(root, "3.tif")
    with opened(root, toml(cluster.address, '[scrub]\nperiod = "1s"\n')) as mirror:
        report = asyncio.run(mirror.verify(None))
        assert report.checked == len(FILES)
        assert [file.path for file in report.damaged] == ["10017/data/3.tif"]
        damage(root, "5.tif")
        mirror.clock = lambda: NOW + 10**8  # all is due again
        scrubbed = asyncio.run(mirror.scrub(None))
        assert sorted(file.path for file in scrubbed.damaged) == ["10017/data/3.tif", "10017/data/5.tif"]
        assert scrubbed.checked == len(FILES)
        states = rows(mirror, "SELECT state, count(*) FROM copies GROUP BY state ORDER BY state")
        assert states == [("arrived", len(FILES) - 2), ("wanted", 2)]
        assert rows(mirror, "SELECT count(*) FROM leases") == [(0,)]
    assert not any((root / "staging" / "leases").iterdir())


@pytest.mark.slow
def test_the_doctor_sees_whether_workers_see_the_root(root: Path, cluster: DaskCluster) -> None:
    def look(more: str = "") -> list[Finding]:
        return asyncio.run(examine_cluster(settings_with(root, toml(cluster.address, more))))

    until(lambda: [str(f.verdict) for f in look()] == ["ok"] and look()[0].sentence.startswith("2 of 2"))
    assert {str(finding.verdict) for finding in look('root = "/nowhere"\n')} == {"fail"}
    assert "cannot write /nowhere" in look('root = "/nowhere"\n')[0].sentence


@pytest.mark.slow
def test_a_worker_of_another_version_is_refused_and_the_others_do_the_work(
    root: Path, cluster: DaskCluster, tmp_path: Path
) -> None:
    strange = tmp_path / "empiar_mirror-99.dist-info"
    strange.mkdir()
    (strange / "METADATA").write_text("Metadata-Version: 2.4\nName: empiar-mirror\nVersion: 99\n")
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1]), *filter(None, sys.path)])
    worker = cluster.start_worker(PYTHONPATH=paths)
    settings = settings_with(root, toml(cluster.address))
    refused = "runs empiar-mirror 99 on Python"
    until(lambda: any(refused in f.sentence for f in asyncio.run(examine_cluster(settings))), cluster.log)
    events: list[Event] = []
    with opened(root, toml(cluster.address), events, built_in=[maker(maker_functions.shout)]) as mirror:
        assert asyncio.run(mirror.make(None)).made == 8
    [told] = [event for event in events if isinstance(event, WorkerRefused)]
    assert refused in told.reason
    worker.kill()


def test_without_its_scheduler_the_work_waits_or_is_done_here_as_configured(root: Path) -> None:
    built_in = [maker(maker_functions.shout)]
    quick = 'connect = "0.3s"\n'
    with opened(root, toml(DEAD, quick), built_in=built_in) as mirror:
        with pytest.raises(ClusterFault, match="cannot be reached") as caught:
            asyncio.run(mirror.make(None))
        assert "docs/cluster.md" in caught.value.hint
        assert rows(mirror, "SELECT DISTINCT state, attempts FROM jobs") == [("wanted", 0)]
        with pytest.raises(ClusterFault):
            asyncio.run(mirror.verify(None))
    events: list[Event] = []
    with opened(root, toml(DEAD, f'{quick}otherwise = "local"\n'), events, built_in=built_in) as mirror:
        assert asyncio.run(mirror.make(None)).made == 8
        assert asyncio.run(mirror.verify(None)).checked == len(FILES)
    assert len([event for event in events if isinstance(event, Paused)]) == 2


@pytest.mark.slow
def test_a_scheduler_that_dies_costs_no_attempt_and_the_next_run_goes_on(root: Path, tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.mkdir()
    built_in = [maker(maker_functions.when_told, control=str(control))]
    events: list[Event] = []
    with dask_cluster(tmp_path / "dask", workers=1) as mortal:

        async def broken() -> None:
            run = asyncio.create_task(mirror.make(None))
            while not list(control.iterdir()):
                await asyncio.sleep(0.02)
            assert mortal.scheduler is not None
            mortal.scheduler.kill()
            mortal.scheduler.wait()
            await run

        with opened(root, toml(mortal.address, 'connect = "2s"\n'), events, built_in=built_in) as mirror:
            with pytest.raises(ClusterFault, match="cannot be reached"):
                asyncio.run(broken())
            assert rows(mirror, "SELECT DISTINCT state, attempts FROM jobs") == [("wanted", 0)]
            assert rows(mirror, "SELECT count(*) FROM leases") == [(0,)]
    (control / "go").touch()
    with opened(root, "", events, built_in=built_in) as mirror:
        assert asyncio.run(mirror.make(None)).made == 8
    assert len([event for event in events if isinstance(event, JobMade)]) == 8


@pytest.mark.slow
def test_verification_that_waits_for_workers_can_be_stopped(root: Path, tmp_path: Path) -> None:
    events: list[Event] = []

    async def stopped() -> VerifyReport:
        run = asyncio.create_task(mirror.verify(None))
        while not any(isinstance(event, Paused) for event in events):
            await asyncio.sleep(0.02)
        mirror.stop()
        return await run

    with (
        dask_cluster(tmp_path / "dask", workers=0) as lonely,
        opened(root, toml(lonely.address), events) as mirror,
    ):
        report = asyncio.run(stopped())
        assert (report.checked, report.stopped) == (0, True)
        assert rows(mirror, "SELECT count(*) FROM leases") == [(0,)]
    assert "it has no worker" in str([event for event in events if isinstance(event, Paused)])


def test_a_missing_extra_is_told_in_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        opened(root, toml(DEAD), built_in=[maker(maker_functions.shout)]) as mirror,
        pytest.raises(ConfigFault, match="not installed") as caught,
    ):
        asyncio.run(mirror.make(None))
    assert "empiar-mirror[cluster]" in caught.value.hint
