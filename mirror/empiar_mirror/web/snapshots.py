"""Snapshots of the catalogue, for readers that must neither wait for the writer nor be waited for.

A snapshot is a copy below ``root/snapshot``, made beside whoever writes, and then replaced by the next. Who reads has a lease on one
snapshot: it reads one state of the catalogue to the end, and the file is removed when the last lease on it has ended.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Generic, Self, TypeVar
from urllib.parse import quote

from empiar_mirror.query import fence
from empiar_mirror.reading import CATALOGUE_NAME, reading, require_catalogue
from empiar_mirror.web.sums import add_up
from empiar_schema.catalogue import translated
from empiar_schema.disk import storage_fault
from empiar_schema.faults import CatalogueFault, StorageFault
from empiar_schema.sizes import format_bytes

T = TypeVar("T")
FOLDER: Final = "snapshot"
#: Pages copied before a look at whether all this is to stop.
_PAGES: Final = 4096
#: A file system is not filled beyond this by a snapshot, whatever the configuration allows to data.
_SPARE: Final = 1.05
#: `instr` compares every place of one text with another without a look at the clock: at this size that is a second.
LARGEST_VALUE: Final = 2**20
#: `like` with a long pattern is slow in the same way.
_LONGEST_PATTERN: Final = 300
#: Connections kept open for the next reader.
_KEPT: Final = 6
_CACHE_KIB: Final = 8_000
#: While sums are made, the files of a large folder are met in the order of an index, not as they lie.
_SUMMING_KIB: Final = 32_000


class Stopped(Exception):
    """A snapshot was not finished because all of this is to stop."""


@dataclass(eq=False)
class Snapshot(Generic[T]):
    """One state of the catalogue, and what was made of it once for all pages."""

    path: Path
    #: Epoch seconds.
    made_at: float
    #: How long it took, seconds.
    took_s: float
    summary: T
    leases: int = 0
    idle: list[sqlite3.Connection] = field(default_factory=list)
    retired: bool = False


class Snapshots(Generic[T]):
    """The snapshots of one mirror, of which one is current. A context manager; one process at a time.

    Raises:
        CatalogueFault: another process serves this mirror, or there is no catalogue.
        StorageFault: the disk refuses.
    """

    def __init__(
        self,
        root: Path,
        summarise: Callable[[sqlite3.Connection], T],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._folder = root / FOLDER
        self._summarise = summarise
        self._now = now
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._current: Snapshot[T] | None = None
        self._signature: object = None
        self._stopping = False
        self._guard = -1
        #: Why the current snapshot is not newer, in a sentence; None where all is well.
        self.trouble: str | None = None

    def __enter__(self) -> Self:
        require_catalogue(self._root)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._guard = os.open(
                self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        except OSError as error:
            raise storage_fault(error, f"cannot write {self._folder}") from error
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._guard)
            raise CatalogueFault(
                f"another `empiar-mirror serve` uses {self._folder}", hint="use that one, or stop it"
            ) from error
        self._clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._stopping = True
            if self._current is not None:
                self._retire(self._current)
        self._clear()
        os.close(self._guard)

    def stop(self) -> None:
        """A snapshot that is being made is given up soon, and so is what readers are asking."""
        self._stopping = True

    @property
    def current(self) -> Snapshot[T]:
        """The newest snapshot; there is one after the first `renew`."""
        snapshot = self._current
        assert snapshot is not None, "no snapshot was made yet"
        return snapshot

    def renew(self) -> bool:
        """The current snapshot is of now, if the catalogue has changed since the last; returns whether it had.

        Raises:
            CatalogueFault, StorageFault: it cannot be made; the one before stays current.
            Stopped: `stop` was called.
        """
        signature = self._look()
        if signature == self._signature and self._current is not None:
            return False
        began, made_at = time.monotonic(), self._now()
        number = next(self._numbers)
        partial = self._folder / f"catalogue-{number}.part"
        path = self._folder / f"catalogue-{number}.db"
        try:
            with translated(self._root / CATALOGUE_NAME):
                self._copy(partial)
                with closing(_writing(partial)) as connection:
                    add_up(connection, None if self._current is None else self._current.path, now=made_at)
                    summary = self._summarise(connection)
            partial.rename(path)
        except OSError as error:
            raise storage_fault(error, f"cannot write {path}") from error
        finally:
            for left in (partial, Path(f"{partial}-journal")):
                with suppress(OSError):
                    left.unlink(missing_ok=True)
        new = Snapshot(path, made_at, time.monotonic() - began, summary)
        with self._lock:
            old, self._current, self._signature = self._current, new, signature
            if old is not None:
                self._retire(old)
        return True

    @contextmanager
    def lease(self, *, seconds: float) -> Iterator[tuple[Snapshot[T], sqlite3.Connection]]:
        """The current snapshot and a fenced connection to it, whose statements are interrupted after `seconds`, and when all is to stop."""
        with self._lock:
            snapshot = self.current
            snapshot.leases += 1
            connection = snapshot.idle.pop() if snapshot.idle else None
        try:
            if connection is None:
                connection = _reading(snapshot.path)
            ends = time.monotonic() + seconds
            connection.set_progress_handler(lambda: int(self._stopping or time.monotonic() > ends), 5_000)
            yield snapshot, connection
        finally:
            if connection is not None:
                connection.set_progress_handler(None, 0)
            with self._lock:
                snapshot.leases -= 1
                if connection is not None and not snapshot.retired and len(snapshot.idle) < _KEPT:
                    snapshot.idle.append(connection)
                    connection = None
                self._remove_unused(snapshot)
            if connection is not None:
                connection.close()

    def _look(self) -> tuple[tuple[int, ...], ...]:
        """What differs after each write to the catalogue."""
        path = self._root / CATALOGUE_NAME
        seen = []
        for name in (path, Path(f"{path}-wal")):
            try:
                facts = name.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise storage_fault(error, f"cannot look at {name}") from error
            # Who only reads makes an empty log, too.
            if facts.st_size:
                seen.append((facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns))
        return tuple(seen)

    def _copy(self, target: Path) -> None:
        with reading(self._root) as source, closing(sqlite3.connect(target, isolation_level=None)) as copy:
            # One transaction over all steps: what others write meanwhile would make the copying begin again.
            source.execute("BEGIN")
            pages, size = source.execute(
                "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size"
            ).fetchone()
            free = shutil.disk_usage(self._folder).free
            if free < (needed := int(pages * size * _SPARE)):
                raise StorageFault(
                    f"no room for a snapshot of the catalogue: {format_bytes(needed)} needed, {format_bytes(free)} free",
                    hint=f"free some space in {self._root}",
                    full=True,
                )

            def look(status: int, remaining: int, total: int) -> None:
                if self._stopping:
                    raise Stopped

            copy.execute("PRAGMA synchronous = OFF")
            source.backup(copy, pages=_PAGES, progress=look, sleep=0)
            # The copy bears the mark of a write-ahead log; without one it can be opened as a file that never changes.
            copy.execute("PRAGMA journal_mode = DELETE")

    def _retire(self, snapshot: Snapshot[T]) -> None:
        snapshot.retired = True
        for connection in snapshot.idle:
            connection.close()
        snapshot.idle.clear()
        self._remove_unused(snapshot)

    def _remove_unused(self, snapshot: Snapshot[T]) -> None:
        if snapshot.retired and not snapshot.leases:
            with suppress(OSError):
                snapshot.path.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Nothing is left of snapshots of this or an earlier process."""
        try:
            for path in self._folder.glob("catalogue-*"):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_fault(error, f"cannot clear {self._folder}") from error


def _writing(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    # It is nobody's record: a crash leaves a part file, which the next start removes.
    for pragma in (
        "synchronous = OFF",
        "journal_mode = OFF",
        "temp_store = FILE",
        f"cache_size = -{_SUMMING_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.row_factory = sqlite3.Row
    return connection


def _reading(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?immutable=1",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA query_only = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _LONGEST_PATTERN)
    fence(connection, largest_value=LARGEST_VALUE)
    return connection
