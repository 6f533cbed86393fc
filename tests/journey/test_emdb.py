"""From a crawl to the question of a method developer: EMDB's facts beside the entries, whatever EMDB does."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from crawl_bench import DAY_S, NOW
from empiar_crawler.emdb_crawl import FAILURES_IN_A_ROW
from empiar_crawler.parse.api import parse_answer
from empiar_mirror.app import Mirror
from empiar_mirror.cli import main
from empiar_mirror.crawl_status import read_crawl_status
from empiar_mirror.metrics.figures import read_figures
from empiar_mirror.metrics.instruments import EMDB_STATES, Instruments
from empiar_mirror.rehearsal.archive import ArchiveFile, FileTree
from empiar_mirror.rehearsal.entries import standard_entries
from empiar_mirror.rehearsal.faults import Fault, FaultKind
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.crawl_store import record_entry
from empiar_schema.emdb_store import EmdbStanding, emdb_standing
from empiar_schema.events import CrawlFailed, Event
from empiar_schema.serve_settings import ServeSettings
from mirrors import opened, rows, settings_for
from rehearsal_in_thread import rehearsal_in_thread
from web_site import get, site

#: Entries of which it is enough to know what they say, with the maps that they name.
IDS = (10101, 10102, 10110, 10111, 10112, 10113, 10114, 10115)
QUESTION = (
    "SELECT DISTINCT empiar_id FROM entry_science WHERE membrane_protein AND molecular_weight_kda < 100"
    " AND resolution_angstrom < 3 AND has_movies"
)


def archive(*faults: Fault) -> Rehearsal:
    """The entries with next to no files: their listings are none of this."""
    entries = [entry for entry in standard_entries() if entry.empiar_id in IDS]
    for entry in entries:
        entry.tree = FileTree({b"data/README.txt": ArchiveFile(5, NOW - DAY_S)})
    return Rehearsal(entries, faults=faults)


def asked(rehearsal: Rehearsal) -> list[str]:
    return [request.path for request in rehearsal.log if request.path.startswith("emdb/")]


@asynccontextmanager
async def described(
    folder: Path, *faults: Fault, events: list[Event] | None = None, more: str = ""
) -> AsyncIterator[tuple[Rehearsal, Mirror]]:
    """The archive, and a mirror that knows its entries as if it had crawled them."""
    async with archive(*faults) as rehearsal:
        with opened(settings_for(rehearsal, folder, more=more), events) as mirror:
            await mirror.catalogue.write(partial(record_all, rehearsal=rehearsal))
            yield rehearsal, mirror


def record_all(conn: sqlite3.Connection, *, rehearsal: Rehearsal) -> None:
    for entry in rehearsal.archive.entries.values():
        answer = parse_answer(json.dumps({entry.accession: entry.record}).encode())
        record_entry(conn, answer[entry.empiar_id], source="api", now=NOW)


def at(mirror: Mirror, seconds: float) -> None:
    mirror.clock = lambda: seconds


async def test_the_question_of_the_issue_is_one_query(tmp_path: Path) -> None:
    async with archive() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            report = (await mirror.crawl_with_maps(None)).emdb

            assert (report.due, report.recorded, report.absent, report.failed) == (9, 8, 1, {})
            assert rows(mirror, QUESTION) == [(10102,)]
            # Each of the others fails by one condition alone.
            near = (
                "SELECT empiar_id, emdb_id FROM entry_science WHERE membrane_protein AND emdb_status = 'REL'"
            )
            assert rows(mirror, f"{near} AND molecular_weight_kda < 100 AND NOT has_movies") == [
                (10101, "EMD-0101")
            ]
            assert rows(mirror, f"{near} AND molecular_weight_kda > 100 AND has_movies") == [
                (10113, "EMD-0113")
            ]
            best = rows(mirror, "SELECT empiar_id, emdb_id FROM entry_science WHERE is_best ORDER BY 1")
            assert [empiar_id for empiar_id, _ in best] == list(IDS)
            assert best[0] == (10101, "EMD-0101")
            assert rows(mirror, "SELECT pdb_ids FROM emdb_entries WHERE emdb_id = 'EMD-0103'") == [
                ("2ABC,3ABC",)
            ]


async def test_only_what_is_sure_is_a_contradiction_and_it_goes_with_its_reason(tmp_path: Path) -> None:
    doubts = (
        "SELECT empiar_id, stated, found, source FROM contradictions WHERE what = 'EMDB reference' ORDER BY 1"
    )
    async with described(tmp_path) as (rehearsal, mirror):
        await mirror.crawl_emdb(None)
        names = {
            row[0]: row[1] for row in rows(mirror, "SELECT emdb_id, emdb_names_entry FROM entry_science")
        }
        assert (names["EMD-0103"], names["EMD-0114"], names["EMD-0101"]) == (1, 0, None)
        other, absent = rows(mirror, doubts)
        assert other == (10114, "EMD-0114", "EMDB names EMPIAR-10101", "EMD-0114")
        assert absent[:2] == (10115, "EMD-0115")
        assert "404" in str(absent[2])

        rehearsal.archive.maps["EMD-0115"] = {"emdb_id": "EMD-0115", "admin": {"title": "now released"}}
        rehearsal.archive.entries[10114].record["cross_references"] = []
        await mirror.catalogue.write(partial(record_all, rehearsal=rehearsal))
        await mirror.crawl_emdb(None, full=True)
        assert rows(mirror, doubts) == []


async def test_it_asks_again_when_an_answer_is_old_and_then_only_for_what_is_new(tmp_path: Path) -> None:
    async with described(tmp_path) as (rehearsal, mirror):
        at(mirror, NOW)
        await mirror.crawl_emdb(None)
        before = len(asked(rehearsal))
        at(mirror, NOW + DAY_S)
        assert (await mirror.crawl_emdb(None)).due == 0
        at(mirror, NOW + 9 * DAY_S)
        assert (await mirror.crawl_emdb(None)).absent == 1  # it may have been released by now
        assert asked(rehearsal)[before:] == ["emdb/EMD-0115"]
        rehearsal.archive.maps["EMD-0101"] = {"emdb_id": "EMD-0101", "admin": {"title": "another"}}
        at(mirror, NOW + 40 * DAY_S)
        report = await mirror.crawl_emdb(None)
        assert (report.recorded, report.unchanged, report.absent) == (1, 7, 1)
        changes = rows(
            mirror, "SELECT empiar_id, field, new FROM changes WHERE field GLOB 'EMD-*' ORDER BY field"
        )
        assert (10101, "EMD-0101 title", "another") in changes
        assert {str(field).split()[0] for _, field, _ in changes} == {"EMD-0101"}
        statuses = [r.status for r in rehearsal.log if r.path.startswith("emdb/")]
        assert statuses[-9:].count(304) == 7
        # A clock that was ahead keeps nothing fresh for ever.
        at(mirror, NOW - 90 * DAY_S)
        assert (await mirror.crawl_emdb(None)).due == 9
        assert (await mirror.crawl_emdb([10102], full=True)).due == 1


async def test_senseless_answers_cost_one_map_each_and_what_was_known_stands(tmp_path: Path) -> None:
    kinds = {
        "EMD-0101": (FaultKind.HTML_PAGE, ""),
        "EMD-0102": (FaultKind.BROKEN_JSON, ""),
        "EMD-0103": (FaultKind.DEEP_JSON, ""),
        "EMD-0111": (FaultKind.HUGE_JSON, "40000000"),
        "EMD-0112": (FaultKind.STATUS, "403"),
        "EMD-0114": (FaultKind.REDIRECT, "http://example.org/"),
    }
    faults = [
        Fault(kind=kind, match=f"emdb/{emdb_id}", value=value, after=1, times=None)
        for emdb_id, (kind, value) in kinds.items()
    ]
    async with described(tmp_path, *faults) as (rehearsal, mirror):
        at(mirror, NOW)
        assert (await mirror.crawl_emdb(None)).complete
        report = await mirror.crawl_emdb(None, full=True)

        assert set(report.failed) == set(kinds)
        assert report.stopped is None
        assert rows(mirror, QUESTION) == [(10102,)]
        told = "SELECT emdb_id, error FROM emdb_entries WHERE error IS NOT NULL AND absent_since IS NULL"
        errors = {row[0]: row[1] for row in rows(mirror, told)}
        assert errors == report.failed
        at(mirror, NOW + 40 * DAY_S)
        rehearsal.book.faults.clear()
        assert (await mirror.crawl_emdb(None)).complete
        assert rows(mirror, "SELECT emdb_id FROM emdb_entries WHERE error IS NOT NULL") == [("EMD-0115",)]


async def test_a_server_that_wants_to_be_left_alone_is_left_alone(tmp_path: Path) -> None:
    fault = Fault(kind=FaultKind.STATUS, match="emdb/*", value="429 3600", times=None)
    events: list[Event] = []
    async with described(tmp_path, fault, events=events) as (rehearsal, mirror):
        report = await mirror.crawl_emdb(None)

        assert report.stopped is not None
        assert len(asked(rehearsal)) == 1
        assert [event.source for event in events if isinstance(event, CrawlFailed)] == ["emdb"]


async def test_a_server_that_is_not_well_is_not_asked_for_every_map(tmp_path: Path) -> None:
    fault = Fault(kind=FaultKind.HTML_PAGE, match="emdb/*", times=None)
    async with described(tmp_path, fault) as (rehearsal, mirror):
        at(mirror, NOW)
        report = await mirror.crawl_emdb(None)
        assert len(report.failed) == len(asked(rehearsal)) == FAILURES_IN_A_ROW
        # The others are not held up by those that failed, which rest.
        rehearsal.book.faults.clear()
        assert (await mirror.crawl_emdb(None)).due == 9 - FAILURES_IN_A_ROW


async def test_a_pass_ends_when_it_may_not_go_on(tmp_path: Path) -> None:
    async with described(tmp_path) as (rehearsal, mirror):
        report = await mirror.crawl_emdb(None, may_go_on=lambda: len(asked(rehearsal)) < 3)
        assert (report.recorded, report.due) == (3, 9)
        assert report.stopped is not None


async def test_a_crawl_succeeds_without_emdb(tmp_path: Path) -> None:
    nowhere = '[emdb]\nurl = "http://127.0.0.1:9/emdb/api"\n'
    async with described(tmp_path, more=nowhere) as (rehearsal, mirror):
        report = await mirror.crawl_with_maps([10102])
        assert report.crawl.failed == {}
        assert report.emdb.stopped is not None
        off = mirror.settings.emdb.model_copy(update={"enabled": False})
        mirror.settings = mirror.settings.model_copy(update={"emdb": off})
        assert (await mirror.crawl_emdb(None, full=True)).due == 0
        assert asked(rehearsal) == []


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with rehearsal_in_thread(archive()) as rehearsal:
        (tmp_path / "empiar-mirror.toml").write_text(rehearsal.settings_toml(tmp_path / "mirror"))
        monkeypatch.chdir(tmp_path)
        assert main(["init", "--config", "other.toml"]) == 0
        with opened(settings_for(rehearsal, tmp_path)):
            pass
        capsys.readouterr()
        assert main(["crawl", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["emdb"]["recorded"] == 8
        assert main(["crawl", "--emdb"]) == 0
        assert "no map is due" in capsys.readouterr().out
        assert main(["crawl", "10102", "--emdb", "--full"]) == 0
        assert "1 map due, 0 new or changed, 1 unchanged" in capsys.readouterr().out
        assert main(["crawl", "10102", "--emdb", "--probe"]) == 2


async def test_status_metrics_and_page_tell_how_much_of_emdb_is_known(tmp_path: Path) -> None:
    fault = Fault(kind=FaultKind.BROKEN_JSON, match="emdb/EMD-0101", times=None)
    async with described(tmp_path, fault) as (_, mirror):
        with mirror.catalogue.reader() as connection:
            assert emdb_standing(connection) == EmdbStanding(named=9, waiting=9)
        at(mirror, NOW)
        await mirror.crawl_emdb(None)
        with mirror.catalogue.reader() as connection:
            standing = emdb_standing(connection)
            crawl = read_crawl_status(connection, mirror.settings.crawl, now=NOW)
            figures = read_figures(connection, mirror.settings, now=NOW)
        assert standing == EmdbStanding(named=9, known=7, absent=1, failed=1, asked_at=NOW)
        assert crawl.emdb == figures.emdb == standing
        said = "EMDB: 7 of 9 maps known, 1 not served by EMDB, 1 failed; last asked 2026-"
        assert any(
            line.startswith(said) for line in replace(crawl, asked_at="x").lines(mirror.settings.crawl)
        )
        instruments = Instruments()
        instruments.show(figures, mirror.settings, now=NOW)
        counted = {
            state: instruments.registry.get_sample_value("empiar_mirror_emdb_maps", {"state": state})
            for state in EMDB_STATES
        }
        assert counted == {"known": 7, "waiting": 0, "absent": 1, "failed": 1}
        with site(mirror.settings.model_copy(update={"serve": ServeSettings(port=0)})) as address:
            assert "7 of 9" in get(address, "/").text
            page = get(address, "/entry/10102").text
            assert "https://www.ebi.ac.uk/emdb/EMD-0103" in page
            assert "Resolution" in page
            assert "does not serve it" in get(address, "/entry/10115").text
