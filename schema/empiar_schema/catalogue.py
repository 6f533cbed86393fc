"""The catalogue: one SQLite file, one writing thread, any number of read-only readers."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Generic, Self, TypeVar
from urllib.parse import quote

from empiar_schema.faults import CatalogueFault, EmpiarMirrorError, StorageFault
from empiar_schema.migrations import APPLICATION_ID, STEPS, applied_steps, migrate
from empiar_schema.paths import bytes_from_text
from empiar_schema.settings import ArchiveSettings
from empiar_schema.upgrade import back_up
from empiar_schema.views import refresh_views

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

#: How long a writer waits for another process, seconds. The merge of an entry of a million files takes three.
BUSY_S: Final = 30.0
#: A group of jobs is committed after this time even if more are waiting, so that the first is not kept long.
GROUP_S: Final = 0.05
#: The WAL is emptied when it has grown beyond this, bytes; a merge of a million files writes 110 MB of it.
WAL_LIMIT_BYTES: Final = 64 * 2**20
#: Page caches of the writer, KiB: they bound its memory whatever the size of a listing.
_CACHE_KIB: Final = 24_000
_TEMP_CACHE_KIB: Final = 12_000


@dataclass(frozen=True, slots=True)
class _Queued(Generic[T]):
    job: Job[T]
    future: Future[T]
    durable: bool


class Catalogue:
    """One open catalogue. Writing goes through a single thread, which commits jobs in groups.

    A job is a function of the writing connection. Each runs in a savepoint of its own: if it raises, only
    its own writes are undone and its future carries the exception. A future is resolved after the COMMIT of
    its group, so an awaited job is durable (WAL, ``synchronous=FULL``). Because an `await` may be cancelled
    while the job runs all the same, jobs are idempotent.

    A job that is not `durable` is committed without a flush (``synchronous=NORMAL``): it survives the death of
    this process, and a power cut only together with the next durable one. Commits never change their order.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection | None) -> None:
        self.path = path
        self._connection = connection
        self._queue: queue.SimpleQueue[_Queued[object] | None] = queue.SimpleQueue()
        #: Taken from the queue, but not fit for the group that was being written.
        self._next: _Queued[object] | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        create: bool = False,
        archive: ArchiveSettings | None = None,
        read_only: bool = False,
    ) -> Self:
        """The catalogue at `path`, migrated to this version's schema.

        `archive` gives the base addresses of ``https_url`` and its sisters in the views; without it those
        recorded before stay (EMPIAR's own in a new catalogue). `root` of ``local_path`` is the folder of
        `path`. A catalogue that is current already is opened without a write. With `read_only` nothing is
        migrated, and `submit` refuses.

        Raises:
            CatalogueFault: it is missing (and `create` is false), locked by another writer for long, damaged,
                of a newer version, or on a file system without shared memory for WAL.
            StorageFault: the disk refused.
        """
        path = path.absolute()
        if not path.exists() and not create:
            raise CatalogueFault(
                f"there is no catalogue at {path}",
                hint="run `empiar-mirror init` there, or point `root` at the mirror's folder",
            )
        with translated(path):
            if read_only:
                with closing(_read_connection(path)) as connection:
                    _check_current(connection)
                return cls(path, None)
            connection = _write_connection(path, create=create)
            try:
                _prepare(connection, path, archive)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def submit(self, job: Job[T], *, durable: bool = True) -> Future[T]:
        """Queues `job`; the future is resolved once its effects are durable (or, without `durable`, committed).

        Raises:
            CatalogueFault: the catalogue is closed or read-only.
        """
        queued: _Queued[T] = _Queued(job, Future(), durable)
        with self._lock:
            if self._closed or self._connection is None:
                raise CatalogueFault(
                    "the catalogue is closed" if self._closed else "the catalogue is opened read-only"
                )
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_groups, name="catalogue-writer", daemon=True
                )
                self._thread.start()
            self._queue.put(queued)  # type: ignore[arg-type]  # the queue holds jobs of any result
        return queued.future

    async def write(self, job: Job[T], *, durable: bool = True) -> T:
        """Runs `job` and returns its result once it is durable (or, without `durable`, committed)."""
        return await asyncio.wrap_future(self.submit(job, durable=durable))

    def write_now(self, job: Job[T]) -> T:
        """`write` for code without an event loop."""
        return self.submit(job).result()

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """A read-only connection (``mode=ro``, rows by name), closed at the end; keep it short: it holds the WAL.

        Errors in the caller's own SQL stay `sqlite3.Error`; the file's and the disk's become faults.
        """
        with translated(self.path), closing(_read_connection(self.path)) as connection:
            yield connection

    async def read(self, query: Job[T]) -> T:
        """Runs `query` with a read-only connection in a thread."""
        return await asyncio.to_thread(self._read, query)

    def _read(self, query: Job[T]) -> T:
        with self.reader() as connection:
            return query(connection)

    def close(self) -> None:
        """Queued jobs are done, the WAL is checkpointed, the file is closed. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        if self._connection is not None:
            # Empties the WAL if no reader is in the way; what stays in it is as durable as the file.
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the writing thread ---------------------------------------------------------------------------------

    def _write_groups(self) -> None:
        while (first := self._next or self._queue.get()) is not None:
            self._next = None
            more = self._write_group(first)
            self._limit_wal()
            if not more:
                return

    def _write_group(self, first: _Queued[object]) -> bool:
        """Jobs are committed and their futures resolved; returns False once the catalogue is to be closed."""
        assert self._connection is not None
        done: list[tuple[Future[object], object]] = []
        failed: list[tuple[Future[object], BaseException]] = []
        more, fault = True, None
        try:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if first.durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            queued: _Queued[object] | None = first
            ends = time.monotonic() + GROUP_S
            while queued is not None:
                self._run(queued, done, failed)
                queued = None
                if time.monotonic() < ends:
                    with suppress(queue.Empty):
                        queued = self._queue.get_nowait()
                        more = queued is not None
                if queued is not None and queued.durable and not first.durable:
                    self._next, queued = queued, None
            self._connection.execute("COMMIT")
        except BaseException as error:  # whatever it was, the futures must learn of it
            fault = fault_of(error, self.path)
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            if not done and not failed and first.future.set_running_or_notify_cancel():
                failed.append((first.future, fault))
        for future, result in done:
            future.set_exception(fault) if fault is not None else future.set_result(result)
        for future, reason in failed:
            future.set_exception(reason)
        return more

    def _run(
        self,
        queued: _Queued[object],
        done: list[tuple[Future[object], object]],
        failed: list[tuple[Future[object], BaseException]],
    ) -> None:
        connection = self._connection
        assert connection is not None
        if not queued.future.set_running_or_notify_cancel():
            return
        connection.execute("SAVEPOINT job")
        try:
            done.append((queued.future, queued.job(connection)))
        except BaseException as error:  # it belongs to whoever waits for the future
            failed.append((queued.future, fault_of(error, self.path)))
            # After SQLITE_FULL and the like SQLite has undone the whole group, not only this job.
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")

    def _limit_wal(self) -> None:
        assert self._connection is not None
        try:
            large = Path(f"{self.path}-wal").stat().st_size > WAL_LIMIT_BYTES
        except OSError:
            return
        if large:
            # A reader in the way must not hold up the writer: next time, then.
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA busy_timeout = 100")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")


# --- connections --------------------------------------------------------------------------------------------


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path).encode('utf-8', 'surrogateescape'))}?mode={mode}"


def _read_connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        _uri(path, "ro"), uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA query_only = ON")
    return connection


def _write_connection(path: Path, *, create: bool) -> sqlite3.Connection:
    if create:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageFault(f"{path.parent} cannot be made: {error.strerror}") from error
    connection = sqlite3.connect(
        _uri(path, "rwc" if create else "rw"),
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        # Made in the caller's thread, used in the writing thread alone once that runs.
        check_same_thread=False,
    )
    try:
        for pragma in (
            "synchronous = FULL",
            f"cache_size = -{_CACHE_KIB}",
            # Listings being read stand in temporary tables: on disk, because an entry can have a million files.
            "temp_store = FILE",
            f"temp.cache_size = -{_TEMP_CACHE_KIB}",
            f"journal_size_limit = {WAL_LIMIT_BYTES}",
            # Debian overwrites deleted rows with zeros by default; nothing here is secret.
            "secure_delete = OFF",
            "recursive_triggers = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.create_function("url_of_text", 1, _url_of_text, deterministic=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _url_of_text(text: str) -> str:
    """A stored text percent-encoded, byte for byte."""
    return quote(bytes_from_text(text), safe="/")


def _prepare(connection: sqlite3.Connection, path: Path, archive: ArchiveSettings | None) -> None:
    connection.execute("PRAGMA foreign_keys = OFF")
    applied, known = applied_steps(connection), [name for name, _ in STEPS]
    if applied != known:
        if applied and applied == known[: len(applied)]:
            back_up(connection, path, step=known[len(applied)])
        migrate(connection)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise CatalogueFault(
            f"{path} lies on a file system without shared memory for SQLite's WAL",
            hint="put `root`'s catalogue on a local disk; NFS, Lustre and GPFS cannot hold it",
        )
    refresh_views(connection)
    _record_addresses(connection, path.parent, archive)


def _check_current(connection: sqlite3.Connection) -> None:
    applied = applied_steps(connection)
    known = [name for name, _ in STEPS]
    if applied == known:
        return
    if set(applied) - set(known):
        migrate(connection)  # raises: a newer version wrote it
    raise CatalogueFault(
        "the catalogue was written by an older empiar-mirror",
        hint="run any writing command once, such as `empiar-mirror crawl`, to bring it up to date",
    )


def _record_addresses(connection: sqlite3.Connection, root: Path, archive: ArchiveSettings | None) -> None:
    """The one row from which the views make ``https_url``, ``local_path`` and their sisters is up to date."""
    found = connection.execute("SELECT https_url, ftp_url, globus_url, root FROM archive_address").fetchone()
    if archive is not None or found is None:
        a = archive or ArchiveSettings()
        globus = f"globus://{a.globus_collection}/{a.globus_path.strip('/')}".rstrip("/")
        urls = (a.https_url, a.ftp_url, globus)
    else:
        urls = tuple(found[:3])
    wanted = (*urls, str(root).encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    if found is None or tuple(found) != wanted:
        connection.execute("INSERT OR REPLACE INTO archive_address VALUES (1, ?, ?, ?, ?)", wanted)


# --- errors -------------------------------------------------------------------------------------------------


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of SQLite that come from the file or the disk leave as faults."""
    try:
        yield
    except sqlite3.Error as error:
        fault = fault_of(error, path)
        if fault is error:
            raise
        raise fault from error


