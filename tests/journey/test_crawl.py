"""The crawler against the rehearsal archive: what it records, what it survives, what it never does."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from crawl_bench import DAY_S, INTERVAL_S, NOW, bench
from empiar_mirror.rehearsal.archive import ArchiveFile
from empiar_mirror.rehearsal.entries import many_files_entry
from empiar_mirror.rehearsal.faults import Fault, FaultKind
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import EntryCrawled, Event, ListingProgressed, ListingReplaced
from empiar_schema.faults import UnreachableFault
from empiar_schema.paths import text_from_bytes


@pytest.mark.parametrize("listing", ["ftp", "https"])
async def test_first_crawl_records_exactly_what_the_archive_serves(tmp_path: Path, listing: str) -> None:
    async with bench(tmp_path, listing=(listing,)) as b:
        report = await b.crawl()

        assert report.failed == {}
        assert report.enumerated_by == "search"
        assert (report.entries, report.listed, report.absent) == (15, 14, 0)
        for entry in b.rehearsal.archive.entries.values():
            served = {text_from_bytes(path): file.size for path, file in entry.walk()}
            assert b.pairs("SELECT path, bytes FROM files WHERE empiar_id = ?", entry.empiar_id) == served
        titles = b.pairs("SELECT empiar_id, title FROM entries")
        assert titles.keys() == b.rehearsal.archive.entries.keys()
        assert all(str(title).startswith("Rehearsal") for title in titles.values())


async def test_second_crawl_asks_only_for_what_changed_since(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.crawl()
        asked_before = len(b.rehearsal.log)
        report = await b.crawl()

        assert (report.entries, report.listed) == (0, 0)
        assert {request.path for request in b.rehearsal.log[asked_before:]} == {"search"}


async def test_new_update_date_brings_new_metadata_and_a_new_listing(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.crawl()
        b.now += 60
        b.rehearsal.archive.touch_record(10101, "2026-11-18")
        b.rehearsal.archive.add_file(10101, b"data/new.mrc", ArchiveFile(5_000_000, NOW))
        b.rehearsal.archive.remove_file(10101, b"data/README.txt")
        report = await b.crawl()

        assert report.enumerated_by == "search"
        assert report.failed == {}
        changes = b.rows(
            "SELECT kind, field, path FROM changes WHERE empiar_id = 10101 AND changed_at > '2026-11-18T11:06:40Z'"
        )
        assert ("changed", "update_date", None) in changes
        assert ("added", None, "data/new.mrc") in {(kind, None, path) for kind, _, path in changes}
        # One look is no proof of deletion.
        assert b.rows("SELECT gone_at FROM files WHERE path = 'data/README.txt' AND empiar_id = 10101") == [
            (None,)
        ]

        b.now += 60
        await b.crawl(10101)
        ((gone_at,),) = b.rows(
            "SELECT gone_at FROM files WHERE path = 'data/README.txt' AND empiar_id = 10101"
        )
        assert gone_at is not None


async def test_entries_older_than_the_interval_are_confirmed_and_listed_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.crawl()
        b.now += INTERVAL_S + 10
        report = await b.crawl()

        assert (report.entries, report.listed) == (15, 14)
        assert not any(event.changed for event in b.events[-40:] if isinstance(event, EntryCrawled))
        assert b.rows("SELECT count(*) FROM changes WHERE kind != 'added'") == [(0,)]


async def test_full_crawl_lists_every_entry_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.crawl()
        b.now += 5
        report = await b.crawl(full=True)
        assert (report.entries, report.listed, report.unchanged) == (15, 14, 0)


async def test_given_entries_are_crawled_without_enumerating(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        report = await b.crawl(10102, 10102)
        assert (report.enumerated_by, report.entries, report.listed) == (None, 1, 1)
        assert b.asked("search") == 0


async def test_unknown_entry_is_absent_harms_no_other_and_leaves_no_row(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        report = await b.crawl(10101, 99998)
        assert (report.absent, report.listed, report.failed) == (1, 1, {})
        assert b.rows("SELECT empiar_id FROM entries") == [(10101,)]


async def test_entry_that_vanishes_is_withdrawn_after_a_second_look_and_its_files_stay(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as b:
        await b.crawl(10101)
        files = b.rows("SELECT path, gone_at FROM files ORDER BY path")
        b.rehearsal.archive.remove_entry(10101)
        for looks, withdrawn in ((1, 0), (2, 1)):
            b.now += 3_700
            report = await b.crawl(10101)
            assert (report.absent, report.failed) == (1, {}), looks
            assert b.rows("SELECT count(*) FROM changes WHERE kind = 'withdrawn'") == [(withdrawn,)]
        assert b.rows("SELECT path, gone_at FROM files ORDER BY path") == files


async def test_released_entry_without_a_folder_is_recorded_and_no_failure(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.rehearsal.archive.entries[10101].tree = None
        report = await b.crawl(10101, 10109)
        assert (report.entries, report.listed, report.failed) == (2, 0, {})
        # The other one is obsolete, so nothing else was to be expected.
        assert b.rows("SELECT empiar_id FROM contradictions") == [(10101,)]


async def test_server_errors_for_one_entry_do_not_end_the_crawl(tmp_path: Path) -> None:
    faults = [
        Fault(kind=FaultKind.STATUS, match="entry/10101", times=None, value="500"),
        Fault(kind=FaultKind.STATUS, match="*10101.xml", times=None, value="500"),
    ]
    async with bench(tmp_path, Rehearsal(faults=faults)) as b:
        report = await b.crawl()
        assert (list(report.failed), report.listed, report.stopped) == ([10101], 13, None)


async def test_archive_that_answers_with_errors_only_is_not_called_unreachable_if_it_could_be_enumerated(
    tmp_path: Path,
) -> None:
    faults = [
        Fault(kind=FaultKind.STATUS, match="entry/*", times=None, value="503"),
        Fault(kind=FaultKind.STATUS, match="*.xml", times=None, value="503"),
    ]
    async with bench(tmp_path, Rehearsal(faults=faults)) as b:
        report = await b.crawl()
        assert report.enumerated_by == "search"
        assert report.failed
        assert report.listed == 0
        with pytest.raises(UnreachableFault):
            await b.crawl(10101)


async def test_ftp_that_is_closed_is_tried_last_for_the_rest_of_the_crawl(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.rehearsal._ftp.close()
        report = await b.crawl()
        assert (report.listed, report.failed) == (14, {})
        assert 1 <= sum(event.source == "ftp" for event in b.failures()) <= 4


async def test_cancelled_crawl_leaves_the_catalogue_as_it_was(tmp_path: Path) -> None:
    async with bench(tmp_path, Rehearsal([many_files_entry(10191, 4_000, 40)])) as b:
        reading = asyncio.Event()

        def note(event: Event) -> None:
            if isinstance(event, ListingProgressed):
                reading.set()

        b.crawler._observer = note
        crawl = asyncio.create_task(b.crawl(10191))
        await reading.wait()
        crawl.cancel()
        with pytest.raises(asyncio.CancelledError):
            await crawl
        assert b.rows("SELECT count(*) FROM files") == [(0,)]
        report = await b.crawl(10191)
        assert (report.listed, b.rows("SELECT count(*) FROM files")) == (1, [(4_000,)])


async def test_entry_without_a_folder_is_a_recorded_disagreement(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.crawl()
        ((stated, found),) = b.rows("SELECT stated, found FROM contradictions WHERE what = 'enumeration'")
        assert "1 (10109) only there" in str(stated)
        assert "none only there" in str(found)


@pytest.mark.parametrize(
    ("faults", "source"),
    [
        ([Fault(kind=FaultKind.HTML_PAGE, match="search", times=None)], "ranges"),
        ([Fault(kind=FaultKind.BROKEN_JSON, match="search", times=None)], "ranges"),
        (
            [
                Fault(kind=FaultKind.STATUS, match="search", times=None, value="503"),
                Fault(kind=FaultKind.DEEP_JSON, match="ranges", times=None),
            ],
            "directory",
        ),
    ],
    ids=["search is a web page", "search is cut", "search is down and ranges are too deep"],
)
async def test_enumeration_falls_back_to_the_next_way(
    tmp_path: Path, faults: list[Fault], source: str
) -> None:
    async with bench(tmp_path, Rehearsal(faults=faults)) as b:
        report = await b.crawl()
        assert report.enumerated_by == source
        assert report.sources_failed.keys() >= {"search"}
        assert report.listed == 14
        assert report.failed == {}


@pytest.mark.parametrize(
    "kind", [FaultKind.HUGE_JSON, FaultKind.DEEP_JSON, FaultKind.BROKEN_JSON, FaultKind.HTML_PAGE]
)
async def test_senseless_metadata_is_replaced_by_the_header_xml(tmp_path: Path, kind: FaultKind) -> None:
    fault = Fault(kind=kind, match="entry/10102", times=None)
    async with bench(tmp_path, Rehearsal(faults=[fault])) as b:
        report = await b.crawl(10101, 10102)
        assert (report.entries, report.listed, report.failed) == (2, 2, {})
        assert b.rows("SELECT record_source FROM entries ORDER BY empiar_id") == [("api",), ("xml",)]


async def test_header_xml_does_not_overwrite_what_the_api_said(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.crawl(10102)
        b.rehearsal.book.add(Fault(kind=FaultKind.HTML_PAGE, match="entry/10102", times=None))
        b.now += 60
        await b.crawl(10102)
        assert b.rows("SELECT record_source FROM entries") == [("api",)]
        assert b.rows("SELECT count(*) FROM changes WHERE kind = 'changed'") == [(0,)]


async def test_entity_bomb_in_the_only_metadata_fails_that_entry_alone(tmp_path: Path) -> None:
    faults = [
        Fault(kind=FaultKind.HTML_PAGE, match="entry/10102", times=None),
        Fault(kind=FaultKind.ENTITY_BOMB, match="*10102.xml", times=None),
    ]
    async with bench(tmp_path, Rehearsal(faults=faults)) as b:
        report = await b.crawl(10101, 10102, 10103)
        assert list(report.failed) == [10102]
        assert report.listed == 2


async def test_the_web_sites_tree_is_a_last_resort(tmp_path: Path) -> None:
    faults = [Fault(kind=FaultKind.FTP_550, match="10104/*", channel="ftp", times=None)]
    async with bench(tmp_path, Rehearsal(faults=faults), listing=("ftp", "tree")) as b:
        report = await b.crawl(10104)
        assert report.failed == {}
        assert b.rows("SELECT listing_source FROM entries") == [("tree",)]
        entry = b.rehearsal.archive.entries[10104]
        served = {text_from_bytes(path): file.size for path, file in entry.walk()}
        assert b.pairs("SELECT path, bytes FROM files WHERE empiar_id = 10104") == served
        assert b.rows("SELECT DISTINCT bytes_exact FROM files") == [(0,)]


async def test_listing_that_breaks_on_ftp_comes_over_https(tmp_path: Path) -> None:
    faults = [Fault(kind=FaultKind.FTP_550, match="10104/*", channel="ftp", times=None)]
    async with bench(tmp_path, Rehearsal(faults=faults)) as b:
        report = await b.crawl(10104)
        assert report.failed == {}
        assert b.rows("SELECT listing_source FROM entries") == [("https",)]
        assert [event.source for event in b.failures()] == ["ftp"]


async def test_listing_is_complete_or_absent(tmp_path: Path) -> None:
    async with bench(tmp_path, listing=("https",)) as b:
        await b.crawl(10101)
        before = b.rows("SELECT path, bytes, last_seen_at FROM files ORDER BY path")
        b.now += 60
        b.rehearsal.book.add(
            Fault(kind=FaultKind.CUT_PAGE, match="10101/data/micrographs/", channel="https", times=None)
        )
        report = await b.crawl(10101)
        assert list(report.failed) == [10101]
        assert b.rows("SELECT path, bytes, last_seen_at FROM files ORDER BY path") == before


async def test_endless_listing_is_refused_and_others_are_unharmed(tmp_path: Path) -> None:
    faults = [Fault(kind=FaultKind.ENDLESS_FOLDERS, match="10105/*", times=None)]
    async with bench(tmp_path, Rehearsal(faults=faults), listing=("https",)) as b:
        report = await b.crawl(10105, 10106)
        assert list(report.failed) == [10105]
        assert b.rows("SELECT DISTINCT empiar_id FROM files") == [(10106,)]


async def test_hostile_names_are_left_out_and_recorded(tmp_path: Path) -> None:
    faults = [Fault(kind=FaultKind.HOSTILE_NAMES, match="10106/*", times=None)]
    async with bench(tmp_path, Rehearsal(faults=faults), listing=("https",)) as b:
        report = await b.crawl(10106)
        assert report.failed == {}
        assert b.rows("SELECT count(*) FROM files WHERE '/' || path || '/' LIKE '%/../%'") == [(0,)]
        assert b.rows("SELECT count(*) > 0 FROM contradictions WHERE what = 'unusable name'") == [(1,)]


async def test_contradictions_between_metadata_and_files_are_recorded(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.crawl()
        found = {
            (what, path): text
            for what, path, text in b.rows(
                "SELECT what, path, found FROM contradictions WHERE empiar_id = 10108"
            )
        }
        assert ("dataset size", None) in found
        assert found[("image set directory", "data/micrographs")] == "differs in letters: data/Micrographs"
        sound = (10101, 10102, 10103, 10106, *range(10110, 10116))
        assert b.rows(f"SELECT * FROM contradictions WHERE empiar_id IN {sound}") == []
        clashes = b.rows(
            "SELECT path FROM contradictions WHERE what LIKE 'name clash%' AND empiar_id = 10105"
        )
        assert len(clashes) >= 2


async def test_every_file_has_a_role(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.crawl()
        assert b.rows("SELECT count(*) FROM files WHERE role IS NULL") == [(0,)]
        count = "SELECT role, count(*) FROM files WHERE empiar_id = ? GROUP BY 1"
        assert b.pairs(count, 10101)["micrograph"] == 30
        assert b.pairs(count, 10102)["gain"] == 2
        assert "movie" in b.pairs(count, 10102)
        assert b.pairs(count, 10103)["gain"] == 1
        assert b.pairs(count, 10110) == {
            "metadata": 1,
            "micrograph": 9,
            "gain": 1,
            "particle_stack": 2,
            "particle_coordinates": 2,
        }
        assert b.pairs(count, 10111) == {
            "metadata": 1,
            "micrograph": 5,
            "particle_stack": 4,
            "particle_coordinates": 4,
        }
        assert b.pairs(count, 10112) == {"metadata": 1, "micrograph": 6, "particle_coordinates": 14}
        assert b.pairs(count, 10113) == {"metadata": 1, "movie": 4, "gain": 1, "defects": 1}
        assert b.pairs(count, 10114) == {"metadata": 1, "movie": 2, "gain": 1}
        assert b.pairs(count, 10115) == {
            "metadata": 1,
            "micrograph": 8,
            "movie": 2,
            "gain": 2,
            "particle_coordinates": 6,
        }


async def test_archive_that_is_away_is_unreachable_and_the_catalogue_keeps_what_it_has(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as b:
        await b.crawl()
        files = b.rows("SELECT count(*) FROM files")
        await b.rehearsal.__aexit__(None, None, None)
        b.now += 2 * DAY_S
        with pytest.raises(UnreachableFault):
            await b.crawl()
        with pytest.raises(UnreachableFault):
            await b.crawl(10101)
        assert b.rows("SELECT count(*) FROM files") == files
        assert b.rows("SELECT count(*) FROM changes WHERE kind IN ('removed', 'withdrawn')") == [(0,)]


async def test_failed_entry_is_left_alone_for_a_while(tmp_path: Path) -> None:
    faults = [Fault(kind=FaultKind.CUT_PAGE, match="10101/*", channel="https", times=None)]
    async with bench(tmp_path, Rehearsal(faults=faults), listing=("https",)) as b:
        first = await b.crawl()
        again = await b.crawl()
        b.now += 700
        later = await b.crawl()
        assert (list(first.failed), list(again.failed), list(later.failed)) == ([10101], [], [10101])


async def test_many_folders_stream_into_the_catalogue(tmp_path: Path) -> None:
    rehearsal = Rehearsal([many_files_entry(10191, 6_000, 60)])
    async with bench(tmp_path, rehearsal) as b:
        report = await b.crawl()
        assert report.failed == {}
        assert b.rows("SELECT file_count FROM entries") == [(6_000,)]
        replaced = [event for event in b.events if isinstance(event, ListingReplaced)]
        assert [event.files for event in replaced] == [6_000]


async def test_catalogue_is_a_plain_sqlite_file_after_a_crawl(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.crawl(10101)
    with sqlite3.connect(tmp_path / "empiar.db") as conn:
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    conn.close()
