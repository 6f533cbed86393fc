"""The page of a micrograph over HTTP: its tiles, its picks, and what cannot be looked at."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotated_site import TOKEN, A, Served, annotated_site, ask, post, request, state
from empiar_mirror.by_hand.versions import remote_of, versions_of
from entry_here import ID, opened, put_here
from labelled_entry import HEIGHT, PLACES, WIDTH, finish, movie
from web_site import settings_of, site


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with annotated_site(tmp_path_factory.mktemp("annotating")) as mirror:
        yield mirror


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
