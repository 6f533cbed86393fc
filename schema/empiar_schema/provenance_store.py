"""What the catalogue knows of where files came from: arrived files, what jobs made of them, and when."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from empiar_schema.codes import state_list
from empiar_schema.states import HERE, Channel
from empiar_schema.view_definitions.columns import path_by_id

#: So many of the files that a job read are named with each of its products.
LISTED_INPUTS: Final = 20

_HERE: Final = state_list(sorted(HERE))
#: Inputs are bounded: a job on a whole entry may read as many files as it makes.
_MADE_FILES: Final = (
    f"SELECT p.path, p.kind, p.stem, {path_by_id('p.parent_file_id')}, p.bytes, lower(hex(p.sha256)),"  # noqa: S608 - constants
    " strftime('%Y-%m-%dT%H:%M:%SZ', p.made_at, 'unixepoch'), j.maker, j.recipe, j.command, j.version, j.log_path,"
    " (SELECT count(*) FROM job_input i WHERE i.job_id = p.job_id),"
    f" (SELECT json_group_array(json_array(i.role, {path_by_id('i.file_id')}, i.product)) FROM"
    f" (SELECT * FROM job_input WHERE job_id = p.job_id ORDER BY position LIMIT {LISTED_INPUTS}) i)"
    " FROM product p JOIN job j ON j.job_id = p.job_id WHERE p.empiar_id = ?"
)


@dataclass(frozen=True, slots=True)
class ArrivedFile:
    """One file that is here. Times are UTC ISO 8601 text, sizes bytes; None is not on record."""

    path: str
    role: str
    role_confidence: float | None
    role_reason: str | None
    source_url: str | None
    channel: str | None
    bytes: int | None
    modified_at: str | None
    first_seen_at: str | None
    arrived_at: str | None
    gone_at: str | None
    sha256: str
    #: What identified the remote file when its first byte came.
    validator_bytes: int | None = None
    validator_modified_at: str | None = None
    validator_etag: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """A file that a job read: deposited, at `path` below the entry, or made here, at `product` below ``derived/<id>``."""

    role: str
    path: str | None
    product: str | None


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file that a job made of others. `path` is the stored text below ``derived/<id>``."""

    path: str
    kind: str
    stem: str | None
    #: Path below the entry of the deposited file it was made of; None where of several.
    parent: str | None
    bytes: int
    sha256: str
    made_at: str
    maker: str
    #: Digest of all that decided the result.
    recipe: str
    command: str | None
    version: str | None
    log_path: str | None
    #: How many files its job read, and the first `LISTED_INPUTS` of them; none where that is not on record.
    input_count: int = 0
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The files of an entry that came over one channel: how many, and from when to when (UTC ISO 8601)."""

    channel: str
    files: int
    first_at: str
    last_at: str


def arrived_files(conn: sqlite3.Connection, empiar_id: int) -> Iterator[ArrivedFile]:
    """The files of the entry that are here, by path; memory stays flat, because SQLite sorts on disk."""
    rows = conn.execute(
        "SELECT f.path, f.role, f.role_confidence, f.role_reason, c.channel, f.https_url, f.ftp_url, f.globus_url, c.bytes,"  # noqa: S608 - a constant
        " f.modified_at, f.first_seen_at, strftime('%Y-%m-%dT%H:%M:%SZ', c.arrived_at, 'unixepoch'), f.gone_at,"
        " lower(hex(c.sha256)), c.v_size, strftime('%Y-%m-%dT%H:%M:%SZ', c.v_modified_at, 'unixepoch'), c.v_etag"
        " FROM files f JOIN copy c ON c.file_id = f.file_id"
        f" WHERE f.empiar_id = ? AND c.sha256 IS NOT NULL AND c.state IN ({_HERE}) ORDER BY f.path",
        (empiar_id,),
    )
    for path, role, confidence, why, channel, https_url, ftp_url, globus_url, *facts in rows:
        urls = {Channel.HTTPS: https_url, Channel.FTP: ftp_url, Channel.GLOBUS: globus_url}
        url = without_user(urls.get(channel))
        yield ArrivedFile(path, role, confidence, why, url, channel, *facts)


def arrivals(conn: sqlite3.Connection, empiar_id: int) -> list[Arrivals]:
    """How the files of the entry that are here came, by channel."""
    rows = conn.execute(
        "SELECT channel, count(*), min(arrived_at), max(arrived_at) FROM copies"
        " WHERE empiar_id = ? AND state IN ('arrived', 'withdrawn') AND channel IS NOT NULL"
        " AND arrived_at IS NOT NULL GROUP BY channel ORDER BY channel",
        (empiar_id,),
    )
    return [Arrivals(*row) for row in rows]


def made_files(conn: sqlite3.Connection, empiar_id: int) -> Iterator[MadeFile]:
    """What jobs made of the entry's files, by path."""
    for row in conn.execute(f"{_MADE_FILES} ORDER BY p.path", (empiar_id,)):
        yield _made_file(row)


def made_file(conn: sqlite3.Connection, empiar_id: int, path: str) -> MadeFile | None:
    """The product at this path below ``derived/<id>``; None if none is on record."""
    row = conn.execute(f"{_MADE_FILES} AND p.path = ?", (empiar_id, path)).fetchone()
    return None if row is None else _made_file(row)


def _made_file(row: sqlite3.Row) -> MadeFile:
    inputs = tuple(Input(*read) for read in json.loads(row[-1]))
    return replace(MadeFile(*row[:-1]), inputs=inputs)


def known_since(conn: sqlite3.Connection, empiar_id: int) -> str | None:
    """The day on which this mirror first heard of the entry: it was public by then."""
    row = conn.execute(
        "SELECT substr(discovered_at, 1, 10) FROM entries WHERE empiar_id = ?", (empiar_id,)
    ).fetchone()
    return None if row is None else row[0]


def archive_https_url(conn: sqlite3.Connection) -> str | None:
    """Where the entries' folders are served over HTTPS, without user information; None before it was configured."""
    row = conn.execute("SELECT https_url FROM archive_address").fetchone()
    return None if row is None else without_user(row[0])


def without_user(url: str | None) -> str | None:
    """The address without a user's name and password."""
    if url is None or "@" not in url:  # nearly all, and there are millions
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
