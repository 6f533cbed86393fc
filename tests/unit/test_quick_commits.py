from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from empiar_schema.catalogue import Catalogue

Job = Callable[[sqlite3.Connection], int]


def note(number: int, seen: list[int], levels: list[int]) -> Job:
    def job(conn: sqlite3.Connection) -> int:
        seen.append(number)
        levels.append(conn.execute("PRAGMA synchronous").fetchone()[0])
        return number

    return job


def test_jobs_keep_their_order_and_durable_ones_are_flushed(tmp_path: Path) -> None:
    seen: list[int] = []
    levels: list[int] = []
    kinds = [number % 3 == 0 for number in range(60)]
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:
        futures = [catalogue.submit(note(n, seen, levels), durable=kind) for n, kind in enumerate(kinds)]
        assert [future.result() for future in futures] == list(range(60))
    assert seen == list(range(60))
    full = 2
    assert all(level == full for level, durable in zip(levels, kinds, strict=True) if durable)


def test_what_is_committed_quickly_can_be_read_at_once(tmp_path: Path) -> None:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:

        def job(conn: sqlite3.Connection) -> None:
            conn.execute("INSERT INTO source (name) VALUES ('somewhere')")

        catalogue.submit(job, durable=False).result()
        with catalogue.reader() as reader:
            assert reader.execute("SELECT 1 FROM source WHERE name = 'somewhere'").fetchone()


def test_a_quick_job_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    def fails(conn: sqlite3.Connection) -> int:
        raise ValueError("on purpose")

    seen: list[int] = []
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:
        bad = catalogue.submit(fails, durable=False)
        good = catalogue.submit(note(1, seen, []), durable=True)
        assert good.result() == 1
        with pytest.raises(ValueError, match="on purpose"):
            bad.result()


def test_the_last_jobs_before_closing_are_done_whatever_their_kind(tmp_path: Path) -> None:
    seen: list[int] = []
    catalogue = Catalogue.open(tmp_path / "empiar.db", create=True)
    futures = [catalogue.submit(note(n, seen, []), durable=n % 2 == 1) for n in range(10)]
    catalogue.close()
    assert [future.result(1) for future in futures] == list(range(10))
