"""A mirror as anybody can see it: its folder by `os`, its catalogue by `sqlite3`. Standard library only."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from soak.reader.truth import Key

_ESCAPED = re.compile(rb"%([0-9A-F]{2})")
Value = str | int | float | None


@dataclass(frozen=True)
class Violation:
    """A promise that is not kept."""

    promise: str
    what: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.what}"


def raw(stored: str) -> bytes:
    """The bytes of a name that the catalogue states as text."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), stored.encode())


def seconds(iso: Value) -> float:
    """Unix seconds of a time as the catalogue states it."""
    return datetime.fromisoformat(str(iso)).timestamp()


def sha256(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Seen:
    """One mirror."""

    root: Path

    def rows(self, sql: str, *parameters: Value) -> list[dict[str, Value]]:
        """What a query over the views gives."""
        with closing(sqlite3.connect(f"file:{self.root / 'empiar.db'}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, parameters)]

    def path(self, key: Key) -> bytes:
        """Where the file of an entry stands."""
        return os.path.join(os.fsencode(self.root), b"archive", b"%d" % key[0], key[1])

    def files(self) -> Iterator[tuple[Key, os.stat_result]]:
        """Everything below ``archive/`` that is no folder; a path that is in no entry's folder has number -1."""
        base = os.path.join(os.fsencode(self.root), b"archive")
        for path in walk(base):
            entry, _, below = os.path.relpath(path, base).partition(b"/")
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue  # taken away since it was seen: whoever compares two looks will notice
            yield (int(entry) if entry.isdigit() and below else -1, below or entry), status


def walk(base: bytes) -> Iterator[bytes]:
    """Every file, link and odd thing below `base`."""
    for folder, _, names in os.walk(base):
        for name in names:
            yield os.path.join(folder, name)


def key_of(row: dict[str, Value]) -> Key:
    """The file that a row with ``empiar_id`` and ``path`` speaks of."""
    assert isinstance(row["empiar_id"], int)
    return row["empiar_id"], raw(str(row["path"]))


def shown(key: Key) -> str:
    return f"{key[0]}/{os.fsdecode(key[1])!r}"
