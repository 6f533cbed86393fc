"""Roles follow headers as files arrive, and the configuration when it changes, and stay so when the entry is listed anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_crawler.inspection import Refusals, inspect
from empiar_imaging.role_overrides import Overrides
from empiar_mirror.role_renewal import entries_to_renew, renew_roles
from empiar_schema import role_store
from empiar_schema.arrival_store import record_image
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry
from empiar_schema.entry import Entry
from empiar_schema.files import ListedFile
from empiar_schema.image_facts import ImageFacts
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.role_settings import RoleOverride
from empiar_schema.states import Role
from empiar_schema.transfer_store import want_entry

NOW = 1_767_225_600
ENTRY = 10017
MOVIE = ImageFacts("mrc", 3838, 3710, 40, "uint8")
GAIN = ImageFacts("mrc", 3838, 3710, 1, "float32")
NAMES = [*(f"{n:03d}.mrc" for n in range(30)), "K2.mrc"]
STATED = [RoleOverride(entry=ENTRY, path="data/00?.mrc", role=Role.OTHER)]

Row = tuple[str, float, str]


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as opened:
        listed(opened)
        yield opened


def listed(catalogue: Catalogue, overrides: Overrides | None = None) -> None:
    """The entry was listed and its files were judged."""
    catalogue.write_now(lambda c: record_entry(c, Entry(empiar_id=ENTRY, title="x"), source="api", now=NOW))
    number = catalogue.write_now(lambda c: begin_listing(c, ENTRY, source="ftp", now=NOW))
    files = [ListedFile(name, None, False, None, 1) for name in NAMES]
    catalogue.write_now(lambda c: add_to_listing(c, number, "data", files))
    catalogue.write_now(lambda c: complete_listing(c, number, now=NOW))
    asyncio.run(
        inspect(
            catalogue,
            ENTRY,
            Refusals(),
            source="ftp",
            now=NOW,
            overrides=overrides or Overrides.of(ENTRY, []),
        )
    )


def arrived(catalogue: Catalogue) -> None:
    """The headers of all files are known."""
    catalogue.write_now(lambda c: want_entry(c, ENTRY, now=NOW))
    with catalogue.reader() as conn:
        ids = dict(conn.execute("SELECT name, file_id FROM files").fetchall())
    for name, file_id in ids.items():
        facts = GAIN if name == "K2.mrc" else MOVIE
        catalogue.write_now(lambda c, i=file_id, f=facts: record_image(c, i, f))  # type: ignore[misc]


def roles(catalogue: Catalogue) -> dict[str, Row]:
    with catalogue.reader() as conn:
        rows = conn.execute("SELECT name, role, role_confidence, role_reason FROM files").fetchall()
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def test_a_listing_records_role_confidence_and_reason(catalogue: Catalogue) -> None:
    assert roles(catalogue)["000.mrc"] == ("micrograph", 0.73, "suffix alone")


def test_headers_settle_the_roles_of_files_that_arrived(catalogue: Catalogue) -> None:
    arrived(catalogue)
    assert renew_roles(catalogue, ENTRY, []) == len(NAMES)
    found = roles(catalogue)
    assert found["000.mrc"] == ("movie", 0.97, "header: several frames")
    assert found["K2.mrc"] == ("gain", 0.9, "single frame among movies")
    with catalogue.reader() as conn:
        row = conn.execute("SELECT role_confidence, role_reason FROM micrographs LIMIT 1").fetchone()
    assert tuple(row) == (0.97, "header: several frames")


def test_nothing_is_written_where_nothing_changed(catalogue: Catalogue) -> None:
    arrived(catalogue)
    renew_roles(catalogue, ENTRY, STATED)
    before = catalogue.write_now(lambda conn: conn.total_changes)
    assert renew_roles(catalogue, ENTRY, STATED) == 0
    assert catalogue.write_now(lambda conn: conn.total_changes) == before


def test_listing_the_entry_anew_does_not_forget_what_headers_said(catalogue: Catalogue) -> None:
    arrived(catalogue)
    renew_roles(catalogue, ENTRY, [])
    before = roles(catalogue)
    listed(catalogue)
    assert roles(catalogue) == before


def test_a_probe_counts_until_the_file_itself_is_here(catalogue: Catalogue) -> None:
    with catalogue.reader() as conn:
        (file_id,) = conn.execute("SELECT file_id FROM files WHERE name = '000.mrc'").fetchone()
    catalogue.write_now(
        lambda c: c.execute(
            "INSERT INTO probe (file_id, empiar_id, probed_at, bytes_read, family, family_files, family_bytes,"
            " format, width, height, frames, mode) VALUES (?, ?, ?, 4096, 'x', 30, 0, 'mrc', 3838, 3710, 40, 'uint8')",
            (file_id, ENTRY, NOW),
        )
    )
    renew_roles(catalogue, ENTRY, [])
    assert roles(catalogue)["000.mrc"] == ("movie", 0.97, "header: several frames")
    assert roles(catalogue)["029.mrc"] == ("movie", 0.9, "header: several frames")
    catalogue.write_now(lambda c: want_entry(c, ENTRY, now=NOW))
    catalogue.write_now(lambda c: record_image(c, file_id, GAIN))
    renew_roles(catalogue, ENTRY, [])
    assert roles(catalogue)["000.mrc"][0] == "micrograph"


def test_statements_of_the_configuration_come_and_go(catalogue: Catalogue) -> None:
    before = roles(catalogue)
    assert renew_roles(catalogue, ENTRY, STATED) == 10
    assert roles(catalogue)["007.mrc"] == ("other", 1.0, "override")
    assert roles(catalogue)["010.mrc"] == before["010.mrc"]
    assert renew_roles(catalogue, ENTRY, []) == 10
    assert roles(catalogue) == before


def test_statements_hold_when_the_entry_is_listed(catalogue: Catalogue) -> None:
    listed(catalogue, Overrides.of(ENTRY, STATED))
    assert roles(catalogue)["007.mrc"] == ("other", 1.0, "override")
    with catalogue.reader() as conn:
        assert entries_to_renew(conn, stated=STATED) == []


def test_entries_whose_statements_changed_are_known(catalogue: Catalogue) -> None:
    with catalogue.reader() as conn:
        assert entries_to_renew(conn, stated=[]) == []
        elsewhere = RoleOverride(entry=10028, path="**", role=Role.GAIN)
        assert entries_to_renew(conn, stated=[elsewhere]) == []
        assert entries_to_renew(conn, stated=STATED) == [ENTRY]
    renew_roles(catalogue, ENTRY, STATED)
    with catalogue.reader() as conn:
        assert entries_to_renew(conn, stated=STATED) == []
        assert entries_to_renew(conn, stated=[]) == [ENTRY]


def test_roles_of_an_entry_are_counted(catalogue: Catalogue) -> None:
    renew_roles(catalogue, ENTRY, STATED)
    with catalogue.reader() as conn:
        counted = role_store.entry_roles(conn, ENTRY)
    assert counted == role_store.EntryRoles(
        ENTRY, {Role.MICROGRAPH: 21, Role.OTHER: 10}, unsure=0, overridden=10
    )


def test_a_large_folder_is_judged_in_parts(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived(catalogue)
    monkeypatch.setattr(role_store, "PART", 16)
    assert renew_roles(catalogue, ENTRY, []) == len(NAMES)
    assert roles(catalogue)["K2.mrc"][0] == "gain"
