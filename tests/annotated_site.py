"""A mirror whose micrographs are looked at and labelled over HTTP, and what asks for them."""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from empiar_schema.states import Role
from entry_here import ID, everything_below, opened, put_here
from image_files import mrc_bytes
from labelled_entry import PLACES, finish, image, labels, movie, picks_on, relion
from web_site import settings_of, site

TOKEN: Final = "a-write-token-of-sixteen-or-more"
A: Final = "data/a.mrc"


def large(height: int = 700, width: int = 600) -> bytes:
    """An image of several tiles whose values grow to the right, with its first row bright."""
    values = np.tile(np.arange(width, dtype="<f4"), (height, 1))
    values[0] = 5000
    return mrc_bytes(values.tobytes(), shape=(width, height, 1), mode=2)


FILES: Final = {
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


@contextmanager
def annotated_site(folder: Path) -> Iterator[Served]:
    """A mirror of micrographs in every condition, below `folder`, with the page that shows them."""
    root = folder / "mirror"
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
