"""Eviction over a real catalogue and a real disk: what goes, what stays, and the record of it."""

from __future__ import annotations

import asyncio
import functools
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claims import claim
from empiar_mirror.app import Mirror
from empiar_mirror.attest import statement_of
from empiar_schema import eviction_store, job_store, pin_store, subscription_store
from empiar_schema.faults import ConfigFault, StorageFault
from empiar_schema.files import ListedFile
from empiar_schema.image_facts import ImageFacts
from empiar_schema.jobs import Wish
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.pin_store import Pin
from empiar_schema.states import Channel
from empiar_schema.subscriptions import Definition, MatchRow
from empiar_schema.transfer_store import (
    Arrival,
    record_arrivals,
    record_damaged,
    record_image,
    retry_failed,
    want_entry,
    want_files,
)
from entry_here import ID, NOW, everything_below, rows
from evictions import ALL, FILES, SIZE, decided, evict, kept, mirror_of, of, on_disk, order, states

LATER = NOW + 3_600
Job = Callable[[sqlite3.Connection], object]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with mirror_of(tmp_path / "mirror") as opened:
        yield opened


def listing(mirror: Mirror, *, without: str = "", larger: str = "") -> None:
    """The archive lists the entry again, an hour later."""

    def job(conn: sqlite3.Connection) -> None:
        reading = begin_listing(conn, ID, source="ftp", now=LATER)
        for path, (_, data) in FILES.items():
            name = path.removeprefix("data/")
            if name[0] not in without:
                size = len(data) + (name[0] in larger)
                add_to_listing(
                    conn, reading, "data", [ListedFile(name, size, True, NOW + zlib.crc32(data) % 100_000, 1)]
                )
        complete_listing(conn, reading, now=LATER)

    mirror.catalogue.write_now(job)


def write(mirror: Mirror, job: Job) -> None:
    mirror.catalogue.write_now(job)


def subscribe(mirror: Mirror, *, file_ids: tuple[int, ...] = (0,), view: str | None = None) -> None:
    def job(conn: sqlite3.Connection) -> None:
        subscription_store.add_subscription(conn, Definition("mine", ALL, view), now=NOW)
        matches = [MatchRow(ID, file_id, 1, 1, "mark", None) for file_id in file_ids]
        subscription_store.record_wanted_matches(conn, 1, matches, now=NOW)
        subscription_store.record_evaluation(
            conn, 1, selects="files" if file_ids[0] else "entries", matches=1, entries=1, files=1, now=NOW
        )

    write(mirror, job)


# --- what goes ----------------------------------------------------------------------------------------------


def test_what_may_go_goes_from_disk_layouts_and_manifests_and_stays_on_record(mirror: Mirror) -> None:
    asyncio.run(mirror.arrange([ID]))
    removed = evict(mirror, order(of("b", "d")))
    assert (removed.done.files, removed.done.bytes, removed.left) == (2, 2 * SIZE, [])
    assert (on_disk(mirror), states(mirror)) == ("acef", "aeaeaa")
    root = mirror.folders.root
    shown = {Path(name).name for name in everything_below(root / "datasets") if name.endswith(".mrc")}
    assert shown == {"a.mrc", "c.mrc", "e.mrc", "f.mrc"}
    manifest = (root / f"manifests/{ID}/manifest-sha256.txt").read_text()
    assert [line[-5] for line in manifest.splitlines()] == list("acef")
    assert b"b.mrc" not in (root / f"manifests/{ID}/cryoppp/manifest-sha256.txt").read_bytes()
    [row] = rows(
        mirror,
        "SELECT path, bytes, length(sha256), source_url, reason, sql IS NOT NULL, listed_at, removed_at, error, returned_at"
        " FROM evictions WHERE path = 'data/b.mrc'",
    )
    url = f"https://ftp.ebi.ac.uk/empiar/world_availability/{ID}/data/b.mrc"
    assert row == (
        "data/b.mrc", SIZE, 64, url, "a test", 1, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", None, None,
    )  # fmt: skip
    assert rows(mirror, "SELECT state, here_files, evicted_files, evicted_bytes FROM entry_progress") == [
        ("evicted", 4, 2, 2 * SIZE)
    ]
    assert rows(mirror, "SELECT field, new FROM changes WHERE kind = 'evicted'") == [("files", "2")]


