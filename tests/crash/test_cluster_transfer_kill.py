"""Workers that are killed or frozen while they fetch, and a mirror that is killed meanwhile: every file arrives, once, byte for byte."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from cluster_transfers import ID, MIB, coming, losses, ready, settings_with_cluster, slower, until
from dask_cluster import DaskCluster, dask_cluster
from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import Event, FileArrived
from independent import assert_mirrored, assert_tidy
from lives import Life, ended
from mirrors import opened, rows

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

WORKER = Path(__file__).with_name("worker.py")
LARGE = {f"large{n}.mrc": 3 * MIB + n for n in range(7)}
FILES = {**LARGE, **{f"small{n}.mrc": 20_000 + n for n in range(8)}}


@pytest.mark.slow
async def test_one_worker_killed_and_one_frozen_in_mid_transfer_all_files_arrive_once(tmp_path: Path) -> None:
    events: list[Event] = []
    with dask_cluster(tmp_path / "dask", workers=2) as cluster:
        cluster.start_worker("--nthreads", "2")
        async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
            limits = 'connections = 4\nbandwidth = "400kB"\nchannels = ["https"]\n'
            settings = settings_with_cluster(
                rehearsal, tmp_path, cluster.address, transfer=limits, cluster='lease = "8s"\n'
            )
            await ready(cluster, settings)
            with opened(settings, events) as mirror:
                run = asyncio.create_task(mirror.sync([ID]))
                await until(lambda: len(at_work(mirror)) >= 2, cluster.log)
                killed, frozen, *_ = (process_of(cluster, address) for address in at_work(mirror))
                frozen.send_signal(signal.SIGSTOP)
                killed.kill()
                await until(lambda: len({loss.worker for loss in losses(events)}) == 2, cluster.log)
                frozen.send_signal(signal.SIGCONT)
                mirror.pacing.apply(slower(settings, None))
                report = await run
                assert report.transfer.failed == ()
                lost = rows(
                    mirror, "SELECT subject, reason FROM leases WHERE work = 'transfer' ORDER BY reason"
                )
                reasons = {str(reason)[:15] for _, reason in lost}
                assert reasons == {"no sign of life", "the worker is g"}
                stopped = rows(
                    mirror,
                    "SELECT f.path, t.bytes_moved FROM transfers t JOIN files f USING (file_id) WHERE t.outcome = 'stopped'",
                )
                assert sorted(f"{ID}/{path}" for path, _ in stopped) == sorted(str(path) for path, _ in lost)
                assert rows(mirror, "SELECT DISTINCT outcome FROM transfers ORDER BY 1") == [
                    ("done",),
                    ("stopped",),
                ]
                assert no_worker_has_the_catalogue(cluster)
            assert_mirrored(rehearsal, tmp_path / "mirror", ID)
            assert_tidy(tmp_path / "mirror")
            assert rehearsal.served.peak_connections["https"] <= 4
    arrived = [event.path for event in events if isinstance(event, FileArrived)]
    assert len(arrived) == len(set(arrived)) == len(FILES) + 1  # and the header


def at_work(mirror: Mirror) -> list[str]:
    """Addresses of the workers from which bytes have come."""
    moving = {int(name.partition("-")[0]) for name in coming(mirror)}
    found = rows(mirror, "SELECT lease_id, worker FROM leases WHERE lost_at IS NULL ORDER BY lease_id")
    return list(dict.fromkeys(str(worker) for lease_id, worker in found if lease_id in moving))


def process_of(cluster: DaskCluster, address: str) -> subprocess.Popen[bytes]:
    """The worker at this address, as its log says."""
    logs = (cluster.folder / f"worker-{n}.log" for n in range(len(cluster.workers)))
    started = re.compile(rf"Start worker at: +{re.escape(address)}\n")
    [found] = [n for n, log in enumerate(logs) if started.search(log.read_text())]
    return cluster.workers[found]


def no_worker_has_the_catalogue(cluster: DaskCluster) -> bool:
    """Whether none of the workers that live has it open."""
    return not any(
        "empiar.db" in os.readlink(entry)
        for worker in cluster.workers
        if worker.poll() is None
        for entry in Path(f"/proc/{worker.pid}/fd").iterdir()
    )


@pytest.mark.slow
async def test_a_mirror_killed_while_workers_fetch_begins_those_files_anew(tmp_path: Path) -> None:
    with dask_cluster(tmp_path / "dask", workers=1) as cluster:
        async with Rehearsal([big_entry(ID, LARGE)]) as rehearsal:

            async def life(limits: str, *options: str) -> tuple[int, str]:
                settings_with_cluster(rehearsal, tmp_path, cluster.address, transfer=limits)
                return await ended(Life(WORKER, str(tmp_path / "empiar-mirror.toml"), str(ID), *options))

            slow = 'connections = 2\nbandwidth = "2MB"\n'
            status, errors = await life(slow, "--after-bytes", str(2 * MIB))
            assert status == -signal.SIGKILL, errors
            leases = tmp_path / "mirror" / "staging" / "leases"
            left = [folder for folder in leases.iterdir() if not folder.name.startswith("greeting")]
            assert len(left) == 1
            status, errors = await life("connections = 2\n")
            assert status == 0, errors + cluster.log()
            assert_mirrored(rehearsal, tmp_path / "mirror", ID)
            assert_tidy(tmp_path / "mirror")
