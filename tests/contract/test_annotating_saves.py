"""Labels are saved over HTTP, and what no request gets saved."""

from __future__ import annotations

import http.client
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotated_site import TOKEN, A, Served, annotated_site, ask, post, request, saved_files, state
from empiar_mirror.by_hand import versions
from empiar_mirror.by_hand.versions import remote_of, versions_of
from empiar_mirror.web.annotating import LARGEST_REQUEST
from entry_here import ID
from labelled_entry import HEIGHT, WIDTH


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with annotated_site(tmp_path_factory.mktemp("annotating")) as mirror:
        yield mirror


def test_a_save_is_a_file_with_author_time_and_all_picks(served: Served) -> None:
    wanted = [{"x": 1.5, "y": 2, "state": "rejected", "source": "imported"}, {"x": 3, "y": 4}]
    got = post(
        served,
        "data/b.mrc",
        body=request(served, "data/b.mrc", picks=wanted, author=" Zoë ".strip(), note="dense"),
    )
    assert got.status == 201, got.text
    [file] = versions_of(served.root, remote_of(ID, "data/b.mrc"))
    version = file.read()
    assert (version.author, version.note, version.base) == ("Zoë", "dense", 0)
    assert (version.height, version.width, version.origin) == (HEIGHT, WIDTH, "top")
    assert version.picture == f"archive/{ID}/data/b.mrc"
    now = state(served, "data/b.mrc")
    assert now["picks"] == [[1.5, 2.0, "rejected", "imported"], [3.0, 4.0, "kept", "hand"]]
    assert now["naming"] == "version 1 by Zoë"
    assert ask(served, served.path("data/b.mrc", "/versions/1")).json()["author"] == "Zoë"


def test_who_saves_second_is_told_and_both_are_kept(served: Served) -> None:
    name = "data/large.mrc"
    first, second = (
        request(served, name, author=author, picks=[{"x": 1, "y": 1}]) for author in ("Ann", "Bob")
    )
    assert post(served, name, body=first).status == 201
    got = post(served, name, body=second)
    assert got.status == 409
    assert (got.json()["version"], got.json()["aside"], got.json()["current"]) == (2, True, 1)
    assert [file.read().author for file in versions_of(served.root, remote_of(ID, name))] == ["Ann", "Bob"]
    assert state(served, name)["naming"] == "version 1 by Ann"
    assert post(served, name, body=request(served, name, author="Bob")).json()["version"] == 3


def cookie_of(served: Served) -> str:
    got = ask(served, f"/-/login?token={TOKEN}")
    assert got.status == 303
    assert "SameSite=Strict" in got.headers["set-cookie"]
    assert "HttpOnly" in got.headers["set-cookie"]
    assert TOKEN not in got.headers["set-cookie"]
    return got.headers["set-cookie"].partition(";")[0]


def test_the_cookie_saves_from_the_own_page_alone(served: Served) -> None:
    cookie, body = cookie_of(served), request(served)
    before = saved_files(served)
    own = {"authorization": "", "cookie": cookie}
    assert post(served, body=body, **own).status == 403
    for origin in (
        "http://evil.example",
        "null",
        served.address.replace("http", "https") + ".evil.example",
        "http://127.0.0.1",
    ):
        assert post(served, body=body, origin=origin, **own).status == 403
        assert post(served, body=body, origin=origin).status == 403
    assert post(served, body=body, origin=served.address, sec_fetch_site="cross-site", **own).status == 403
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert post(served, body=body, origin=served.address, **own, content_type=kind).status == 415
    assert (
        post(
            served, body=body, origin=served.address, authorization="", host="evil.example", cookie=cookie
        ).status
        == 421
    )
    assert saved_files(served) == before
    assert ask(served, served.path(A, "/state"), cookie=cookie).json()["may_save"] is True


@pytest.mark.parametrize(
    "shown",
    [
        {"authorization": ""},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "", "cookie": f"empiar-mirror-write={TOKEN}"},
        {"authorization": "", "cookie": "empiar-mirror-write="},
    ],
)
def test_without_the_token_nothing_is_saved_also_on_loopback(served: Served, shown: dict[str, str]) -> None:
    before = saved_files(served)
    got = post(served, body=request(served), origin=served.address, **shown)
    assert got.status == 401
    assert "/-/login" in got.text
    assert saved_files(served) == before


@pytest.mark.parametrize(
    "change",
    [
        {"base": -1},
        {"base": "0"},
        {"author": ""},
        {"author": "a\u2028b"},
        {"author": "x" * 101},
        {"picks": [{"x": -1, "y": 1}]},
        {"picks": [{"x": WIDTH + 1, "y": 1}]},
        {"picks": [{"x": 1, "y": HEIGHT + 1}]},
        {"picks": [{"x": 1}]},
        {"picks": {"x": 1}},
        {"picks": [{"x": 1, "y": 1, "state": "<script>"}]},
        {"diameter_px": 0},
        {"unknown": 1},
        {"empiar_id": 1},
        {"micrograph": "../../etc"},
        {"note": "\x00"},
    ],
)
def test_hostile_content_is_refused_with_a_sentence(served: Served, change: dict[str, object]) -> None:
    before = saved_files(served)
    got = post(served, body=request(served, **change))
    assert got.status == 400
    assert got.text.startswith("nothing was saved: ")
    assert saved_files(served) == before


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b'{"picks": [{"x": NaN, "y": 1e999}]}', b"[" * 100_000]
)
def test_what_is_no_request_is_refused(served: Served, body: bytes) -> None:
    before = saved_files(served)
    assert post(served, body=body).status == 400
    assert saved_files(served) == before


def test_a_picture_that_has_changed_is_not_labelled(served: Served) -> None:
    assert post(served, body=request(served, picture_sha256="0" * 64)).status == 412


def test_a_huge_body_is_refused_announced_or_not(served: Served) -> None:
    before = saved_files(served)
    place = urllib.parse.urlsplit(served.address)
    head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    for chunked in (False, True):
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        try:
            connection.putrequest("POST", served.path(A, "/labels"))
            for name, value in head.items():
                connection.putheader(name, value)
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
                connection.endheaders()
                piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
                try:
                    for _ in range(LARGEST_REQUEST // 0x10000 + 2):
                        connection.send(piece)
                except OSError:
                    pass  # the server has heard enough
            else:
                connection.putheader("Content-Length", str(2**40))
                connection.endheaders()
            assert connection.getresponse().status == 413
        finally:
            connection.close()
    assert saved_files(served) == before


def test_only_the_labels_take_a_post(served: Served) -> None:
    for rest in ("", "/state", "/tile/0/0/0", "/versions/1"):
        assert (
            ask(
                served, served.path(A, rest), method="POST", body=b"{}", authorization=f"Bearer {TOKEN}"
            ).status
            == 405
        )
    for method in ("PUT", "DELETE", "PATCH"):
        assert (
            ask(served, served.path(A, "/labels"), method=method, authorization=f"Bearer {TOKEN}").status
            == 405
        )


def test_a_full_disk_saves_nothing_and_says_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    body, before = request(served), saved_files(served)
    monkeypatch.setattr(versions, "sync_file", full)
    got = post(served, body=body)
    assert got.status == 507
    assert "No space left" in got.text
    assert saved_files(served) == before
