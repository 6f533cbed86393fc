"""What the crawler records: enumerations, metadata, absences, roles, contradictions, validators."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from empiar_schema import crawl_store as crawl
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import CachedAnswer, EnumeratedEntry, EnumerationResult
from empiar_schema.entry import Author, Citation, CrossReference, Entry, Grant, ImageSet, Person
from empiar_schema.faults import BadAnswer
from empiar_schema.files import ListedFile
from empiar_schema.states import Role

ID = 10017
HOUR = 3600


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as opened:
        yield opened


def rows(catalogue: Catalogue, sql: str, *values: object) -> list[tuple[object, ...]]:
    with catalogue.reader() as reader:
        return [tuple(row) for row in reader.execute(sql, values)]


def entry(**changes: object) -> Entry:
    facts: dict[str, object] = {
        "empiar_id": ID,
        "title": "Beta-galactosidase & friends",
        "status": "REL",
        "update_date": "2024-01-02",
        "dataset_size": "4.9 GB",
        "dataset_bytes": 5_261_334_937,
        "imagesets": (
            ImageSet(position=0, name="Micrographs", directory="data", details="Falcon II, κ"),
            ImageSet(position=1, name="Movies", directory="data/movies", image_width=4096),
        ),
        "cross_references": (CrossReference(kind="EMDB", accession="EMD-2824"),),
        "authors": (Author(name="Scheres SHW", orcid="0000-0002-0462-6540"),),
        "principal_investigators": (Person(first_name="Rosalind", last_name="Franklin"),),
        "citations": (
            Citation(
                title="Semi-automated selection",
                journal="J Struct Biol",
                authors=(Author(name="Scheres SHW"),),
            ),
        ),
        "grants": (Grant(funding_body="MRC", code="MC_UP_A025_1013", country="United Kingdom"),),
    }
    return Entry.model_validate(facts | changes)


def record(catalogue: Catalogue, e: Entry, *, now: int = 1000) -> bool:
    return catalogue.write_now(lambda c: crawl.record_entry(c, e, source="api", now=now))


def enumerate_(
    catalogue: Catalogue, *entries: EnumeratedEntry, complete: bool = True, now: int = 1000
) -> EnumerationResult:
    return catalogue.write_now(
        lambda c: crawl.record_enumeration(c, entries, source="search", complete=complete, now=now)
    )


def due(catalogue: Catalogue, now: int, interval_s: float = 6 * HOUR) -> list[int]:
    with catalogue.reader() as reader:
        return crawl.due_entries(reader, now=now, interval_s=interval_s)


def list_files(
    catalogue: Catalogue, *names: str, now: int = 1000, empiar_id: int = ID, folder: str = "data"
) -> None:
    listing = catalogue.write_now(lambda c: crawl.begin_listing(c, empiar_id, source="ftp", now=now))
    files = [ListedFile(name, 1, True, None, 60) for name in names]
    catalogue.write_now(lambda c: crawl.add_to_listing(c, listing, folder, files))
    catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=now))
    catalogue.write_now(lambda c: crawl.record_inspected(c, empiar_id))


# --- enumeration --------------------------------------------------------------------------------------------


def test_new_changed_and_missing_entries_are_told_apart(catalogue: Catalogue) -> None:
    assert enumerate_(
        catalogue, EnumeratedEntry(1, "2024-01-01"), EnumeratedEntry(2, "2024-01-01"), EnumeratedEntry(3)
    ) == EnumerationResult((1, 2, 3), (), ())
    again = enumerate_(
        catalogue, EnumeratedEntry(1, "2024-02-01"), EnumeratedEntry(2, "2024-01-01"), EnumeratedEntry(4)
    )
    assert again == EnumerationResult((4,), (1,), (3,))
    assert rows(catalogue, "SELECT empiar_id, unlisted_since IS NOT NULL FROM entries") == [
        (1, 0),
        (2, 0),
        (3, 1),
        (4, 0),
    ]
    back = enumerate_(
        catalogue, EnumeratedEntry(1), EnumeratedEntry(2), EnumeratedEntry(3), EnumeratedEntry(4), now=2000
    )
    assert back.changed == (3,), "an entry that is named again is looked at again"
    assert rows(catalogue, "SELECT count(*) FROM entries WHERE unlisted_since IS NOT NULL") == [(0,)]


def test_an_older_update_date_from_another_source_is_no_change(catalogue: Catalogue) -> None:
    enumerate_(catalogue, EnumeratedEntry(1, "2024-02-01"))
    assert enumerate_(catalogue, EnumeratedEntry(1, "2024-01-01")).changed == ()
    assert enumerate_(catalogue, EnumeratedEntry(1, "2024-02-02")).changed == (1,)


def test_a_partial_enumeration_marks_nothing_missing(catalogue: Catalogue) -> None:
    enumerate_(catalogue, EnumeratedEntry(1), EnumeratedEntry(2))
    assert enumerate_(catalogue, EnumeratedEntry(1), complete=False).missing == ()
    assert rows(catalogue, "SELECT count(*) FROM entries WHERE unlisted_since IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("named", [(), (1,)], ids=["none", "fewer than half"])
def test_an_enumeration_that_lacks_most_entries_is_a_contradiction(
    catalogue: Catalogue, named: tuple[int, ...]
) -> None:
    enumerate_(catalogue, *(EnumeratedEntry(n) for n in (1, 2, 3)))
    assert enumerate_(catalogue, *(EnumeratedEntry(n) for n in named)).missing == ()
    assert rows(catalogue, "SELECT what, stated, source FROM contradictions") == [
        ("enumeration", f"{len(named)} entries in all", "search")
    ]
    assert rows(catalogue, "SELECT count(*) FROM entries WHERE unlisted_since IS NOT NULL") == [(0,)]


def test_an_enumeration_fills_in_title_and_status_until_the_entry_is_read(catalogue: Catalogue) -> None:
    enumerate_(catalogue, EnumeratedEntry(ID, title="Short", status="REL"))
    assert rows(catalogue, "SELECT title, status FROM entries") == [("Short", "REL")]
    record(catalogue, entry())
    enumerate_(catalogue, EnumeratedEntry(ID, title="Short"))
    assert rows(catalogue, "SELECT title FROM entries") == [("Beta-galactosidase & friends",)]


# --- what is due --------------------------------------------------------------------------------------------


def test_an_entry_is_due_until_metadata_and_listing_are_here_and_fresh(catalogue: Catalogue) -> None:
    enumerate_(catalogue, EnumeratedEntry(ID, "2024-01-02"))
    assert due(catalogue, 1000) == [ID]
    record(catalogue, entry())
    assert due(catalogue, 1000) == [ID], "no listing yet"
    list_files(catalogue, "a")
    assert due(catalogue, 1000) == []
    assert due(catalogue, 1000 + 6 * HOUR) == [ID]
    assert due(catalogue, 1000 - HOUR) == [], "clocks differ a little"
    assert due(catalogue, 1000 - 2 * HOUR) == [ID], (
        "read under a clock that was ahead: fresh for ever otherwise"
    )


def test_a_listing_whose_files_were_not_judged_before_a_crash_is_due(catalogue: Catalogue) -> None:
    record(catalogue, entry())
    list_files(catalogue, "a")
    listing = catalogue.write_now(lambda c: crawl.begin_listing(c, ID, source="ftp", now=1000))
    catalogue.write_now(
        lambda c: crawl.add_to_listing(c, listing, "data", [ListedFile("b", 1, True, None, 60)])
    )
    catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=1000))
    assert due(catalogue, 1000) == [ID]
    catalogue.write_now(lambda c: crawl.record_inspected(c, ID))
    assert due(catalogue, 1000) == []


def test_an_obsolete_entry_may_have_no_files(catalogue: Catalogue) -> None:
    record(catalogue, entry(status="OBS"))
    assert due(catalogue, 1000) == []
    assert due(catalogue, 1000 + 6 * HOUR) == [ID]


def test_an_announced_change_makes_an_entry_due_at_once(catalogue: Catalogue) -> None:
    enumerate_(catalogue, EnumeratedEntry(ID, "2024-01-02"))
    record(catalogue, entry())
    list_files(catalogue, "a")
    enumerate_(catalogue, EnumeratedEntry(ID, "2024-01-03"), now=1500)
    assert due(catalogue, 1500) == [ID]
    record(catalogue, entry(), now=1600)
    assert due(catalogue, 1600) == [ID], "its listing is older than the change"
    list_files(catalogue, "a", now=1700)
    assert due(catalogue, 1700) == []


def test_a_change_announced_while_a_listing_was_read_is_not_lost(catalogue: Catalogue) -> None:
    record(catalogue, entry(), now=2000)
    listing = catalogue.write_now(lambda c: crawl.begin_listing(c, ID, source="ftp", now=1000))
    enumerate_(catalogue, EnumeratedEntry(ID, "2030-01-01"), now=1500)
    catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=2000))
    assert due(catalogue, 2000) == [ID]


def test_the_longest_neglected_comes_first(catalogue: Catalogue) -> None:
    for number, now in ((1, 3000), (2, 1000), (3, 2000)):
        record(catalogue, entry(empiar_id=number), now=now)
        list_files(catalogue, "a", now=now, empiar_id=number)
    enumerate_(catalogue, EnumeratedEntry(4), complete=False)
    assert due(catalogue, 10**6) == [4, 2, 3, 1]


# --- metadata -----------------------------------------------------------------------------------------------


def test_an_entry_stands_in_every_view(catalogue: Catalogue) -> None:
    assert record(catalogue, entry())
    assert rows(
        catalogue, "SELECT accession, title, dataset_bytes, imageset_count, crawled_at FROM entries"
    ) == [("EMPIAR-10017", "Beta-galactosidase & friends", 5_261_334_937, 2, "1970-01-01T00:16:40Z")]
    assert rows(catalogue, "SELECT position, name, directory, image_width FROM imagesets") == [
        (0, "Micrographs", "data", None),
        (1, "Movies", "data/movies", 4096),
    ]
    assert rows(catalogue, "SELECT kind, accession FROM cross_references") == [("EMDB", "EMD-2824")]
    assert rows(catalogue, "SELECT name, orcid FROM authors") == [("Scheres SHW", "0000-0002-0462-6540")]
    assert rows(catalogue, "SELECT authors, title, journal FROM citations") == [
        ("Scheres SHW", "Semi-automated selection", "J Struct Biol")
    ]
    assert rows(catalogue, "SELECT funding_body, code, country FROM grants") == [
        ("MRC", "MC_UP_A025_1013", "United Kingdom")
    ]
    with catalogue.reader() as reader:
        assert crawl.entry_of(reader, ID) == entry()
        assert crawl.imagesets_of(reader, ID) == list(entry().imagesets)
        assert crawl.imagesets_of(reader, 1) == []


def test_the_same_metadata_again_is_no_change(catalogue: Catalogue) -> None:
    record(catalogue, entry())
    assert not record(catalogue, entry(), now=2000)
    assert rows(catalogue, "SELECT kind, field FROM changes") == [("added", None)]
    assert rows(catalogue, "SELECT crawled_at FROM entries") == [("1970-01-01T00:33:20Z",)]


def test_every_changed_field_is_a_change_with_both_values(catalogue: Catalogue) -> None:
    record(catalogue, entry())
    sets = (entry().imagesets[0], entry().imagesets[1].model_copy(update={"image_width": 3838}))
    more = (*entry().authors, Author(name="Franklin RE"))
    assert record(catalogue, entry(title="New", imagesets=sets, authors=more, extra={"new_key": 1}), now=2000)
    found = rows(catalogue, "SELECT kind, field, old, new FROM changes ORDER BY rowid")[1:]
    assert [row[:2] for row in found] == [
        ("changed", "extra.new_key"),
        ("changed", "title"),
        ("changed", "imagesets[1].image_width"),
        ("changed", "authors"),
    ]
    assert found[1][2:] == ("Beta-galactosidase & friends", "New")
    assert found[2][2:] == ("4096", "3838")
    assert "Franklin RE" in str(found[3][3])
    assert len(rows(catalogue, "SELECT * FROM authors")) == 2


def test_a_field_that_an_older_version_did_not_know_is_no_change(catalogue: Catalogue) -> None:
    record(catalogue, entry())
    catalogue.write_now(
        lambda c: c.execute("UPDATE entry SET record = json_remove(record, '$.scale')").rowcount
    )
    assert not record(catalogue, entry(scale="molecule"))
    assert rows(catalogue, "SELECT scale FROM entries") == [("molecule",)]


def test_unknown_keys_are_counted(catalogue: Catalogue) -> None:
    sets = tuple(ImageSet(position=n, extra={"tilt_step": 3}) for n in range(2))
    record(catalogue, entry(imagesets=sets))
    assert rows(catalogue, "SELECT key_path, entry_count, times, example FROM unknown_keys") == [
        ("imagesets[].tilt_step", 1, 2, ID)
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("galactosidase", 1),
        ("scheres", 1),
        ("franklin", 1),
        ("falcon", 1),
        ("movies", 1),
        ('"EMD-2824"', 1),
        ("tomato", 0),
    ],
)
def test_full_text_search_finds_titles_people_details_and_references(
    catalogue: Catalogue, words: str, found: int
) -> None:
    record(catalogue, entry())
    record(catalogue, entry(title="Beta-galactosidase again"), now=2000)
    sql = "SELECT count(*) FROM entries_fts WHERE entries_fts MATCH ?"
    assert rows(catalogue, sql, words) == [(found,)]


@pytest.mark.parametrize(
    "bad", [{"dataset_bytes": 2**70}, {"title": "lone \ud800 surrogate"}], ids=["number", "text"]
)
def test_impossible_metadata_is_a_bad_answer_and_leaves_what_was(
    catalogue: Catalogue, bad: dict[str, object]
) -> None:
    record(catalogue, entry())
    with pytest.raises(BadAnswer):
        record(catalogue, entry().model_copy(update=bad))
    with catalogue.reader() as reader:
        assert crawl.entry_of(reader, ID) == entry()


def test_only_a_second_look_an_hour_later_withdraws_an_entry(catalogue: Catalogue) -> None:
    record(catalogue, entry())
    list_files(catalogue, "a")

    def absent(now: int) -> None:
        catalogue.write_now(lambda c: crawl.record_entry_absent(c, ID, reason="404", now=now))

    absent(10_000)
    absent(10_000 + HOUR - 1)
    kinds = "SELECT kind, new FROM changes WHERE path IS NULL AND field IS NULL ORDER BY rowid"
    assert rows(catalogue, kinds) == [("added", None)]
    absent(10_000 + HOUR)
    absent(10_000 + 2 * HOUR)
    assert rows(catalogue, kinds) == [("added", None), ("withdrawn", "404")]
    assert rows(catalogue, "SELECT count(*) FROM files WHERE gone_at IS NULL") == [(1,)], "files stay"
    record(catalogue, entry(), now=20_000)
    assert rows(catalogue, kinds)[-1] == ("returned", None)
    assert rows(catalogue, "SELECT withdrawn_at FROM entries") == [(None,)]


def test_an_absent_entry_is_looked_for_again_after_an_hour_then_at_the_usual_interval(
    catalogue: Catalogue,
) -> None:
    def absent(now: int) -> None:
        catalogue.write_now(lambda c: crawl.record_entry_absent(c, ID, reason="404", now=now))

    absent(1000)
    assert due(catalogue, 1000 + HOUR - 1) == []
    assert due(catalogue, 1000 + HOUR) == [ID]
    absent(1000 + HOUR)
    assert due(catalogue, 1000 + 3 * HOUR) == []
    assert due(catalogue, 1000 + 7 * HOUR) == [ID]


# --- files --------------------------------------------------------------------------------------------------


def test_directories_and_files_are_read_in_pieces_without_gone_ones(catalogue: Catalogue) -> None:
    list_files(catalogue, "a", "b", "c", now=1)
    list_files(catalogue, "a", "c", now=2)
    list_files(catalogue, "a", "c", now=3)
    with catalogue.reader() as reader:
        [(directory, path, count)] = crawl.directories_of(reader, ID)
        assert (path, count) == ("data", 2)
        [(first, a)] = crawl.files_of_directory(reader, directory, limit=1)
        [(_, c)] = crawl.files_of_directory(reader, directory, after_file_id=first)
    assert (a.name, c.name) == ("a", "c")
    assert a == ListedFile("a", 1, True, None, 60)


def test_roles_show_as_words_and_an_unchanged_one_costs_no_write(catalogue: Catalogue) -> None:
    list_files(catalogue, "a", "b")

    def job(conn: sqlite3.Connection) -> int:
        crawl.record_roles(conn, [(1, Role.MOVIE, 0.85)])
        return conn.total_changes

    first = catalogue.write_now(job)
    assert catalogue.write_now(job) == first
    assert rows(catalogue, "SELECT name, role, role_confidence FROM files") == [
        ("a", "movie", 0.85),
        ("b", "other", None),
    ]
    assert rows(catalogue, "SELECT name FROM micrographs") == [("a",)]


def test_a_directory_has_the_most_specific_image_set_that_holds_it(catalogue: Catalogue) -> None:
    list_files(catalogue, "one", folder="data/movies/day1")
    record(catalogue, entry())
    catalogue.write_now(lambda c: crawl.record_roles(c, [(1, Role.MOVIE, 1.0)]))
    sets = "SELECT imageset_position, imageset_name, image_width FROM micrographs"
    assert rows(catalogue, sets) == [(1, "Movies", 4096)]
    record(catalogue, entry(imagesets=(ImageSet(position=0, name="All", directory=""),)), now=2000)
    assert rows(catalogue, sets) == [(0, "All", None)]
    record(catalogue, entry(imagesets=(ImageSet(position=0, directory="data/movies/day"),)), now=3000)
    assert rows(catalogue, sets) == [(None, None, None)], "a name's beginning is not a folder"


# --- the rest -----------------------------------------------------------------------------------------------


def test_a_known_contradiction_is_updated_not_repeated_and_may_be_cleared(catalogue: Catalogue) -> None:
    def contradict(found: str, now: int, empiar_id: int | None = ID) -> None:
        catalogue.write_now(
            lambda c: crawl.record_contradiction(
                c, empiar_id, None, what="size", stated="1", found=found, source="api", now=now
            )
        )

    contradict("2", 1000)
    contradict("3", 2000)
    contradict("4", 2000, None)
    assert rows(catalogue, "SELECT empiar_id, found, first_seen_at, last_seen_at FROM contradictions") == [
        (ID, "3", "1970-01-01T00:16:40Z", "1970-01-01T00:33:20Z"),
        (None, "4", "1970-01-01T00:33:20Z", "1970-01-01T00:33:20Z"),
    ]
    catalogue.write_now(lambda c: crawl.clear_contradictions(c, ID, what=["other"]))
    catalogue.write_now(lambda c: crawl.clear_contradictions(c, ID, what=["size"]))
    assert rows(catalogue, "SELECT found FROM contradictions") == [("4",)]


def test_validators_and_harvests_are_remembered(catalogue: Catalogue) -> None:
    def remember(answer: CachedAnswer) -> CachedAnswer | None:
        catalogue.write_now(lambda c: crawl.remember_answer(c, "https://x/", answer, now=1))
        with catalogue.reader() as reader:
            return crawl.cached_answer(reader, "https://x/")

    assert remember(CachedAnswer('"1"', None)) == CachedAnswer('"1"', None)
    assert remember(CachedAnswer(None, "Sun")) == CachedAnswer(None, "Sun")
    assert remember(CachedAnswer(None, None)) is None
    for day in ("2026-11-21", "2026-11-22"):
        catalogue.write_now(partial(crawl.record_harvest, source="search", day=day, now=1))
    with catalogue.reader() as reader:
        assert crawl.last_harvest(reader, "search") == "2026-11-22"
        assert crawl.last_harvest(reader, "other") is None
