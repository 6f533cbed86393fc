"""What a subscription would cost: its dry run, which changes nothing."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Final

from empiar_mirror import plan_facts
from empiar_mirror.asking import selection_of
from empiar_mirror.plan import Throughput, throughput
from empiar_mirror.subscriptions.choices import Choices
from empiar_mirror.subscriptions.declaring import declared
from empiar_mirror.subscriptions.evaluation import Weighed, weigh
from empiar_mirror.subscriptions.matching import SECONDS_WHEN_MADE, matches_of
from empiar_mirror.subscriptions.weighing import entry_facts
from empiar_schema import subscription_store as store
from empiar_schema.codes import state_list
from empiar_schema.settings import Settings
from empiar_schema.states import HERE, Channel
from empiar_schema.subscriptions import Definition, Selects

_HERE: Final = state_list(sorted(HERE))


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a subscription would select now. Bytes as far as sizes are known."""

    selects: Selects
    #: What the query returns: entries, or entries of the files.
    matching_entries: int
    matching_files: int
    #: What would be wanted: less what the budget, its age or a lacking listing leaves out.
    entries: int
    files: int
    bytes: int
    #: Of that, what is here already.
    files_here: int
    bytes_here: int
    over_budget: int
    bytes_over_budget: int
    older: int
    unlisted: int
    #: None where only Globus may bring files: `plan` knows more of it.
    throughput: Throughput | None

    @property
    def bytes_to_move(self) -> int:
        """Bytes that would have to come."""
        return max(0, self.bytes - self.bytes_here)

    @property
    def seconds(self) -> float | None:
        """The time that takes at the typical throughput; None where that is not known."""
        if self.throughput is None:
            return None
        return self.bytes_to_move / self.throughput.typical_bytes_per_s


def weighed_now(conn: sqlite3.Connection, settings: Settings, wanted: Definition, *, now: int) -> Weighed:
    """What `wanted` would select if it were made now; its query has been checked.

    Raises:
        ConfigFault: the query, or what it returns, will not do.
    """
    matches = matches_of(settings.root, wanted.sql, seconds=SECONDS_WHEN_MADE)
    since = now if wanted.new_only else None
    return weigh(conn, matches, wanted, settings, entry_facts(conn), choices=Choices(conn), new_since=since)


def weighed_again(conn: sqlite3.Connection, settings: Settings, name: str, *, now: int) -> Weighed:
    """What the subscription of this name, in the catalogue or the configuration alone, selects now, wanted already or not.

    Raises:
        ConfigFault: there is none, or its query will not do.
    """
    own = next((one for one in declared(settings) if one.name == name), None)
    known = next((one for one in store.subscriptions(conn) if one.name == name), None)
    if known is None:
        wanted = own or store.subscription_named(conn, name).definition  # which says that there is none
        return weighed_now(conn, settings, wanted, now=now)
    wanted = own or known.definition
    return weigh(
        conn,
        matches_of(settings.root, wanted.sql),
        wanted,
        settings,
        entry_facts(conn),
        choices=Choices(conn),
        recorded=list(store.matches_on_record(conn, known.number)),
        new_since=(known.new_since or now) if wanted.new_only else None,
        afresh=True,
    )


def outlook(conn: sqlite3.Connection, settings: Settings, weighed: Weighed) -> Outlook:
    """The numbers of what would become wanted."""
    decision = weighed.decision
    here, bytes_here = _here(conn, weighed)
    streams = [channel for channel in settings.transfer.channels if channel is not Channel.GLOBUS]
    measured = None
    if streams:
        attempts = plan_facts.recent_attempts(conn, channel=streams[0])
        measured = throughput(attempts, streams[0], settings.transfer.connections)
    return Outlook(
        selects=weighed.matches.selects,
        matching_entries=weighed.entries,
        matching_files=weighed.files,
        entries=len({item.empiar_id for item in decision.ask}),
        files=sum(item.files for item in decision.ask),
        bytes=sum(item.bytes for item in decision.ask),
        files_here=here,
        bytes_here=bytes_here,
        over_budget=len(decision.over_budget),
        bytes_over_budget=sum(item.bytes for item in decision.over_budget),
        older=decision.older,
        unlisted=decision.unlisted,
        throughput=measured,
    )


def files_of(conn: sqlite3.Connection, weighed: Weighed) -> dict[int, frozenset[int] | None]:
    """What would be wanted: entries, and the files of each; None stands for all of them."""
    chosen: dict[int, set[int]] = {}
    for item in weighed.decision.ask:
        chosen.setdefault(item.empiar_id, set()).add(item.file_id)
    if weighed.matches.selects == "files":
        return {empiar_id: frozenset(files) for empiar_id, files in chosen.items()}
    recipe = weighed.recipe
    if recipe is None:
        return dict.fromkeys(chosen)
    return {
        empiar_id: frozenset(file.file_id for file in selection_of(conn, empiar_id, recipe).needed)
        for empiar_id in chosen
    }


def _here(conn: sqlite3.Connection, weighed: Weighed) -> tuple[int, int]:
    wanted = files_of(conn, weighed)
    whole = json.dumps([empiar_id for empiar_id, files in wanted.items() if files is None])
    single = json.dumps([file for files in wanted.values() if files is not None for file in files])
    # Entries have their sums, so that the files of thousands of them need not be read.
    rows = conn.execute(
        "SELECT ifnull(sum(files), 0), ifnull(sum(bytes), 0) FROM copy_progress"  # noqa: S608 - our own numbers
        f" WHERE state IN ({_HERE}) AND empiar_id IN (SELECT value FROM json_each(?))"
        " UNION ALL SELECT count(*), ifnull(sum(bytes), 0) FROM copy"
        f" WHERE state IN ({_HERE}) AND file_id IN (SELECT value FROM json_each(?))",
        (whole, single),
    ).fetchall()
    return sum(row[0] for row in rows), sum(row[1] for row in rows)