def fault_of(error: BaseException, path: Path) -> BaseException:
    """The fault that an error of SQLite means; any other error, and an error in the SQL itself, unchanged."""
    if isinstance(error, EmpiarMirrorError) or not isinstance(error, sqlite3.Error):
        return error
    name: str = getattr(error, "sqlite_errorname", None) or ""
    fault = _fault_by_name(name, path, str(error))
    if fault is None:
        return error
    fault.__cause__ = error
    return fault


def _fault_by_name(name: str, path: Path, text: str) -> EmpiarMirrorError | None:
    # SHMSIZE: the index of the write-ahead log could not be made, which only a full disk prevents.
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")):
        return StorageFault(
            f"no space left to write the catalogue {path}",
            hint="free some space on that file system; nothing recorded before is lost",
            full=True,
        )
    if name.startswith("SQLITE_IOERR"):
        return StorageFault(
            f"the disk failed under the catalogue {path} ({name})",
            hint="look at the system's log for disk errors before going on",
        )
    reasons = {
        "SQLITE_BUSY": (
            "is being written by another process",
            "let the other empiar-mirror finish, or stop it",
        ),
        "SQLITE_LOCKED": ("is locked", "let the other empiar-mirror finish, or stop it"),
        "SQLITE_CORRUPT": ("is damaged", "restore it from a backup, or move it away and crawl again"),
        "SQLITE_NOTADB": ("is no SQLite database", "move the file away, then run `empiar-mirror init`"),
        "SQLITE_READONLY": ("may not be written", "check who owns it and its folder"),
        "SQLITE_PERM": ("may not be opened", "check who owns it and its folder"),
        "SQLITE_CANTOPEN": ("cannot be opened", "check that it exists and who owns it and its folder"),
        "SQLITE_PROTOCOL": ("cannot be locked", "put it on a local disk, not NFS, Lustre or GPFS"),
    }
    for start, (what, hint) in reasons.items():
        if name.startswith(start):
            return CatalogueFault(f"the catalogue {path} {what} ({text})", hint=hint)
    return None


def is_catalogue(path: Path) -> bool:
    """Whether the file at `path` bears the mark of a catalogue."""
    try:
        with path.open("rb") as file:
            head = file.read(72)
    except OSError:
        return False
    return head.startswith(b"SQLite format 3\0") and head[68:72] == APPLICATION_ID.to_bytes(4, "big")
