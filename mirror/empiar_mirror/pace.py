"""When a mirror that runs for months does what next (pure). Times are epoch seconds unless said otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

#: Crawls in one `crawl.interval`: what has changed is asked for each time, an entry's own metadata once.
CRAWLS_AN_INTERVAL: Final = 4
#: So much earlier or later, at random: mirrors that were started together do not come together for ever.
JITTER: Final = 0.1
#: After what failed for a reason that somebody has to remove, or that goes by itself: first wait, and the longest.
FIRST_REST_S: Final = 30.0
LONGEST_REST_S: Final = 1800.0
#: So often in `scrub.period`, at least, it is looked whether a proof has grown old.
LOOKS_A_PERIOD: Final = 10
#: An entry that is still coming is arranged so often; one that is complete at once.
ARRANGE_EVERY_S: Final = 3600.0


def until_crawl_s(interval_s: float, *, jitter: Callable[[], float] = random.random) -> float:
    """Seconds until the next crawl; `jitter` gives a number from 0 to 1."""
    return interval_s / CRAWLS_AN_INTERVAL * (1 + JITTER * (2 * jitter() - 1))


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
