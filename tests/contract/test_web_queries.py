"""Saved queries on the web page: every one with its form, what comes of it, and what no parameter's value can do."""

from __future__ import annotations

import csv
import io
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_mirror.saved.known import library
from empiar_mirror.saved.spelling import spelled
from empiar_schema.catalogue import Catalogue
from empiar_schema.query_settings import QuerySettings
from small_mirror import ENTRY, same_file_in_another_entry
from web_site import SCRIPT, get, make_web_mirror, settings_of, site

OWN = {
    "hostile": QuerySettings(
        title=f"Title {SCRIPT}",
        sql=f'-- description: {SCRIPT}\n-- parameter word text: {SCRIPT}\nSELECT :word AS word, \'http://x/"><script>\' AS "<script>"',
    ),
    "slow": QuerySettings(
        sql="WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    ),
    "wrong": QuerySettings(sql="SELECT titel FROM entries"),
    "writing": QuerySettings(sql="DELETE FROM entry"),
    "many": QuerySettings(
        sql="WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n"
    ),
    "values": QuerySettings(
        sql="-- parameter a id = all: A\n-- parameter b int = 5: B\n-- parameter c real = -1.5: C\n-- parameter d size = 2TB: D\n"
        "-- parameter e days = 7d: E\n-- parameter f text = it's: F\n"
        "SELECT :a AS a, :b AS b, 1-:c AS c, :d AS d, :e AS e, :f AS f, typeof(:d) AS kind, ':b' AS quoted"
    ),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root: Path = tmp_path_factory.mktemp("queries") / "empiar"
    make_web_mirror(root)
    with Catalogue.open(root / "empiar.db") as catalogue:
        catalogue.write_now(same_file_in_another_entry)
    settings = settings_of(root, sql_time="5s", sql_rows=50).model_copy(update={"query": OWN})
    with site(settings) as where:
        yield where


def asked(name: str, **given: str) -> str:
    return f"/query/{name}?{urllib.parse.urlencode(given)}"


def test_all_saved_queries_are_listed_with_what_they_take(address: str) -> None:
    text = get(address, "/queries").text
    for query in library(OWN).values():
        assert f'href="/query/{query.name}"' in text
    assert "max_bytes" in text
    assert 'href="/queries"' in get(address, "/").text
    assert f'href="/query/micrographs?id={ENTRY}"' in get(address, f"/entry/{ENTRY}").text


@pytest.mark.parametrize("name", [query.name for query in library({}).values()])
def test_each_query_of_the_library_answers_as_page_csv_and_json(address: str, name: str) -> None:
    given = {p.name: str(ENTRY) for p in library({})[name].parameters if p.default is None}
    page = get(address, asked(name, **given))
    assert page.status == 200
    assert 'role="status"' in page.text
    rows = json.loads(get(address, asked(f"{name}.json", **given)).body)
    table = list(csv.DictReader(io.StringIO(get(address, asked(f"{name}.csv", **given)).text)))
    assert [list(row) for row in table] == [list(row) for row in rows]
    for parameter in library({})[name].parameters:
        assert f'<label for="p-{parameter.name}">' in page.text


@pytest.mark.parametrize(
    ("name", "given", "empty"),
    [
        ("biggest-folders", {}, False),
        ("biggest-folders", {"id": str(ENTRY)}, False),
        ("biggest-folders", {"entries": "1", "limit": "1"}, False),
        ("biggest-folders", {"id": "99999"}, True),
        ("duplicates", {}, False),
        ("duplicates", {"min_bytes": "1TB"}, True),
    ],
)
def test_what_is_answered_from_sums_is_the_same(
    address: str, name: str, given: dict[str, str], empty: bool
) -> None:
    query = library({})[name]
    written = urllib.parse.urlencode({"sql": spelled(query.sql, query.values(given)), "_shape": "array"})
    plainly = json.loads(get(address, f"/catalogue.json?{written}").body)
    assert json.loads(get(address, asked(f"{name}.json", **given)).body) == plainly
    assert (plainly == []) == empty


def test_values_are_read_by_kind_and_spelled_out_in_sql(address: str) -> None:
    expected = {"a": 0, "b": 5, "c": 2.5, "d": 2 * 10**12, "e": 7.0, "f": "it's", "kind": "integer", "quoted": ":b"}  # fmt: skip
    assert json.loads(get(address, "/query/values.json").body) == [expected]
    given = {"a": "EMPIAR-10017", "b": "-3", "c": "2e3", "d": "1KiB", "e": "12h", "f": ""}
    [row] = json.loads(get(address, asked("values.json", **given)).body)
    assert list(row.values())[:6] == [10017, -3, -1999.0, 1024, 0.5, ""]
    page = get(address, asked("values", **given))
    [edit] = [part.split('"')[0] for part in page.text.split('href="') if part.startswith("/catalogue?sql=")]
    same = get(address, edit.replace("/catalogue?", "/catalogue.json?_shape=array&").replace("&amp;", "&"))
    assert json.loads(same.body) == [row]


def test_what_must_be_given_is_asked_for_before_anything_runs(address: str) -> None:
    page = get(address, "/query/micrographs")
    assert (page.status, "required" in page.text, "<table" in page.text) == (200, True, False)
    assert "has to be given" in get(address, "/query/micrographs?id=").text
    assert get(address, "/query/micrographs.json").status == 400
    assert "id has to be given" in json.loads(get(address, "/query/micrographs.json").body)["error"]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("micrographs", {"id": "10017; DROP TABLE entry"}),
        ("micrographs", {"id": SCRIPT}),
        ("micrographs", {"id": "all"}),
        ("largest-entries", {"limit": "9" * 30}),
        ("largest-entries", {"limit": "9" * 10_000}),
        ("largest-entries", {"limit": "1 OR 1=1"}),
        ("pixel-sizes", {"max_angstrom": "nan"}),
        ("pixel-sizes", {"max_angstrom": "1e999"}),
        ("eer-entries", {"max_bytes": "-1TB"}),
        ("eer-entries", {"max_bytes": "9" * 40 + "TB"}),
        ("changes", {"days": "9" * 400 + "d"}),
        ("growth", {"since": "x" * 5000}),
        ("growth", {"other": "1"}),
        ("growth", {SCRIPT: "1"}),
        ("formats", {"id": "10017"}),
    ],
)
def test_a_value_that_makes_no_sense_is_named_and_changes_nothing(
    address: str, name: str, given: dict[str, str]
) -> None:
    page = get(address, asked(name, **given))
    assert page.status == 400
    assert 'role="alert"' in page.text
    assert "<script" not in page.text
    assert "<table" not in page.text
    for suffix in ("json", "csv"):
        assert get(address, asked(f"{name}.{suffix}", **given)).status == 400


