"""The files that a query selects, each with all that decides whether it may be evicted: from the catalogue, and from the disk."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from empiar_mirror.arrange import shown_inodes
from empiar_mirror.asking import selection_of
from empiar_mirror.eviction.judging import Candidate
from empiar_mirror.eviction.pinned import Pinned
from empiar_mirror.eviction.tree import ArchiveTree
from empiar_mirror.subscriptions.matching import Matches
from empiar_schema.codes import JOB_STATE_CODES, STATES
from empiar_schema.jobs import JobState
from empiar_schema.paths import RemotePath
from empiar_schema.settings import Settings
from empiar_schema.states import CopyState

#: Files asked for at once, where a query selects files.
_AT_ONCE: Final = 1_000
_OPEN_JOBS: Final = ", ".join(
    str(JOB_STATE_CODES[state]) for state in (JobState.WANTED, JobState.RUNNING, JobState.FAILED)
)
_COPY: Final = (
    "SELECT f.file_id, d.empiar_id, d.path, f.name, c.state, ifnull(c.bytes, 0), c.sha256, c.arrived_at, c.verified_at,"
    " f.bytes_exact AND f.bytes <> c.bytes, a.missing_at, a.gone_at, i.problems"
)
_JOINED: Final = (
    " LEFT JOIN file_absence a ON a.file_id = f.file_id LEFT JOIN image i ON i.file_id = f.file_id"
)
#: All files of an entry that were ever wanted, folder by folder.
_OF_ENTRY: Final = (
    f"{_COPY} FROM directory d JOIN file f ON f.directory_id = d.directory_id JOIN copy c ON c.file_id = f.file_id"
    f"{_JOINED} WHERE d.empiar_id = ? ORDER BY d.path, f.file_id"
)
_BY_NUMBER: Final = (
    f"{_COPY} FROM json_each(?) n CROSS JOIN copy c ON c.file_id = n.value CROSS JOIN file f ON f.file_id = c.file_id"
    f" JOIN directory d ON d.directory_id = f.directory_id{_JOINED} ORDER BY n.key"
)


class _Row(NamedTuple):
    """What the catalogue has of a file and its copy."""

    file_id: int
    empiar_id: int
    directory: str
    name: str
    state: int
    size: int
    sha256: bytes | None
    arrived_at: int | None
    verified_at: int | None
    other_size: int | None
    missing_at: int | None
    gone_at: int | None
    problems: str | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What holds for a whole entry."""

    #: When its current listing was complete.
    listed_at: int | None
    withdrawn: bool
    unlisted: bool
    #: When a listing last stated something else of a file, by file.
    changed_at: Mapping[int, int]
    #: Files that open jobs work on; None means any.
    in_use: frozenset[int] | None
    #: Files that subscriptions in force want; None means all.
    subscribed: frozenset[int] | None
    #: How often layouts name each inode; these names go with the file.
    layouts: Counter[tuple[int, int]]


