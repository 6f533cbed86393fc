"""A mirror with a Dask cluster: verification, scrubbing and the doctor, and clusters that are away, strange, or die."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import maker_functions
from cluster_makers import maker
from dask_cluster import DaskCluster, dask_cluster, until
from empiar_mirror.doctor_cluster import examine_cluster
from empiar_mirror.findings import Finding
from empiar_mirror.makers.registry import BUILT_IN
from empiar_mirror.reports import VerifyReport
from empiar_schema.events import Event, JobMade, Paused, WorkerRefused
from empiar_schema.faults import ClusterFault, ConfigFault
from empiar_schema.states import Role
from entry_here import NOW, everything_below, opened, put_here, rows, settings_with
from labelled_entry import image, picks_on, relion

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


@pytest.mark.slow
def test_what_the_built_in_makers_make_is_the_same_bytes_though_workers_see_the_root_elsewhere(
    tmp_path: Path, cluster: DaskCluster
) -> None:
    names = ("a.mrc", "b.mrc")
    picks = [pick for name in names for pick in picks_on(name)]
    files = {
        **{f"data/{name}": image(seed=seed) for seed, name in enumerate(names)},
        "data/p.star": (Role.PARTICLE_COORDINATES, relion(picks)),
    }
    wanted = '[making]\nworkers = 1\nthumbnails = true\nparticle_diameters = { 10017 = 12 }\n[arrange]\nviews = ["cryoppp", "relion"]\n'
    (tmp_path / "mount").symlink_to(tmp_path / "there")
    made = {}
    for name, more in (("here", ""), ("there", toml(cluster.address, f'root = "{tmp_path}/mount"\n'))):
        root = tmp_path / name
        root.mkdir()
        put_here(root, files, inspected=True)
        with opened(root, more + wanted, built_in=BUILT_IN) as mirror:
            report = asyncio.run(mirror.make(None))
            assert (report.failed, report.damaged) == ((), 0)
            made[name] = everything_below(root / "derived")
    assert len({path.partition("/")[2].partition("/")[0] for path in made["here"]}) >= 3
    assert made["there"] == made["here"]


@pytest.mark.slow
def test_a_cluster_with_tls_takes_those_who_have_a_certificate(root: Path, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    secured = DaskCluster(tmp_path)
    try:
        files = ("--tls-ca-file", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
        secured.start_scheduler("--protocol", "tls", *files)
        assert secured.address.startswith("tls://")
        known = f'ca_file = "{cert}"\ncert_file = "{cert}"\nkey_file = "{key}"\n'
        [finding] = asyncio.run(examine_cluster(settings_with(root, toml(secured.address, known))))
        assert (str(finding.verdict), "without workers" in finding.sentence) == ("warn", True)
        plain = toml(secured.address.replace("tls", "tcp"), 'connect = "2s"\n')
        [finding] = asyncio.run(examine_cluster(settings_with(root, plain)))
        assert (str(finding.verdict), "cannot be reached" in finding.sentence) == ("fail", True)
        missing = known.replace("key.pem", "gone.pem")
        [finding] = asyncio.run(examine_cluster(settings_with(root, toml(secured.address, missing))))
        assert "gone.pem" in finding.sentence
    finally:
        secured.end()
