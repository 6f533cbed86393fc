"""The web page over HTTP: what it shows, and what no request gets out of it."""

from __future__ import annotations

import functools
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_schema.catalogue import Catalogue
from web_site import HOSTILE, SCRIPT, add_product, get, jpeg, make_web_mirror, settings_of, site

TOKEN = "a-token-of-sixteen-or-more"


def sql(statement: str, **parameters: str) -> str:
    return "/catalogue.json?" + urllib.parse.urlencode({"sql": statement, "_shape": "array", **parameters})


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("web") / "empiar"
    make_web_mirror(root)
    secret = root.parent / "secret.jpg"
    secret.write_bytes(jpeg(1))
    with Catalogue.open(root / "empiar.db") as catalogue:
        derived = root / "derived" / "10017"
        odd = {
            "t/link.jpg": b"",
            "linked/p.jpg": b"",
            "t/page.html": b"<script>1</script>",
            "t/pipe.jpg": b"",
        }
        for path, content in odd.items():
            catalogue.write_now(functools.partial(add_product, root=root, path=path, content=content))
        catalogue.write_now(
            lambda conn: conn.execute(
                "INSERT INTO product (product_id, job_id, empiar_id, path, kind, bytes, sha256, made_at)"
                " VALUES (900, 7, 10017, '../../../secret.jpg', 'thumbnail', 1, x'00', 0),"
                " (901, 7, 10017, '%2E%2E/%2E%2E/../secret.jpg', 'thumbnail', 1, x'00', 0),"
                " (902, 7, 10017, '/etc/passwd', 'thumbnail', 1, x'00', 0)"
            )
        )
    (derived / "t/link.jpg").unlink()
    (derived / "t/link.jpg").symlink_to(secret)
    (derived / "linked/p.jpg").unlink()
    (derived / "linked").rmdir()
    (derived / "linked").symlink_to(root.parent)
    (root.parent / "p.jpg").write_bytes(jpeg(2))
    (derived / "t/pipe.jpg").unlink()
    os.mkfifo(derived / "t/pipe.jpg")
    return root


@pytest.fixture(scope="module")
def address(mirror: Path) -> Iterator[str]:
    with site(settings_of(mirror, sql_time="60s", sql_rows=50)) as where:
        yield where


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("guarded") / "empiar"
    make_web_mirror(root)
    with site(settings_of(root, token=TOKEN)) as where:
        yield where


# --- what it shows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "Needs attention"),
        ("/entries", "Beta-galactosidase"),
        ("/entries?q=galactosidase&order=largest", "3 entries"),
        ("/entries?q=beta+galacto", "3 entries"),
        ("/entries?state=transferring", "1 entry"),
        ("/entries?format=-&type=-&year=2020&scale=x&page=7", "Nothing was found"),
        ("/entry/10017", "How to cite"),
        ("/entry/10017/files?folder=data/micrographs", "a_arrived.mrc"),
        ("/entry/10017/pictures", "pictures"),
        ("/file/1", "SHA-256"),
        ("/subscriptions", "There are none"),
        ("/charts", "Growth of the archive"),
        ("/catalogue", "entry_progress"),
        ("/catalogue/copies?state=arrived", "a_arrived.mrc"),
        ("/catalogue/files?_facet=role&_sort=bytes", "micrograph"),
        ("/catalogue?sql=SELECT+title+FROM+entries+WHERE+empiar_id+%3D+:id&id=10017", "part 10017"),
    ],
)
def test_pages_say_what_the_catalogue_holds(address: str, path: str, said: str) -> None:
    got = get(address, path)
    assert got.status == 200
    assert said in got.text


def test_an_accession_leads_to_its_entry(address: str) -> None:
    got = get(address, "/entries?q=EMPIAR-10017")
    assert (got.status, got.headers["location"]) == (303, "/entry/10017")