class Selected:
    """The selected files, one after the other, in the order of the query; those of an entry folder by folder."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        root: Path,
        settings: Settings,
        *,
        tree: ArchiveTree,
        pinned: Pinned,
        enough: Callable[[], bool],
    ) -> None:
        """Once there is `enough`, files are no longer looked for on the disk: that costs most, and none of them goes."""
        self._conn = conn
        self._root = root
        self._settings = settings
        self._tree = tree
        self._pinned = pinned
        self._enough = enough
        self._entries: dict[int, _Entry] = {}
        #: Recipes' names of the layouts that stand, by entry.
        self._standing: dict[int, list[str]] = {}
        for folder in sorted((root / "datasets").glob("*/*")):
            if folder.name.isdecimal() and settings.has_view(folder.parent.name):
                self._standing.setdefault(int(folder.name), []).append(folder.parent.name)

    def files(self, matches: Matches) -> Iterator[tuple[int, Candidate]]:
        """Entry and file, for each file that is or was wanted here."""
        if matches.selects == "entries":
            for empiar_id in matches.numbers:
                yield from self._each(self._conn.execute(_OF_ENTRY, (empiar_id,)))
            return
        for start in range(0, len(matches.numbers), _AT_ONCE):
            part = json.dumps(matches.numbers[start : start + _AT_ONCE])
            yield from self._each(self._conn.execute(_BY_NUMBER, (part,)))

    def _each(self, rows: sqlite3.Cursor) -> Iterator[tuple[int, Candidate]]:
        for row in rows:
            facts = _Row(*row)
            entry = self._entries.get(facts.empiar_id)
            if entry is None:
                entry = self._entries[facts.empiar_id] = self._entry(facts.empiar_id)
            yield facts.empiar_id, self._candidate(facts, entry)

    def _candidate(self, row: _Row, entry: _Entry) -> Candidate:
        remote = RemotePath(row.empiar_id, row.directory, row.name)
        state = STATES[row.state]
        as_recorded, frees = True, 0
        if state is CopyState.ARRIVED and not self._enough():
            as_recorded, frees = self._on_disk(remote, row.size, entry)
        changed_at = entry.changed_at.get(row.file_id)
        return Candidate(
            file_id=row.file_id,
            path=remote.path,
            state=state,
            size=row.size,
            sha256=row.sha256,
            arrived_at=row.arrived_at,
            verified_at=row.verified_at,
            listed_at=entry.listed_at,
            pinned=self._pinned.keeps(row.empiar_id, row.file_id),
            subscribed=entry.subscribed is None or row.file_id in entry.subscribed,
            withdrawn=entry.withdrawn or row.gone_at is not None,
            unlisted=entry.unlisted or row.missing_at is not None,
            changed=bool(row.other_size) or (changed_at is not None and changed_at > (row.arrived_at or 0)),
            problems=tuple(json.loads(row.problems)) if row.problems else (),
            in_use=entry.in_use is None or row.file_id in entry.in_use,
            as_recorded=as_recorded,
            frees=frees,
        )

    def _on_disk(self, remote: RemotePath, size: int, entry: _Entry) -> tuple[bool, int]:
        """Whether the file is as recorded, and what its removal frees."""
        seen = self._tree.look(remote)
        if seen is None or not seen.regular or seen.size != size:
            return False, 0
        elsewhere = seen.links - 1 - entry.layouts[seen.inode]
        return True, size if elsewhere <= 0 else 0

    def _entry(self, empiar_id: int) -> _Entry:
        conn = self._conn
        listed_at, withdrawn, unlisted = conn.execute(
            "SELECT (SELECT l.completed_at FROM listing l WHERE l.listing_id = e.current_listing),"
            " e.withdrawn_at IS NOT NULL OR ifnull(e.status, '') = 'OBS' OR e.obsolete_date IS NOT NULL,"
            " e.unlisted_since IS NOT NULL OR e.absent_since IS NOT NULL FROM entry e WHERE e.empiar_id = ?",
            (empiar_id,),
        ).fetchone()
        changes = conn.execute(
            "SELECT file_id, max(changed_at) FROM change WHERE empiar_id = ? AND kind = 'changed' AND file_id IS NOT NULL"
            " AND field IN ('bytes', 'modified_at') GROUP BY file_id",
            (empiar_id,),
        )
        layouts: Counter[tuple[int, int]] = Counter()
        for view in self._standing.get(empiar_id, ()):
            layouts.update(shown_inodes(self._root, empiar_id, view=view))
        return _Entry(
            listed_at,
            bool(withdrawn),
            bool(unlisted),
            dict(changes.fetchall()),
            _in_use(conn, empiar_id),
            _subscribed(conn, empiar_id, self._settings),
            layouts,
        )


def _in_use(conn: sqlite3.Connection, empiar_id: int) -> frozenset[int] | None:
    """Files that jobs which are still to be done, or are being done, work on; None means any."""
    rows = conn.execute(
        "SELECT j.file_id, i.file_id FROM job j LEFT JOIN job_input i ON i.job_id = j.job_id"  # noqa: S608 - our own numbers
        f" WHERE j.empiar_id = ? AND j.state <> 2 AND j.state IN ({_OPEN_JOBS})",
        (empiar_id,),
    ).fetchall()
    if any(about is None and read is None for about, read in rows):
        return None
    return frozenset(number for row in rows for number in row if number is not None)


def _subscribed(conn: sqlite3.Connection, empiar_id: int, settings: Settings) -> frozenset[int] | None:
    """Files that subscriptions want, held ones among them (whose queries cannot be asked now); None means all."""
    rows = conn.execute(
        "SELECT s.view, m.file_id FROM subscription s JOIN subscription_match m ON m.number = s.number"
        " WHERE s.paused = 0 AND m.empiar_id = ? AND m.gone_at IS NULL AND m.wanted_at IS NOT NULL",
        (empiar_id,),
    ).fetchall()
    wanted: set[int] = set()
    for view, file_id in rows:
        if file_id:
            wanted.add(file_id)
        elif view is None or not settings.has_view(view):
            return None
        else:
            needed = selection_of(conn, empiar_id, settings.recipe(view)).needed
            wanted.update(file.file_id for file in needed)
    return frozenset(wanted)
