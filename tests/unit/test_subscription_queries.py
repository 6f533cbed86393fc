"""What a subscription's query may be, and what of its result is taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_mirror.subscriptions.matching import matches_of
from empiar_mirror.subscriptions.outlook import weighed_now
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings
from empiar_schema.subscriptions import Definition
from small_mirror import ENTRY, NOW, UNWANTED, make_small_mirror
from subscribing import ALL


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_small_mirror(tmp_path)
    return tmp_path


@pytest.fixture
def catalogue(root: Path) -> Iterator[Catalogue]:
    with Catalogue.open(root / "empiar.db") as opened:
        yield opened


@pytest.fixture
def settings(root: Path) -> Settings:
    return Settings(root=root)


# --- what a query may be ------------------------------------------------------------------------------------

REFUSED = [
    ("DELETE FROM entry", "only reading"),
    ("WITH x AS (SELECT 1 AS empiar_id) DELETE FROM entry", "only reading"),
    ("INSERT INTO wish VALUES (1, '', 1) RETURNING empiar_id", "only reading"),
    ("ATTACH '/tmp/x.db' AS x", "only reading"),
    ("PRAGMA query_only = OFF", "only reading"),
    ("PRAGMA table_info('entry')", "no column empiar_id or file_id"),
    ("SELECT empiar_id FROM entries; DELETE FROM entry", "one statement"),
    ("SELECT load_extension('/tmp/x.so') AS empiar_id", "not authorized"),
    ("SELECT zeroblob(2000000000) AS empiar_id", "64 MiB"),
    ("SELECT title FROM entries", "no column empiar_id or file_id, but title"),
    ("SELECT empiar_id AS id FROM entries", "no column empiar_id or file_id, but id"),
    ("SELECT empiar_id FROM entries UNION ALL SELECT NULL", "null as empiar_id"),
    ("SELECT accession AS empiar_id FROM entries", "'EMPIAR-10017' as empiar_id"),
    ("SELECT CAST(empiar_id AS TEXT) AS empiar_id FROM entries", "no whole number"),
    ("SELECT empiar_id + 0.5 AS empiar_id FROM entries", "10017.5 as empiar_id"),
    ("SELECT x'00' AS file_id", "as file_id"),
    ("SELECT empiar_id FROM entires", "did you mean entries?"),
    ("SELECT empiar_id FROM entries WHERE empiar_id = :id", "a parameter is missing"),
    ("", "returns nothing"),
    ("nonsense", "does not work"),
    ("SELECT empiar_id FROM entries -- " + "x" * 100_000, "more than 100,000 characters"),
]


@pytest.mark.parametrize(("sql", "sentence"), REFUSED, ids=[sql[:40] for sql, _ in REFUSED])
def test_a_query_that_will_not_do_is_refused_with_a_sentence_and_changes_nothing(
    root: Path, sql: str, sentence: str
) -> None:
    before = (root / "empiar.db").read_bytes()
    with pytest.raises(ConfigFault) as caught:
        matches_of(root, sql)
    assert sentence in str(caught.value)
    assert "empiar_id or file_id" in caught.value.hint
    assert "--timeout" not in caught.value.hint
    assert (root / "empiar.db").read_bytes() == before


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS empiar_id FROM n"


def test_an_endless_query_is_ended_by_rows_or_by_time(root: Path) -> None:
    with pytest.raises(ConfigFault, match="more than 1,000 rows"):
        matches_of(root, ENDLESS, most_rows=1000)
    with pytest.raises(ConfigFault, match=r"took longer than 0\.2 s"):
        matches_of(root, ENDLESS + " WHERE x < 0", seconds=0.2)


def test_a_query_that_returns_both_columns_selects_files_each_once_in_its_order(root: Path) -> None:
    found = matches_of(root, "SELECT FILE_ID, empiar_id FROM files ORDER BY file_id DESC")
    assert found.selects == "files"
    assert list(found.numbers) == sorted(found.numbers, reverse=True)
    twice = matches_of(root, "SELECT empiar_id FROM files UNION ALL SELECT empiar_id FROM files")
    assert twice.selects == "entries"
    assert sorted(twice.numbers) == [ENTRY, UNWANTED]


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT 99999 AS empiar_id", "returns 99999 as empiar_id, and the catalogue knows no such entry"),
        ("SELECT -1 AS file_id UNION SELECT 9223372036854775807", "knows no such file"),
        (ENDLESS + " LIMIT 10", "returns 1, 2, 3 and 7 more as empiar_id"),
    ],
)
def test_only_what_the_catalogue_knows_can_be_selected(
    catalogue: Catalogue, settings: Settings, sql: str, sentence: str
) -> None:
    with catalogue.reader() as conn, pytest.raises(ConfigFault, match=sentence):
        weighed_now(conn, settings, Definition("mine", sql), now=NOW)


def test_a_view_of_single_files_is_refused_and_so_is_a_view_that_does_not_exist(
    catalogue: Catalogue, settings: Settings
) -> None:
    sql = "SELECT file_id FROM files"
    with catalogue.reader() as conn:
        with pytest.raises(ConfigFault, match="a view takes part of entries"):
            weighed_now(conn, settings, Definition("mine", sql, view="trial"), now=NOW)
        with pytest.raises(ConfigFault, match="nosuch"):
            weighed_now(conn, settings, Definition("mine", ALL, view="nosuch"), now=NOW)