def test_results_come_as_csv_and_json(address: str) -> None:
    assert json.loads(get(address, sql("SELECT count(*) AS n FROM entries")).body) == [{"n": 4}]
    assert get(address, "/catalogue.csv?sql=SELECT+empiar_id+FROM+entries").text.split() == [
        "empiar_id", "10017", "10028", "10029", "10099",
    ]  # fmt: skip


def test_a_picture_is_sent_as_what_it_is_and_once(address: str) -> None:
    got = get(address, "/picture/1")
    assert (got.status, got.headers["content-type"]) == (200, "image/jpeg")
    assert get(address, "/picture/1", if_none_match=got.headers["etag"]).status == 304


def test_an_empty_catalogue_says_what_to_do_first(tmp_path: Path) -> None:
    root = tmp_path / "empiar"
    with Catalogue.open(root / "empiar.db", create=True):
        pass
    with site(settings_of(root)) as where:
        assert "The catalogue is empty" in get(where, "/").text
        for path in ("/entries", "/charts", "/subscriptions", "/catalogue", "/catalogue/entries"):
            assert get(where, path).status == 200


# --- what no request gets out of it -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/entries", f"/entry/{HOSTILE}", f"/entry/{HOSTILE}/files?folder=data/%3Cb%3Efolder%3C/b%3E", "/catalogue/entries", "/catalogue/imagesets", "/catalogue?sql=SELECT+*+FROM+entries", "/catalogue/contradictions", f"/entries?q={urllib.parse.quote(SCRIPT)}&type={urllib.parse.quote(SCRIPT)}", f"/catalogue?sql={urllib.parse.quote('SELECT ' + chr(39) + '<script>' + chr(39))}", f"/catalogue?sql={urllib.parse.quote('</textarea><script>1')}", f"/entry/10017/files?folder={urllib.parse.quote(SCRIPT)}"])  # fmt: skip
def test_titles_and_names_are_text_whatever_they_hold(address: str, path: str) -> None:
    text = get(address, path).text.lower()
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "<b>folder" not in text
    assert 'href="javascript' not in text


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/picture/1",
        "/nothing",
        "/catalogue?sql=DROP+TABLE+entry",
        "/static/style.css",
        "/entries?page=99999",
    ],
)
def test_every_answer_forbids_scripts_and_guessing(address: str, path: str) -> None:
    headers = get(address, path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entry",
        "ATTACH '/etc/passwd' AS x",
        "PRAGMA writable_schema = 1",
        "PRAGMA user_version = 7",
        "SELECT load_extension('x')",
        "WITH x AS (SELECT 1) DELETE FROM entry",
        "WITH x AS (SELECT 1) INSERT INTO entry (empiar_id, discovered_at) SELECT 1, 1",
        "SELECT * FROM pragma_database_list",
        "SELECT 1; SELECT 2",
        "VACUUM INTO '/tmp/x'",
        "SELECT zeroblob(2000000000)",
        "SELECT hex(zeroblob(400000)) FROM files a, files b, files c",
        "SELECT * FROM nothing",
    ],
)
def test_sql_only_reads(address: str, statement: str) -> None:
    got = get(address, sql(statement))
    assert got.status in (200, 400)
    told = json.loads(got.body)
    assert got.status == 400 or told == []
    assert json.loads(get(address, sql("SELECT count(*) AS n FROM entries")).body) == [{"n": 4}]


def test_sql_that_does_not_end_is_stopped_and_says_so(tmp_path: Path) -> None:
    make_web_mirror(tmp_path / "empiar")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with site(settings_of(tmp_path / "empiar", sql_time="100ms")) as where:
        got = get(where, sql(endless))
        assert got.status == 400
        assert "took longer" in json.loads(got.body)["error"]
        assert "took longer" in get(where, "/catalogue?sql=" + urllib.parse.quote(endless)).text


