"""Checks a mirror from outside: the disk against what was served, the catalogue by plain sqlite3, the manifests by sha256sum."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
from pathlib import Path

from empiar_mirror.rehearsal.archive import Entry
from empiar_mirror.rehearsal.server import Rehearsal


def content(rehearsal: Rehearsal, empiar_id: int, path: bytes) -> bytes:
    """All bytes of a served file."""
    file = rehearsal.archive.file(empiar_id, path)
    assert file is not None
    return rehearsal.archive.read(empiar_id, path, file, 0, file.size)


def assert_mirrored(rehearsal: Rehearsal, root: Path, empiar_id: int) -> None:
    """The entry stands on disk byte for byte, nothing else does, and every record says so."""
    entry: Entry = rehearsal.archive.entries[empiar_id]
    base = os.fsencode(root / "archive" / str(empiar_id))
    served = dict(entry.walk())
    found = {
        os.path.relpath(os.path.join(folder, name), base)
        for folder, _, names in os.walk(base)
        for name in names
    }
    assert found == set(served)
    sizes: dict[str, int] = {}
    for path in served:
        expected = content(rehearsal, empiar_id, path)
        with open(os.path.join(base, path), "rb") as stream:
            actual = stream.read()
        assert actual == expected, path
        sizes[hashlib.sha256(expected).hexdigest()] = len(expected)
    assert_recorded(root, empiar_id, sizes)
    assert_manifest(root, empiar_id)


def assert_recorded(root: Path, empiar_id: int, sizes_by_digest: dict[str, int]) -> None:
    """The catalogue says `arrived` with the right sha256 for every file, and holds no claim or partial."""
    with sqlite3.connect(f"file:{root / 'empiar.db'}?mode=ro", uri=True) as conn:
        rows = conn.execute(
            "SELECT state, sha256, bytes_here FROM copies WHERE empiar_id = ?", (empiar_id,)
        ).fetchall()
    conn.close()
    assert {row[0] for row in rows} <= {"arrived"}
    assert {row[1]: row[2] for row in rows} == sizes_by_digest


def assert_manifest(root: Path, empiar_id: int) -> None:
    """GNU sha256sum accepts the entry's manifest."""
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", root / f"manifests/{empiar_id}/manifest-sha256.txt"],
        cwd=root / "archive" / str(empiar_id),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def assert_tidy(root: Path) -> None:
    """Nothing is left in staging or half-built beside the views."""
    assert [p for p in (root / "staging").rglob("*") if p.is_file()] == []
    assert [p for p in (root / "datasets").glob("*/.*") if p.is_dir() and "tmp" in p.name] == []
