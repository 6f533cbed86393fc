"""A mirror whose catalogue and archive hold a few files, as after a transfer, without any server."""

from __future__ import annotations

import functools
import hashlib
import sqlite3
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from claims import claim
from empiar_imaging.formats.inspect import inspect
from empiar_mirror.app import Mirror
from empiar_mirror.makers.registry import BuiltIn
from empiar_schema.catalogue import Catalogue
from empiar_schema.configuration import load
from empiar_schema.crawl_store import record_entry, record_roles
from empiar_schema.entry import Entry, ImageSet
from empiar_schema.events import Event
from empiar_schema.files import ListedFile
from empiar_schema.image_facts import ImageFacts
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.settings import Settings
from empiar_schema.states import CopyState, Role
from empiar_schema.transfer_store import (
    Arrival,
    record_arrivals,
    record_damaged,
    retry_failed,
    want_entry,
)

NOW = 1_767_225_600
ID = 10017


def put_here(
    root: Path,
    files: Mapping[str, tuple[Role, bytes]],
    *,
    empiar_id: int = ID,
    facts: ImageFacts | None = None,
    inspected: bool = False,
    absent: Collection[str] = (),
) -> None:
    """The files stand in the archive below `root`, read-only, and the catalogue says so, which then lists no others. Names are plain.

    With `inspected`, `facts` are those of each file's own header. Those in `absent` are listed only.
    """
    with Catalogue.open(root / "empiar.db", create=True) as catalogue:
        _want_again(catalogue, empiar_id, files)
        catalogue.write_now(functools.partial(_list, empiar_id=empiar_id, files=files))
        numbers = _file_ids(catalogue, empiar_id)
        arrivals = []
        roles = []
        for path, (role, data) in files.items():
            file_id = numbers[path]
            roles.append((file_id, role, 1.0))
            if path in absent:
                continue
            target = root / "archive" / str(empiar_id) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.write_bytes(data)
            target.chmod(0o444)
            own = inspect(target, name=path.rpartition("/")[2], size=len(data)).facts if inspected else facts
            arrivals.append(Arrival(file_id, len(data), hashlib.sha256(data).digest(), None, None, own))
        catalogue.write_now(functools.partial(record_arrivals, arrivals=arrivals, now=NOW))
        catalogue.write_now(lambda conn: record_roles(conn, roles))


def _list(conn: sqlite3.Connection, *, empiar_id: int, files: Mapping[str, tuple[Role, bytes]]) -> None:
    images = ImageSet(position=0, name="Movies", directory="data", pixel_width_angstrom=1.5)
    entry = Entry(empiar_id=empiar_id, title="Urease", status="REL", imagesets=(images,))
    record_entry(conn, entry, source="api", now=NOW)
    listing = begin_listing(conn, empiar_id, source="ftp", now=NOW)
    for path, (_, data) in files.items():
        directory, _, name = path.rpartition("/")
        add_to_listing(conn, listing, directory, [ListedFile(name, len(data), True, _modified(data), 1)])
    complete_listing(conn, listing, now=NOW)
    want_entry(conn, empiar_id, now=NOW)
    claim(conn, now=NOW, limit_files=10_000, limit_bytes=10**12)


def _want_again(catalogue: Catalogue, empiar_id: int, files: Mapping[str, tuple[Role, bytes]]) -> None:
    """Copies that are here with other bytes are wanted, as after a repair: the mirror replaces none by itself."""
    with catalogue.reader() as conn:
        here = conn.execute(
            "SELECT file_id, path, sha256 FROM copies WHERE empiar_id = ? AND state = 'arrived'", (empiar_id,)
        ).fetchall()
    for file_id, path, sha256 in here:
        if path in files and hashlib.sha256(files[path][1]).hexdigest() != sha256:
            damage = functools.partial(record_damaged, file_id=file_id, error="changed", now=NOW)
            catalogue.write_now(damage)
    states = [CopyState.DAMAGED]
    catalogue.write_now(lambda conn: retry_failed(conn, [empiar_id], now=NOW, states=states))


def _modified(data: bytes) -> int:
    """Other bytes have another time, as upstream."""
    return NOW + zlib.crc32(data) % 100_000


def _file_ids(catalogue: Catalogue, empiar_id: int) -> dict[str, int]:
    with catalogue.reader() as conn:
        return dict(
            map(tuple, conn.execute("SELECT path, file_id FROM files WHERE empiar_id = ?", (empiar_id,)))
        )


def settings_with(root: Path, toml: str) -> Settings:
    """The settings of a mirror in `root` with this configuration."""
    file = root / "empiar-mirror.toml"
    file.write_text(f'root = "{root}"\n{toml}')
    return load(file, environ={}, cwd=root)


def opened(
    root: Path, toml: str, events: list[Event] | None = None, *, built_in: Sequence[BuiltIn] = ()
) -> Mirror:
    """The mirror in `root`, open; what happens is collected in `events`."""

    def collect(event: Event) -> None:
        if events is not None:
            events.append(event)

    mirror = Mirror.open(settings_with(root, toml), observer=collect, create=True)
    mirror.built_in = built_in
    return mirror


def rows(mirror: Mirror, sql: str) -> list[tuple[object, ...]]:
    """All rows of a query over the catalogue's views."""
    with mirror.catalogue.reader() as conn:
        return [tuple(row) for row in conn.execute(sql)]


def everything_below(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes, links not followed."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
