"""The schema's steps: replayed from every older version, refused from a newer one."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import CatalogueFault, StorageFault
from empiar_schema.migrations import MIGRATION_SET, STEPS, applied_steps, migrate
from empiar_schema.upgrade import backup_path

#: Fingerprints of all steps: one that differs was edited, and catalogues in use would lack the edit. Add a line
#: with each new step. Only before the first release may a step, and its line, still change.
FINGERPRINTS = {
    "m001_tables": "9f22a9a39f21632cd190bba8752a12c9e2e4851f004ecabff38ee1eddb393e4a",
    "m002_content": "567046d6542bb278b63eb3e35234f627e0c473867d511a5b6e3ea66981e16a55",
    "m003_globus": "f19e197ea635bedf59a5146e3df7f41af7f1fd00a8ed3b24eaa8c87f4fc4472a",
    "m004_subscriptions": "0f128b5961aac5107aef1dea4c6cdf079951441636d2bcef0401dd2a18c04bfb",
    "m005_scrub": "7ceb8b7a821d6506c5f3cd9224a82d2025144f2940705f5ad7264f2eb7c41815",
    "m006_order": "241d12e3e1ed7b710f9b9e1b1202fc246e5f4d1e69e543ba3c0d17cc449ac8b2",
    "m007_eviction": "51301f7fb7326c97168ad4140fe0493bddb193bae1f2d0fdf94ee45de3cb5acc",
    "m008_history": "1c9372433126970fb3d68158b0a884e79b41f7e68fb62a65f964e1f1dc30d593",
    "m009_lease": "f93fb682cf547ff5ef39dde8f28465b019175b36b37204ff7b3c4c0a39426f2d",
    "m010_emdb": "9de583c34b43da29459690669305a246804e083ccba5c6ce6d7ebcc0424cb89a",
    "m011_labels_by_hand": "4a2e5edddd02bcfeb0864e1139417176675dc1f8218cd543d74bed55808c9cb2",
}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "empiar.db", isolation_level=None)) as opened:
        yield opened


def schema(conn: sqlite3.Connection) -> list[tuple[str, str, str]]:
    return conn.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


@pytest.mark.parametrize("stop", range(len(STEPS) + 1))
def test_any_older_version_becomes_the_fresh_schema(tmp_path: Path, stop: int) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as old,
        closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as new,
    ):
        if stop:
            migrate(old, steps=STEPS[:stop])
        migrate(old)
        migrate(new)
        assert schema(old) == schema(new)
        assert applied_steps(old) == [name for name, _ in STEPS]
        assert old.execute("PRAGMA foreign_key_check").fetchall() == []


def test_migrating_twice_does_nothing(connection: sqlite3.Connection) -> None:
    migrate(connection)
    before = connection.total_changes
    migrate(connection)
    assert connection.total_changes == before


def test_a_step_that_fails_leaves_the_version_before(connection: sqlite3.Connection) -> None:
    migrate(connection)
    before = schema(connection)
    broken = (*STEPS, ("m999_broken", ("CREATE TABLE half_way (x)", "CREATE TABLE half_way (x)")))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection, steps=broken)
    assert schema(connection) == before
    assert applied_steps(connection) == [name for name, _ in STEPS]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_catalogue_is_refused_with_advice_and_left_alone(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "empiar.db"
    Catalogue.open(path, create=True).close()
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, 'm999_future', '')",
            (MIGRATION_SET,),
        )
        conn.commit()
        before = schema(conn)
    with pytest.raises(CatalogueFault, match="newer") as caught:
        Catalogue.open(path, read_only=read_only)
    assert "install" in caught.value.hint
    with closing(sqlite3.connect(path)) as conn:
        assert schema(conn) == before


def test_an_older_catalogue_opened_read_only_says_how_to_update_it(tmp_path: Path) -> None:
    path = tmp_path / "empiar.db"
    Catalogue.open(path, create=True).close()
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("DELETE FROM _sqlite_migrations WHERE name = ?", (STEPS[-1][0],))
        conn.commit()
    with pytest.raises(CatalogueFault, match="older") as caught:
        Catalogue.open(path, read_only=True)
    assert caught.value.hint


def test_steps_have_names_in_order_each_once() -> None:
    names = [name for name, _ in STEPS]
    assert names == sorted(set(names))


def test_released_steps_are_never_edited() -> None:
    found = {name: hashlib.sha256("\n".join(statements).encode()).hexdigest() for name, statements in STEPS}
    assert found == FINGERPRINTS


def test_a_creation_that_was_killed_after_its_first_table_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "empiar.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(
            "CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)"
        )
        conn.commit()
    Catalogue.open(path, create=True).close()
    with closing(sqlite3.connect(path)) as conn:
        assert applied_steps(conn) == [name for name, _ in STEPS]


def older_catalogue(path: Path) -> None:
    """A catalogue without the latest step, with one entry in it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        migrate(conn, steps=STEPS[:-1])
        conn.execute("INSERT INTO entry (empiar_id, discovered_at) VALUES (10017, 1)")


def test_before_an_upgrade_the_catalogue_is_copied_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "empiar.db"
    older_catalogue(path)
    Catalogue.open(path).close()
    copy = backup_path(path, STEPS[-1][0])
    assert [file.name for file in tmp_path.glob("*.before-*")] == [copy.name]
    with closing(sqlite3.connect(copy)) as conn:
        assert applied_steps(conn) == [name for name, _ in STEPS[:-1]]
        assert conn.execute("SELECT empiar_id FROM entry").fetchall() == [(10017,)]
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    stamp = copy.stat().st_mtime_ns
    Catalogue.open(path).close()
    assert copy.stat().st_mtime_ns == stamp


def test_a_new_catalogue_has_no_copy_of_nothing(tmp_path: Path) -> None:
    Catalogue.open(tmp_path / "empiar.db", create=True).close()
    assert list(tmp_path.glob("*.before-*")) == []


def test_without_room_for_the_copy_nothing_is_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "empiar.db"
    older_catalogue(path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(StorageFault) as caught:
        Catalogue.open(path)
    assert caught.value.full
    with closing(sqlite3.connect(path)) as conn:
        assert applied_steps(conn) == [name for name, _ in STEPS[:-1]]
