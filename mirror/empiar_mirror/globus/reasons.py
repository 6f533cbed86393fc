"""Why files are not here that Globus has, has brought, or gave back: for `why`, one sentence each."""

from __future__ import annotations

import sqlite3
from typing import Final

from empiar_mirror.globus import outlook
from empiar_mirror.globus.task_status import GlobusTask, shares_of, task_of
from empiar_schema.globus_states import BundleState, ItemState
from empiar_schema.settings import Settings
from empiar_schema.sizes import format_bytes
from empiar_schema.states import MEANING, Channel, CopyState

#: So many tasks of an entry are named one by one.
_NAMED: Final = 5


def of_file(
    connection: sqlite3.Connection,
    copy: sqlite3.Row,
    settings: Settings,
    *,
    worker: str | None,
    now: float,
) -> str | None:
    """The sentence on a file that Globus has, or has brought (`copy`: its row of `copies`); None where it has not."""
    row = connection.execute("SELECT * FROM globus_files WHERE file_id = ?", (copy["file_id"],)).fetchone()
    if row is None or row["state"] == ItemState.FREED:
        return None
    task = task_of(connection, row["bundle_id"], web_url=settings.globus.web_url)
    if copy["state"] == CopyState.UNVERIFIED:
        by = f"; the Globus task {_named(task)} brought it" + (
            f" at {row['delivered_at']}" if row["delivered_at"] else ""
        )
        return f"it is unverified: {MEANING[CopyState.UNVERIFIED]}{by}"
    go_on = "" if worker else f"; no process works now: `empiar-mirror sync {copy['empiar_id']}` goes on"
    if row["state"] == ItemState.DELIVERED:
        now_or_later = (
            "is being verified now" if copy["state"] == CopyState.CLAIMED else "waits to be verified"
        )
        brought = f"Globus brought it at {row['delivered_at']}, and it {now_or_later}"
        return f"it is {copy['state']}: {brought}{go_on}"
    return f"it is {copy['state']}: {_with(task)} the Globus task {_named(task)}, {task.standing(now)}{go_on}"


def given_back(connection: sqlite3.Connection, file_id: int) -> tuple[str, bool] | None:
    """Why Globus gave the file back last, and whether it may be given to it again; None where it never did."""
    row = connection.execute(
        "SELECT error, tries FROM globus_files WHERE file_id = ? AND state = ?", (file_id, ItemState.FREED)
    ).fetchone()
    return None if row is None else (row["error"] or "it did not say why", row["tries"] is not None)


def of_entry(
    connection: sqlite3.Connection,
    empiar_id: int,
    settings: Settings,
    *,
    worker: str | None,
    now: float,
) -> list[tuple[str, str]]:
    """State (``globus`` or ``route``) and sentence: what of the entry is with which task, and by which channel the rest goes."""
    shares = shares_of(connection, [empiar_id])
    found = []
    for bundle_id, (files, size) in list(shares.items())[:_NAMED]:
        task = task_of(connection, bundle_id, web_url=settings.globus.web_url)
        counted = (
            f"{files:,} file ({format_bytes(size)}) is"
            if files == 1
            else f"{files:,} files ({format_bytes(size)}) are"
        )
        told = f"{counted} {_with(task)} the Globus task {_named(task)}"
        found.append(("globus", f"{told}, {task.standing(now)}"))
    if len(shares) > _NAMED:
        rest = len(shares) - _NAMED
        found.append(
            ("globus", f"{rest:,} more Globus tasks have files of it: `empiar-mirror status {empiar_id}`")
        )
    route = _route(connection, empiar_id, settings, running=worker is not None, now=now)
    return [*found, ("route", route)] if route else found


def _route(
    connection: sqlite3.Connection, empiar_id: int, settings: Settings, *, running: bool, now: float
) -> str | None:
    """By which channel what waits goes; None where nothing does, or no entry goes by Globus here."""
    channels = settings.transfer.channels
    if Channel.GLOBUS not in channels:
        return None
    streams = [channel for channel in channels if channel is not Channel.GLOBUS]
    # The next sync offers everything anew; the one that runs does not.
    returned = outlook.given_back(connection, empiar_id) if running and streams else None
    sentences = []
    rest = outlook.route_of_rest(connection, settings, empiar_id, without=returned, now=now)
    if rest is not None:
        need, way = rest
        left = f"{need.files:,} {'file' if need.files == 1 else 'files'}, {format_bytes(need.bytes)}"
        sentences.append(f"what waits ({left}) goes by {way.channel}: {way.reason}")
    if returned is not None and returned.files:
        counted = f"{returned.files:,} {'file' if returned.files == 1 else 'files'}"
        go = "goes" if returned.files == 1 else "go"
        size = format_bytes(returned.bytes)
        sentences.append(f"{counted} ({size}) that Globus gave back {go} by {streams[0]}")
    return "; ".join(sentences) or None


def _with(task: GlobusTask) -> str:
    return "planned for" if task.state == BundleState.PLANNED else "with"


def _named(task: GlobusTask) -> str:
    """Its label, and where to look at it."""
    return f"'{task.label}'" + (f" <{task.link}>" if task.link else "")
