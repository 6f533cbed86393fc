"""Listings compared with what is known: added, changed, missing, gone, returned."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import claims
from empiar_schema import crawl_store as crawl
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import ListingDiff
from empiar_schema.faults import BadAnswer, CatalogueFault
from empiar_schema.files import DAY_S, MINUTE_S, ListedFile
from empiar_schema.states import CopyState

ID = 10017
T0 = 1_700_000_000
MB = 1024**2


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as opened:
        yield opened


def file(
    name: str, size: int | None = 100, *, exact: bool = True, at: int | None = T0, unit: int = MINUTE_S
) -> ListedFile:
    return ListedFile(name, size, exact, at, unit)


def merge(
    catalogue: Catalogue,
    folders: Mapping[str, Sequence[ListedFile]],
    *,
    now: int,
    source: str = "ftp",
    empiar_id: int = ID,
) -> ListingDiff:
    listing = catalogue.write_now(lambda c: crawl.begin_listing(c, empiar_id, source=source, now=now - 1))
    for folder, files in folders.items():
        catalogue.write_now(partial(crawl.add_to_listing, listing=listing, directory=folder, files=files))
    return catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=now))


def rows(catalogue: Catalogue, sql: str, *values: object) -> list[tuple[object, ...]]:
    with catalogue.reader() as reader:
        return [tuple(row) for row in reader.execute(sql, values)]


def changes(catalogue: Catalogue) -> list[tuple[object, ...]]:
    return rows(catalogue, "SELECT path, kind, field, old, new FROM changes ORDER BY rowid")


@pytest.fixture
def listed(catalogue: Catalogue) -> Catalogue:
    merge(catalogue, {"": [file("10017.xml", 10)], "data": [file("a.mrc"), file("b.mrc")]}, now=1000)
    return catalogue


def test_a_new_entrys_files_are_one_change(listed: Catalogue) -> None:
    assert rows(listed, "SELECT path, bytes, first_seen_at, last_seen_at, gone_at FROM files") == [
        ("10017.xml", 10, "1970-01-01T00:16:40Z", "1970-01-01T00:16:40Z", None),
        ("data/a.mrc", 100, "1970-01-01T00:16:40Z", "1970-01-01T00:16:40Z", None),
        ("data/b.mrc", 100, "1970-01-01T00:16:40Z", "1970-01-01T00:16:40Z", None),
    ]
    assert changes(listed) == [(None, "added", "files", None, "3")]
    assert rows(listed, "SELECT file_count, file_bytes, listing_source FROM entries") == [(3, 210, "ftp")]


def test_nothing_shows_before_a_listing_is_complete_and_nothing_after_it_was_dropped(
    catalogue: Catalogue,
) -> None:
    listing = catalogue.write_now(lambda c: crawl.begin_listing(c, ID, source="ftp", now=1))
    catalogue.write_now(lambda c: crawl.add_to_listing(c, listing, "data", [file("a")]))
    assert rows(catalogue, "SELECT * FROM files") == []
    catalogue.write_now(lambda c: crawl.drop_listing(c, listing))
    catalogue.write_now(lambda c: crawl.drop_listing(c, listing))
    with pytest.raises(CatalogueFault, match="not being read"):
        catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=2))
    assert rows(catalogue, "SELECT * FROM files") == []


def test_completing_twice_gives_the_same_answer_and_changes_nothing(catalogue: Catalogue) -> None:
    listing = catalogue.write_now(lambda c: crawl.begin_listing(c, ID, source="ftp", now=1))
    catalogue.write_now(lambda c: crawl.add_to_listing(c, listing, "data", [file("a")]))
    first = catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=2))
    assert catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=3)) == first
    assert rows(catalogue, "SELECT count(*) FROM listings") == [(1,)]


def test_an_unchanged_listing_writes_no_file_row(listed: Catalogue) -> None:
    before = rows(listed, "SELECT * FROM file")
    diff = merge(listed, {"": [file("10017.xml", 10)], "data": [file("a.mrc"), file("b.mrc")]}, now=2000)
    assert diff == ListingDiff(3, 210, 0, 0, 0, 0, 0)
    assert rows(listed, "SELECT * FROM file") == before
    assert rows(listed, "SELECT DISTINCT last_seen_at FROM files") == [("1970-01-01T00:33:20Z",)]
    assert len(changes(listed)) == 1


def test_later_additions_and_changes_are_one_change_a_file(listed: Catalogue) -> None:
    diff = merge(
        listed,
        {
            "": [file("10017.xml", 10)],
            "data": [file("a.mrc", 101), file("b.mrc", at=T0 + 60), file("c.mrc", 7)],
            "data/new": [file("d.mrc", 1)],
        },
        now=2000,
    )
    assert diff == ListingDiff(5, 219, 2, 2, 0, 0, 0)
    assert changes(listed)[1:] == [
        ("data/a.mrc", "changed", "bytes", "100", "101"),
        ("data/b.mrc", "changed", "modified_at", "2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z"),
        ("data/c.mrc", "added", None, None, None),
        ("data/new/d.mrc", "added", None, None, None),
    ]
    assert rows(listed, "SELECT file_count, file_bytes FROM entries") == [(5, 219)]


def test_what_disappears_is_missing_then_gone_and_may_return(listed: Catalogue) -> None:
    less = {"": [file("10017.xml", 10)], "data": [file("a.mrc")]}
    assert merge(listed, less, now=2000) == ListingDiff(2, 110, 0, 0, 1, 0, 0)
    assert rows(listed, "SELECT gone_at, last_seen_at FROM files WHERE name = 'b.mrc'") == [
        (None, "1970-01-01T00:16:40Z")
    ]
    assert rows(listed, "SELECT file_count FROM entries") == [(3,)], "one listing's silence is no deletion"
    assert merge(listed, less, now=3000) == ListingDiff(2, 110, 0, 0, 0, 1, 0)
    assert rows(listed, "SELECT gone_at FROM files WHERE name = 'b.mrc'") == [("1970-01-01T00:50:00Z",)]
    assert rows(listed, "SELECT file_count, file_bytes FROM entries") == [(2, 110)]
    assert merge(listed, less, now=4000) == ListingDiff(2, 110, 0, 0, 0, 0, 0)
    more = {**less, "data": [file("a.mrc"), file("b.mrc")]}
    assert merge(listed, more, now=5000) == ListingDiff(3, 210, 0, 0, 0, 0, 1)
    assert rows(listed, "SELECT gone_at, last_seen_at FROM files WHERE name = 'b.mrc'") == [
        (None, "1970-01-01T01:23:20Z")
    ]
    assert changes(listed)[1:] == [
        ("data/b.mrc", "removed", None, None, None),
        ("data/b.mrc", "returned", None, None, None),
    ]


def test_a_file_missing_once_and_back_is_no_change(listed: Catalogue) -> None:
    merge(listed, {"data": [file("a.mrc"), file("b.mrc")]}, now=2000)
    diff = merge(listed, {"": [file("10017.xml", 10)], "data": [file("a.mrc"), file("b.mrc")]}, now=3000)
    assert diff.returned == 1
    assert len(changes(listed)) == 1


def test_one_file_lacks_while_another_comes_in_the_same_listing(listed: Catalogue) -> None:
    """As many files as before, but not the same: what lacks must be noticed all the same."""
    renamed = {"": [file("10017.xml", 10)], "data": [file("a.mrc"), file("renamed.mrc")]}
    assert merge(listed, renamed, now=2000) == ListingDiff(3, 210, 1, 0, 1, 0, 0)
    assert merge(listed, renamed, now=2000) == ListingDiff(3, 210, 0, 0, 0, 1, 0)
    assert ("data/b.mrc", "removed", None, None, None) in changes(listed)


def test_a_directory_that_lacks_altogether_is_noticed(listed: Catalogue) -> None:
    assert merge(listed, {"": [file("10017.xml", 10)]}, now=2000).missing == 2


def test_an_empty_listing_of_an_entry_that_had_files_is_refused(listed: Catalogue) -> None:
    with pytest.raises(BadAnswer, match="empty"):
        merge(listed, {}, now=2000)
    assert rows(listed, "SELECT file_count FROM entries") == [(3,)]
    assert rows(listed, "SELECT count(*) FROM listings") == [(1,)]


def test_an_empty_listing_of_an_entry_without_files_is_a_listing(catalogue: Catalogue) -> None:
    assert merge(catalogue, {}, now=1000).files == 0
    assert rows(catalogue, "SELECT listed_at, file_count FROM entries") == [("1970-01-01T00:16:40Z", 0)]
    assert changes(catalogue) == []


def test_a_name_that_comes_twice_counts_once_and_the_last_wins(catalogue: Catalogue) -> None:
    assert merge(catalogue, {"data": [file("a", 1), file("b", 5), file("a", 2)]}, now=1).files == 2
    assert rows(catalogue, "SELECT name, bytes FROM files") == [("a", 2), ("b", 5)]


def test_several_listings_may_be_read_at_once(catalogue: Catalogue) -> None:
    first = catalogue.write_now(lambda c: crawl.begin_listing(c, 1, source="ftp", now=1))
    second = catalogue.write_now(lambda c: crawl.begin_listing(c, 2, source="https", now=1))
    catalogue.write_now(lambda c: crawl.add_to_listing(c, first, "data", [file("one")]))
    catalogue.write_now(lambda c: crawl.add_to_listing(c, second, "data", [file("two")]))
    catalogue.write_now(lambda c: crawl.complete_listing(c, second, now=2))
    catalogue.write_now(lambda c: crawl.complete_listing(c, first, now=2))
    assert rows(catalogue, "SELECT empiar_id, path FROM files ORDER BY 1") == [
        (1, "data/one"),
        (2, "data/two"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        pytest.param(file("f", 100), file("f", 101), True, id="exact sizes: one byte counts"),
        pytest.param(
            file("f", 569_560_224),
            file("f", 543 * MB, exact=False),
            False,
            id="a rounded size of the same file",
        ),
        pytest.param(
            file("f", 543 * MB, exact=False),
            file("f", 569_560_224),
            False,
            id="an exact size after a rounded one",
        ),
        pytest.param(
            file("f", 543 * MB, exact=False), file("f", 600 * MB, exact=False), True, id="rounded, far off"
        ),
        pytest.param(
            file("f", 1024**3), file("f", int(1.04 * 1024**3), exact=False), False, id="1.0G hides 5 %"
        ),
        pytest.param(file("f", None), file("f", 7), False, id="a size where there was none"),
        pytest.param(file("f", 7), file("f", None), False, id="no size where there was one"),
        pytest.param(file("f", at=T0), file("f", at=T0 + 59, unit=1), False, id="seconds within the minute"),
        pytest.param(file("f", at=T0), file("f", at=T0 + 60), True, id="the next minute"),
        pytest.param(
            file("f", at=T0),
            file("f", at=T0 - T0 % DAY_S, unit=DAY_S),
            False,
            id="only the day, for old files",
        ),
        pytest.param(file("f", at=T0), file("f", at=T0 + 2 * DAY_S, unit=DAY_S), True, id="another day"),
        pytest.param(file("f", at=None), file("f", at=T0), False, id="a time where there was none"),
    ],
)
def test_a_change_is_what_exceeds_the_coarser_grain(
    catalogue: Catalogue, before: ListedFile, after: ListedFile, changed: bool
) -> None:
    merge(catalogue, {"data": [before]}, now=1000)
    assert merge(catalogue, {"data": [after]}, now=2000).changed == changed
    assert [c[1] for c in changes(catalogue)[1:]] == ["changed"] * changed


def test_other_sources_may_be_a_time_zone_apart_but_not_two_days(catalogue: Catalogue) -> None:
    merge(catalogue, {"data": [file("a"), file("b")]}, now=1000, source="ftp")
    diff = merge(
        catalogue,
        {"data": [file("a", at=T0 + 14 * 3600), file("b", at=T0 + 48 * 3600)]},
        now=2000,
        source="https",
    )
    assert diff.changed == 1
    assert changes(catalogue)[1][0] == "data/b"
    # The first file still has FTP's clock, so that FTP's next listing finds nothing changed.
    assert merge(catalogue, {"data": [file("a"), file("b", at=T0 + 48 * 3600)]}, now=3000).changed == 0


def test_better_facts_replace_worse_ones_and_worse_ones_replace_nothing(catalogue: Catalogue) -> None:
    facts = "SELECT bytes, bytes_exact, modified_at, modified_unit_s FROM files"
    merge(catalogue, {"data": [file("a", 543 * MB, exact=False, at=T0, unit=MINUTE_S)]}, now=1)
    merge(catalogue, {"data": [file("a", 569_560_224, at=T0 + 33, unit=1)]}, now=2)
    best = [(569_560_224, 1, "2023-11-14T22:13:53Z", 1)]
    assert rows(catalogue, facts) == best
    merge(catalogue, {"data": [file("a", 543 * MB, exact=False, at=T0, unit=MINUTE_S)]}, now=3)
    assert rows(catalogue, facts) == best
    assert rows(catalogue, "SELECT file_bytes FROM entries") == [(569_560_224,)]
    assert len(changes(catalogue)) == 1


def test_known_exact_sizes_are_those_that_need_no_asking(catalogue: Catalogue) -> None:
    merge(
        catalogue,
        {"data": [file("exact", 5), file("rounded", 543 * MB, exact=False), file("none", None)]},
        now=1,
    )
    with catalogue.reader() as reader:
        assert crawl.known_exact_sizes(reader, ID, "data") == {"exact": (5, T0)}
        assert crawl.known_exact_sizes(reader, ID, "elsewhere") == {}


@pytest.mark.parametrize(
    "bad",
    [
        file("huge", 2**63),
        file("negative", -1),
        file("late", at=2**70),
        file("lone \ud800 surrogate"),
        file("odd grain", unit=7),
    ],
    ids=lambda f: ascii(f.name),
)
def test_impossible_values_are_a_bad_answer_and_harm_nothing_else(
    catalogue: Catalogue, bad: ListedFile
) -> None:
    listing = catalogue.write_now(lambda c: crawl.begin_listing(c, ID, source="ftp", now=1))
    catalogue.write_now(lambda c: crawl.add_to_listing(c, listing, "data", [file("good")]))
    with pytest.raises(BadAnswer):
        catalogue.write_now(lambda c: crawl.add_to_listing(c, listing, "data", [file("before"), bad]))
    assert catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=2)).files == 1


# --- copies follow ------------------------------------------------------------------------------------------


def test_copies_follow_files_that_go_and_return(listed: Catalogue) -> None:
    listed.write_now(lambda c: transfer.want_entry(c, ID, now=1))
    [work, *_] = listed.write_now(lambda c: claims.claim(c, now=1, limit_files=2, limit_bytes=10**9))
    other = listed.write_now(lambda c: transfer.claimed_files(c))[1]
    arrival = transfer.Arrival(other.file_id, 100, b"s" * 32, None, None)
    listed.write_now(lambda c: transfer.record_arrivals(c, [arrival], now=1))
    listed.write_now(
        lambda c: transfer.release(c, work.file_id, not_before=0, error=None, keep_partial=False)
    )
    states = "SELECT path, state, error FROM copies ORDER BY path"
    for now in (2000, 3000):
        merge(listed, {"data": [file("b.mrc")]}, now=now)
    assert rows(listed, states) == [
        ("10017.xml", "parked", "EMPIAR no longer lists this file"),
        ("data/a.mrc", "withdrawn", None),
        ("data/b.mrc", "wanted", None),
    ]
    assert listed.write_now(lambda c: transfer.want_entry(c, ID, now=1)) == 0
    assert listed.write_now(lambda c: transfer.retry_failed(c, [ID], now=1, states=[CopyState.PARKED])) == 0
    merge(listed, {"": [file("10017.xml", 10)], "data": [file("a.mrc"), file("b.mrc", 777)]}, now=4000)
    assert rows(listed, states) == [
        ("10017.xml", "wanted", None),
        ("data/a.mrc", "arrived", None),
        ("data/b.mrc", "wanted", None),
    ]
    assert rows(listed, "SELECT wanted_bytes, here_bytes FROM entry_progress") == [(887, 100)]


def test_a_copy_being_fetched_when_its_file_goes_is_settled_by_its_worker(listed: Catalogue) -> None:
    listed.write_now(lambda c: transfer.want_entry(c, ID, now=1))
    [xml, a, b] = listed.write_now(lambda c: claims.claim(c, now=1, limit_files=3, limit_bytes=10**9))
    for now in (2000, 3000):
        merge(listed, {"data": [file("b.mrc")]}, now=now)
    listed.write_now(
        lambda c: transfer.release(c, xml.file_id, not_before=9, error="late", keep_partial=True)
    )
    arrival = transfer.Arrival(a.file_id, 100, b"s" * 32, None, None)
    listed.write_now(lambda c: transfer.record_arrivals(c, [arrival], now=1))
    assert rows(listed, "SELECT state FROM copies ORDER BY path") == [
        ("parked",),
        ("withdrawn",),
        ("claimed",),
    ]
    assert b.remote.name == "b.mrc"


# --- against a model ----------------------------------------------------------------------------------------

_names = st.sampled_from(["a", "b", "c é", "d%", "e[1]"])
_listings = st.lists(
    st.dictionaries(st.sampled_from(["", "data", "data/x y"]), st.dictionaries(_names, st.integers(1, 3))),
    min_size=1,
    max_size=6,
)


@given(_listings)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_run_of_listings_gives_what_a_simple_model_gives(
    tmp_path_factory: pytest.TempPathFactory, listings: list[dict[str, dict[str, int]]]
) -> None:
    """State by path: bytes and how many listings in a row lacked it."""
    model: dict[tuple[str, str], list[int]] = {}
    with Catalogue.open(tmp_path_factory.mktemp("model") / "empiar.db", create=True) as catalogue:
        for number, folders in enumerate(listings, 1):
            now = {(d, n): size for d, files in folders.items() for n, size in files.items()}
            if not now and any(misses < 2 for _, misses in model.values()):
                continue
            diff = _shuffled_merge(catalogue, folders, now=1000 * number)
            for key, state in model.items():
                state[1] = 0 if key in now else state[1] + 1
            assert diff.added == len(now.keys() - model.keys())
            assert diff.missing == sum(1 for _, misses in model.values() if misses == 1)
            assert diff.gone == sum(1 for _, misses in model.values() if misses == 2)
            assert diff.changed == sum(1 for k, size in now.items() if k in model and model[k][0] != size)
            for key, size in now.items():
                model[key] = [size, 0]
        found = rows(catalogue, "SELECT directory, name, bytes, gone_at IS NOT NULL FROM files")
        assert sorted(found) == sorted((d, n, s[0], s[1] >= 2) for (d, n), s in model.items())
        here = [s[0] for s in model.values() if s[1] < 2]
        for row in rows(catalogue, "SELECT file_count, file_bytes FROM entries"):
            assert row == (len(here), sum(here))


def _shuffled_merge(catalogue: Catalogue, folders: dict[str, dict[str, int]], *, now: int) -> ListingDiff:
    mixed: list[tuple[str, dict[str, int]]] = list(folders.items())
    random.Random(now).shuffle(mixed)
    return merge(catalogue, {d: [file(n, size) for n, size in files.items()] for d, files in mixed}, now=now)
