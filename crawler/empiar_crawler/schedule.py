"""When an entry is due again. Pure: times are epoch seconds, given by the caller."""

from __future__ import annotations

import math
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
#: A sweep that is behind goes at so many times the even rate at most.
CATCH_UP: Final = 4.0


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
    crawled_at: float | None, listed_at: float | None, *, now: float, interval_s: float
) -> bool:
    """Whether a due entry whose metadata turned out unchanged may keep its listing of `listed_at` (None: none).

    It may if the entry was due for the age of its metadata (`crawled_at`) alone: where an announced change made
    it due, the files are looked at. For their age alone listings are read anew by the sweep.
    """
    if crawled_at is None or listed_at is None:
        return False
    return crawled_at <= now - shortest_interval(interval_s)


# --- sweep ---------------------------------------------------------------------------------------------------
# Files can be renamed or removed without a new `update_date` (EMPIAR's policies, 6.2), so age alone ends a listing.


@dataclass(frozen=True, slots=True)
class Sweep:
    """How the sweep stands: `listed` entries have a listing, and it has done its share up to `swept_until`."""

    listed: int
    swept_until: float
    #: Within this time every listing is read anew, seconds.
    relist_s: float

    def owed(self, now: float) -> int:
        """How many entries are to be listed now, so that all are listed within `relist_s`, evenly."""
        elapsed = min(max(0.0, now - self.swept_until), self.relist_s)
        return int(self.listed * elapsed / self.relist_s)

    def at_most(self, every_s: float, entries_per_hour: float | None) -> int:
        """How many entries a crawl may list for their age that is followed by the next after `every_s`.

        Without `entries_per_hour`, what has been missed is made up for at four times the even rate.
        """
        per_s = (
            CATCH_UP * self.listed / self.relist_s if entries_per_hour is None else entries_per_hour / 3600
        )
        return max(1, math.ceil(per_s * every_s))

    def after(self, taken: int, *, eligible: int, now: float) -> float:
        """Up to when the share is done after `taken` entries were listed of the `eligible` ones. What nobody can do is not owed."""
        if not self.listed or taken >= eligible:
            return now
        earliest = now - self.relist_s
        return min(now, max(earliest, self.swept_until) + taken * self.relist_s / self.listed)


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
