"""Hours of the day and days of the week, as the clock on the wall shows them: when something is allowed (pure).

The wall is this machine's (its time zone, `TZ`), unless a zone is given. Where clocks are put forward, hours that do not
exist that day are not open; an hour that comes twice is open twice.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Final

DAY_NAMES: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EVERY_DAY: Final = frozenset(range(7))
_MINUTE_S: Final = 60
_DAY_MINUTES: Final = 24 * 60
WEEK_MINUTES: Final = 7 * _DAY_MINUTES
_HOURS: Final = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d-(?:[01]\d|2[0-3]):[0-5]\d")


def checked_hours(text: str) -> str:
    """`text`, hours such as ``22:00-06:00``, or empty.

    Raises:
        ValueError: it is neither.
    """
    if text and not _HOURS.fullmatch(text):
        raise ValueError("must be hours such as 22:00-06:00, or empty")
    return text


def checked_days(text: str) -> str:
    """`text`, days such as ``Mon-Fri`` or ``Sat,Sun``, or empty.

    Raises:
        ValueError: it is neither.
    """
    days_of(text)
    return text


@functools.lru_cache(maxsize=256)
def days_of(text: str) -> frozenset[int]:
    """``Mon-Fri``, ``Sat,Sun``, ``Fri-Mon`` → the days, Monday is 0; empty means every day.

    Raises:
        ValueError: it names no days.
    """
    if not text.strip():
        return EVERY_DAY
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip().capitalize() for word in part.partition("-"))
        if first not in DAY_NAMES or (dash and last not in DAY_NAMES):
            raise ValueError("must be days such as Mon-Fri or Sat,Sun, or empty")
        begin, end = DAY_NAMES.index(first), DAY_NAMES.index(last if dash else first)
        found.update((begin + n) % 7 for n in range((end - begin) % 7 + 1))
    return frozenset(found)


def hours_open(now: float, hours: str, zone: tzinfo | None = None, *, days: str = "") -> bool:
    """Whether the clock on the wall (of `zone`, else of this machine) shows a time within `hours` of one of the `days`.

    ``22:00-06:00`` goes across midnight, and its day is the one on which it begins; the end is outside; empty, or the same
    time twice, means a whole day. `now` is in seconds since the epoch.
    """
    if not hours and not days:
        return True
    local = datetime.fromtimestamp(now, zone)
    return open_at_minute(local.weekday() * _DAY_MINUTES + local.hour * 60 + local.minute, hours, days=days)


def open_at_minute(of_week: int, hours: str, *, days: str = "") -> bool:
    """Whether the minute of the week, from Monday 00:00 on, is within `hours` of one of the `days`."""
    allowed = days_of(days) if days else EVERY_DAY
    day, minute = divmod(of_week % WEEK_MINUTES, _DAY_MINUTES)
    begin, end = _minutes(hours) if hours else (0, 0)
    if begin < end:
        return day in allowed and begin <= minute < end
    if minute >= begin:
        return day in allowed
    return (day - 1) % 7 in allowed and minute < end


def first_minute(now: float, holds: Callable[[float], bool], *, days: int = 9) -> float | None:
    """When `holds` is first true, epoch seconds: `now`, or the beginning of a minute; None where it is not for so many days.

    Minute by minute, because days have 23 or 25 hours where clocks are changed. More than a week, because hours that a
    change of the clocks leaves out are there again the week after.
    """
    if holds(now):
        return now
    first = int(now // _MINUTE_S + 1) * _MINUTE_S
    moments = range(first, first + days * _DAY_MINUTES * _MINUTE_S, _MINUTE_S)
    return next((float(moment) for moment in moments if holds(moment)), None)


def open_share(hours: str) -> float:
    """The part of a day, above 0, at most 1, in which the hours are open."""
    if not hours:
        return 1.0
    begin, end = _minutes(hours)
    return ((end - begin) % _DAY_MINUTES or _DAY_MINUTES) / _DAY_MINUTES


@functools.lru_cache(maxsize=256)
def _minutes(hours: str) -> tuple[int, int]:
    begin, _, end = hours.partition("-")
    return _of_day(begin), _of_day(end)


def _of_day(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)
