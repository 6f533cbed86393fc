"""Transfers by workers, without any: shares of a limit, the mailbox, whose file is taken over, and what a worker answers."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import xxhash

from empiar_mirror.active import ActiveFile
from empiar_mirror.agenda import Agenda
from empiar_mirror.cluster import mailbox
from empiar_mirror.cluster.errands import NotWanted, Place
from empiar_mirror.cluster.fetching import Access, Fetch, Fetched, _goes_on, fetched_file
from empiar_mirror.cluster.roster import Roster, Seen
from empiar_mirror.cluster.transferring import _blocks, _of_the_archive
from empiar_mirror.doubts import Doubts
from empiar_mirror.fate import ListingDisagrees, Tried, WorkerGone, outcome_word
from empiar_mirror.judge import Judge
from empiar_mirror.pacing import Pacing
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.faults import Fault
from empiar_mirror.rehearsal.faults import FaultKind as K
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.staging import PartFile
from empiar_mirror.stretches import BLOCK_BYTES
from empiar_schema.cluster_settings import ClusterSettings
from empiar_schema.faults import (
    IntegrityFault,
    PermanentFault,
    Stalled,
    StorageFault,
    TransientFault,
    UnreachableFault,
)
from empiar_schema.paths import RemotePath
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from empiar_schema.transfer_settings import TransferSettings
from empiar_schema.transfer_store import Work
from empiar_wire.hosts import Hosts
from empiar_wire.throttle import Bucket, Throttle
from independent import content

ID = 10190
SIZE = 2 * 2**20 + 1000


# --- limits ------------------------------------------------------------------------------------------------------


def test_what_came_elsewhere_is_waited_for_here() -> None:
    now = [0.0]
    bucket = Bucket(100.0, clock=lambda: now[0])

    async def paid() -> bool:
        payment = asyncio.create_task(throttle.pay(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done = payment.done()
        payment.cancel()
        return done

    async def scenario() -> None:
        throttle.charge(1000)
        now[0] = 9.0
        assert not await paid()
        now[0] = 10.1
        assert await paid()

    throttle = Throttle([bucket, Bucket()])
    asyncio.run(scenario())
    assert bucket.held_back


async def test_a_stream_elsewhere_has_an_equal_share_of_each_limit(tmp_path: Path) -> None:
    settings = Settings(
        root=tmp_path,
        transfer=TransferSettings.model_validate(
            {"bandwidth": 1200, "limit": [{"channel": "ftp", "bytes_per_s": 300}]}
        ),
    )
    pacing = Pacing(settings, lambda _: None)
    hosts = Hosts(connections=8, requests_per_s=10, user_agent="x")
    pacing.begin(settings, hosts, [Channel.HTTPS, Channel.FTP])
    assert pacing.share(Channel.HTTPS) == 1200
    for channel in (Channel.HTTPS, Channel.HTTPS, Channel.FTP):
        pacing.began(channel)
    assert (pacing.share(Channel.HTTPS), pacing.share(Channel.FTP)) == (400, 300)
    pacing.apply(settings.model_copy(update={"transfer": TransferSettings()}))
    assert pacing.share(Channel.HTTPS) is None


# --- the mailbox -------------------------------------------------------------------------------------------------


def test_what_is_told_is_heard_and_what_is_cut_is_not(tmp_path: Path) -> None:
    assert mailbox.heard(tmp_path) is None
    for rule in (mailbox.Rule(1), mailbox.Rule(2, 5e6), mailbox.Rule(3, None, rest=True)):
        mailbox.tell(tmp_path, rule)
        assert mailbox.heard(tmp_path) == rule
    for text in ("", "4", "4 12", "4 12 go", "x - go .", "4 - go"):
        (tmp_path / "rule").write_text(text)
        assert mailbox.heard(tmp_path) is None
    assert mailbox.moved(tmp_path) == 0
    mailbox.note_moved(tmp_path, 77)
    assert mailbox.moved(tmp_path) == 77
    (tmp_path / "moved").write_text("12")
    assert mailbox.moved(tmp_path) == 0
    mailbox.tell(tmp_path / "gone", mailbox.Rule(1))


# --- judgement ---------------------------------------------------------------------------------------------------


def test_only_faults_that_the_mirror_would_have_met_count_for_the_archive() -> None:
    for fault in (
        TransientFault("503", crowded=True),
        PermanentFault("404"),
        Stalled("x"),
        IntegrityFault("x"),
    ):
        assert _of_the_archive(fault)
        again = pickle.loads(pickle.dumps(fault))
        assert (type(again), vars(again), str(again)) == (type(fault), vars(fault), str(fault))
    assert _of_the_archive(StorageFault("full", full=True))
    for mine in (StorageFault("broken"), UnreachableFault("no net"), TransientFault("x", host_down=True)):
        assert not _of_the_archive(mine)
    assert outcome_word(WorkerGone("x")) == "stopped"


def test_a_connection_is_followed_by_another_only_if_it_brought_something_and_nobody_complained() -> None:
    much = 2**26
    assert _goes_on(TransientFault("ended early"), brought=much)
    assert not _goes_on(TransientFault("ended early"), brought=1000)
    for other in (
        None,
        Stalled("x"),
        TransientFault("x", crowded=True),
        TransientFault("x", retry_after_s=1),
    ):
        assert not _goes_on(other, brought=much)


def test_workers_share_their_threads_among_all_dealings_of_the_process() -> None:
    one = Roster(10.0, 10)
    other = Roster(10.0, 10, one.in_hand)
    for roster in (one, other):
        assert not roster.known
        roster.looked([Seen("w0", 2, 1.0)], 0.0)
        assert not roster.known
        roster.judged("w0", None)
        assert roster.known
    one.took("w0")
    other.took("w0")
    assert one.choose(0.0) is None
    other.gave_back("w0")
    assert one.choose(0.0) == "w0"
    assert one.choose(0.0, {"w0"}) is None
    assert (one.silent("w0", 5.0), one.silent("w0", 11.0), one.silent("w1", 11.0)) == (False, True, False)


def test_transfers_are_handed_out_only_if_they_are_named() -> None:
    scheduler = "tcp://10.0.0.1:8786"
    assert not ClusterSettings(scheduler=scheduler).hands_out("transfer")
    assert ClusterSettings(scheduler=scheduler, work=("transfer",)).hands_out("transfer")
    with pytest.raises(ValueError, match="greater than or equal"):
        ClusterSettings(transfer_bytes=1000)


def active(size: int) -> ActiveFile:
    work = Work(
        file_id=size, remote=RemotePath.parse(ID, f"data/{size}.mrc"), size=size, size_exact=True,
        modified_at=None, attempts=0, fruitless=0, last_channel=None, validators=None, bytes_kept=0,
    )  # fmt: skip
    return ActiveFile.of(work, path=Path("x"), tried=Tried(Channel.HTTPS))


def test_other_machines_are_given_only_what_is_untouched() -> None:
    agenda = Agenda(TransferSettings(), {})
    begun, fresh = active(3 * 2**20), active(4 * 2**20)
    agenda.add(begun)
    agenda.add(fresh)
    begun.remaining.take(None)
    https = [Channel.HTTPS]
    every: Callable[[ActiveFile], bool] = lambda _: True  # noqa: E731
    assert agenda.untouched(https, every) is fresh
    assert agenda.untouched([Channel.FTP], every) is None
    assert agenda.untouched(https, lambda one: one is begun) is None
    assert agenda.large(https, but=lambda one: one is fresh) is not fresh
    fresh.preparing = True
    assert agenda.untouched(https, every) is None


# --- files that are taken over -----------------------------------------------------------------------------------


def test_a_file_is_taken_over_as_far_as_it_is_wanted_and_hashed_anew(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "1.part")
    part.write(0, memoryview(b"before"))
    there = tmp_path / "there"
    there.write_bytes(b"0123456789")
    inode = there.stat().st_ino
    part.replace(there, 8)
    assert not there.exists()
    assert part.path.stat().st_ino == inode
    assert part.finish(8) == hashlib.sha256(b"01234567").digest()
    short, link = tmp_path / "short", tmp_path / "link"
    short.write_bytes(b"0")
    link.symlink_to(part.path)
    for other in (short, link, tmp_path / "nowhere"):
        with pytest.raises(IntegrityFault, match="is not here"):
            part.replace(other, 8)
    assert part.finish(8) == hashlib.sha256(b"01234567").digest()
    part.discard()


async def test_other_bytes_here_than_the_worker_received_are_refused(tmp_path: Path) -> None:
    file = active(SIZE)
    part = file.part = PartFile(tmp_path / "1.part")
    part.write(0, memoryview(bytes(SIZE)))
    with ThreadPoolExecutor(1) as threads:
        judge = Judge({}, threads=threads, doubts=Doubts(1.0, clock=time.monotonic))
        file.sha256 = hashlib.sha256(bytes(SIZE)[:-1] + b"x").digest()
        with pytest.raises(IntegrityFault, match="than the worker that fetched it has received"):
            await judge.examine(file, SIZE)
        file.start_over(SIZE)
        assert file.sha256 is None
    part.discard()


# --- what a worker does ------------------------------------------------------------------------------------------


def fetch(
    rehearsal: Rehearsal, channel: Channel, *, size: int | None = SIZE, silence_s: float = 60.0
) -> Fetch:
    url = rehearsal.https_url if channel is Channel.HTTPS else rehearsal.ftp_url
    access = Access(channel, url, "empiar-mirror/test (x)", 30.0, 100.0)
    return Fetch(access, RemotePath.parse(ID, "data/a.mrc"), size, None, silence_s)


async def answered(place: Place, errand: Fetch) -> Fetched:
    """As on a worker: in a thread that has no loop."""
    place.folder.mkdir(parents=True)
    again: Fetch = pickle.loads(pickle.dumps(errand))
    return await asyncio.to_thread(again, place)


@pytest.mark.parametrize("channel", [Channel.HTTPS, Channel.FTP])
async def test_a_worker_brings_a_whole_file_with_its_digests(tmp_path: Path, channel: Channel) -> None:
    place = Place(tmp_path, tmp_path / "lease" / "begun")
    async with Rehearsal([big_entry(ID, {"a.mrc": SIZE})]) as rehearsal:
        fetched = await answered(place, fetch(rehearsal, channel))
        expected = content(rehearsal, ID, b"data/a.mrc")
    assert (fetched.fault, fetched.size, fetched.moved) == (None, SIZE, SIZE)
    assert fetched.found is not None
    assert fetched.found.size == SIZE
    assert fetched_file(place.folder).read_bytes() == expected
    assert fetched.sha256 == hashlib.sha256(expected).digest()
    blocks = _blocks(fetched.proofs)
    assert [block.start for block in blocks] == list(range(0, SIZE - BLOCK_BYTES, BLOCK_BYTES))
    for block in blocks:
        assert xxhash.xxh3_128_digest(expected[block.start : block.start + block.length]) == block.xxh3


async def test_a_worker_answers_with_what_has_come_and_the_fault(tmp_path: Path) -> None:
    drop = Fault(kind=K.DROP_AT, match="*.mrc", channel="https", at_byte=2**20, times=None)
    async with Rehearsal([big_entry(ID, {"a.mrc": SIZE})], faults=[drop]) as rehearsal:
        fetched = await answered(Place(tmp_path, tmp_path / "1" / "begun"), fetch(rehearsal, Channel.HTTPS))
        assert isinstance(fetched.fault, TransientFault)
        assert fetched.size == fetched.moved == 2**20
        assert len(fetched.proofs) == 16 * 4
        other = fetch(rehearsal, Channel.HTTPS, size=SIZE - 1)
        fetched = await answered(Place(tmp_path, tmp_path / "2" / "begun"), other)
        assert isinstance(fetched.fault, ListingDisagrees)
        assert (fetched.size, fetched.proofs) == (0, b"")


async def test_a_worker_ends_when_it_hears_nothing_or_its_folder_is_gone(tmp_path: Path) -> None:
    hang = Fault(kind=K.STALL_AT, match="*.mrc", channel="https", at_byte=2**20, times=None)
    async with Rehearsal([big_entry(ID, {"a.mrc": SIZE})], faults=[hang]) as rehearsal:
        with pytest.raises(NotWanted):
            silent = fetch(rehearsal, Channel.HTTPS, silence_s=0.0)
            await answered(Place(tmp_path, tmp_path / "1" / "begun"), silent)
        place = Place(tmp_path, tmp_path / "2" / "begun")
        mailbox.tell(tmp_path, mailbox.Rule(1))
        late = asyncio.create_task(answered(place, fetch(rehearsal, Channel.HTTPS)))
        while not mailbox.moved(place.folder):
            await asyncio.sleep(0.01)
        place.folder.parent.rename(tmp_path / "ended")
        with pytest.raises(NotWanted):
            await late
    assert not place.folder.exists()
