"""Large files fetched by workers: stops and hours keep what has come, faults of the archive are judged as ever, and without workers the mirror fetches alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_transfers import ID, MIB, coming, losses, ready, settings_with_cluster, slower, until
from dask_cluster import DaskCluster, dask_cluster
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.faults import Fault
from empiar_mirror.rehearsal.faults import FaultKind as K
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import ConnectionsAllowed, Event, Paused
from empiar_schema.faults import ConfigFault
from independent import assert_mirrored, assert_tidy
from mirrors import opened, rows

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

FILES = {f"large{n}.mrc": 4 * MIB + 1000 + n for n in range(2)}
#: So large that at the limit of the test they are not here before a busy machine looks.
LONG_FILES = {f"large{n}.mrc": 16 * MIB + 1000 + n for n in range(2)}
ATTEMPTS = (
    "SELECT t.outcome, count(*) FROM transfers t JOIN files f USING (file_id) WHERE f.path GLOB '*.mrc'"
    " GROUP BY t.outcome ORDER BY t.outcome"
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Nobody kills its workers."""
    with dask_cluster(tmp_path_factory.mktemp("dask"), workers=2) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_what_has_come_when_hours_close_or_the_run_is_stopped_is_kept(
    tmp_path: Path, cluster: DaskCluster, channel: str
) -> None:
    async with Rehearsal([big_entry(ID, LONG_FILES)]) as rehearsal:
        limits = f'connections = 2\nbandwidth = "1MB"\nchannels = ["{channel}"]\n'
        settings = settings_with_cluster(rehearsal, tmp_path, cluster.address, transfer=limits)
        await ready(cluster, settings)
        with opened(settings) as mirror:
            run = asyncio.create_task(mirror.sync([ID]))
            await until(
                lambda: len([moved for moved in coming(mirror).values() if moved > MIB]) == 2, cluster.log
            )
            if channel == "https":  # the hours close
                mirror.pacing.apply(slower(settings, 0))
                await until(lambda: not coming(mirror), cluster.log)
            mirror.stop()
            await run
            kept = rows(mirror, "SELECT state, bytes_here FROM copies WHERE state <> 'arrived'")
            assert [state for state, _ in kept] == ["partial", "partial"]
            assert all(int(str(here)) >= MIB - 2**18 for _, here in kept), kept
            assert rows(mirror, "SELECT count(*) FROM leases") == [(0,)]
        with opened(slower(settings, None)) as mirror:
            report = await mirror.sync([ID])
            assert report.transfer.failed == ()
        begun = {r.path: r.start_offset for r in rehearsal.log if r.path.endswith(".mrc") and r.start_offset}
        assert len(begun) == 2
        assert all(start >= MIB - 2**19 for start in begun.values())
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert_tidy(tmp_path / "mirror")


@pytest.mark.slow
async def test_faults_of_the_archive_that_workers_meet_are_judged_as_ever(
    tmp_path: Path, cluster: DaskCluster
) -> None:
    events: list[Event] = []
    faults = (
        Fault(kind=K.STATUS, match="*large0.mrc", channel="https", value="503 0", times=1),
        Fault(kind=K.DROP_AT, match="*large1.mrc", channel="https", at_byte=3 * MIB, times=1),
    )
    async with Rehearsal([big_entry(ID, FILES)], faults=faults) as rehearsal:
        limits = 'connections = 4\nchannels = ["https"]\n'
        settings = settings_with_cluster(rehearsal, tmp_path, cluster.address, transfer=limits)
        await ready(cluster, settings)
        with opened(settings, events) as mirror:
            report = await mirror.sync([ID])
            assert report.transfer.failed == ()
            assert rows(mirror, ATTEMPTS) == [("done", 2), ("failed", 2)]
        assert {fault.kind for fault in faults} <= set(rehearsal.book.struck)
        fewer = [event for event in events if isinstance(event, ConnectionsAllowed) and event.connections < 4]
        assert fewer  # the server called itself busy
        [first, second] = [r.start_offset for r in rehearsal.log if r.path.endswith("large1.mrc")]
        assert (first, second > MIB) == (0, True)
        assert losses(events) == []
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert_tidy(tmp_path / "mirror")


async def test_a_missing_extra_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        settings = settings_with_cluster(rehearsal, tmp_path, "tcp://127.0.0.1:9")
        with opened(settings) as mirror:
            with pytest.raises(ConfigFault, match="not installed") as caught:
                await mirror.sync([ID])
            assert "empiar-mirror[cluster]" in caught.value.hint


async def test_without_a_scheduler_the_mirror_fetches_alone_and_says_so(tmp_path: Path) -> None:
    events: list[Event] = []
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        settings = settings_with_cluster(rehearsal, tmp_path, "tcp://127.0.0.1:9")
        quick = settings.cluster.model_copy(update={"connect": 0.3})
        with opened(settings.model_copy(update={"cluster": quick}), events) as mirror:
            report = await mirror.sync([ID])
            assert report.transfer.failed == ()
            assert rows(mirror, ATTEMPTS)[0][0] == "done"
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
    [paused] = [event for event in events if isinstance(event, Paused)]
    assert "this machine fetches alone" in paused.until
