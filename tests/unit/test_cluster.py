"""Work on other machines, without any: leases in the catalogue and on disk, who is alive, parcels, settings."""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import maker_functions
from dask_cluster import until
from empiar_mirror.checking import Finding
from empiar_mirror.cluster.dispatch import WorkLost, _checked
from empiar_mirror.cluster.errands import BEGUN, Greet, Make, Place, Reply, leases_folder, order_for, run
from empiar_mirror.cluster.leases import Leases, recover_leases
from empiar_mirror.cluster.making import _are_outputs
from empiar_mirror.cluster.reading import PARCEL_FILES, _is_of, parcels
from empiar_mirror.cluster.roster import Roster, Seen
from empiar_mirror.folders import Folders
from empiar_mirror.makers.maker import Output, Source, Work
from empiar_schema import job_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.cluster_settings import ClusterSettings
from empiar_schema.configuration import load
from empiar_schema.copies import HereFile
from empiar_schema.faults import ConfigFault
from empiar_schema.jobs import Wish
from empiar_schema.lease_store import (
    KEPT_S,
    Grant,
    grant_lease,
    lose_lease,
    losses_of_job,
    redeem_lease,
    withdraw_lease,
)
from empiar_schema.paths import RemotePath
from empiar_schema.states import CopyState, Role
from entry_here import ID, NOW, put_here

