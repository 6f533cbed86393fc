"""``manifests/<id>``: checksums that ``sha256sum -c`` takes, and where each file came from."""

from __future__ import annotations

import filecmp
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from empiar_mirror.arrive import sync_folder
from empiar_mirror.staging import storage_fault
from empiar_schema.paths import accession, bytes_from_text
from empiar_schema.states import HERE, Channel

CHECKSUMS: Final = "manifest-sha256.txt"
PROVENANCE: Final = "provenance.json"

_HERE: Final = json.dumps(sorted(HERE))
_ESCAPES: Final = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where one file came from. Times are UTC ISO 8601 text, `bytes` a number of bytes."""

    path: str
    source_url: str | None
    channel: str | None
    bytes: int | None
    modified_at: str | None
    sha256: str
    arrived_at: str | None
    etag: str | None = None


def write_entry_manifests(conn: sqlite3.Connection, root: Path, empiar_id: int) -> None:
    """Both files of ``manifests/<id>`` say what the catalogue says is here.

    Raises:
        StorageFault: the disk refused.
    """
    write_manifest(root, empiar_id, _checksums(conn, empiar_id))
    write_provenance(root, empiar_id, _provenance(conn, empiar_id))


def write_manifest(root: Path, empiar_id: int, rows: Iterable[tuple[str, str]]) -> bool:
    """``manifest-sha256.txt`` lists `rows` (stored path, sha256 in hex) in their order; whether it changed.

    ``sha256sum -c`` run in ``archive/<id>`` accepts it. Without rows there is no such file, because an
    empty one is an error to ``sha256sum``.

    Raises:
        StorageFault: the disk refused.
    """
    return _write(
        root, empiar_id, CHECKSUMS, (checksum_line(bytes_from_text(path), sha) for path, sha in rows)
    )


def write_provenance(root: Path, empiar_id: int, rows: Iterable[Provenance]) -> bool:
    """``provenance.json`` lists `rows` in their order; whether it changed. No rows, no file.

    Raises:
        StorageFault: the disk refused.
    """
    return _write(root, empiar_id, PROVENANCE, _provenance_document(empiar_id, rows))


def checksum_line(path: bytes, sha256_hex: str) -> bytes:
    r"""One line of GNU ``sha256sum``: a path with a backslash or line end is escaped, and the line begins with ``\``."""
    mark = b""
    if any(special in path for special in _ESCAPES):
        mark = b"\\"
        for special, escape in _ESCAPES.items():
            path = path.replace(special, escape)
    return mark + sha256_hex.encode() + b"  " + path + b"\n"


def _checksums(conn: sqlite3.Connection, empiar_id: int) -> Iterator[tuple[str, str]]:
    # SQLite sorts on disk when it has to: memory stays flat for an entry of a million files.
    yield from conn.execute(
        "SELECT path, sha256 FROM copies WHERE empiar_id = ? AND sha256 IS NOT NULL"
        " AND state IN (SELECT value FROM json_each(?)) ORDER BY path",
        (empiar_id, _HERE),
    )


def _provenance(conn: sqlite3.Connection, empiar_id: int) -> Iterator[Provenance]:
    rows = conn.execute(
        "SELECT c.path, c.channel, c.bytes, f.modified_at, c.sha256, c.arrived_at, f.https_url, f.ftp_url, f.globus_url,"
        " own.v_etag FROM copies c JOIN files f ON f.file_id = c.file_id JOIN copy own ON own.file_id = c.file_id"
        " WHERE c.empiar_id = ? AND c.sha256 IS NOT NULL"
        " AND c.state IN (SELECT value FROM json_each(?)) ORDER BY c.path",
        (empiar_id, _HERE),
    )
    for path, channel, size, modified_at, sha256, arrived_at, https_url, ftp_url, globus_url, etag in rows:
        urls = {Channel.HTTPS: https_url, Channel.FTP: ftp_url, Channel.GLOBUS: globus_url}
        url = _without_user(urls.get(channel))
        yield Provenance(path, url, channel, size, modified_at, sha256, arrived_at, etag)


def _without_user(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _provenance_document(empiar_id: int, rows: Iterable[Provenance]) -> Iterator[bytes]:
    """One JSON document, one line a file; without a date of its own, so that the same facts give the same bytes."""
    before = ""
    for row in rows:
        if not before:
            head = {"entry": accession(empiar_id), "tool": f"empiar-mirror {version('empiar-mirror')}"}
            yield (json.dumps(head, ensure_ascii=False)[:-1] + ', "files": [').encode()
        facts = {key: value for key, value in asdict(row).items() if value is not None}
        yield f"{before}\n{json.dumps(facts, ensure_ascii=False)}".encode()
        before = ","
    if before:
        yield b"\n]}\n"


def _write(root: Path, empiar_id: int, name: str, pieces: Iterable[bytes]) -> bool:
    folder = root / "manifests" / str(empiar_id)
    final, fresh = folder / name, folder / f".{name}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        try:
            with fresh.open("xb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            return _replace(fresh, final)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise storage_fault(error, f"cannot write {final}") from error


def _replace(fresh: Path, final: Path) -> bool:
    stands = final.is_file()
    if fresh.stat().st_size == 0:
        final.unlink(missing_ok=True)
        changed = stands
    elif stands and filecmp.cmp(fresh, final, shallow=False):
        return False
    else:
        fresh.replace(final)
        changed = True
    if changed:
        sync_folder(final.parent)
    return changed