async def test_nobody_calls_an_evicted_file_missing(mirror: Mirror) -> None:
    await mirror.evict(order(of("b")))
    assert (await mirror.verify([ID])).damaged == ()
    assert (await mirror.scrub([ID])).damaged == ()
    with mirror.catalogue.reader() as conn:
        statement = statement_of(conn, ID)
    assert (statement.complete, statement.missing.files, statement.evicted.files) == (False, 0, 1)
    assert "1 file evicted to make room" in statement.says


async def test_nothing_but_recalling_brings_a_file_back(mirror: Mirror) -> None:
    await mirror.evict(order(of("b")))
    every = range(1, len(FILES) + 1)
    write(mirror, lambda conn: want_entry(conn, ID, now=LATER))
    write(mirror, lambda conn: want_files(conn, every, now=LATER, priority=9))
    write(mirror, lambda conn: retry_failed(conn, None, now=LATER, states=[]))
    listing(mirror)
    assert states(mirror) == "aeaaaa"


def test_files_go_in_the_order_of_the_query_until_enough_is_free(mirror: Mirror) -> None:
    removed = evict(mirror, order(of("f", "a", "c"), size=SIZE + 1))
    assert on_disk(mirror) == "bcde"
    assert kept(removed.decision) == {"not needed": 1}
    assert removed.decision.falls_short == 0
    short = evict(mirror, order(of("c"), size=10 * SIZE))
    assert short.decision.falls_short == 9 * SIZE


# --- what stays ---------------------------------------------------------------------------------------------


def test_what_the_archive_lists_no_longer_or_otherwise_stays(mirror: Mirror) -> None:
    listing(mirror, without="a", larger="b")
    assert kept(decided(mirror)) == {"unlisted": 1, "changed": 1}
    listing(mirror, without="a", larger="b")
    assert kept(decided(mirror)) == {"withdrawn": 1, "changed": 1}
    evict(mirror)
    assert on_disk(mirror) == "ab"


def test_what_no_recent_listing_has_named_stays_with_the_hint_to_crawl(mirror: Mirror) -> None:
    assert kept(decided(mirror, order(listed_within=3_600))) == {"listed long ago": 6}
    assert kept(decided(mirror, order(listed_within=90_000))) == {}


def test_what_is_damaged_or_was_damaged_at_the_source_stays(mirror: Mirror) -> None:
    write(mirror, lambda conn: record_damaged(conn, 1, error="flipped", now=LATER))
    facts = ImageFacts("mrc", 1, 1, 1, "int8", None, ("mrc.truncated",))
    write(mirror, lambda conn: record_image(conn, 2, facts))
    assert kept(decided(mirror)) == {"damaged": 1, "damaged at the source": 1}


def test_what_a_job_is_still_to_work_on_stays(mirror: Mirror) -> None:
    wishes = [Wish("average", 3, "recipe", None)]
    write(mirror, lambda conn: job_store.want_jobs(conn, ID, wishes, now=LATER))
    assert kept(decided(mirror)) == {"in use": 1}
    whole = [Wish("summary", None, "recipe", None)]
    write(mirror, lambda conn: job_store.want_jobs(conn, ID, whole, now=LATER))
    assert kept(decided(mirror)) == {"in use": 6}


@pytest.mark.parametrize(
    ("files", "view", "wanted"), [((0,), None, 6), ((2, 4), None, 2), ((0,), "trial", 6)]
)
def test_what_a_subscription_wants_stays_unless_it_is_overruled(
    mirror: Mirror, files: tuple[int, ...], view: str | None, wanted: int
) -> None:
    subscribe(mirror, file_ids=files, view=view)
    assert kept(decided(mirror)) == {"subscribed": wanted}
    write(mirror, lambda conn: subscription_store.hold_subscription(conn, 1, "broken", now=LATER))
    assert kept(decided(mirror)) == {"subscribed": wanted}, "what it wants now cannot be asked"
    assert decided(mirror, order(despite_subscriptions=True)).files == 6
    write(mirror, lambda conn: subscription_store.pause_subscription(conn, "mine"))
    assert kept(decided(mirror)) == {}