GRANT = Grant("make", "data/a.tif", "tcp://10.0.0.2:40000", "5eed", job_id=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Folders.below(tmp_path)
    put_here(tmp_path, {"data/a.tif": (Role.MOVIE, b"movie a")})
    return tmp_path


@pytest.fixture
def conn(root: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(root / "empiar.db", isolation_level=None)
    job_store.want_jobs(connection, ID, [Wish("shout", 1, "r")], now=5)
    yield connection
    connection.close()


# --- leases ----------------------------------------------------------------------------------------------------


def test_an_answer_counts_once_and_only_under_its_own_lease(conn: sqlite3.Connection) -> None:
    first = grant_lease(conn, GRANT, now=10)
    assert not redeem_lease(conn, first, "other")
    assert redeem_lease(conn, first, "5eed")
    assert not redeem_lease(conn, first, "5eed")
    second = grant_lease(conn, GRANT, now=10)
    assert second > first  # though no row is left of the first
    withdraw_lease(conn, second)
    assert not redeem_lease(conn, second, "5eed")


def test_a_lost_lease_stays_on_record_and_its_late_answer_does_not_count(conn: sqlite3.Connection) -> None:
    lease = grant_lease(conn, GRANT, now=10)
    lose_lease(conn, lease, reason="the worker is gone", now=20)
    assert not redeem_lease(conn, lease, "5eed")
    assert losses_of_job(conn, 1) == 1
    row = conn.execute("SELECT work, subject, worker, reason, lost_at FROM leases").fetchone()
    assert row == ("make", "data/a.tif", GRANT.worker, "the worker is gone", "1970-01-01T00:00:20Z")
    conn.execute("UPDATE job SET wanted_at = 30")  # asked for again
    assert losses_of_job(conn, 1) == 0
    grant_lease(conn, GRANT, now=21 + KEPT_S)
    assert conn.execute("SELECT count(*) FROM leases WHERE lost_at IS NOT NULL").fetchone() == (0,)


def test_a_start_ends_all_leases_and_removes_their_folders(root: Path) -> None:
    with Catalogue.open(root / "empiar.db") as catalogue, ThreadPoolExecutor(1) as threads:
        leases = Leases(catalogue=catalogue, root=root, threads=threads, clock=lambda: NOW)
        lease = asyncio.run(leases.grant("make", "x", "w", None))
        (lease.folder / BEGUN).mkdir()
        recover_leases(catalogue, root)
        assert list(leases_folder(root).iterdir()) == []
        assert not asyncio.run(leases.redeem(lease, None))


# --- on a worker -----------------------------------------------------------------------------------------------


def shouted(root: Path) -> bytes:
    source = Source(1, "data/a.tif", "movie", Path(f"archive/{ID}/data/a.tif"), 7, "00")
    errand = Make(maker_functions.shout, Work(Path(), (source,), "a"), 60.0)
    return order_for(errand, root=root, lease="1-5eed")


def test_an_errand_is_begun_once_and_writes_below_its_lease(root: Path) -> None:
    lease = leases_folder(root) / "1-5eed"
    lease.mkdir(parents=True)
    reply = pickle.loads(run(shouted(root)))
    assert [output.name for output in reply.value] == ["a.txt"]
    assert [path.name for path in lease.rglob("*")] == [BEGUN, "out"]
    assert pickle.loads(run(shouted(root))).refusal == "another worker has begun it, and was lost"


def test_an_errand_without_a_lease_or_without_sense_is_refused_not_failed(root: Path) -> None:
    assert "cannot write" in pickle.loads(run(shouted(root))).refusal
    assert "does not understand" in pickle.loads(run(b"nonsense")).refusal
    assert not leases_folder(root).exists()


def test_an_errand_whose_lease_ends_meanwhile_stops(root: Path) -> None:
    lease = leases_folder(root) / "1-5eed"
    lease.mkdir(parents=True)
    source = Source(1, "data/a.tif", "movie", Path(f"archive/{ID}/data/a.tif"), 7, "00")
    work = Work(Path(), (source,), "a", {"control": str(root)})
    order = order_for(Make(maker_functions.when_told, work, 60.0), root=root, lease="1-5eed")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(run, order)
        until(lambda: list(root.glob("a.*")))
        lease.rename(lease.with_name("ended"))
        assert pickle.loads(answer.result(60)).refusal == "it was taken away"


def test_a_fault_of_the_work_is_a_sentence(root: Path) -> None:
    (leases_folder(root) / "1-5eed").mkdir(parents=True)
    reply = pickle.loads(run(order_for(Greet(1.0), root=root, lease="1-5eed")))
    assert isinstance(reply, Reply)
    assert "nonce: No such file" in reply.fault
    assert reply.value is None
    with pytest.raises(FileNotFoundError):
        Greet(1.0)(Place(root, root / "nowhere"))


@pytest.mark.parametrize(
    "answer", [b"nonsense", b"", None, "text", pickle.dumps(7), pickle.dumps(Reply(refusal="no"))]
)
def test_an_answer_that_is_none_counts_as_lost(answer: object) -> None:
    with pytest.raises(WorkLost):
        _checked(answer)


def test_findings_of_other_files_and_outputs_of_other_kinds_are_not_taken(root: Path) -> None:
    [a, b] = [
        HereFile(n, RemotePath.parse(ID, f"{n}.dat"), CopyState.ARRIVED, 1, bytes(32), None) for n in (1, 2)
    ]
    assert _is_of((Finding(a, 1, None), Finding(b, 1, None)), (a, b))
    for found in ((Finding(a, 1, None),), (Finding(b, 1, None), Finding(a, 1, None)), [1, 2], None):
        assert not _is_of(found, (a, b))
    assert _are_outputs((Output(Path("x"), "x", "y"),))
    for value in (("x",), [Output(Path("x"), "x", "y")], (Output(Path("x"), 7, "y"),), None):  # type: ignore[arg-type]
        assert not _are_outputs(value)


# --- who is alive -----------------------------------------------------------------------------------------------


def roster(*threads: int, places: int = 10) -> Roster:
    found = Roster(lease_s=10.0, places=places)
    found.looked([Seen(f"w{n}", count, 1.0) for n, count in enumerate(threads)], 0.0)
    for n in range(len(threads)):
        found.judged(f"w{n}", None)
    return found


def test_work_goes_where_there_is_most_room_and_never_beyond_it() -> None:
    workers = roster(2, 3)
    taken = []
    while (chosen := workers.choose(0.0)) is not None:
        workers.took(chosen)
        taken.append(chosen)
    assert sorted(taken) == ["w0", "w0", "w1", "w1", "w1"]
    assert taken[0] == "w1"
    workers.gave_back("w0")
    assert workers.choose(0.0) == "w0"
    few = roster(8, places=1)
    few.took("w0")
    assert few.choose(0.0) is None


def test_a_silent_worker_is_given_nothing_and_then_counts_as_lost() -> None:
    workers = roster(1, 1)
    seen = [Seen("w0", 1, 1.0), Seen("w1", 1, 2.0)]
    workers.looked(seen, 6.0)  # only the second has been heard of since
    assert workers.choose(6.0) == "w1"
    assert workers.lost_because("w0", 9.0) is None
    assert workers.lost_because("w0", 10.5) == "no sign of life for 10 s"
    workers.looked([Seen("w0", 1, 3.0)], 11.0)
    assert workers.lost_because("w0", 11.0) is None
    assert workers.lost_because("w1", 11.0) == "the worker is gone"


def test_strangers_and_refused_workers_are_given_nothing() -> None:
    workers = Roster(lease_s=10.0, places=10)
    assert workers.lacking == "it has no worker"
    workers.looked([Seen("w0", 1, 1.0)], 0.0)
    assert list(workers.strangers()) == ["w0"]
    assert workers.choose(0.0) is None
    assert workers.lacking is None
    workers.judged("w0", "it is too old")
    assert workers.choose(0.0) is None
    assert workers.lacking == "none of its 1 workers is fit (w0: it is too old)"


# --- parcels, settings --------------------------------------------------------------------------------------------


def test_parcels_keep_the_order_and_a_large_file_goes_alone() -> None:
    sizes = [10, 10, 500, 10, *[0] * (PARCEL_FILES + 1)]
    files = [
        HereFile(n, RemotePath.parse(ID, f"{n}.dat"), CopyState.ARRIVED, size, bytes(32), None)
        for n, size in enumerate(sizes)
    ]
    groups = list(parcels(files, 100))
    assert [file for group in groups for file in group] == files
    assert [len(group) for group in groups] == [2, 1, PARCEL_FILES, 2]
    assert list(parcels([], 100)) == []


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ('scheduler = "head:8786"', "tcp://head.example.org:8786"),
        ('scheduler = "tcp://head:0"', "tcp://head.example.org:8786"),
        ('scheduler = "tls://head:8786"', "needs ca_file, cert_file and key_file"),
        ('scheduler = "tcp://head:8786"\nca_file = "/x"', "are for a scheduler at tls://"),
        ('root = "mnt"', "must be a whole path"),
        ('work = ["crawl"]', "'make'"),
    ],
)
def test_wrong_settings_are_told(tmp_path: Path, toml: str, sentence: str) -> None:
    file = tmp_path / "empiar-mirror.toml"
    file.write_text(f"[cluster]\n{toml}\n")
    with pytest.raises(ConfigFault) as caught:
        load(file, environ={}, cwd=tmp_path)
    assert sentence in str(caught.value)


def test_without_a_scheduler_nothing_is_handed_out() -> None:
    assert not ClusterSettings().hands_out("make")
    assert ClusterSettings(scheduler="tcp://h:1", work=("scrub",)).hands_out("scrub")
    assert not ClusterSettings(scheduler="tcp://h:1", work=("scrub",)).hands_out("make")
