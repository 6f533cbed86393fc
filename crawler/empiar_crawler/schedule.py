"""When an entry is due again. Pure: times are epoch seconds, given by the caller."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

#: How far entries are spread: one is due after 90 to 100 % of the interval, so that thousands that were first
#: crawled in one pass do not all fall due in the same minute for ever.
SPREAD: Final = 0.1
#: First wait after a failure, and the longest.
FIRST_BACKOFF_S: Final = 600.0
LONGEST_BACKOFF_S: Final = 7 * 86_400.0
#: A "changed since" harvest looks this much further back than it must: the archive's days are in its own zone,
#: and a record may appear in the search hours after its own date.
OVERLAP: Final = timedelta(days=1)
#: A complete enumeration at least so often. An entry that is released with an `update_date` of long before would
#: escape "changed since" for ever; the whole walk is about thirty requests.
COMPLETE_EVERY: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Failures:
    """How often in a row an entry could not be crawled, and when it was tried last."""

    count: int
    last_at: float

    def and_another(self, now: float) -> Failures:
        """One failure more."""
        return Failures(self.count + 1, now)


NEVER_FAILED: Final = Failures(0, 0.0)


def interval_of(empiar_id: int, interval_s: float) -> float:
    """The entry's own interval in seconds: `interval_s` less up to 10 %, the same at every call."""
    return interval_s * (1 - SPREAD * zlib.crc32(b"%d" % empiar_id) / 2**32)


def shortest_interval(interval_s: float) -> float:
    """No entry's interval is shorter than this."""
    return interval_s * (1 - SPREAD)


def backoff_s(failures: int) -> float:
    """The wait after so many failures in a row, seconds: ten minutes, doubling, at most a week."""
    if failures <= 0:
        return 0.0
    return float(min(FIRST_BACKOFF_S * 2 ** min(failures - 1, 20), LONGEST_BACKOFF_S))


def is_due(
    empiar_id: int,
    looked_at: float | None,
    *,
    now: float,
    interval_s: float,
    failures: Failures = NEVER_FAILED,
) -> bool:
    """Whether the entry, looked at last at `looked_at` (None: never), should be crawled now."""
    if failures.count and now < failures.last_at + backoff_s(failures.count):
        return False
    return looked_at is None or now >= looked_at + interval_of(empiar_id, interval_s)


def listing_may_stand(
    crawled_at: float | None, listed_at: float | None, *, now: float, interval_s: float, relist_s: float
) -> bool:
    """Whether a due entry whose metadata turned out unchanged may keep its listing of `listed_at` (None: none).

    It may if the entry was due for the age of its metadata (`crawled_at`) alone, and the listing is younger than
    `relist_s`. Files can be renamed or removed without a new `update_date` (EMPIAR's policies, 6.2), so
    age alone ends a listing; and where an announced change made the entry due, the files are looked at.
    """
    if crawled_at is None or listed_at is None:
        return False
    return (
        crawled_at <= now - shortest_interval(interval_s) and now - relist_s < listed_at <= now + interval_s
    )


def harvest_window(
    last_day: str | None, last_complete_day: str | None, *, today: date
) -> tuple[str, str] | None:
    """The days to ask "changed since" for, both included; None where a complete enumeration is due instead.

    `last_day` and `last_complete_day` (``YYYY-MM-DD``) are the days of the last harvest and the last complete one.
    """
    if last_day is None or last_complete_day is None:
        return None
    last, complete = date.fromisoformat(last_day), date.fromisoformat(last_complete_day)
    if today - complete >= COMPLETE_EVERY or last > today or complete > today:
        return None
    return (last - OVERLAP).isoformat(), today.isoformat()
