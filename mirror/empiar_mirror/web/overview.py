"""What the front page, the charts and the list of subscriptions say: read once from each snapshot, so that they cost nothing to show."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from empiar_mirror.instance_lock import holder
from empiar_mirror.live_facts import LiveFacts, read_live
from empiar_mirror.pacing import rested_at
from empiar_mirror.status import SILENT_S, Health, judge_health
from empiar_mirror.web.charts import Bar, Chart, largest, over_time, running_total
from empiar_mirror.web.sums import DAYS
from empiar_schema.settings import Settings

_NEWS: Final = 8
_MOVING: Final = 8
_FORMATS: Final = 12


@dataclass(frozen=True, slots=True)
class ArchiveFigures:
    """The archive as the catalogue knows it."""

    entries: int
    listed: int
    files: int
    bytes: int
    #: As stated by the entries, listed or not; as listed where nothing is stated.
    stated_bytes: int
    contradictions: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What one snapshot says of the whole."""

    live: LiveFacts
    health: Health
    archive: ArchiveFigures
    #: Entries that are being fetched, the furthest first.
    moving: tuple[sqlite3.Row, ...]
    news: tuple[sqlite3.Row, ...]
    subscriptions: tuple[sqlite3.Row, ...]
    charts: tuple[Chart, ...]


def summary_of(
    settings: Settings, *, now: Callable[[], float] = time.time
) -> Callable[[sqlite3.Connection], Summary]:
    """Makes the summary of a snapshot that has its sums (`add_up`)."""

    def summarise(connection: sqlite3.Connection) -> Summary:
        moment = now()
        live = read_live(connection, settings, None, now=moment, worker=holder(settings.root))
        return Summary(
            live=live,
            health=_health(live, settings, moment),
            archive=_archive(connection),
            moving=tuple(connection.execute(_MOVING_ENTRIES, (_MOVING,))),
            news=tuple(connection.execute(_LATEST_CHANGES, (_NEWS,))),
            subscriptions=tuple(
                connection.execute("SELECT * FROM subscriptions ORDER BY priority DESC, name")
            ),
            charts=_charts(connection),
        )

    return summarise


def _health(live: LiveFacts, settings: Settings, now: float) -> Health:
    full = live.status.bytes_left and not live.room.allowed
    return judge_health(
        live.status,
        now=now,
        disk_refusal="the watermark or the quota is reached" if full else None,
        stall_s=settings.globus.stall,
        progressed_at=rested_at(settings, now, within_s=SILENT_S),
    )


_MOVING_ENTRIES: Final = (
    "SELECT empiar_id, title, state, wanted_files, wanted_bytes, here_files, here_bytes FROM web_entry"
    " WHERE state IN ('transferring', 'wanted') ORDER BY state, 1.0 * here_bytes / max(1, wanted_bytes) DESC, empiar_id LIMIT ?"
)
_LATEST_CHANGES: Final = (
    "SELECT c.changed_at, c.empiar_id, e.title, c.kind, c.field, c.old, c.new, c.file_id IS NOT NULL AS of_file"
    " FROM change c LEFT JOIN entry e ON e.empiar_id = c.empiar_id ORDER BY c.changed_at DESC, c.change_id DESC LIMIT ?"
)


def _archive(connection: sqlite3.Connection) -> ArchiveFigures:
    row = connection.execute(
        "SELECT count(*), count(current_listing), ifnull(sum(file_count), 0), ifnull(sum(file_bytes), 0),"
        " ifnull(sum(ifnull(dataset_bytes, file_bytes)), 0), (SELECT count(*) FROM contradiction) FROM entry"
    ).fetchone()
    return ArchiveFigures(*row)


def _charts(connection: sqlite3.Connection) -> tuple[Chart, ...]:
    years = [
        Bar(row[0], row[1])
        for row in connection.execute(
            "SELECT year, ifnull(sum(ifnull(dataset_bytes, file_bytes)), 0) FROM web_entry WHERE year IS NOT NULL GROUP BY year ORDER BY year"
        )
    ]
    days = [
        Bar(row[0][5:], row[1])
        for row in connection.execute("SELECT day, sum(bytes) FROM web_day GROUP BY day ORDER BY day")
    ]
    suffixes = [
        Bar(row[0] or "none", row[1])
        for row in connection.execute("SELECT suffix, sum(bytes) FROM web_suffix GROUP BY suffix")
    ]
    charts = []
    if years:
        charts.append(
            over_time(
                "growth",
                "Growth of the archive: size of all entries released by the end of each year",
                running_total(years),
            )
        )
    if days:
        charts.append(over_time("throughput", f"Bytes received a day, in the last {DAYS} days", days))
    if suffixes:
        charts.append(over_time("formats", "Bytes listed by suffix", largest(suffixes, most=_FORMATS)))
    return tuple(charts)
