"""The views: the contract's columns, their descriptions, and facts that SQL alone works out."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import claims
from empiar_schema import crawl_store as crawl
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.codes import JOB_STATE_CODES, ROLE_CODES, STATE_CODES, UNIT_CODES
from empiar_schema.files import ListedFile
from empiar_schema.jobs import JobState
from empiar_schema.paths import RemotePath, checked_name, suffix_of
from empiar_schema.states import CopyState, EntryState, Role
from empiar_schema.views import FULL_TEXT, VIEWS, describe_markdown

ID = 10017
ROOT = Path(__file__).parents[2]

#: Section 4 of the public contract.
CONTRACT = {
    "entries": "empiar_id accession title status experiment_type scale deposition_date release_date update_date"
    " obsolete_date dataset_size dataset_bytes doi imageset_count file_count file_bytes crawled_at listed_at",
    "imagesets": "empiar_id position name directory category header_format data_format voxel_type image_count"
    " frames_per_image image_width image_height pixel_width_angstrom pixel_height_angstrom details",
    "cross_references": "empiar_id kind accession",
    "authors": "empiar_id position",
    "citations": "empiar_id position",
    "grants": "empiar_id position",
    "files": "file_id empiar_id path directory name suffix role role_confidence bytes modified_at first_seen_at"
    " last_seen_at gone_at https_url ftp_url globus_url",
    "micrographs": "file_id empiar_id path local_path",
    "copies": "file_id empiar_id path state channel bytes_here sha256 arrived_at verified_at attempts error local_path",
    "transfers": "file_id channel started_at ended_at start_offset bytes_moved outcome error",
    "images": "file_id format width height frames mode pixel_size_angstrom problems",
    "entry_progress": "empiar_id wanted_files wanted_bytes here_files here_bytes failed_files state",
    "subscriptions": "name sql view priority budget_bytes paused created_at entry_count file_count",
    "subscription_matches": "name empiar_id file_id matched_at gone_at",
    "changes": "changed_at empiar_id path kind field old new",
    "entries_as_of": "as_of empiar_id accession title status file_count file_bytes listed_at withdrawn_at",
    "files_as_of": "as_of file_id empiar_id path bytes modified_at first_seen_at",
    "entries_history": "valid_from valid_to empiar_id title status",
    "files_history": "valid_from valid_to file_id empiar_id path bytes modified_at",
    "contradictions": "empiar_id path what stated found source",
    "jobs": "job_id empiar_id maker file_id path state attempts error",
    "derived": "product_id empiar_id path kind stem maker parents command version bytes sha256 made_at local_path",
}


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as opened:
        yield opened


def rows(catalogue: Catalogue, sql: str) -> list[tuple[object, ...]]:
    with catalogue.reader() as reader:
        return [tuple(row) for row in reader.execute(sql)]


def list_names(catalogue: Catalogue, *raw: bytes, directory: str = "data") -> None:
    listing = catalogue.write_now(lambda c: crawl.begin_listing(c, ID, source="ftp", now=1))
    files = [ListedFile(checked_name(name), 1, True, 0, 60) for name in raw]
    catalogue.write_now(lambda c: crawl.add_to_listing(c, listing, directory, files))
    catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=1))


@pytest.mark.parametrize("view", CONTRACT)
def test_a_view_has_the_contracts_columns_in_the_contracts_order(catalogue: Catalogue, view: str) -> None:
    with catalogue.reader() as reader:
        columns = [c[0] for c in reader.execute(f"SELECT * FROM {view}").description]
    promised = CONTRACT[view].split()
    assert [c for c in columns if c in promised] == promised
    assert len(columns) == len(set(columns))


def test_every_view_and_column_is_described_in_the_database(catalogue: Catalogue) -> None:
    described = rows(catalogue, 'SELECT view, "column" FROM descriptions ORDER BY view, position')
    expected: list[tuple[object, ...]] = []
    names = [
        (row[0], row[0]) for row in rows(catalogue, "SELECT name FROM sqlite_schema WHERE type = 'view'")
    ]
    for name, _ in sorted([*names, (FULL_TEXT[0], None)]):
        with catalogue.reader() as reader:
            columns = [c[0] for c in reader.execute(f"SELECT * FROM {name}").description]
        expected += [(name, None), *((name, column) for column in columns)]
    assert described == expected
    assert all(
        row[0] and str(row[0]).endswith((".", "…"))
        for row in rows(catalogue, "SELECT description FROM descriptions")
    )


def test_the_documentation_is_the_databases_own_description(catalogue: Catalogue) -> None:
    with catalogue.reader() as reader:
        assert (ROOT / "docs/sql.md").read_text() == describe_markdown(reader), (
            "docs/sql.md is out of date: python -m empiar_schema > docs/sql.md"
        )


def test_every_word_has_a_number_of_its_own() -> None:
    assert STATE_CODES.keys() == set(CopyState)
    assert ROLE_CODES.keys() == set(Role)
    assert JOB_STATE_CODES.keys() == set(JobState)
    for codes in (STATE_CODES, ROLE_CODES, UNIT_CODES, JOB_STATE_CODES):
        assert sorted(codes.values()) == list(range(len(codes)))


@given(
    st.text(alphabet="aZ.0é%-_ ", max_size=30)
    | st.sampled_from(
        [
            "a.MRC",
            "a.tiff.bz2",
            ".gz",
            "x.gz",
            "a.b.c.gz",
            "m.tar.XZ",
            "long" * 9 + ".mrc.zst",
            "a." + "long" * 9,
            "x" * 9 + ".mrc.gz",
        ]
    )
)
@settings(max_examples=300, deadline=None)
def test_the_suffix_in_sql_is_that_of_the_program(name: str) -> None:
    expression = next(
        c.expression for v in VIEWS if v.name == "files" for c in v.columns if c.name == "suffix"
    )
    connection = sqlite3.connect(":memory:")
    try:
        query = f"WITH f(name) AS (SELECT ?) SELECT {expression} FROM f"
        assert connection.execute(query, (name,)).fetchone()[0] == suffix_of(name)
    finally:
        connection.close()


AWKWARD = (
    b"plain-name_1.2~x.mrc",
    b"with space.mrc",
    b"[1] = a&b?c#d;e'f\"g.mrc",
    b"50%.mrc",
    b"50%25.mrc",
    b"%41.mrc",
    "κ-µ.mrc".encode(),
    b"latin-\xe9.mrc",
    b"line\nbreak.mrc",
)


@pytest.mark.parametrize("directory", ["", "data", "data/x y/é%"])
def test_urls_are_right_for_every_byte(catalogue: Catalogue, directory: str) -> None:
    list_names(catalogue, *AWKWARD, directory=directory)
    found = rows(catalogue, "SELECT directory, name, https_url, ftp_url, globus_url FROM files")
    assert len(found) == len(AWKWARD)
    for d, name, https, ftp, globus in found:
        url_path = RemotePath(ID, str(d), str(name)).url_path
        assert https == f"https://ftp.ebi.ac.uk/empiar/world_availability/{url_path}"
        assert ftp == f"ftp://ftp.ebi.ac.uk/empiar/world_availability/{url_path}"
        assert globus == (
            f"globus://47772002-3e5b-4fd3-b97c-18cee38d6df2/gridftp/empiar/world_availability/{url_path}"
        )


def test_a_copy_has_a_local_path_only_while_something_stands_there(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    list_names(catalogue, b"a.mrc", directory="")
    catalogue.write_now(lambda c: transfer.want_entry(c, ID, now=1))
    assert rows(catalogue, "SELECT local_path FROM copies") == [(None,)]
    catalogue.write_now(lambda c: claims.claim(c, now=1, limit_files=1, limit_bytes=1))
    arrival = transfer.Arrival(1, 1, bytes(32), None, None)
    catalogue.write_now(lambda c: transfer.record_arrivals(c, [arrival], now=1))
    catalogue.write_now(lambda c: crawl.record_roles(c, [(1, Role.MICROGRAPH, 1.0)]))
    for view in ("copies", "micrographs"):
        assert rows(catalogue, f"SELECT local_path FROM {view}") == [(f"{tmp_path}/archive/{ID}/a.mrc",)]


def test_an_entrys_state_follows_its_copies(catalogue: Catalogue) -> None:
    def state() -> object:
        return rows(catalogue, "SELECT state FROM entry_progress")[0][0]

    def arrive(file_id: int) -> None:
        arrival = transfer.Arrival(file_id, 1, bytes(32), None, None)
        catalogue.write_now(lambda c: transfer.record_arrivals(c, [arrival], now=1))

    list_names(catalogue, b"a", b"b")
    assert state() == EntryState.LISTED
    catalogue.write_now(lambda c: transfer.want_entry(c, ID, now=1))
    assert state() == EntryState.WANTED
    catalogue.write_now(lambda c: claims.claim(c, now=1, limit_files=2, limit_bytes=100))
    assert state() == EntryState.TRANSFERRING
    arrive(1)
    assert state() == EntryState.TRANSFERRING
    catalogue.write_now(lambda c: transfer.park(c, 2, error="x"))
    assert state() == EntryState.INCOMPLETE
    catalogue.write_now(lambda c: transfer.retry_failed(c, None, now=1, states=[CopyState.PARKED]))
    catalogue.write_now(lambda c: claims.claim(c, now=1, limit_files=2, limit_bytes=100))
    arrive(2)
    assert state() == EntryState.COMPLETE


def test_views_work_in_the_plain_sqlite3_tool(catalogue: Catalogue) -> None:
    tool = shutil.which("sqlite3")
    if tool is None:
        pytest.skip("the sqlite3 command line tool is not installed")
    list_names(catalogue, b"a b.mrc")
    for view in VIEWS:
        subprocess.run(
            [tool, "-readonly", str(catalogue.path), f"SELECT * FROM {view.name}"],
            check=True,
            capture_output=True,
        )


def test_other_peoples_views_are_left_alone_and_ours_are_renewed(tmp_path: Path) -> None:
    path = tmp_path / "empiar.db"
    Catalogue.open(path, create=True).close()
    other = sqlite3.connect(path)
    other.execute("CREATE VIEW mine AS SELECT 1")
    other.execute("DROP VIEW grants")
    other.commit()
    other.close()
    with Catalogue.open(path) as catalogue:
        assert rows(catalogue, "SELECT * FROM grants") == []
        assert rows(catalogue, "SELECT * FROM mine") == [(1,)]


@pytest.mark.parametrize(
    ("sql", "uses"),
    [
        ("SELECT * FROM files WHERE empiar_id = 1", "empiar_id=?"),
        ("SELECT * FROM files WHERE file_id = 1", "rowid=?"),
        ("SELECT * FROM copies WHERE file_id = 1", "rowid=?"),
        ("SELECT * FROM changes WHERE empiar_id = 1", "change_by_entry"),
        ("SELECT * FROM entry_progress WHERE empiar_id = 1", "rowid=?"),
        ("SELECT * FROM derived WHERE empiar_id = 1", "empiar_id=?"),
        ("SELECT empiar_id FROM cross_references WHERE accession = 'EMD-1'", "cross_reference_by_accession"),
    ],
)
def test_usual_questions_use_an_index(catalogue: Catalogue, sql: str, uses: str) -> None:
    plan = " | ".join(str(row[3]) for row in rows(catalogue, f"EXPLAIN QUERY PLAN {sql}"))
    assert uses in plan
