"""Subscriptions: what they select by SQL, what that was, and why one is held. Writing functions run inside a writer job."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

from empiar_schema import queue_store
from empiar_schema.faults import ConfigFault
from empiar_schema.states import Channel
from empiar_schema.subscriptions import Definition, Interest, MatchRow, Recorded, Selects, Subscription

_COLUMNS: Final = (
    "name, sql, view, priority, budget_bytes, channel, new_only, quota_bytes, share, deadline_s, number, created_at, declared, paused, selects,"
    " match_count, entry_count, file_count, evaluated_at, new_since, held_at, held_reason"
)


def subscriptions(conn: sqlite3.Connection) -> list[Subscription]:
    """All of them, those with the highest priority first."""
    rows = conn.execute(f"SELECT {_COLUMNS} FROM subscription ORDER BY priority DESC, name")  # noqa: S608
    return [_of(tuple(row)) for row in rows]


def subscription_named(conn: sqlite3.Connection, name: str) -> Subscription:
    """The subscription of this name.

    Raises:
        ConfigFault: there is none.
    """
    row = conn.execute(f"SELECT {_COLUMNS} FROM subscription WHERE name = ?", (name,)).fetchone()  # noqa: S608
    if row is None:
        names = ", ".join(one.name for one in subscriptions(conn))
        raise ConfigFault(
            f"there is no subscription {name}",
            hint=f"there are {names}" if names else "`empiar-mirror subscribe` makes one",
        )
    return _of(tuple(row))


def _of(row: tuple[Any, ...]) -> Subscription:
    name, sql, view, priority, budget, channel, new_only, quota, share, deadline, *others = row
    number, created_at, declared, paused, *rest = others
    named = Channel(channel) if channel is not None else None
    definition = Definition(name, sql, view, priority, budget, named, bool(new_only), quota, share, deadline)
    return Subscription(definition, number, created_at, bool(declared), bool(paused), *rest)


# --- making and changing ------------------------------------------------------------------------------------


def add_subscription(conn: sqlite3.Connection, wanted: Definition, *, now: int) -> None:
    """The subscription is in force.

    Raises:
        ConfigFault: there is one of this name.
    """
    if conn.execute("SELECT 1 FROM subscription WHERE name = ?", (wanted.name,)).fetchone():
        raise ConfigFault(
            f"there is a subscription {wanted.name} already",
            hint=f"choose another name, or end it first: `empiar-mirror subscriptions remove {wanted.name}`",
        )
    _insert(conn, wanted, declared=False, now=now)


def declare_subscriptions(
    conn: sqlite3.Connection, declared: Sequence[Definition], *, now: int
) -> tuple[str, ...]:
    """Those of the configuration file are in force as they stand there, and no others that stood there; returns the names of what changed.

    One that was made by a command under the same name becomes the file's. A hold stays until somebody resumes it.
    """
    changed: list[str] = []
    for wanted in declared:
        row = conn.execute(
            f"SELECT {_COLUMNS} FROM subscription WHERE name = ?",  # noqa: S608
            (wanted.name,),
        ).fetchone()
        if row is None:
            _insert(conn, wanted, declared=True, now=now)
        elif (before := _of(tuple(row))).definition != wanted or not before.declared or before.paused:
            renewed = wanted.new_only and not before.definition.new_only
            conn.execute(
                "UPDATE subscription SET sql = ?, view = ?, priority = ?, budget_bytes = ?, channel = ?, new_only = ?,"
                " quota_bytes = ?, share = ?, deadline_s = ?, declared = 1, paused = 0, new_since = CASE WHEN ? THEN NULL ELSE new_since END WHERE name = ?",
                (*_values(wanted), renewed, wanted.name),
            )
        else:
            continue
        changed.append(wanted.name)
    names = json.dumps([wanted.name for wanted in declared])
    left = conn.execute(
        "SELECT name FROM subscription WHERE declared = 1 AND name NOT IN (SELECT value FROM json_each(?))",
        (names,),
    ).fetchall()
    for (name,) in left:
        remove_subscription(conn, name)
        changed.append(name)
    return tuple(changed)


def _values(wanted: Definition) -> tuple[str | float | None, ...]:
    channel = wanted.channel.value if wanted.channel is not None else None
    return (
        wanted.sql, wanted.view, wanted.priority, wanted.budget_bytes, channel, int(wanted.new_only),
        wanted.quota_bytes, wanted.share, wanted.deadline_s,
    )  # fmt: skip


def _insert(conn: sqlite3.Connection, wanted: Definition, *, declared: bool, now: int) -> None:
    conn.execute(
        "INSERT INTO subscription (name, sql, view, priority, budget_bytes, channel, new_only, quota_bytes,"
        " share, deadline_s, declared, created_at, number)"
        " SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ifnull(max(number), 0) + 1 FROM subscription",
        (wanted.name, *_values(wanted), declared, now),
    )


def set_subscription(conn: sqlite3.Connection, name: str, wanted: Definition) -> None:
    """The subscription has the priority, budget, channel, quota, share and deadline of `wanted`; its query and view stay."""
    channel = wanted.channel.value if wanted.channel is not None else None
    conn.execute(
        "UPDATE subscription SET priority = ?, budget_bytes = ?, channel = ?, quota_bytes = ?, share = ?, deadline_s = ?"
        " WHERE name = ?",
        (
            wanted.priority, wanted.budget_bytes, channel, wanted.quota_bytes, wanted.share, wanted.deadline_s,
            name,
        ),
    )  # fmt: skip


def remove_subscription(conn: sqlite3.Connection, name: str) -> None:
    """The subscription and its list of matches are no more. What it made wanted stays wanted, what is here stays here."""
    for number, priority in conn.execute(
        "SELECT number, priority FROM subscription WHERE name = ?", (name,)
    ).fetchall():
        queue_store.leave(conn, number, priority=priority)
    conn.execute(
        "DELETE FROM subscription_match WHERE number = (SELECT number FROM subscription WHERE name = ?)",
        (name,),
    )
    conn.execute("DELETE FROM subscription WHERE name = ?", (name,))


def pause_subscription(conn: sqlite3.Connection, name: str) -> None:
    """The subscription is not evaluated until it is resumed, and files that only it wants wait."""
    conn.execute("UPDATE subscription SET paused = 1 WHERE name = ?", (name,))


def resume_subscription(conn: sqlite3.Connection, name: str) -> None:
    """The subscription is evaluated again. If it was held, its next result is believed, whatever its size."""
    conn.execute(
        "UPDATE subscription SET paused = 0, held_at = NULL, held_reason = NULL,"
        " match_count = CASE WHEN held_at IS NULL THEN match_count END WHERE name = ?",
        (name,),
    )


def hold_subscription(conn: sqlite3.Connection, number: int, reason: str, *, now: int) -> None:
    """The subscription rests, for this reason, until somebody resumes it; the first reason counts."""
    conn.execute(
        "UPDATE subscription SET held_at = ?, held_reason = ? WHERE number = ? AND held_at IS NULL",
        (now, reason, number),
    )


# --- evaluating ---------------------------------------------------------------------------------------------


def matches_on_record(conn: sqlite3.Connection, number: int) -> Iterator[Recorded]:
    """Every match that the subscription ever had."""
    rows = conn.execute(
        "SELECT empiar_id, file_id, gone_at IS NOT NULL, wanted_at IS NOT NULL, files, bytes, mark, left_out"
        " FROM subscription_match WHERE number = ?",
        (number,),
    )
    for empiar_id, file_id, gone, wanted, files, size, mark, left_out in rows:
        yield Recorded(empiar_id, file_id, bool(gone), bool(wanted), files, size, mark, left_out)


def archive_was_enumerated(conn: sqlite3.Connection) -> bool:
    """Whether the catalogue has once been told which entries exist, so that what is new can be told from what was there."""
    return conn.execute("SELECT 1 FROM harvest LIMIT 1").fetchone() is not None


def begin_new(conn: sqlite3.Connection, number: int, *, now: int) -> None:
    """What the catalogue knows by now is not new to this subscription; the first time counts."""
    conn.execute(
        "UPDATE subscription SET new_since = ? WHERE number = ? AND new_since IS NULL", (now, number)
    )


def record_wanted_matches(
    conn: sqlite3.Connection, number: int, rows: Iterable[MatchRow], *, now: int
) -> None:
    """These match, and their files have been made wanted."""
    conn.executemany(
        "INSERT INTO subscription_match (number, empiar_id, file_id, matched_at, wanted_at, files, bytes, mark)"
        " VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET gone_at = NULL,"
        " wanted_at = ifnull(wanted_at, ?4), files = ?5, bytes = ?6, mark = ?7, left_out = NULL",
        ((number, row.empiar_id, row.file_id, now, row.files, row.bytes, row.mark) for row in rows),
    )


def record_other_matches(
    conn: sqlite3.Connection, number: int, rows: Iterable[MatchRow], *, now: int
) -> None:
    """These match, and nothing more of them has been made wanted; what was, stays so."""
    conn.executemany(
        "INSERT INTO subscription_match (number, empiar_id, file_id, matched_at, files, bytes, left_out)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET gone_at = NULL, left_out = ?7,"
        " files = CASE WHEN wanted_at IS NULL THEN ?5 ELSE files END,"
        " bytes = CASE WHEN wanted_at IS NULL THEN ?6 ELSE bytes END",
        ((number, row.empiar_id, row.file_id, now, row.files, row.bytes, row.left_out) for row in rows),
    )


def record_gone_matches(
    conn: sqlite3.Connection, number: int, keys: Iterable[tuple[int, int]], *, now: int
) -> None:
    """These, by entry and file, match no longer. What was wanted stays wanted."""
    conn.executemany(
        "UPDATE subscription_match SET gone_at = ?4 WHERE number = ?1 AND empiar_id = ?2 AND file_id = ?3"
        " AND gone_at IS NULL",
        ((number, empiar_id, file_id, now) for empiar_id, file_id in keys),
    )


def record_evaluation(
    conn: sqlite3.Connection,
    number: int,
    *,
    selects: Selects,
    matches: int,
    entries: int,
    files: int,
    now: int,
) -> None:
    """The subscription has run to its end, with so many rows, entries and files."""
    conn.execute(
        "UPDATE subscription SET selects = ?, match_count = ?, entry_count = ?, file_count = ?, evaluated_at = ?"
        " WHERE number = ?",
        (selects, matches, entries, files, now, number),
    )


# --- questions ----------------------------------------------------------------------------------------------


def wanted_entries(conn: sqlite3.Connection, name: str | None = None) -> list[int]:
    """Entries that a subscription in force, or the one of this `name`, matches and has, or would have, files of."""
    rows = conn.execute(
        "SELECT DISTINCT m.empiar_id FROM subscription s JOIN subscription_match m USING (number)"
        " WHERE m.gone_at IS NULL AND (m.wanted_at IS NOT NULL OR m.left_out = 'unlisted')"
        " AND CASE WHEN :name IS NULL THEN s.paused = 0 AND s.held_at IS NULL ELSE s.name = :name END ORDER BY 1",
        {"name": name},
    )
    return [row[0] for row in rows]


def wanted_files_of(conn: sqlite3.Connection, number: int, empiar_id: int) -> list[int]:
    """Files of the entry that the subscription matches one by one and made wanted."""
    rows = conn.execute(
        "SELECT file_id FROM subscription_match WHERE number = ? AND empiar_id = ? AND file_id > 0"
        " AND gone_at IS NULL AND wanted_at IS NOT NULL",
        (number, empiar_id),
    )
    return [row[0] for row in rows]


def subscribed_views(conn: sqlite3.Connection, ids: Collection[int]) -> dict[int, frozenset[str]]:
    """Layout views in which subscriptions want these entries, by entry; those without are left out."""
    rows = conn.execute(
        "SELECT m.empiar_id, s.view FROM subscription s JOIN subscription_match m USING (number)"
        " WHERE s.view IS NOT NULL AND m.wanted_at IS NOT NULL AND m.gone_at IS NULL AND m.file_id = 0"
        " AND m.empiar_id IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(ids)),),
    )
    views: dict[int, set[str]] = {}
    for empiar_id, view in rows:
        views.setdefault(empiar_id, set()).add(view)
    return {empiar_id: frozenset(names) for empiar_id, names in views.items()}


def interests_in(conn: sqlite3.Connection, empiar_id: int) -> list[Interest]:
    """What subscriptions want, wanted or would want of the entry, by name."""
    rows = conn.execute(
        "SELECT s.name, s.paused, s.held_reason, ifnull(sum(m.wanted_at > 0 AND m.gone_at IS NULL), 0),"
        " ifnull(sum(m.left_out = 'budget' AND m.gone_at IS NULL), 0),"
        " ifnull(sum(m.left_out = 'older' AND m.gone_at IS NULL), 0),"
        " ifnull(sum(m.left_out = 'unlisted' AND m.gone_at IS NULL), 0), min(m.gone_at IS NOT NULL),"
        " max(m.file_id) = 0 FROM subscription_match m JOIN subscription s USING (number)"
        " WHERE m.empiar_id = ? GROUP BY s.name ORDER BY s.name",
        (empiar_id,),
    )
    found = []
    for name, paused, held, wanted, over, older, unlisted, gone, whole in rows:
        found.append(
            Interest(name, bool(paused), held, wanted, over, older, unlisted, bool(gone), bool(whole))
        )
    return found
