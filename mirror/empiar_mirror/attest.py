"""Statements of completeness, from the catalogue."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Final

from empiar_mirror.statement import (
    Folder,
    Gone,
    Here,
    Lacking,
    Listed,
    Member,
    Statement,
    digest_of,
    digest_of_folders,
    line_of,
    sentence,
)
from empiar_schema.paths import accession
from empiar_schema.statement_reads import FileFact, folders_of, listing_of
from empiar_schema.states import HERE, CopyState
from empiar_schema.times import iso

#: Files named of each kind, unless all files are asked for.
NAMED: Final = 100


@dataclass(slots=True)
class _Sum:
    files: int = 0
    bytes: int = 0
    named: list[tuple[str, CopyState]] = field(default_factory=list)

    def add(self, size: int | None, path: str = "", state: CopyState | None = None) -> None:
        self.files += 1
        self.bytes += size or 0
        if state is not None:
            self.named.append((path, state))

    def lacking(self, limit: int | None) -> Lacking:
        return Lacking(self.files, self.bytes, tuple(sorted(self.named)[:limit]))


@dataclass(slots=True)
class _Tally:
    """What is counted on the way through an entry."""

    with_files: bool
    missing: _Sum = field(default_factory=_Sum)
    damaged: _Sum = field(default_factory=_Sum)
    not_wanted: _Sum = field(default_factory=_Sum)
    evicted: _Sum = field(default_factory=_Sum)
    gone: _Sum = field(default_factory=_Sum)
    gone_damaged: int = 0
    gone_lines: list[bytes] = field(default_factory=list)
    gone_members: list[Member] = field(default_factory=list)
    verified_from: int | None = None
    verified_to: int | None = None

    def verified(self, times: list[int]) -> None:
        if times:
            first, last = self.verified_from, self.verified_to
            self.verified_from = min(times) if first is None else min(first, min(times))
            self.verified_to = max(times) if last is None else max(last, max(times))


def statement_of(conn: sqlite3.Connection, empiar_id: int, *, with_files: bool = False) -> Statement:
    """What the catalogue states of the entry; with the digests of all files, if asked for. Reads each row once.

    Call it within a transaction, so that it speaks of one moment.
    """
    tally = _Tally(with_files)
    folders = [
        folder for path, facts in folders_of(conn, empiar_id) if (folder := _folder(tally, path, facts)).files
    ]
    folders.sort(key=lambda folder: folder.path)
    fact = listing_of(conn, empiar_id)
    limit = None if with_files else NAMED
    missing, damaged = tally.missing.lacking(limit), tally.damaged.lacking(limit)
    not_wanted, evicted = tally.not_wanted.lacking(0), tally.evicted.lacking(limit)
    here = Here(
        sum(folder.files for folder in folders),
        sum(folder.bytes for folder in folders),
        iso(tally.verified_from),
        iso(tally.verified_to),
        digest_of_folders(folders),
    )
    parts = (here, missing, damaged, not_wanted, evicted)
    all_files, all_bytes = sum(part.files for part in parts), sum(part.bytes for part in parts)
    listing = (
        None if fact is None else Listed(fact.source, iso(fact.completed_at) or "", all_files, all_bytes)
    )
    gone = Gone(
        tally.gone.files,
        tally.gone.bytes,
        digest_of(tally.gone_lines),
        tally.gone_damaged,
        tuple(sorted(tally.gone_members)) if with_files else None,
    )
    return Statement(
        entry=accession(empiar_id),
        says=sentence(
            listing,
            here,
            missing=missing,
            damaged=damaged,
            not_wanted=not_wanted,
            gone=gone,
            evicted=evicted,
        ),
        complete=listing is not None and here.files == all_files,
        listing=listing,
        here=here,
        missing=missing,
        damaged=damaged,
        not_wanted=not_wanted,
        gone=gone,
        folders=tuple(folders),
        evicted=evicted,
    )


def _folder(tally: _Tally, path: str, facts: list[FileFact]) -> Folder:
    """What is here of the folder; the rest of it is in the tally."""
    lines: list[bytes] = []
    members: list[Member] = []
    times: list[int] = []
    total = 0
    for name, size, state, sha256, verified_at, gone in facts:
        if gone or state not in HERE or sha256 is None or size is None:
            _count_other(tally, f"{path}/{name}" if path else name, size, state, sha256, gone=gone)
            continue
        digest = sha256.hex()
        lines.append(line_of(name, size, digest))
        total += size
        if verified_at is not None:
            times.append(verified_at)
        if tally.with_files:
            members.append(Member(name, size, digest))
    tally.verified(times)
    return Folder(
        path, len(lines), total, digest_of(lines), tuple(sorted(members)) if tally.with_files else None
    )


def _count_other(
    tally: _Tally, path: str, size: int | None, state: CopyState | None, sha256: bytes | None, *, gone: bool
) -> None:
    if gone:
        if state in HERE and sha256 is not None and size is not None:
            member = Member(path, size, sha256.hex())
            tally.gone.add(size)
            tally.gone_lines.append(line_of(*member))
            tally.gone_members.append(member)
        tally.gone_damaged += state is CopyState.DAMAGED
    elif state is None:
        tally.not_wanted.add(size)
    elif state is CopyState.DAMAGED:
        tally.damaged.add(size, path, state)
    elif state is CopyState.EVICTED:
        tally.evicted.add(size, path, state)
    else:
        tally.missing.add(size, path, state)