def test_a_subscription_that_was_never_evaluated_stops_evictions(mirror: Mirror) -> None:
    wanted = Definition("mine", ALL)
    write(mirror, lambda conn: subscription_store.add_subscription(conn, wanted, now=NOW))
    with pytest.raises(ConfigFault, match="mine") as caught:
        evict(mirror)
    assert "crawl" in caught.value.hint
    assert on_disk(mirror) == "abcdef"


def test_what_is_not_on_disk_as_recorded_stays(mirror: Mirror, tmp_path: Path) -> None:
    folder = mirror.folders.archive / str(ID) / "data"
    elsewhere = tmp_path / "elsewhere.mrc"
    elsewhere.write_bytes(b"a" * SIZE)
    (folder / "a.mrc").unlink()
    (folder / "a.mrc").symlink_to(elsewhere)
    (folder / "b.mrc").chmod(0o644)
    (folder / "b.mrc").write_bytes(b"short")
    (folder / "c.mrc").unlink()
    assert kept(decided(mirror)) == {"not as recorded": 3}
    evict(mirror)
    assert elsewhere.read_bytes() == b"a" * SIZE
    assert on_disk(mirror) == "ab"


def test_nothing_is_removed_through_a_link(mirror: Mirror, tmp_path: Path) -> None:
    entry = mirror.folders.archive / str(ID)
    entry.rename(tmp_path / "moved")
    entry.symlink_to(tmp_path / "moved")
    assert kept(decided(mirror)) == {"not as recorded": 6}
    evict(mirror)
    assert len(everything_below(tmp_path / "moved")) == 6
    mirror.folders.archive.rename(tmp_path / "archive")
    mirror.folders.archive.symlink_to(tmp_path / "archive")
    with pytest.raises(StorageFault, match="symbolic link"):
        evict(mirror)


def test_names_that_somebody_made_elsewhere_keep_the_bytes_and_that_is_said(
    mirror: Mirror, tmp_path: Path
) -> None:
    asyncio.run(mirror.arrange([ID]))
    os.link(mirror.folders.archive / str(ID) / "data/a.mrc", tmp_path / "mine.mrc")
    found = decided(mirror)
    assert (found.files, found.frees, found.entries[0].linked_elsewhere) == (6, 5 * SIZE, 1)
    assert kept(decided(mirror, order(size=10 * SIZE))) == {"linked elsewhere": 1}


# --- pins ---------------------------------------------------------------------------------------------------


def pin(mirror: Mirror, wanted: Pin) -> None:
    write(mirror, functools.partial(pin_store.add_pin, pin=wanted, now=NOW))


@pytest.mark.parametrize(
    ("wanted", "files"), [(Pin("p", None, (ID,)), 6), (Pin("p", of("a", "b")), 2), (Pin("p", ALL), 6)]
)
def test_what_is_pinned_stays_whatever_is_asked(mirror: Mirror, wanted: Pin, files: int) -> None:
    pin(mirror, wanted)
    removed = evict(mirror, order(despite_subscriptions=True))
    assert kept(removed.decision) == {"pinned": files}
    assert len(on_disk(mirror)) == files


@pytest.mark.parametrize(
    "sql", ["SELECT nothing FROM files", "DELETE FROM copy", "SELECT title FROM entries", "VALUES ('x')"]
)
def test_while_a_pin_cannot_be_asked_nothing_is_evicted(mirror: Mirror, sql: str) -> None:
    pin(mirror, Pin("broken", sql))
    with pytest.raises(ConfigFault, match=r"nothing is evicted while .*broken") as caught:
        evict(mirror)
    assert "unpin broken" in caught.value.hint
    assert (on_disk(mirror), rows(mirror, "SELECT * FROM evictions")) == ("abcdef", [])