@pytest.mark.parametrize("word", [SCRIPT, "' OR 1=1 --", "\0", "%00", "\ud800", "a" * 900, "é漢", "''';"])
def test_texts_stay_texts(address: str, word: str) -> None:
    given = urllib.parse.urlencode({"word": word}, errors="surrogatepass")
    page = get(address, f"/query/hostile?{given}")
    assert page.status in (200, 400)
    assert "<script" not in page.text.lower()
    assert "<img src=x" not in page.text
    got = get(address, f"/query/hostile.json?{given}")
    if got.status == 200 and "\ud800" not in word:
        assert json.loads(got.body)[0]["word"] == word.replace("\0", "").strip()


def test_descriptions_of_the_configuration_are_text_too(address: str) -> None:
    for path in ("/", "/queries", "/query/hostile"):
        assert "<script" not in get(address, path).text


def test_limits_are_those_of_sql_and_mistakes_are_explained(address: str) -> None:
    page = get(address, "/query/many")
    assert "More than 50 rows" in page.text
    got = get(address, "/query/many.json")
    assert (len(json.loads(got.body)), got.headers["x-cut"]) == (50, "50")
    assert "did you mean title" in get(address, "/query/wrong").text
    assert json.loads(get(address, "/query/wrong.json").body)["error"]
    assert get(address, "/query/writing").status == 400
    assert json.loads(get(address, "/catalogue.json?_shape=array&sql=SELECT+count(*)+AS+n+FROM+entries").body)[0]["n"]  # fmt: skip


def test_a_query_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    make_web_mirror(tmp_path / "empiar")
    settings = settings_of(tmp_path / "empiar", sql_time="100ms").model_copy(update={"query": OWN})
    with site(settings) as where:
        got = get(where, "/query/slow.json")
        assert got.status == 400
        assert "took longer" in json.loads(got.body)["error"]
        assert "took longer" in get(where, "/query/slow").text


@pytest.mark.parametrize(
    "path",
    ["/query/nothing", "/query/", "/query/nothing.json", "/query/formats.db", "/query/../queries", "/query/formats.json.csv", "/query/a%2fb"],
)  # fmt: skip
def test_other_queries_do_not_exist(address: str, path: str) -> None:
    assert get(address, path).status == 404
