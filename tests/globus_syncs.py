"""Syncs of a small entry by Globus, and what they must have done."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from empiar_mirror.rehearsal.archive import Entry
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.syncing import SyncReport
from empiar_schema.events import Event
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from mirrors import opened

ID = 10190
#: Of the `[globus]` table.
IMPATIENT = 'from_bytes = 0\nstall = "2s"\nbundle_files = 20\n'


def small_entry(files: int = 40, size: int = 50_000) -> Entry:
    return big_entry(ID, {f"m_{n:03d}.mrc": size + n for n in range(files)})


async def synced(
    settings: Settings,
    ids: Sequence[int],
    *,
    channel: Channel | None = None,
    events: list[Event] | None = None,
) -> SyncReport:
    with opened(settings, events) as mirror:
        return await mirror.sync(ids, channel=channel)


def channels_used(root: Path) -> dict[str, int]:
    """How many files arrived by each channel."""

    with sqlite3.connect(f"file:{root / 'empiar.db'}?mode=ro", uri=True) as conn:
        found = dict(conn.execute("SELECT channel, count(*) FROM copies GROUP BY channel").fetchall())
    conn.close()
    return found


def arrived_once(rehearsal: Rehearsal, events: list[Event]) -> None:
    """No file arrived twice, and none was brought by Globus for a second time after it had arrived."""
    arrivals = Counter(event.file_id for event in events if event.name == "file.arrived")  # type: ignore[attr-defined]
    assert set(arrivals.values()) <= {1}
    assert len({submission.submission_id for submission in rehearsal.globus.submissions}) == len(
        rehearsal.globus.submissions
    )
