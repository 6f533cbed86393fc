"""Scrubbing reads derived files, too: what does not hold is made again, and a disk that is away is not taken for damage."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.scrub_budget import SUSPICIOUS_RUN
from empiar_schema import job_store
from empiar_schema.events import DerivedDamaged, Event
from empiar_schema.faults import StorageFault
from empiar_schema.jobs import NewProduct, Outcome, Wish
from entry_here import ID, NOW, opened, put_here, rows
from evictions import FILES

NAMES = [f"{n:02}" for n in range(SUSPICIOUS_RUN + 2)]
LATER = NOW + 100 * 86_400


def bytes_of(name: str) -> bytes:
    return name.encode() * 100


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def mirror(tmp_path: Path, events: list[Event]) -> Iterator[Mirror]:
    root = tmp_path / "mirror"
    root.mkdir()
    put_here(root, FILES)
    with opened(root, "", events) as mirror:
        mirror.clock = lambda: LATER
        mirror.catalogue.write_now(make)
        folder = root / "derived" / str(ID) / "average"
        folder.mkdir(parents=True)
        for name in NAMES:
            (folder / name).write_bytes(bytes_of(name))
        yield mirror


def make(conn: sqlite3.Connection) -> None:
    job_store.want_jobs(conn, ID, [Wish("average", 1, "recipe", None)], now=NOW)
    [job] = job_store.claim_jobs(conn, ID, "average", now=NOW, limit=1)
    products = [
        NewProduct(f"average/{name}", "rendition", 200, hashlib.sha256(bytes_of(name)).digest(), None, {})
        for name in NAMES
    ]
    outcome = Outcome(1.0, 2.0, "average", "1.0", None)
    job_store.record_made(conn, job, products, inputs=[], outcome=outcome, now=NOW)


def proven(mirror: Mirror) -> int:
    return sum(row[0] is not None for row in rows(mirror, "SELECT verified_at FROM derived"))


async def test_what_is_due_is_read_after_the_deposited_files_and_once_a_period(mirror: Mirror) -> None:
    report = await mirror.scrub([ID])
    assert (report.checked, report.damaged) == (len(FILES) + len(NAMES), ())
    assert proven(mirror) == len(NAMES)
    assert (await mirror.scrub([ID])).checked == 0


async def test_what_does_not_hold_is_wanted_again_and_told(mirror: Mirror, events: list[Event]) -> None:
    folder = mirror.folders.derived / str(ID) / "average"
    (folder / NAMES[1]).write_bytes(b"X" + bytes_of(NAMES[1])[1:])
    (folder / NAMES[3]).unlink()
    report = await mirror.scrub([ID])
    assert [file.path for file in report.damaged] == [f"{ID}/derived/average/{NAMES[n]}" for n in (1, 3)]
    assert [event.path for event in events if isinstance(event, DerivedDamaged)] == [
        file.path for file in report.damaged
    ]
    assert proven(mirror) == len(rows(mirror, "SELECT 1 FROM derived")) == len(NAMES) - 2
    assert rows(mirror, "SELECT state FROM jobs") == [("wanted",)]


async def test_a_disk_that_is_away_marks_nothing(mirror: Mirror) -> None:
    folder = mirror.folders.derived / str(ID)
    folder.rename(folder.with_name("away"))
    with pytest.raises(StorageFault, match="missing as a whole"):
        await mirror.scrub([ID])
    folder.with_name("away").rename(folder)
    for name in NAMES:
        (folder / "average" / name).write_bytes(b"X" * 200)
    with pytest.raises(StorageFault, match="in a row do not hold"):
        await mirror.scrub([ID])
    assert len(rows(mirror, "SELECT 1 FROM derived")) == len(NAMES)
