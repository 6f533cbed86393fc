"""When a mirror that runs for months does what next (pure). Times are epoch seconds unless said otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import tzinfo
from typing import Final

from empiar_schema.hours import first_minute, hours_open

#: Crawls in one `crawl.interval`: what has changed is asked for each time, an entry's own metadata once.
CRAWLS_AN_INTERVAL: Final = 4
#: After what failed for a reason that somebody has to remove, or that goes by itself: first wait, and the longest.
FIRST_REST_S: Final = 30.0
LONGEST_REST_S: Final = 1800.0
#: So often in `scrub.period`, at least, it is looked whether a proof has grown old.
LOOKS_A_PERIOD: Final = 10
#: An entry that is still coming is arranged so often; one that is complete at once.
ARRANGE_EVERY_S: Final = 3600.0


def between_crawls_s(interval_s: float) -> float:
    """Seconds from one crawl to the next."""
    return interval_s / CRAWLS_AN_INTERVAL


def until_own_time_s(now: float, *, interval_s: float, seed: int) -> float:
    """Seconds until the mirror's own next time for a crawl. Each `seed` has times of its own, which never move: mirrors do not come together, whenever they were started."""
    step_s = between_crawls_s(interval_s)
    return (step_s * (seed % 2**32) / 2**32 - now) % step_s


def until_crawl_s(now: float, *, interval_s: float, seed: int) -> float:
    """Seconds from the end of a crawl to the next: the mirror's own next time, unless that is nearer than half the usual distance."""
    step_s = between_crawls_s(interval_s)
    wait_s = until_own_time_s(now, interval_s=interval_s, seed=seed)
    return wait_s if wait_s >= step_s / 2 else wait_s + step_s


def quiet_for_s(now: float, hours: str, zone: tzinfo | None = None) -> float:
    """Seconds until these quiet hours, such as ``08:00-18:00`` on the clock on the wall, are over; 0 outside of them."""
    if not hours:
        return 0.0
    over = first_minute(now, lambda at: not hours_open(at, hours, zone))
    return (over if over is not None else now) - now


def until_due_s(due: float | None, *, now: float, look_s: float, longest_s: float) -> float:
    """Seconds until what is due at `due` (None: nothing) may begin, or until somebody should look again; 0: now.

    Nothing is put off for longer than `longest_s`: what seems to be was put off by a clock that was wrong, and is due.
    """
    if due is None:
        return look_s
    left_s = due - now
    return 0.0 if left_s <= 0 or left_s > longest_s else min(look_s, left_s)


def until_scrub_s(period_s: float, *, at_most_s: float) -> float:
    """Seconds until it is looked again whether a proof has grown old: often enough for a short `scrub.period`."""
    return min(at_most_s, period_s / LOOKS_A_PERIOD)


def listed_since(begun: float, *, now: float, took_s: float) -> int:
    """A time before all that was recorded since `begun`, `took_s` ago by a timer, also where the clock was set back meanwhile."""
    return int(min(begun, now - took_s))


def rest_s(failures: int, *, jitter: Callable[[], float] = random.random) -> float:
    """Seconds to rest after so many failures in a row: doubling, half of it at random."""
    longest = min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(max(failures - 1, 0), 16))
    return longest * (0.5 + 0.5 * jitter())


def should_arrange(*, left: int, arranged_at: float | None, now: float) -> bool:
    """Whether what arrived of an entry should be laid out now: `left` files are still to come, `arranged_at` is when it was last.

    A clock that was set back counts as time gone by.
    """
    return left == 0 or arranged_at is None or not 0 <= now - arranged_at < ARRANGE_EVERY_S
