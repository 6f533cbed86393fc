"""Why an entry or a file is not here yet, in one sentence each."""

from __future__ import annotations

import difflib
import os
import sqlite3
from dataclasses import dataclass
from typing import Final

from empiar_mirror.eviction.reasons import came_back, why_evicted
from empiar_mirror.globus import reasons as by_globus
from empiar_mirror.job_status import makers_of, why_derived, why_made
from empiar_mirror.pacing import pause_of
from empiar_mirror.subscriptions.reasons import why_it_waits, why_subscribed
from empiar_schema.codes import STATE_CODES, words_of
from empiar_schema.globus_states import ITEM_CODES, ItemState
from empiar_schema.paths import accession, text_from_bytes
from empiar_schema.settings import Settings
from empiar_schema.sizes import format_bytes
from empiar_schema.states import CLAIMABLE, FAILED, HERE, MEANING, CopyState
from empiar_schema.times import iso

#: Names of one entry that are looked through for the one that was meant.
_NAMES_COMPARED: Final = 20_000
#: Different errors named for one state of an entry.
_ERRORS_NAMED: Final = 3
_STATE: Final = words_of("c.state", STATE_CODES)
#: Where a copy that is not here is by the ledger of Globus; null where that has nothing to do with it.
_ITEM: Final = (
    f"CASE WHEN c.state <= 2 THEN (SELECT {words_of('g.state', ITEM_CODES)} FROM globus_item g"  # noqa: S608 - our own numbers
    f" WHERE g.file_id = f.file_id AND g.state <> {ITEM_CODES[ItemState.FREED]}) END"
)
#: What those files do, instead of what the state says of all others.
_ITEM_MEANING: Final = {
    ItemState.UNDER_WAY: "with Globus, or planned for it",
    ItemState.DELIVERED: "brought by Globus, and waiting to be verified",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence about one entry, folder or file."""

    empiar_id: int
    path: str | None
    #: A state of a copy or of a job, or ``unknown``, ``unlisted``, ``unwanted``, ``gone``, ``obsolete``, ``complete``, ``progress``,
    #: ``rest`` (the limits let nothing come now), ``globus`` (what is with a task), ``route`` (by which channel the rest goes), ``subscription`` (which one selects it).
    state: str
    sentence: str
    error: str | None = None
    next_try: str | None = None


def why_entry(
    connection: sqlite3.Connection,
    empiar_id: int,
    *,
    worker: str | None,
    settings: Settings,
    now: float,
) -> list[Reason]:
    """The entry as a whole, one sentence for each state that keeps files away, and one for each subscription that selects it."""
    reasons = _why_entry(connection, empiar_id, worker=worker, settings=settings, now=now)
    told = [
        *why_subscribed(connection, empiar_id),
        *why_it_waits(connection, empiar_id, settings.order, now=now),
    ]
    if any(reason.state == "progress" for reason in reasons) and (rest := pause_of(settings, now)):
        sentence = f"over HTTPS and FTP nothing comes now: {rest.sentence(now)}"
        reasons.append(Reason(empiar_id, None, "rest", sentence))
    return [*reasons, *(Reason(empiar_id, None, "subscription", sentence) for sentence in told)]


def _why_entry(
    connection: sqlite3.Connection,
    empiar_id: int,
    *,
    worker: str | None,
    settings: Settings,
    now: float,
) -> list[Reason]:
    name = accession(empiar_id)
    entry = connection.execute("SELECT * FROM entries WHERE empiar_id = ?", (empiar_id,)).fetchone()
    if entry is None:
        sentence = (
            f"{name} is not in the catalogue: `empiar-mirror crawl {empiar_id}` asks the archive for it"
        )
        return [Reason(empiar_id, None, "unknown", sentence)]
    reasons: list[Reason] = []
    if entry["withdrawn_at"]:
        sentence = f"EMPIAR has served no entry {name} since {entry['withdrawn_at']}; what is here stays"
        reasons.append(Reason(empiar_id, None, "withdrawn", sentence))
    if entry["obsolete_date"] or entry["status"] == "OBS":
        since = f" since {entry['obsolete_date']}" if entry["obsolete_date"] else ""
        reasons.append(
            Reason(empiar_id, None, "obsolete", f"{name} is obsolete{since}: EMPIAR may serve no files of it")
        )
    if entry["listed_at"] is None and reasons:
        return reasons
    if entry["listed_at"] is None:
        sentence = (
            f"the files of {name} have not been listed yet: `empiar-mirror crawl {empiar_id}` does that"
        )
        return [*reasons, Reason(empiar_id, None, "unlisted", sentence)]
    progress = connection.execute("SELECT * FROM entry_progress WHERE empiar_id = ?", (empiar_id,)).fetchone()
    if progress is None or not progress["wanted_files"]:
        size = f"{entry['file_count']:,} files, {format_bytes(entry['file_bytes'] or 0)}"
        sentence = (
            f"{name} is listed ({size}), but nobody asked for it: `empiar-mirror sync {empiar_id}` does"
        )
        return [*reasons, Reason(empiar_id, None, "unwanted", sentence)]
    if progress["here_files"] == progress["wanted_files"]:
        size = format_bytes(progress["here_bytes"])
        sentence = f"{name} is here: all {progress['here_files']:,} files, {size}"
        if (others := (entry["file_count"] or 0) - progress["here_files"]) > 0:
            sentence = (
                f"what was asked for of {name} is here: {progress['here_files']:,} files, {size}; {others:,} others are"
                f" listed, but nobody asked for them: `empiar-mirror sync {empiar_id}` fetches the entry"
            )
        complete = Reason(empiar_id, None, "complete", sentence)
        return [*reasons, complete, *_making(connection, empiar_id)]
    sentence = (
        f"{name}: {progress['here_files']:,} of {progress['wanted_files']:,} files are here, "
        f"{format_bytes(progress['here_bytes'])} of {format_bytes(progress['wanted_bytes'])}"
    )
    reasons.append(Reason(empiar_id, None, "progress", sentence))
    told = by_globus.of_entry(connection, empiar_id, settings, worker=worker, now=now)
    return [
        *reasons,
        *_states_of(connection, empiar_id, "", worker),
        *(Reason(empiar_id, None, state, sentence) for state, sentence in told),
        *_making(connection, empiar_id),
    ]


def why_path(
    connection: sqlite3.Connection,
    empiar_id: int,
    path: str,
    *,
    worker: str | None,
    settings: Settings,
    now: float,
) -> list[Reason]:
    """The file, or the folder, at `path` of the entry; or the names that may have been meant."""
    texts = list(dict.fromkeys([path.strip("/"), text_from_bytes(os.fsencode(path)).strip("/")]))
    for text in texts:
        found = _file_row(connection, empiar_id, text)
        if found is not None:
            jobs = why_made(connection, empiar_id, found["file_id"])
            return [
                _why_file(connection, found, worker, settings, now),
                *(Reason(empiar_id, found["path"], state, sentence) for state, sentence in jobs),
            ]
        derived = why_derived(
            connection, empiar_id, text.removeprefix("derived/").removeprefix(f"{empiar_id}/")
        )
        if derived is not None:
            return [Reason(empiar_id, text, *derived)]
    entry = why_entry(connection, empiar_id, worker=worker, settings=settings, now=now)
    if entry[0].state in ("unknown", "unlisted"):
        return entry
    for text in texts:
        states = _states_of(connection, empiar_id, text, worker)
        if states:
            return states
    meant = _near_misses(connection, empiar_id, texts[-1])
    sentence = f"{accession(empiar_id)} has no file {texts[-1]}" + (
        f"; did you mean {' or '.join(meant)}?" if meant else ""
    )
    return [Reason(empiar_id, texts[-1], "unknown", sentence)]


def _making(connection: sqlite3.Connection, empiar_id: int) -> list[Reason]:
    """One sentence for each maker that has not made all that it is to make of the entry."""
    reasons = [Reason(empiar_id, None, *job) for job in why_made(connection, empiar_id, None)]
    for maker in makers_of(connection, [empiar_id]):
        left = maker.waiting + maker.running + maker.failed + maker.parked
        if left:
            several = f"{left:,} of {left + maker.made:,} files"
            sentence = f"{maker.maker} has not made what it makes of {several}"
            failed = maker.failed + maker.parked
            sentence += (
                f", {failed:,} of them failed: `empiar-mirror status {empiar_id}` names them"
                if failed
                else ""
            )
            reasons.append(Reason(empiar_id, None, "progress", sentence))
    return reasons


def _file_row(connection: sqlite3.Connection, empiar_id: int, path: str) -> sqlite3.Row | None:
    directory, _, name = path.rpartition("/")
    row: sqlite3.Row | None = connection.execute(
        "SELECT file_id, empiar_id, path, bytes, gone_at FROM files WHERE empiar_id = ? AND directory = ? AND name = ?",
        (empiar_id, directory, name),
    ).fetchone()
    return row


def _why_file(
    connection: sqlite3.Connection, file: sqlite3.Row, worker: str | None, settings: Settings, now: float
) -> Reason:
    empiar_id, path = file["empiar_id"], file["path"]
    copy = connection.execute("SELECT * FROM copies WHERE file_id = ?", (file["file_id"],)).fetchone()
    if copy is None:
        if file["gone_at"]:
            sentence = f"EMPIAR has not listed it since {file['gone_at']}, and it was not fetched before"
            return Reason(empiar_id, path, "gone", sentence)
        sentence = (
            f"it is listed, but nobody asked for it: `empiar-mirror sync {empiar_id}` fetches the entry"
        )
        return Reason(empiar_id, path, "unwanted", sentence)
    state = CopyState(copy["state"])
    with_globus = by_globus.of_file(connection, copy, settings, worker=worker, now=now)
    if with_globus is not None:
        return Reason(empiar_id, path, state, with_globus, copy["error"])
    if state is CopyState.EVICTED:
        return Reason(
            empiar_id, path, state, why_evicted(connection, file["file_id"], gone_at=file["gone_at"])
        )
    meaning = MEANING[state] if state in HERE else f"{state}: {MEANING[state]}"
    returned = None if state in HERE else by_globus.given_back(connection, file["file_id"])
    sentence = (
        f"it is {meaning}{_detail(copy, state, worker, returned)}{came_back(connection, file['file_id'])}"
    )
    if state in CLAIMABLE | {CopyState.CLAIMED} and (rest := pause_of(settings, now)):
        sentence += f"; over HTTPS and FTP nothing comes now: {rest.sentence(now)}"
    waits = state in (CopyState.WANTED, CopyState.PARTIAL)
    return Reason(empiar_id, path, state, sentence, copy["error"], copy["not_before"] if waits else None)


def _detail(row: sqlite3.Row, state: CopyState, worker: str | None, returned: tuple[str, bool] | None) -> str:
    """What the state's own sentence leaves open; `returned` says why Globus gave the file back, and whether it may get it again."""
    error = f"; the last error was: {row['error']}" if row["error"] else ""
    if returned is not None:
        reason, once_more = returned
        error = error if row["error"] != reason else ""
        error += f"; Globus gave it back: {reason}" + (
            "" if once_more else ", and gets it no more before the next sync"
        )
    if state in (CopyState.ARRIVED, CopyState.WITHDRAWN):
        return f", since {row['arrived_at']}, at {row['local_path']}"
    if state is CopyState.CLAIMED:
        return (
            f", by {worker}"
            if worker
            else "; the process that did has ended, the next sync takes it up again"
        )
    if state in (CopyState.PARKED, CopyState.QUARANTINED, CopyState.DAMAGED):
        return f"{error}; `empiar-mirror repair {row['empiar_id']}` tries again"
    part = (
        f" ({format_bytes(row['bytes_here'] or 0)} of {format_bytes(row['bytes'] or 0)})"
        if row["bytes_here"]
        else ""
    )
    again = (
        f"; after {row['attempts']} attempts it is tried again from {row['not_before']} on"
        if row["not_before"]
        else ""
    )
    resting = "" if worker else f"; no process works now: `empiar-mirror sync {row['empiar_id']}` goes on"
    return f"{part}{error}{again}{resting}"


def _states_of(
    connection: sqlite3.Connection, empiar_id: int, directory: str, worker: str | None
) -> list[Reason]:
    """One sentence for each state of the files in `directory` and below (all of the entry for the empty one)."""
    # A range instead of LIKE: names hold % and _, and "0" follows "/".
    below = "(f.directory = :d OR f.directory >= :d || '/' AND f.directory < :d || '0')" if directory else "1"
    sql = (
        f"SELECT ifnull({_STATE}, iif(f.gone_at IS NULL, 'unwanted', 'gone')) AS state, {_ITEM} AS item, count(*) AS files,"  # noqa: S608
        " ifnull(sum(f.bytes), 0) AS bytes, min(nullif(c.not_before, 0)) AS next_try"
        f" FROM files f LEFT JOIN copy c ON c.file_id = f.file_id WHERE f.empiar_id = :e AND {below}"
        " GROUP BY 1, 2 ORDER BY 3 DESC"
    )
    rows = connection.execute(sql, {"e": empiar_id, "d": directory}).fetchall()
    return [_why_state(connection, empiar_id, directory, below, row, worker) for row in rows]


def _why_state(
    connection: sqlite3.Connection,
    empiar_id: int,
    directory: str,
    below: str,
    row: sqlite3.Row,
    worker: str | None,
) -> Reason:
    state = row["state"]
    extra = {
        "unwanted": f"listed, but nobody asked for them: `empiar-mirror sync {empiar_id}` does",
        "gone": "no longer listed by EMPIAR",
    }
    are = "file" if row["files"] == 1 else "files"
    is_state = f"{'is' if row['files'] == 1 else 'are'} {state}"
    meaning = _ITEM_MEANING[row["item"]] if row["item"] else extra.get(state) or MEANING[state]
    sentence = f"{row['files']:,} {are} ({format_bytes(row['bytes'])}) {is_state}: {meaning}"
    errors = _errors_of(connection, empiar_id, directory, below, row)
    sentence += f"; last errors: {errors}" if errors else ""
    if state in FAILED:
        sentence += f"; `empiar-mirror repair {empiar_id}` tries again"
    elif state in CLAIMABLE and worker is None:
        sentence += f"; no process works now: `empiar-mirror sync {empiar_id}` goes on"
    return Reason(empiar_id, directory or None, state, sentence, errors or None, iso(row["next_try"]))


def _errors_of(
    connection: sqlite3.Connection, empiar_id: int, directory: str, below: str, group: sqlite3.Row
) -> str:
    sql = (
        "SELECT c.error, count(*) FROM files f JOIN copy c ON c.file_id = f.file_id"  # noqa: S608
        f" WHERE f.empiar_id = :e AND {below} AND {_STATE} = :s AND {_ITEM} IS :i AND c.error IS NOT NULL"
        " GROUP BY 1 ORDER BY 2 DESC LIMIT :n"
    )
    named = {"e": empiar_id, "s": group["state"], "i": group["item"], "d": directory, "n": _ERRORS_NAMED}
    rows = connection.execute(sql, named)
    return "; ".join(f"{error} ({count:,} times)" if count > 1 else error for error, count in rows)


def _near_misses(connection: sqlite3.Connection, empiar_id: int, path: str) -> list[str]:
    """The same name in another folder, else a similar name in the same folder, else a similar path."""
    directory, _, name = path.rpartition("/")
    same = connection.execute(
        "SELECT path FROM files WHERE empiar_id = ? AND name = ? COLLATE NOCASE LIMIT 2", (empiar_id, name)
    ).fetchall()
    if same:
        return [row[0] for row in same]
    here = connection.execute(
        "SELECT name FROM files WHERE empiar_id = ? AND directory = ? LIMIT ?",
        (empiar_id, directory, _NAMES_COMPARED),
    )
    similar = difflib.get_close_matches(name, [row[0] for row in here], n=2, cutoff=0.8)
    if similar:
        return [f"{directory}/{match}" if directory else match for match in similar]
    anywhere = connection.execute(
        "SELECT path FROM files WHERE empiar_id = ? LIMIT ?", (empiar_id, _NAMES_COMPARED)
    )
    return difflib.get_close_matches(path, [row[0] for row in anywhere], n=2, cutoff=0.6)
