"""Progress, arrivals, later proofs, recovery."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import CatalogueFault
from empiar_schema.files import Validators
from empiar_schema.image_facts import ImageFacts
from empiar_schema.states import Channel, CopyState
from empiar_schema.transfer_store import Arrival, Attempt, Block
from three_files import ID, MB, NOW, SHA, Mirror


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:
        yield Mirror(catalogue)


# --- progress -----------------------------------------------------------------------------------------------


def _block(start: int, length: int = 10) -> Block:
    return Block(start, length, bytes([start % 256]) * 16)


def test_a_partial_is_claimed_again_with_its_proofs(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim()
    found = Validators(100, 1_700_000_000, '"etag"')
    mirror.do(lambda c: transfer.record_first_byte(c, 1, found, channel=Channel.FTP, now=NOW))
    mirror.do(lambda c: transfer.record_blocks(c, 1, [_block(20), _block(0)]))
    mirror.do(lambda c: transfer.record_blocks(c, 1, [_block(20)]))
    mirror.do(lambda c: transfer.release(c, 1, not_before=0, error=None, keep_partial=True))
    assert mirror.rows("SELECT state, bytes_here, channel FROM copies WHERE file_id = 1") == [
        ("partial", 20, "ftp")
    ]
    [work] = mirror.claim()
    assert work.validators == found
    assert work.bytes_kept == 20
    assert mirror.do(lambda c: transfer.part_blocks(c, 1)) == (_block(0), _block(20))
    assert work.last_channel is Channel.FTP
    mirror.do(lambda c: transfer.forget_blocks(c, 1, [0, 5]))
    mirror.do(lambda c: transfer.forget_blocks(c, 1, [0]))
    [again] = [w for w in mirror.do(transfer.claimed_files) if w.file_id == 1]
    assert again.bytes_kept == 10
    assert mirror.do(lambda c: transfer.part_blocks(c, 1)) == (_block(20),)
    assert mirror.rows("SELECT bytes_here FROM copies WHERE file_id = 1") == [(10,)]


def test_a_new_first_byte_forgets_what_was_kept(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim()
    for etag in ('"1"', '"2"'):
        found = Validators(100, None, etag)
        mirror.do(partial(transfer.record_first_byte, file_id=1, found=found, channel=Channel.HTTPS, now=NOW))
        if etag == '"1"':
            mirror.do(lambda c: transfer.record_blocks(c, 1, [_block(0)]))
    work = mirror.do(transfer.claimed_files)[0]
    assert work.bytes_kept == 0
    assert mirror.do(lambda c: transfer.part_blocks(c, 1)) == ()
    assert work.validators == Validators(100, None, '"2"')


def _attempt(started: float, outcome: str = "failed", moved: int = 50) -> Attempt:
    return Attempt(
        1, Channel.HTTPS, started, started + 1.5, 0, moved, outcome, "reset" if outcome == "failed" else None
    )


def test_only_proven_bytes_that_are_kept_renew_the_budget(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim()

    def attempt(started: float, outcome: str = "failed") -> int:
        mirror.do(lambda c: transfer.record_attempts(c, [_attempt(started, outcome)]))
        return mirror.do(transfer.claimed_files)[0].fruitless

    assert attempt(1) == 1
    mirror.do(lambda c: transfer.record_blocks(c, 1, [_block(0)]))
    assert attempt(2) == 0
    assert attempt(3) == 1, "the same bytes earn nothing twice"
    mirror.do(
        lambda c: transfer.record_first_byte(
            c, 1, Validators(100, None, '"2"'), channel=Channel.HTTPS, now=NOW
        )
    )
    mirror.do(lambda c: transfer.record_blocks(c, 1, [_block(0)]))
    assert attempt(4, "changed") == 2, "starting over and coming as far as before is no progress"
    assert attempt(5, "stopped") == 2


def test_an_attempt_recorded_twice_counts_once(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim()
    for _ in range(2):
        mirror.do(lambda c: transfer.record_attempts(c, [_attempt(1000.25)]))
    columns = "file_id, channel, started_at, ended_at, start_offset, bytes_moved, outcome, error"
    assert mirror.rows(f"SELECT {columns} FROM transfers") == [
        (1, "https", "1970-01-01T00:16:40.250Z", "1970-01-01T00:16:41.750Z", 0, 50, "failed", "reset")
    ]
    assert mirror.rows("SELECT attempts FROM copies WHERE file_id = 1") == [(1,)]


def test_giving_up_forgets_the_partial_and_says_why(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim()
    mirror.do(lambda c: transfer.record_blocks(c, 1, [_block(0)]))
    for _ in range(2):
        mirror.do(lambda c: transfer.park(c, 1, error="HTTP 404"))
        mirror.do(lambda c: transfer.quarantine(c, 2, error="too long"))
    assert mirror.rows("SELECT state, error, bytes_here FROM copies WHERE file_id < 3") == [
        ("parked", "HTTP 404", 0),
        ("quarantined", "too long", 0),
    ]
    with mirror.catalogue.reader() as reader:
        assert transfer.partial_file_ids(reader) == {3}
    assert mirror.rows("SELECT failed_files, state FROM entry_progress") == [(2, "transferring")]


def test_failed_copies_are_tried_again_with_a_fresh_budget(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim()
    mirror.do(lambda c: transfer.record_attempts(c, [_attempt(1)]))
    mirror.do(lambda c: transfer.park(c, 1, error="x"))
    mirror.do(lambda c: transfer.quarantine(c, 2, error="y"))

    def retry(ids: list[int] | None, *states: CopyState) -> int:
        return mirror.do(lambda c: transfer.retry_failed(c, ids, now=NOW, states=states))

    assert retry([99], CopyState.PARKED) == 0
    assert retry(None, CopyState.DAMAGED) == 0
    assert retry([ID], CopyState.PARKED) == 1
    assert retry(None, CopyState.PARKED, CopyState.QUARANTINED) == 1
    assert mirror.states() == {"a": "wanted", "b": "wanted", "c": "claimed"}
    assert [(w.fruitless, w.attempts) for w in mirror.claim(1)] == [(0, 1)]
    with pytest.raises(CatalogueFault, match="have not failed"):
        retry(None, CopyState.ARRIVED)


# --- arrivals -----------------------------------------------------------------------------------------------


def test_an_arrival_is_recorded_with_all_its_facts(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim()
    mirror.do(lambda c: transfer.record_blocks(c, 1, [_block(0)]))
    image = ImageFacts("mrc", 4096, 4096, 1, "float32", 1.77, ("truncated",))
    arrival = Arrival(1, 100, SHA, Channel.FTP, Validators(100, 1_700_000_000, None), image)
    for now in (NOW, NOW + 500):
        mirror.do(partial(transfer.record_arrivals, arrivals=[arrival], now=now))
    assert mirror.rows(
        "SELECT state, channel, bytes, bytes_here, sha256, arrived_at, verified_at, error FROM copies WHERE file_id = 1"
    ) == [("arrived", "ftp", 100, 100, SHA.hex(), "1970-01-01T00:16:40Z", "1970-01-01T00:16:40Z", None)]
    assert mirror.rows("SELECT * FROM images") == [
        (1, "mrc", 4096, 4096, 1, "float32", 1.77, '["truncated"]', None)
    ]
    assert mirror.rows("SELECT here_files, here_bytes, state FROM entry_progress") == [
        (1, 100, "transferring")
    ]
    assert mirror.rows("SELECT count(*) FROM part_block") == [(0,)]
    assert len(mirror.rows("SELECT * FROM changes")) == 1


def test_an_estimated_size_becomes_exact_silently_and_an_exact_one_changes_on_record(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim()
    mirror.arrive(3, MB + 77)
    assert mirror.rows("SELECT bytes, bytes_exact FROM files WHERE name = 'c'") == [(MB + 77, 1)]
    assert len(mirror.rows("SELECT * FROM changes")) == 1
    mirror.arrive(1, 101)
    assert mirror.rows("SELECT path, field, old, new FROM changes WHERE kind = 'changed'") == [
        ("data/a", "bytes", "100", "101")
    ]
    assert mirror.rows("SELECT file_bytes FROM entries") == [(101 + 200 + MB + 77,)]
    assert mirror.rows("SELECT wanted_bytes, here_bytes FROM entry_progress") == [
        (101 + 200 + MB + 77, 101 + MB + 77)
    ]


@pytest.mark.parametrize(("channel", "recorded"), [(Channel.FTP, 1), (Channel.HTTPS, 0)])
def test_a_time_is_compared_only_with_its_own_servers_clock(
    mirror: Mirror, channel: Channel, recorded: int
) -> None:
    mirror.want()
    mirror.claim()
    arrival = Arrival(1, 100, SHA, channel, Validators(100, 1_700_003_600, None))
    mirror.do(lambda c: transfer.record_arrivals(c, [arrival], now=NOW))
    assert len(mirror.rows("SELECT * FROM changes WHERE field = 'modified_at'")) == recorded


def test_an_arrived_file_is_never_replaced(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim()
    mirror.arrive(1)
    with pytest.raises(CatalogueFault, match="another sha256"):
        mirror.arrive(1, sha256=bytes(32))
    for job in (
        lambda c: transfer.park(c, 1, error="x"),
        lambda c: transfer.release(c, 1, not_before=0, error=None, keep_partial=False),
        lambda c: transfer.quarantine(c, 1, error="x"),
        lambda c: transfer.record_blocks(c, 1, [_block(0)]),
        lambda c: transfer.record_first_byte(c, 1, Validators(1), channel=Channel.FTP, now=NOW),
    ):
        with pytest.raises(CatalogueFault):
            mirror.do(job)
    assert mirror.rows("SELECT state, sha256 FROM copies WHERE file_id = 1") == [("arrived", SHA.hex())]


def test_a_file_nobody_asked_for_cannot_arrive(mirror: Mirror) -> None:
    with pytest.raises(CatalogueFault, match="never asked for"):
        mirror.arrive(1)


def test_one_forbidden_arrival_undoes_its_whole_batch(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim(1)
    arrivals = [Arrival(i, 100, SHA, None, None) for i in (1, 999)]
    with pytest.raises(CatalogueFault):
        mirror.do(lambda c: transfer.record_arrivals(c, arrivals, now=NOW))
    assert mirror.states()["a"] == "claimed"


# --- afterwards ---------------------------------------------------------------------------------------------


def test_here_files_come_in_path_order_with_their_record(mirror: Mirror) -> None:
    mirror.want()
    for work in mirror.claim():
        mirror.arrive(work.file_id, work.size or 0)
    mirror.do(lambda c: transfer.record_damaged(c, 2, error="bit flip", now=NOW))
    with mirror.catalogue.reader() as reader:
        found = list(transfer.here_files(reader, ID))
        sound = list(transfer.here_files(reader, ID, states=[CopyState.ARRIVED]))
    assert [(f.remote.name, f.state) for f in found] == [("a", "arrived"), ("b", "damaged"), ("c", "arrived")]
    assert (found[0].size, found[0].sha256, found[0].modified_at) == (100, SHA, 1_700_000_000)
    assert [f.remote.name for f in sound] == ["a", "c"]


def test_damage_is_recorded_and_undone_by_a_verify_that_holds_or_by_a_repair(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim(2)
    mirror.arrive(1)
    mirror.arrive(2, 200)
    for file_id in (1, 2, 2):
        mirror.do(partial(transfer.record_damaged, file_id=file_id, error="bit flip", now=NOW))
    assert mirror.rows("SELECT here_files, failed_files FROM entry_progress") == [(0, 2)]
    mirror.do(lambda c: transfer.record_verified(c, [1], now=NOW + 60))
    assert mirror.rows("SELECT state, error, verified_at FROM copies WHERE file_id = 1") == [
        ("arrived", None, "1970-01-01T00:17:40Z")
    ]
    assert mirror.do(lambda c: transfer.retry_failed(c, None, now=NOW, states=[CopyState.DAMAGED])) == 1
    assert [w.file_id for w in mirror.claim(1)] == [2]
    mirror.arrive(2, 200, sha256=b"n" * 32)
    assert mirror.rows("SELECT state, sha256 FROM copies WHERE file_id = 2") == [
        ("arrived", (b"n" * 32).hex())
    ]


def test_what_is_not_here_cannot_be_verified_or_damaged(mirror: Mirror) -> None:
    mirror.want()
    with pytest.raises(CatalogueFault):
        mirror.do(lambda c: transfer.record_verified(c, [1], now=NOW))
    with pytest.raises(CatalogueFault):
        mirror.do(lambda c: transfer.record_damaged(c, 1, error="x", now=NOW))


def test_header_facts_are_replaced_and_sound_files_have_null_problems(mirror: Mirror) -> None:
    for problems in (("truncated",), ()):
        mirror.do(partial(transfer.record_image, file_id=1, image=ImageFacts("tiff", problems=problems)))
    assert mirror.rows("SELECT format, width, problems FROM images") == [("tiff", None, None)]


def test_recovery_finds_what_was_claimed_or_partial(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim(2)
    mirror.do(lambda c: transfer.release(c, 1, not_before=0, error=None, keep_partial=True))
    with mirror.catalogue.reader() as reader:
        assert [w.file_id for w in transfer.claimed_files(reader)] == [2]
        assert transfer.partial_file_ids(reader) == {1, 2}


def test_an_entry_can_be_gone_through_in_parts(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim()
    for file_id in (3, 1, 2):
        mirror.arrive(file_id)
    ids = mirror.do(lambda c: transfer.here_ids(c, ID))
    whole = mirror.do(lambda c: list(transfer.here_files(c, ID)))
    assert len(whole) == 3
    assert list(ids) == [file.file_id for file in whole]
    parts = [mirror.do(partial(_some_here, file_id=file_id)) for file_id in ids]
    assert [file for part in parts for file in part] == whole
    assert mirror.do(lambda c: list(transfer.here_files(c, ID + 1, only=ids))) == []


def _some_here(conn: sqlite3.Connection, file_id: int) -> list[transfer.HereFile]:
    return list(transfer.here_files(conn, ID, only=[file_id]))
