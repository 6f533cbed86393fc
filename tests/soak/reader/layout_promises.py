"""Promises on layouts and manifests. Standard library only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from soak.reader.mirror_seen import Seen, Violation, key_of, shown, walk

#: What a layout has of its own: the list of what it links to.
OWN_FILES = (b"mapping.tsv",)


def layouts_hold_what_is_verified(seen: Seen) -> Iterator[Violation]:
    """Each file of a layout is one of the archive's or of the derived files, by another name; nothing half-built is left."""
    promise = "nothing unverified in a layout"
    root = os.fsencode(seen.root)
    known = {
        (status.st_dev, status.st_ino)
        for part in (b"archive", b"derived")
        for path in walk(os.path.join(root, part))
        for status in [os.lstat(path)]
    }
    for path in walk(os.path.join(root, b"datasets")):
        name = os.path.relpath(path, root)
        try:
            status = os.stat(path)
        except OSError as error:
            yield Violation(promise, f"{os.fsdecode(name)} leads nowhere: {error.strerror}")
            continue
        if (status.st_dev, status.st_ino) not in known and os.path.basename(path) not in OWN_FILES:
            yield Violation(promise, f"{os.fsdecode(name)} is no file of the archive's")
        if name.split(b"/")[2].startswith(b"."):
            yield Violation(promise, f"{os.fsdecode(name)} is left of a layout that was being built")


def layouts_are_complete(seen: Seen) -> Iterator[Violation]:
    """Of every entry that is complete, each micrograph that is here stands in the standard layout."""
    base = os.path.join(os.fsencode(seen.root), b"datasets", b"cryoppp")
    placed: dict[int, set[tuple[int, int]]] = {}
    for path in walk(base):
        entry = os.path.relpath(path, base).split(b"/")[0]
        if entry.isdigit() and os.path.exists(path):
            status = os.stat(path)
            placed.setdefault(int(entry), set()).add((status.st_dev, status.st_ino))
    rows = seen.rows(
        "SELECT m.empiar_id, m.path FROM micrographs m JOIN copies c USING (file_id)"
        " JOIN entry_progress p ON p.empiar_id = m.empiar_id WHERE c.state = 'arrived' AND p.state = 'complete'"
    )
    for row in rows:
        key = key_of(row)
        try:
            status = os.lstat(seen.path(key))
        except FileNotFoundError:
            continue  # told by whoever asks for what has arrived
        if (status.st_dev, status.st_ino) not in placed.get(key[0], ()):
            yield Violation("layouts are complete", f"{shown(key)} is here, and not in datasets/cryoppp")


def manifests_hold(seen: Seen) -> Iterator[Violation]:
    """`sha256sum` accepts each manifest, and each manifest of a complete entry names all of it that is here."""
    promise = "manifests hold"
    for manifest in sorted((seen.root / "manifests").glob("*/manifest-sha256.txt")):
        folder = seen.root / "archive" / manifest.parent.name
        done = subprocess.run(
            ["sha256sum", "--check", "--strict", "--quiet", manifest],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            yield Violation(promise, f"{manifest.parent.name}: {done.stdout[:300]}{done.stderr[:300]}")
    rows = seen.rows(
        "SELECT p.empiar_id, count(*) AS files FROM entry_progress p JOIN copies c USING (empiar_id)"
        " WHERE p.state = 'complete' AND c.state IN ('arrived', 'withdrawn') GROUP BY 1"
    )
    for row in rows:
        lines = _lines(seen.root / "manifests" / str(row["empiar_id"]) / "manifest-sha256.txt")
        if lines != row["files"]:
            yield Violation(promise, f"{row['empiar_id']}: {lines} lines for {row['files']} files")


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0
