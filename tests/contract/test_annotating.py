"""The page of a micrograph over HTTP: tiles, picks, saving, and what no request gets saved."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import os
import sqlite3
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from empiar_mirror.by_hand.versions import remote_of, versions_of
from empiar_mirror.web.annotating import LARGEST_REQUEST
from empiar_schema.states import Role
from entry_here import ID, everything_below, opened, put_here
from image_files import mrc_bytes
from labelled_entry import HEIGHT, PLACES, WIDTH, finish, image, labels, movie, picks_on, relion
from web_site import settings_of, site

TOKEN = "a-write-token-of-sixteen-or-more"
A = "data/a.mrc"


def large(height: int = 700, width: int = 600) -> bytes:
    """An image of several tiles whose values grow to the right, with its first row bright."""
    values = np.tile(np.arange(width, dtype="<f4"), (height, 1))
    values[0] = 5000
    return mrc_bytes(values.tobytes(), shape=(width, height, 1), mode=2)


FILES = {
    A: image(),
    "data/b.mrc": image(seed=2),
    "data/c.mrc": image(seed=8),
    "data/cut.mrc": image(seed=3),
    "data/damaged.mrc": image(seed=4),
    "data/evicted.mrc": image(seed=5),
    "data/large.mrc": (Role.MICROGRAPH, large()),
    "data/linked.mrc": image(seed=6),
    "data/movie.mrc": movie(),
    "data/nan.mrc": (
        Role.MICROGRAPH,
        mrc_bytes(np.full((40, 40), np.nan, "<f4").tobytes(), shape=(40, 40, 1), mode=2),
    ),
    "data/gain_reference.mrc": (Role.GAIN, image(seed=7)[1]),
    "data/p.star": labels(relion(picks_on("a.mrc", PLACES[:3]))),
}


@dataclass(frozen=True)
class Served:
    root: Path
    address: str
    ids: dict[str, int]

    def path(self, name: str, rest: str = "") -> str:
        return f"/entry/{ID}/micrograph/{self.ids[name]}{rest}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("annotating") / "mirror"
    root.mkdir()
    put_here(root, FILES, inspected=True)
    finish(root)
    archive = root / "archive" / str(ID) / "data"
    (archive / "cut.mrc").chmod(0o644)
    os.truncate(archive / "cut.mrc", 2000)
    (archive / "linked.mrc").rename(root.parent / "elsewhere.mrc")
    (archive / "linked.mrc").symlink_to(root.parent / "elsewhere.mrc")
    with opened(root, "") as mirror, mirror.catalogue.reader() as conn:
        ids = {row[1]: row[0] for row in conn.execute("SELECT file_id, path FROM files")}
    with closing(sqlite3.connect(root / "empiar.db")) as conn:
        for name, state in (("data/damaged.mrc", 7), ("data/evicted.mrc", 9)):
            conn.execute("UPDATE copy SET state = ? WHERE file_id = ?", (state, ids[name]))
        conn.commit()
    with site(settings_of(root), write_token=TOKEN) as address:
        yield Served(root, address, ids)


@dataclass(frozen=True)
class Got:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


def ask(served: Served, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> Got:
    place = urllib.parse.urlsplit(served.address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=named)
        answer = connection.getresponse()
        return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def state(served: Served, name: str = A) -> dict[str, object]:
    got = ask(served, served.path(name, "/state"))
    assert got.status == 200, got.text
    return got.json()


def request(served: Served, name: str = A, /, **change: object) -> bytes:
    now = state(served, name)
    wanted = {"base": now["version"], "author": "Ann", "picture_sha256": now["picture_sha256"], "picks": []}
    return json.dumps(wanted | change).encode()


def post(served: Served, name: str = A, *, body: bytes, **headers: str) -> Got:
    given = {"authorization": f"Bearer {TOKEN}", "content_type": "application/json"} | headers
    kept = {key: value for key, value in given.items() if value}
    return ask(served, served.path(name, "/labels"), method="POST", body=body, **kept)


def saved_files(served: Served) -> dict[str, bytes]:
    return everything_below(served.root / "labels")


# --- looking ------------------------------------------------------------------------------------------------


def test_the_page_has_one_script_of_its_own_and_nothing_inline(served: Served) -> None:
    got = ask(served, served.path(A))
    assert got.status == 200
    assert "script-src 'self'" in got.headers["content-security-policy"]
    assert "unsafe" not in got.headers["content-security-policy"]
    assert got.text.count("<script") == 1
    assert '<script src="/static/annotate.js" defer></script>' in got.text
    assert " style=" not in got.text
    assert ask(served, "/static/annotate.js").headers["content-type"].startswith("text/javascript")
    assert "script-src 'none'" in ask(served, f"/file/{served.ids[A]}").headers["content-security-policy"]
    assert served.path(A) in ask(served, f"/file/{served.ids[A]}").text


def test_picks_are_those_of_the_entry_in_rows_as_stored(served: Served) -> None:
    now = state(served)
    assert now["picks"] == [[float(x), float(y), "kept", "imported"] for x, y in PLACES[:3]]
    assert now["naming"] == "data/p.star"
    assert (now["width"], now["height"], now["version"]) == (WIDTH, HEIGHT, 0)
    assert now["may_save"] is False
    other = state(served, "data/c.mrc")
    assert (other["picks"], other["naming"]) == ([], "")


def test_tiles_make_up_the_picture_with_its_last_row_first(served: Served) -> None:
    now = state(served, "data/large.mrc")
    assert now["levels"] == [[600, 700], [300, 350], [150, 175]]
    whole = np.zeros((700, 600), np.uint8)
    for row in range(3):
        for column in range(3):
            got = ask(served, served.path("data/large.mrc", f"/tile/0/{column}/{row}"))
            assert (got.status, got.headers["content-type"]) == (200, "image/png")
            tile = np.asarray(Image.open(io.BytesIO(got.body)))
            top, left = 256 * row, 256 * column
            whole[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    assert (whole[-1] == 255).all()
    middle = whole[300].astype(int)
    assert (np.diff(middle) >= 0).all()
    assert middle[0] < 5
    assert middle[-1] > 200


def test_a_low_passed_tile_joins_its_neighbours(served: Served) -> None:
    path = served.path("data/large.mrc", "/tile/0/{}/1?lowpass=30")
    left, right = (
        np.asarray(Image.open(io.BytesIO(ask(served, path.format(n)).body))).astype(int) for n in (0, 1)
    )
    assert abs(left[:, -1] - right[:, 0]).max() <= 2


def test_a_tile_is_sent_once(served: Served) -> None:
    path = served.path(A, "/tile/0/0/0")
    got = ask(served, path)
    assert ask(served, path, if_none_match=got.headers["etag"]).status == 304
    assert ask(served, f"{path}?lowpass=20").headers["etag"] != got.headers["etag"]


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("/tile/0/5/0", 404),
        ("/tile/0/0/5", 404),
        ("/tile/40/0/0", 404),
        ("/tile/0/0/0?lowpass=-1", 400),
        ("/tile/0/0/0?lowpass=1e9", 400),
        ("/tile/0/0/0?lowpass=nan", 400),
        ("/tile/0/0", 404),
        ("/tile/0/0/../../../../etc/passwd", 404),
        ("/labels", 404),
        ("/versions/9", 404),
        ("/versions/..%2f..", 404),
        ("/else", 404),
    ],
)
def test_what_there_is_not_is_not_found(served: Served, rest: str, status: int) -> None:
    assert ask(served, served.path(A, rest)).status == status


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("data/damaged.mrc", "empiar-mirror repair"),
        ("data/evicted.mrc", "empiar-mirror recall"),
        ("data/movie.mrc", "frame_average"),
        ("data/gain_reference.mrc", "of the role gain"),
        ("data/p.star", "no micrograph"),
    ],
)
def test_what_cannot_be_looked_at_says_what_to_do(served: Served, name: str, said: str) -> None:
    got = ask(served, served.path(name))
    assert got.status == 404
    assert said in got.text
    assert said in ask(served, served.path(name, "/state")).text
    assert post(served, name, body=b"{}").status == 404


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("data/cut.mrc", "empiar-mirror verify"),
        ("data/linked.mrc", "empiar-mirror verify"),
        ("data/nan.mrc", "no pixel of the image is a finite number"),
    ],
)
def test_a_file_that_is_not_as_on_record_is_a_sentence(served: Served, name: str, said: str) -> None:
    for rest in ("/state", "/tile/0/0/0"):
        got = ask(served, served.path(name, rest))
        assert got.status == 422
        assert said in got.text


def test_another_entrys_number_leads_nowhere(served: Served) -> None:
    for path in (f"/entry/10018/micrograph/{served.ids[A]}", f"/entry/{ID}/micrograph/{'9' * 18}"):
        assert ask(served, path).status == 404


# --- saving -------------------------------------------------------------------------------------------------


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


def test_many_visitors_of_many_pictures_are_all_answered(served: Served) -> None:
    statuses = []
    paths = [
        served.path(name, f"/tile/0/0/0?lowpass={n}")
        for n in range(1, 5)
        for name in (A, "data/b.mrc", "data/large.mrc")
    ]

    def visit(path: str) -> None:
        statuses.append(ask(served, path).status)

    visitors = [threading.Thread(target=visit, args=(path,)) for path in paths]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert set(statuses) == {200}


def test_a_full_disk_saves_nothing_and_says_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from empiar_mirror.by_hand import versions

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    body, before = request(served), saved_files(served)
    monkeypatch.setattr(versions, "sync_file", full)
    got = post(served, body=body)
    assert got.status == 507
    assert "No space left" in got.text
    assert saved_files(served) == before


def test_a_movie_is_looked_at_by_its_average(tmp_path: Path) -> None:
    put_here(tmp_path, {"data/m.mrc": movie()}, inspected=True)
    toml = '[arrange]\nviews = ["cryoppp", "averaged"]\n[view.averaged]\nmicrographs = "frame_average"\n'
    finish(tmp_path, toml, view="averaged")
    with opened(tmp_path, toml) as mirror, mirror.catalogue.reader() as conn:
        file_id = conn.execute("SELECT file_id FROM files WHERE name = 'm.mrc'").fetchone()[0]
    with site(settings_of(tmp_path), write_token=TOKEN) as address:
        served = Served(tmp_path, address, {"data/m.mrc": file_id})
        assert state(served, "data/m.mrc")["picture"] == f"derived/{ID}/frame_average/data/m.mrc"
        body = request(served, "data/m.mrc", picks=[{"x": 10, "y": 20}])
        assert post(served, "data/m.mrc", body=body).status == 201
    [file] = versions_of(tmp_path, remote_of(ID, "data/m.mrc"))
    assert file.read().picture.startswith("derived/")
    assert not (tmp_path / "snapshot" / "pictures").exists()
    assert asyncio.run(_layout_of(tmp_path, toml)) == ["10,140"]


async def _layout_of(root: Path, toml: str) -> list[str]:
    await asyncio.to_thread(finish, root, toml)
    table = root / "datasets" / "cryoppp" / str(ID) / "ground_truth" / "particle_coordinates" / "m.csv"
    return [",".join(line.split(",")[:2]) for line in table.read_text().splitlines()[1:]]
