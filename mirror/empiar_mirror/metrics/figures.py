"""The figures of a mirror at one time: sums of its catalogue, and its disk."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from empiar_mirror.plan import Room
from empiar_mirror.plan_facts import bytes_held, measured_room
from empiar_schema.codes import JOB_STATES, STATES, state_list
from empiar_schema.crawl_store import due_entries
from empiar_schema.emdb_store import EmdbStanding, emdb_standing
from empiar_schema.globus_states import BUNDLE_STATES, BundleState
from empiar_schema.jobs import JobState
from empiar_schema.settings import CrawlSettings, Settings
from empiar_schema.states import HERE, CopyState
from empiar_schema.sweep_store import listings


@dataclass(frozen=True, slots=True)
class Figures:
    """What is read often: it costs a look at each entry, not at each file. Ages are seconds."""

    #: Files and bytes by the state of their copies.
    queue: Mapping[CopyState, tuple[int, int]]
    room: Room
    #: How long ago the entry that is due and has waited longest was looked at; 0 where none is due.
    crawl_lag_s: float
    #: How long ago the oldest of all listings was made; 0 where there is none.
    sweep_lag_s: float
    #: Open tasks, without those that have ended.
    globus_tasks: Mapping[BundleState, int]
    emdb: EmdbStanding


@dataclass(frozen=True, slots=True)
class SlowFigures:
    """What costs a look at every file that is wanted or here, and at every job. Ages are seconds."""

    #: How long ago the file that has waited longest for it was read in full; 0 where nothing is here.
    scrub_lag_s: float
    #: How long ago the longest waiting of the wanted files was asked for; 0 where none is.
    oldest_wanted_s: float
    jobs: Mapping[JobState, int]


def read_figures(connection: sqlite3.Connection, settings: Settings, *, now: float) -> Figures:
    """The figures at `now`, epoch seconds.

    Raises:
        StorageFault: the file system of `root` does not answer.
    """
    queue = dict.fromkeys(CopyState, (0, 0))
    rows = connection.execute("SELECT state, sum(files), sum(bytes) FROM copy_progress GROUP BY state")
    queue |= {STATES[state]: (files, size) for state, files, size in rows}
    tasks = dict.fromkeys(
        (BundleState.PLANNED, BundleState.SUBMITTED, BundleState.ABANDONED),
        0,
    )
    # The condition is that of the partial index globus_bundle_open.
    rows = connection.execute("SELECT state, count(*) FROM globus_bundle WHERE state <= 2 GROUP BY state")
    tasks |= {BUNDLE_STATES[state]: count for state, count in rows}
    return Figures(
        queue=queue,
        room=measured_room(settings.root, settings.disk, bytes_held(connection)),
        crawl_lag_s=crawl_lag_s(connection, settings.crawl, now=now),
        sweep_lag_s=age_s(listings(connection)[1], now),
        globus_tasks=tasks,
        emdb=emdb_standing(connection),
    )


def read_slow_figures(connection: sqlite3.Connection, *, now: float) -> SlowFigures:
    """The figures at `now`, epoch seconds; at millions of files this takes seconds."""
    here = f"SELECT min(verified_at) FROM copy WHERE state IN ({state_list(sorted(HERE))})"  # noqa: S608 - our own numbers
    verified_at = connection.execute(here).fetchone()[0]
    wanted_at = connection.execute("SELECT min(wanted_at) FROM copy WHERE state <= 1").fetchone()[0]
    jobs = dict.fromkeys(JobState, 0)
    rows = connection.execute("SELECT state, count(*) FROM job GROUP BY state")
    jobs |= {JOB_STATES[state]: count for state, count in rows}
    return SlowFigures(scrub_lag_s=age_s(verified_at, now), oldest_wanted_s=age_s(wanted_at, now), jobs=jobs)


def crawl_lag_s(connection: sqlite3.Connection, crawl: CrawlSettings, *, now: float) -> float:
    """How long ago the entry that is due and has waited longest was looked at; 0 where none is due."""
    # For the age of its listing alone an entry is never due, but its turn comes in the sweep.
    due = due_entries(connection, now=int(now), interval_s=crawl.interval, relist_s=math.inf)
    looked_at = connection.execute(
        "SELECT min(max(ifnull(crawled_at, discovered_at), ifnull(absent_at, 0))) FROM entry"
        " WHERE empiar_id IN (SELECT value FROM json_each(?))",
        (json.dumps(due),),
    ).fetchone()[0]
    return age_s(looked_at, now)


def age_s(at: float | None, now: float) -> float:
    """Seconds from `at` to `now`; 0 where there is none. A clock that was set back makes no negative age."""
    return 0.0 if at is None else max(0.0, now - at)