def test_a_pin_that_suddenly_keeps_little_stops_evictions_until_somebody_accepts_it(mirror: Mirror) -> None:
    pin(mirror, Pin("rows", "SELECT file_id FROM files WHERE name = 'a.mrc'", match_count=10))
    with pytest.raises(ConfigFault, match="returns 1, and returned 10") as caught:
        evict(mirror)
    assert "pins accept rows" in caught.value.hint
    write(mirror, lambda conn: pin_store.believe_pin(conn, "rows", match_count=None))
    evict(mirror)
    assert on_disk(mirror) == "a"
    assert rows(mirror, "SELECT match_count FROM pins") == [(1,)]


def test_pins_of_the_configuration_are_in_force_as_they_stand_there(tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    with mirror_of(root, f'[pin.mine]\nsql = "{of("a")}"\n') as mirror:
        assert kept(decided(mirror)) == {"pinned": 1}
        assert rows(mirror, "SELECT name, declared FROM pins") == [("mine", 1)]
    with mirror_of(root) as mirror:
        assert (kept(decided(mirror)), rows(mirror, "SELECT name FROM pins")) == ({}, [])


@pytest.mark.parametrize(
    "sql", ["DELETE FROM files", "SELECT 1", "SELECT title AS empiar_id FROM entries", ""]
)
def test_sql_that_is_none_of_files_or_entries_is_refused(mirror: Mirror, sql: str) -> None:
    with pytest.raises(ConfigFault):
        evict(mirror, order(sql))
    assert on_disk(mirror) == "abcdef"


# --- the way back -------------------------------------------------------------------------------------------


def recall(mirror: Mirror, **only: list[int]) -> eviction_store.Recalled:
    return mirror.catalogue.write_now(
        functools.partial(
            eviction_store.recall, empiar_ids=[ID], now=LATER, priority=3, file_ids=only.get("files")
        )
    )


@pytest.mark.parametrize("same", [True, False])
def test_what_comes_back_is_compared_with_what_was_evicted(mirror: Mirror, same: bool) -> None:
    [(digest,)] = rows(mirror, "SELECT sha256 FROM copies WHERE path = 'data/b.mrc'")
    evict(mirror, order(of("b")))
    assert recall(mirror) == (1, SIZE, 0)
    assert rows(mirror, "SELECT state, priority, attempts FROM copies WHERE path = 'data/b.mrc'") == [
        ("wanted", 3, 0)
    ]
    write(mirror, lambda conn: claim(conn, now=LATER, limit_files=9, limit_bytes=10**9))
    sha256 = bytes.fromhex(str(digest)) if same else b"o" * 32
    arrival = Arrival(2, SIZE, sha256, Channel.HTTPS, None)
    write(mirror, lambda conn: record_arrivals(conn, [arrival], now=LATER + 60))
    assert rows(mirror, "SELECT returned_at, returned_same FROM evictions") == [
        ("2026-01-01T01:01:00Z", int(same))
    ]
    found = rows(mirror, "SELECT old, new FROM changes WHERE field = 'sha256'")
    assert found == ([] if same else [(digest, (b"o" * 32).hex())])


def test_what_the_archive_lists_no_longer_cannot_be_recalled(mirror: Mirror) -> None:
    evict(mirror, order(of("a", "b")))
    listing(mirror, without="a")
    listing(mirror, without="a")
    assert recall(mirror, files=[1, 2, 3]) == (1, SIZE, 1)
    assert states(mirror) == "ewaaaa"
    assert rows(mirror, "SELECT path FROM evictions WHERE gone_at IS NOT NULL") == [("data/a.mrc",)]


def test_a_file_that_is_evicted_again_has_two_rows(mirror: Mirror) -> None:
    evict(mirror, order(of("b")))
    recall(mirror)
    write(mirror, lambda conn: claim(conn, now=LATER, limit_files=9, limit_bytes=10**9))
    arrival = Arrival(2, SIZE, b"o" * 32, Channel.HTTPS, None)
    write(mirror, lambda conn: record_arrivals(conn, [arrival], now=LATER))
    (mirror.folders.archive / str(ID) / "data/b.mrc").write_bytes(b"b" * SIZE)
    evict(mirror, order(of("b")))
    assert rows(mirror, "SELECT returned_same FROM evictions ORDER BY eviction_id") == [(0,), (None,)]
