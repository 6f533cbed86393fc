"""What a live view shows: the status, and how many bytes came since the look before, by entry and by channel."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_mirror.crawl_status import CrawlStatus, read_crawl_status
from empiar_mirror.metrics.figures import age_s
from empiar_mirror.plan import Room
from empiar_mirror.plan_facts import bytes_held, measured_room
from empiar_mirror.status import Status, read_status
from empiar_schema.settings import Settings

#: Rates are those of this time.
WINDOW_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Stream:
    """What attempts on one channel that ended in the last minute brought."""

    channel: str
    attempts: int
    failures: int
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class LiveFacts:
    """The mirror at one moment. `at` is epoch seconds, ages are seconds."""

    at: float
    status: Status
    room: Room
    crawl: CrawlStatus
    #: How long ago the file that has waited longest for it was read in full; 0 where nothing is here.
    scrub_lag_s: float
    streams: tuple[Stream, ...]
    #: Files being fetched.
    in_flight: int
    #: Bytes of each entry that are here or proven in part files.
    entry_bytes: Mapping[int | str, int]


def read_live(
    connection: sqlite3.Connection,
    settings: Settings,
    ids: Sequence[int] | None,
    *,
    now: float,
    worker: str | None,
) -> LiveFacts:
    """What the catalogue says now; cheap enough to be asked each second.

    Raises:
        StorageFault: the file system of `root` does not answer.
    """
    status = read_status(connection, ids, now=now, worker=worker, globus=settings.globus)
    # The conditions are those of the partial indexes copy_begun and copy_by_proof.
    begun = connection.execute(
        "SELECT empiar_id, count(*), sum(bytes_here), sum(state = 1) FROM copy WHERE state IN (1, 2) GROUP BY empiar_id"
    ).fetchall()
    parts = {row[0]: int(row[2]) for row in begun}
    proven = "SELECT verified_at FROM copy WHERE state IN (3, 4) ORDER BY verified_at LIMIT 1"
    oldest = connection.execute(proven).fetchone()
    return LiveFacts(
        at=now,
        status=status,
        room=measured_room(settings.root, settings.disk, bytes_held(connection)),
        crawl=read_crawl_status(connection, settings.crawl, now=now),
        scrub_lag_s=age_s(oldest[0] if oldest else None, now),
        streams=_streams(connection, now),
        in_flight=sum(row[3] for row in begun),
        entry_bytes={e.empiar_id: e.here_bytes + parts.get(e.empiar_id, 0) for e in status.entries},
    )


def _streams(connection: sqlite3.Connection, now: float) -> tuple[Stream, ...]:
    rows = connection.execute(
        "SELECT channel, count(*), sum(outcome NOT IN ('done', 'stopped')), sum(bytes_moved) FROM attempt"
        " WHERE ended_at > ? GROUP BY channel ORDER BY channel",
        (now - WINDOW_S,),
    )
    return tuple(Stream(channel, count, failed, moved / WINDOW_S) for channel, count, failed, moved in rows)


class Rates:
    """How fast counted bytes grow, by whatever they are counted by, over the last minute of looks."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Mapping[int | str, int]]] = deque()

    def look(self, at: float, counted: Mapping[int | str, int]) -> None:
        """So many bytes at this moment, seconds of a clock that never goes back."""
        self._looks.append((at, counted))
        while len(self._looks) > 2 and self._looks[1][0] <= at - WINDOW_S:
            self._looks.popleft()

    def of(self, key: int | str) -> float | None:
        """Bytes a second; None before there were two looks that know of it."""
        known = [(at, counted[key]) for at, counted in self._looks if key in counted]
        if len(known) < 2 or known[-1][0] <= known[0][0]:
            return None
        # What is counted goes back where a partial is given up: that is no negative rate.
        return max(0.0, (known[-1][1] - known[0][1]) / (known[-1][0] - known[0][0]))

    def total(self) -> float | None:
        """Of all keys of the latest look together."""
        if not self._looks:
            return None
        rates = [rate for key in self._looks[-1][1] if (rate := self.of(key)) is not None]
        return sum(rates) if rates else None
