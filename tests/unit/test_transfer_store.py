"""Wishes, claims, progress, arrivals, later proofs, recovery."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

import claims
from empiar_schema import crawl_store as crawl
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import CatalogueFault
from empiar_schema.files import ListedFile, Validators
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel, CopyState
from empiar_schema.transfer_store import Arrival, Attempt, Block, Work
from empiar_schema.wish_store import WHOLE, record_wish, wishes_of

T = TypeVar("T")
ID = 10017
NOW = 1000
SHA = bytes(range(32))
MB = 2**20


class Mirror:
    """A catalogue with one entry of three files (a 100, b 200, c about 1 MiB), and short ways to use it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.relist(ID, [("a", 100, True), ("b", 200, True), ("c", MB, False)])

    def do(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return self.catalogue.write_now(job)

    def relist(self, empiar_id: int, files: list[tuple[str, int, bool]], *, now: int = NOW) -> None:
        listing = self.do(lambda c: crawl.begin_listing(c, empiar_id, source="ftp", now=now))
        listed = [ListedFile(name, size, exact, 1_700_000_000, 1) for name, size, exact in files]
        self.do(lambda c: crawl.add_to_listing(c, listing, "data", listed))
        self.do(lambda c: crawl.complete_listing(c, listing, now=now))

    def want(self, empiar_id: int = ID, priority: int = 0) -> int:
        return self.do(lambda c: transfer.want_entry(c, empiar_id, now=NOW, priority=priority))

    def claim(
        self, files: int = 10, size: int = 10**12, *, now: int = NOW, ids: list[int] | None = None
    ) -> list[Work]:
        return self.do(
            lambda c: claims.claim(c, now=now, limit_files=files, limit_bytes=size, empiar_ids=ids)
        )

    def arrive(self, file_id: int, size: int = 100, sha256: bytes = SHA) -> None:
        arrival = Arrival(file_id, size, sha256, Channel.HTTPS, Validators(size, 1_700_000_000, '"e"'))
        self.do(lambda c: transfer.record_arrivals(c, [arrival], now=NOW))

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with self.catalogue.reader() as reader:
            return [tuple(row) for row in reader.execute(sql)]

    def states(self) -> dict[object, object]:
        return {row[0]: row[1] for row in self.rows("SELECT substr(path, 6), state FROM copies")}


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:
        yield Mirror(catalogue)


# --- wishes -------------------------------------------------------------------------------------------------


def test_wanting_an_entry_wants_its_listed_files_once(mirror: Mirror) -> None:
    assert mirror.want() == 3
    assert mirror.want() == 0
    assert mirror.rows("SELECT path, state, bytes, bytes_here, attempts, wanted_at FROM copies") == [
        (f"data/{name}", "wanted", size, 0, 0, "1970-01-01T00:16:40Z")
        for name, size in (("a", 100), ("b", 200), ("c", MB))
    ]
    assert mirror.want(99) == 0


def test_gone_files_are_not_wanted(mirror: Mirror) -> None:
    for now in (2000, 3000):
        mirror.relist(ID, [("a", 100, True)], now=now)
    assert mirror.want() == 1
    assert mirror.do(lambda c: transfer.want_files(c, [1, 2, 3, 999], now=NOW)) == 0


def test_single_files_may_be_wanted(mirror: Mirror) -> None:
    assert mirror.do(lambda c: transfer.want_files(c, [2, 3], now=NOW)) == 2
    assert mirror.do(lambda c: transfer.want_files(c, iter([1, 2]), now=NOW)) == 1


def test_a_later_wish_raises_the_priority_of_what_it_wants_and_never_lowers_it(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim(1)
    mirror.arrive(1)
    priorities = "SELECT priority FROM copies ORDER BY file_id"
    mirror.want(priority=5)
    assert mirror.rows(priorities) == [(5,), (5,), (5,)]
    mirror.want(priority=1)
    mirror.do(lambda c: transfer.want_files(c, [2], now=NOW, priority=9))
    assert mirror.rows(priorities) == [(5,), (9,), (5,)]


# --- claims -------------------------------------------------------------------------------------------------


def test_a_claim_tells_all_that_is_needed_to_fetch(mirror: Mirror) -> None:
    mirror.want()
    a, _, c = mirror.claim()
    assert a == Work(
        1, RemotePath(ID, "data", "a"), 100, True, 1_700_000_000, 0, 0, None, None, 0, queue_id=1
    )
    assert (c.size, c.size_exact) == (MB, False)
    assert mirror.states() == dict.fromkeys("abc", "claimed")
    assert mirror.claim() == []


def test_claims_keep_to_their_limits_but_give_at_least_one_file(mirror: Mirror) -> None:
    mirror.want()
    assert [w.remote.name for w in mirror.claim(1)] == ["a"]
    assert [w.remote.name for w in mirror.claim(9, 1)] == ["b"]
    assert [w.remote.name for w in mirror.claim(9, 1)] == ["c"]


def test_a_claim_stops_before_the_file_that_is_too_much(mirror: Mirror) -> None:
    mirror.want()
    assert [w.remote.name for w in mirror.claim(9, 300)] == ["a", "b"]


def test_claims_come_by_priority_then_entry_then_path(mirror: Mirror) -> None:
    mirror.relist(99, [("z", 1, True)])
    mirror.relist(50_000, [("y", 1, True)])
    for empiar_id, priority in ((50_000, 7), (ID, 0), (99, 0)):
        mirror.want(empiar_id, priority)
    mirror.do(lambda c: transfer.want_files(c, [3], now=NOW, priority=2))
    assert [w.remote.name for w in mirror.claim(3)] == ["y", "c", "z"]
    assert [w.remote.name for w in mirror.claim()] == ["a", "b"]


def test_claims_may_be_for_some_entries_only(mirror: Mirror) -> None:
    mirror.relist(99, [("z", 1, True)])
    mirror.want(99, priority=-1)
    mirror.want()
    assert [w.remote.name for w in mirror.claim(1, ids=[99, 12])] == ["z"]
    assert [w.remote.name for w in mirror.claim(ids=[99, ID])] == ["a", "b", "c"]
    assert mirror.claim(ids=[]) == []


def test_claims_may_be_for_some_priorities_only(mirror: Mirror) -> None:
    mirror.want()
    mirror.do(lambda c: transfer.want_files(c, [2], now=NOW, priority=1))

    def claim(ids: list[int] | None) -> list[str]:
        job = partial(
            claims.claim, now=NOW, limit_files=9, limit_bytes=10**9, empiar_ids=ids, least_priority=1
        )
        works = mirror.do(job)
        with mirror.catalogue.reader() as reader:
            assert claims.next_not_before(reader, now=NOW, least_priority=1) is None
            assert claims.next_not_before(reader, now=NOW) is not None
        for work in works:
            mirror.do(
                partial(transfer.release, file_id=work.file_id, not_before=0, error=None, keep_partial=False)
            )
        return [work.remote.name for work in works]

    assert claim([ID]) == ["b"]
    assert claim(None) == ["b"]


def test_only_the_failed_files_that_are_named_are_wanted_again(mirror: Mirror) -> None:
    mirror.want()
    for work in mirror.claim():
        mirror.do(partial(transfer.park, file_id=work.file_id, error="HTTP 404"))
    renewed = mirror.do(
        lambda c: transfer.retry_failed(c, [ID], now=NOW, states=[CopyState.PARKED], file_ids={1, 3})
    )
    assert renewed == 2
    assert [work.remote.name for work in mirror.claim()] == ["a", "c"]


def test_wishes_tell_the_whole_from_views_and_older_catalogues_asked_for_the_whole(mirror: Mirror) -> None:
    def wishes() -> tuple[str, ...]:
        with mirror.catalogue.reader() as reader:
            return wishes_of(reader, ID)

    assert wishes() == ()
    mirror.want()
    assert wishes() == (WHOLE,)
    for view in ("trial", "small", "trial"):
        mirror.do(partial(record_wish, empiar_id=ID, view=view, now=NOW))
    assert wishes() == ("small", "trial")
    mirror.do(partial(record_wish, empiar_id=ID, view=WHOLE, now=NOW))
    assert wishes() == (WHOLE,)


def test_a_released_copy_waits_for_its_time(mirror: Mirror) -> None:
    mirror.want()
    for work in mirror.claim():
        mirror.do(
            partial(
                transfer.release,
                file_id=work.file_id,
                not_before=NOW + 10 * work.file_id,
                error="reset",
                keep_partial=False,
            )
        )
    assert mirror.claim() == []

    def next_time(ids: list[int] | None = None) -> int | None:
        with mirror.catalogue.reader() as reader:
            return claims.next_not_before(reader, now=NOW, empiar_ids=ids)

    assert next_time() == NOW + 10
    assert next_time([ID]) == NOW + 10
    assert next_time([99]) is None
    assert [w.remote.name for w in mirror.claim(now=NOW + 20)] == ["a", "b"]
    assert next_time() == NOW + 30
    assert mirror.rows("SELECT error, not_before FROM copies WHERE path = 'data/c'") == [
        ("reset", "1970-01-01T00:17:10Z")
    ]


def test_a_wait_that_no_server_can_have_asked_for_is_forgotten(mirror: Mirror) -> None:
    mirror.want()
    waits = {"a": 10, "b": transfer.LONGEST_WAIT_S, "c": transfer.LONGEST_WAIT_S + 1}
    for work in mirror.claim():
        not_before = NOW + waits[work.remote.name]
        release = partial(
            transfer.release, file_id=work.file_id, not_before=not_before, error=None, keep_partial=False
        )
        mirror.do(release)
    assert mirror.do(partial(transfer.forget_impossible_waits, now=NOW)) == 1
    assert [work.remote.name for work in mirror.claim()] == ["c"]


def test_unfinished_counts_wanted_claimed_and_partial(mirror: Mirror) -> None:
    def unfinished(ids: list[int] | None = None) -> tuple[int, int]:
        with mirror.catalogue.reader() as reader:
            return transfer.unfinished(reader, empiar_ids=ids)

    assert unfinished() == (0, 0)
    mirror.want()
    mirror.claim(2)
    mirror.arrive(1)
    mirror.do(lambda c: transfer.release(c, 2, not_before=0, error=None, keep_partial=True))
    assert unfinished() == unfinished([ID]) == (2, 200 + MB)
    assert unfinished([5]) == (0, 0)


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
