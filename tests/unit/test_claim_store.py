"""Wishes and claims: who wants what, and what is taken up next."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import claims
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.copies import Before
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import RemotePath
from empiar_schema.states import CopyState
from empiar_schema.transfer_store import Work
from empiar_schema.wish_store import WHOLE, record_wish, wishes_of
from three_files import ID, MB, NOW, SHA, Mirror


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


def test_a_claim_tells_what_was_here_before_of_this_version(mirror: Mirror) -> None:
    mirror.want()
    mirror.claim(1)
    mirror.arrive(1)
    mirror.do(lambda c: transfer.record_image(c, 1, ImageFacts("mrc", problems=("mrc.truncated",))))

    def lost_and_claimed() -> Before | None:
        mirror.do(lambda c: transfer.record_damaged(c, 1, error="x", now=NOW))
        mirror.do(lambda c: transfer.retry_failed(c, [ID], now=NOW, states=[CopyState.DAMAGED]))
        [work] = mirror.claim(1)
        return work.before

    assert lost_and_claimed() == Before(SHA, ("mrc.truncated",))
    mirror.arrive(1)
    # The archive lists another version now: whatever comes of it is new.
    mirror.relist(ID, [("a", 101, True), ("b", 200, True), ("c", MB, False)], now=NOW + 5)
    assert lost_and_claimed() is None


def test_other_bytes_of_a_file_that_was_here_are_a_change(mirror: Mirror) -> None:
    mirror.want()
    for sha256 in (SHA, SHA, bytes([7] * 32)):
        mirror.claim(1)
        mirror.arrive(1, sha256=sha256)
        mirror.do(lambda c: transfer.record_damaged(c, 1, error="x", now=NOW))
        mirror.do(lambda c: transfer.retry_failed(c, [ID], now=NOW, states=[CopyState.DAMAGED]))
    assert mirror.rows("SELECT path, old, new FROM changes WHERE field = 'sha256'") == [
        ("data/a", SHA.hex(), bytes([7] * 32).hex())
    ]


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