def test_a_long_result_is_cut(address: str) -> None:
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n"
    assert len(json.loads(get(address, sql(many)).body)) == 50
    assert "More than 50 rows" in get(address, "/catalogue?sql=" + urllib.parse.quote(many)).text


@pytest.mark.parametrize(
    "path",
    ["/-/metadata", "/-/plugins", "/-/databases", "/-/threads", "/-/permissions", "/catalogue.db", "/_internal", "/_internal.json", "/_memory", "/catalogue/entry/10017", "/static/../pages.py", "/static/%2e%2e/pages.py", "/static/..%2fpages.py", "/picture/../../etc/passwd", "/picture/1%2f..", "/file/1/../../x", "//etc/passwd", "/catalogue/files.blob?_blob_column=name", "/-/static/app.css", "/entry/10017/files/../../../etc/passwd"],
)  # fmt: skip
def test_other_addresses_do_not_exist(address: str, path: str) -> None:
    assert get(address, path).status == 404


def test_pictures_are_those_below_derived_and_not_reached_by_links(address: str) -> None:
    rows = json.loads(get(address, sql("SELECT product_id, path FROM product ORDER BY 1")).body)
    odd = {row["path"]: row["product_id"] for row in rows if "thumbnails/" not in row["path"]}
    assert len(odd) == 7
    for number in odd.values():
        assert get(address, f"/picture/{number}").status == 404
    for number in ("999", "99999999999999999", "999999999999999999"):
        assert get(address, f"/picture/{number}").status == 404


def test_only_reading_methods_are_taken(address: str) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert get(address, "/catalogue", method=method, body="x").status == 405
    assert get(address, "/", method="HEAD").body == b""


def test_on_loopback_another_name_is_refused(address: str) -> None:
    for name in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        assert get(address, "/", host=name).status == 421
    for name in ("localhost", "LOCALHOST:8001", "[::1]:8001", "127.0.0.1"):
        assert get(address, "/", host=name).status == 200


def test_an_address_that_is_too_long_is_refused(address: str) -> None:
    assert get(address, "/catalogue?sql=" + "x" * 20_000).status == 414


# --- who comes in -------------------------------------------------------------------------------------------


def test_without_the_token_nothing_is_shown(guarded: str) -> None:
    for path in ("/", "/entries", "/catalogue.json?sql=SELECT+1", "/picture/1", "/nothing"):
        assert get(guarded, path).status == 401
        assert get(guarded, path, cookie=f"empiar-mirror={TOKEN}").status == 401
        assert get(guarded, path, authorization="Bearer wrong").status == 401
    assert get(guarded, "/", accept="text/html").headers["location"] == "/-/login"
    assert get(guarded, "/-/healthz").text == "alive\n"


def test_the_token_opens_and_leaves_the_address(guarded: str) -> None:
    got = get(guarded, f"/-/login?token={TOKEN}", host="mirror.example")
    assert (got.status, got.headers["location"]) == (303, "/")
    cookie, _, rest = got.headers["set-cookie"].partition(";")
    assert TOKEN not in cookie
    assert "HttpOnly" in rest
    assert get(guarded, "/", cookie=cookie, host="mirror.example").status == 200
    assert get(guarded, "/", authorization=f"Bearer {TOKEN}").status == 200
    form = get(guarded, "/-/login", method="POST", body=f"token={TOKEN}")
    assert form.status == 303
    assert form.headers["set-cookie"].startswith(cookie)


@pytest.mark.parametrize("given", ["", "x", TOKEN[:-1], TOKEN + "x", "ü", "%00", "a" * 5000])
def test_another_token_does_not_open(guarded: str, given: str) -> None:
    got = get(guarded, f"/-/login?token={urllib.parse.quote(given)}")
    assert got.status in (200, 403)
    assert "set-cookie" not in got.headers
    assert (
        "set-cookie"
        not in get(guarded, "/-/login", method="POST", body=f"token={urllib.parse.quote(given)}").headers
    )
