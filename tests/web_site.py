"""A mirror as the web page shows it, hostile names and pictures included, and the page served in a thread."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import io
import os
import sqlite3
import threading
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from empiar_mirror.web.serving import served, token_of
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_contradiction, record_entry
from empiar_schema.entry import Author, Citation, Entry, ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.serve_settings import ServeSettings
from empiar_schema.settings import Settings
from small_mirror import ENTRY, NOW, make_small_mirror

HOSTILE: Final = 10099
SCRIPT: Final = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
HOSTILE_NAME: Final = "\"><img src=x onerror=alert(1)>&'{{7*7}}.mrc"


def make_web_mirror(root: Path) -> None:
    """The small mirror, two pictures of its first micrograph, and an entry whose every text is an attack."""
    make_small_mirror(root)
    with Catalogue.open(root / "empiar.db") as catalogue:
        catalogue.write_now(_hostile_entry)
        catalogue.write_now(lambda conn: _pictures(conn, root))


def _hostile_entry(conn: sqlite3.Connection) -> None:
    images = ImageSet(position=0, name=SCRIPT, directory="data", data_format=SCRIPT, details=SCRIPT)
    entry = Entry(
        empiar_id=HOSTILE,
        title=f"Hostile {SCRIPT}",
        status="REL",
        experiment_type=SCRIPT,
        release_date="2020-02-02",
        dataset_size="3 TB",
        doi=f"10.1234/{SCRIPT}",
        imagesets=(images,),
        authors=(Author(name=SCRIPT, orcid="0000-0002-1825-0097"),),
        citations=(Citation(title=SCRIPT, doi='10.1000/"><script>alert(1)</script>'),),
    )
    record_entry(conn, entry, source="api", now=NOW)
    listing = begin_listing(conn, HOSTILE, source="ftp", now=NOW)
    add_to_listing(conn, listing, "data/<b>folder</b>", [ListedFile(HOSTILE_NAME, 1000, True, NOW, 1)])
    complete_listing(conn, listing, now=NOW)
    record_contradiction(
        conn, HOSTILE, None, what="format", stated=SCRIPT, found="MRC", source=SCRIPT, now=NOW
    )


def jpeg(colour: int) -> bytes:
    """A small grey picture."""
    stream = io.BytesIO()
    Image.new("L", (160, 120), colour).save(stream, "JPEG")
    return stream.getvalue()


def _pictures(conn: sqlite3.Connection, root: Path) -> None:
    file_id = conn.execute("SELECT file_id FROM files WHERE name = 'a_arrived.mrc'").fetchone()[0]
    conn.execute(
        "INSERT INTO job (job_id, empiar_id, maker, file_id, state, recipe, wanted_at) VALUES (7, ?, 'thumbnails', ?, 2, 'r', ?)",
        (ENTRY, file_id, NOW),
    )
    for number, (name, kind) in enumerate(
        (("a_arrived.jpg", "thumbnail"), ("a_arrived_spectrum.jpg", "power_spectrum"))
    ):
        add_product(conn, root, f"thumbnails/{name}", jpeg(90 + 60 * number), kind=kind, file_id=file_id)


def add_product(
    conn: sqlite3.Connection,
    root: Path,
    path: str,
    content: bytes,
    *,
    kind: str = "thumbnail",
    file_id: int | None = None,
) -> int:
    """A product of the entry with this content is on disk and on record; its number."""
    place = root / "derived" / str(ENTRY) / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    cursor = conn.execute(
        "INSERT INTO product (job_id, empiar_id, path, kind, stem, parent_file_id, bytes, sha256, made_at, details)"
        ' VALUES (7, ?, ?, ?, \'a_arrived\', ?, ?, ?, ?, \'{"picks": 3, "width": 160, "height": 120}\')',
        (ENTRY, path, kind, file_id, len(content), hashlib.sha256(content).digest(), NOW),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def settings_of(root: Path, **serve: object) -> Settings:
    """A configuration that serves `root` at a free port."""
    return Settings(root=root, serve=ServeSettings.model_validate({"port": 0, **serve}))


@contextmanager
def site(settings: Settings, *, write_token: str | None = None) -> Iterator[str]:
    """The page is served; gives its address without a slash at the end. Without a write token nothing can be saved."""
    ready: Future[tuple[str, int]] = Future()
    ended = threading.Event()

    async def serve() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with served(
            settings, token=token_of(settings), write_token=write_token, say=lambda text: None
        ) as place:
            threading.Thread(
                target=lambda: (ended.wait(), loop.call_soon_threadsafe(done.set)), daemon=True
            ).start()
            ready.set_result(place)
            await done.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # whoever waits must learn of it
            if not ready.done():
                ready.set_exception(error)
            else:
                raise

    thread = threading.Thread(target=run, name="site")
    thread.start()
    try:
        host, port = ready.result(timeout=120)
        yield f"http://{host}:{port}"
    finally:
        ended.set()
        thread.join()


def snapshot_files(root: Path) -> list[str]:
    """What stands in the folder of snapshots, the lock aside."""
    return sorted(name for name in os.listdir(root / "snapshot") if name != ".lock")


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def get(address: str, path: str, *, method: str = "GET", body: str | None = None, **headers: str) -> Got:
    place = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host="host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body.encode() if body is not None else None)
        answer = connection.getresponse()
        return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()
