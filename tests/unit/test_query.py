"""SQL over the catalogue: reading only, bounded, in every format."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.history import parse_time
from empiar_mirror.query import Limits, Row, ask, parse_parameter
from empiar_mirror.query_formats import TEXT_FORMATS, replacing, write_parquet, write_xlsx
from empiar_mirror.reading import reading
from empiar_schema.faults import CatalogueFault, ConfigFault
from empiar_schema.times import iso
from small_mirror import ENTRY, NAMES, make_small_mirror


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    make_small_mirror(folder)
    return folder


def rows(root: Path, sql: str, **limits: float) -> list[Row]:
    bounds = Limits(rows=int(limits.get("rows", 1000)), seconds=limits.get("seconds", 30.0))
    with ask(root, sql, limits=bounds) as answer:
        return list(answer)


def text(root: Path, sql: str, form: str) -> str:
    out = io.StringIO()
    with ask(root, sql) as answer:
        TEXT_FORMATS[form](answer, out)
    return out.getvalue()


def refusal(root: Path, sql: str) -> str:
    with pytest.raises(ConfigFault) as caught:
        rows(root, sql)
    return f"{caught.value}\n{caught.value.hint}"


def test_every_view_can_be_read(root: Path) -> None:
    views = [str(row[0]) for row in rows(root, "SELECT DISTINCT view FROM descriptions")]
    assert len(views) >= 14
    for view in views:
        with ask(root, f"SELECT * FROM {view}", as_of=1_750_000_000) as answer:
            list(answer)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM files_as_of",
        "SELECT * FROM ENTRIES_AS_OF WHERE empiar_id = 10017",
        "WITH all_of AS MATERIALIZED (SELECT * FROM files_as_of) SELECT * FROM all_of WHERE as_of = 5",
    ],
)
def test_a_view_by_time_that_is_given_no_time_is_refused_because_it_would_seem_empty(
    root: Path, sql: str
) -> None:
    assert "--as-of" in refusal(root, sql)


def test_a_time_is_given_by_option_or_by_condition(root: Path) -> None:
    with reading(root) as connection:
        known = connection.execute("SELECT unixepoch(min(discovered_at)) FROM entries").fetchone()[0]
    count = "SELECT count(*) > 0, min(as_of) FROM entries_as_of"
    for moment, any_known in ((known - 1, 0), (known, 1)):
        with ask(root, count, as_of=moment) as answer:
            assert list(answer) == [(any_known, iso(moment) if any_known else None)]
        assert rows(root, f"SELECT count(*) > 0 FROM entries_as_of WHERE as_of = {moment}") == [(any_known,)]


def test_under_a_time_nothing_can_be_written_either(root: Path) -> None:
    with pytest.raises(ConfigFault), ask(root, "CREATE TEMP TABLE t (x)", as_of=5):
        pass


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01", 1772323200),
        ("2026-03-01T01:00:00+01:00", 1772323200),
        ("2026-03-01T00:00:09Z", 1772323209),
    ],
)
def test_a_time_is_a_day_or_a_moment(text: str, moment: int) -> None:
    assert parse_time(text, now=2e9) == moment


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "2099-01-01"])
def test_what_is_no_time_or_lies_in_the_future_is_refused(text: str) -> None:
    with pytest.raises(ConfigFault):
        parse_time(text, now=2e9)


def test_full_text_search_and_json_functions_work_inside_the_fence(root: Path) -> None:
    found = rows(root, "SELECT count(*) FROM entries_fts WHERE entries_fts MATCH 'galactosidase'")
    assert found == [(3,)]
    assert rows(root, "SELECT value FROM json_each('[1, 2]')") == [(1,), (2,)]
    assert rows(root, "SELECT name FROM pragma_table_info('entries') LIMIT 1") == [("empiar_id",)]


HOSTILE = [
    "DELETE FROM entry",
    "UPDATE copy SET state = 3",
    "INSERT INTO entry (empiar_id, discovered_at) VALUES (1, 1)",
    "DROP VIEW entries",
    "CREATE TEMP TABLE t (x)",
    "ATTACH '/tmp/x' AS x",
    "ATTACH ':memory:' AS x",
    "VACUUM INTO '/tmp/stolen.db'",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA user_version = 7",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA temp_store_directory = '/tmp'",
    "SELECT load_extension('/tmp/x.so')",
    "BEGIN IMMEDIATE",
    "SAVEPOINT x",
    "REINDEX",
    "ANALYZE",
    "SELECT 1; DELETE FROM entry",
    "WITH x AS (SELECT 1) DELETE FROM entry",
    "SELECT writefile('/tmp/x', 'y')",
    "",
    "-- nothing",
    "nonsense",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_nothing_but_reading_is_possible(root: Path, sql: str) -> None:
    before = (root / "empiar.db").read_bytes()
    assert refusal(root, sql)
    assert (root / "empiar.db").read_bytes() == before


@given(st.text(max_size=40))
def test_any_text_is_rows_or_a_sentence(root: Path, sql: str) -> None:
    try:
        rows(root, sql, seconds=5.0)
    except ConfigFault as fault:
        assert str(fault)


def test_a_query_without_end_is_stopped(root: Path) -> None:
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    with pytest.raises(ConfigFault, match=r"took longer than 0\.05 s"):
        rows(root, endless, seconds=0.05)


def test_a_value_that_would_take_all_memory_is_refused(root: Path) -> None:
    assert "larger than 64 MiB" in refusal(root, "SELECT length(zeroblob(2000000000))")


def test_rows_beyond_the_limit_are_left_out_and_that_is_told(root: Path) -> None:
    with ask(root, "SELECT path FROM files", limits=Limits(rows=2)) as answer:
        assert len(list(answer)) == 2
        assert answer.cut
    with ask(root, "SELECT 1", limits=Limits(rows=1)) as answer:
        assert list(answer) == [(1,)]
        assert not answer.cut


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT * FROM entris", "did you mean entries?"),
        ("SELECT titel FROM entries", "did you mean title?"),
        ("SELECT e.pixel_width_angstrm FROM imagesets e", "did you mean pixel_width_angstrom?"),
        ("SELECT sqrtt(1)", "SQLite has no function sqrtt"),
        ("SELECT :x", "give it with -p name=value"),
        ("SELECT * FORM entries", "docs/sql.md"),
    ],
)
def test_errors_help(root: Path, sql: str, sentence: str) -> None:
    assert sentence in refusal(root, sql)


@pytest.mark.parametrize(
    ("sql", "shown", "sentence"),
    [
        ("SELECT a, FROM files WHERE path = 'FROM'", "          ^^^^", 'near "FROM"'),
        ("SELECT\n  titel\nFROM entries", "    titel\n      ^^^^^", "did you mean title?"),
        ("SELECT 'titel', titel FROM entries", "                ^^^^^", "title"),
        ("SELECT position FROM authors a, grants b", "       ^^^^^^^^", "more than one"),
        ("SELECT sqrtt(4)", "       ^^^^^", "did you mean sqrt?"),
        ("SELECT count(", "             ^", "ends too early"),
        ("SELECT 'x", "       ^^", "no SQL"),
        ("SELECT * FROM entries_fts WHERE entries_fts MATCH 'a \"'", "", "empiar-mirror search"),
    ],
)
def test_the_place_of_a_mistake_is_shown(root: Path, sql: str, shown: str, sentence: str) -> None:
    text = refusal(root, sql)
    assert shown in text
    assert sentence in text


def test_a_query_ends_when_the_log_of_a_mirror_that_writes_grows_too_much(tmp_path: Path) -> None:
    make_small_mirror(tmp_path)
    ticks = iter(range(10**9))
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    writer = sqlite3.connect(tmp_path / "empiar.db")
    try:
        # The first look at the clock is when the query begins; by the second the log has grown.
        def now() -> float:
            tick = next(ticks)
            if tick == 1:
                writer.execute("UPDATE entry SET title = hex(zeroblob(20000))")
                writer.commit()
            return float(tick)

        with (
            pytest.raises(ConfigFault, match="log of the mirror"),
            ask(tmp_path, endless, limits=Limits(seconds=None, log_bytes=10_000), now=now) as answer,
        ):
            list(answer)
    finally:
        writer.close()


def test_a_query_takes_no_more_memory_than_it_may(root: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'root = "{root}"\n')
    greedy = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 60)"
        " SELECT sum(length(t)) FROM (SELECT group_concat(hex(zeroblob(500000)), '') AS t FROM c)"
    )
    # In a process of its own: SQLite's limit is the process's, and cannot be raised again.
    command = [sys.executable, "-m", "empiar_mirror", "query", "--config", str(config), "--memory"]
    small = subprocess.run([*command, "32MiB", greedy], capture_output=True, text=True)
    assert (small.returncode, small.stdout) == (2, "")
    assert "more memory than it may have" in small.stderr
    assert "--memory" in small.stderr
    refused = subprocess.run([*command, "1MiB", "SELECT 1"], capture_output=True, text=True)
    assert refused.returncode == 2


def test_parameters_keep_their_kind_and_must_be_used(root: Path) -> None:
    values = dict(map(parse_parameter, ["id=10017", "x=1.5", "name=a=b", "empty="]))
    assert values == {"id": 10017, "x": 1.5, "name": "a=b", "empty": ""}
    with ask(root, "SELECT title FROM entries WHERE empiar_id = :id", parameters={"id": ENTRY}) as answer:
        assert len(list(answer)) == 1
    with (
        pytest.raises(ConfigFault, match="idd does not occur"),
        ask(root, "SELECT :id", parameters={"idd": 1}),
    ):
        pass
    with pytest.raises(ConfigFault, match="is no parameter"):
        parse_parameter("10017")


def test_a_missing_and_a_broken_catalogue_are_told_apart_from_a_wrong_query(tmp_path: Path) -> None:
    with pytest.raises(CatalogueFault, match="no catalogue"):
        rows(tmp_path, "SELECT 1")
    (tmp_path / "empiar.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(CatalogueFault):
        rows(tmp_path, "SELECT 1")


ODD = "SELECT 1 AS n, NULL AS none, 1.5 AS r, x'00ff' AS b, 'a,\"b\nc' AS t, 9e999 AS inf, 'x' AS n"


def test_csv_is_read_back_as_it_was(root: Path) -> None:
    header, row = list(csv.reader(io.StringIO(text(root, ODD, "csv"))))
    assert header == ["n", "none", "r", "b", "t", "inf", "n_2"]
    assert row == ["1", "", "1.5", "00ff", 'a,"b\nc', "inf", "x"]


def test_json_and_json_lines_are_valid_and_say_the_same(root: Path) -> None:
    expected = {"n": 1, "none": None, "r": 1.5, "b": "00ff", "t": 'a,"b\nc', "inf": None, "n_2": "x"}
    assert json.loads(text(root, ODD, "json")) == [expected]
    assert json.loads(text(root, ODD, "jsonl")) == expected
    assert json.loads(text(root, "SELECT 1 WHERE 0", "json")) == []


def test_a_table_is_aligned_and_shows_no_control_characters(root: Path) -> None:
    lines = text(
        root, "SELECT 'a' || char(27) || '[2J' AS danger, 5 AS n UNION ALL SELECT 'b', 10000", "table"
    ).splitlines()
    assert lines == ["danger      n", "──────  ─────", "a�[2J       5", "b       10000"]


def test_text_that_is_no_utf8_does_not_break_a_query(root: Path) -> None:
    assert rows(root, "SELECT CAST(x'61ff' AS TEXT)") == [("a�",)]


def test_parquet_holds_typed_columns(root: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with ask(
        root, f"SELECT file_id, path, 1.5 AS r, NULL AS none FROM files WHERE empiar_id = {ENTRY}"
    ) as answer:
        write_parquet(answer, tmp_path / "a.parquet")
    table = parquet.read_table(tmp_path / "a.parquet")
    assert [str(field.type) for field in table.schema] == ["int64", "string", "double", "string"]
    assert table.num_rows == len(NAMES) + 1


def test_parquet_of_no_rows_has_the_columns(root: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with ask(root, "SELECT 1 AS n WHERE 0") as answer:
        write_parquet(answer, tmp_path / "a.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").column_names == ["n"]


def test_excel_gets_text_where_a_formula_could_be_and_numbers_where_they_fit(
    root: Path, tmp_path: Path
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    sql = "SELECT '=1+1' AS f, '+1' AS p, '@x' AS a, '-1' AS m, 5 AS n, 12345678901234567 AS big, 'a' || char(1) AS c"
    with ask(root, sql) as answer:
        write_xlsx(answer, tmp_path / "a.xlsx")
    header, row = openpyxl.load_workbook(tmp_path / "a.xlsx").active.rows
    assert [cell.value for cell in header] == ["f", "p", "a", "m", "n", "big", "c"]
    assert [cell.value for cell in row] == ["=1+1", "+1", "@x", "-1", 5, "12345678901234567", "a "]
    assert [cell.data_type for cell in row] == ["s", "s", "s", "s", "n", "s", "s"]
    assert all(cell.quotePrefix for cell in row[:4])


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("before")
    with pytest.raises(ZeroDivisionError), replacing(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
    with replacing(target) as temporary:
        temporary.write_text("after")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["after"]


def test_a_query_sees_what_a_writer_commits_meanwhile(tmp_path: Path) -> None:
    make_small_mirror(tmp_path)
    writer = sqlite3.connect(tmp_path / "empiar.db")
    try:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE entry SET title = 'new'")
        assert rows(tmp_path, "SELECT count(*) FROM entries WHERE title = 'new'") == [(0,)]
        writer.commit()
    finally:
        writer.close()
    assert rows(tmp_path, "SELECT count(*) FROM entries WHERE title = 'new'") == [(3,)]
