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
#: An entry that is still coming is arranged so often; one that is complete at once.
ARRANGE_EVERY_S: Final = 3600.0


def until_crawl_s(interval_s: float, *, jitter: Callable[[], float] = random.random) -> float:
    """Seconds until the next crawl; `jitter` gives a number from 0 to 1."""
    return interval_s / CRAWLS_AN_INTERVAL * (1 + JITTER * (2 * jitter() - 1))


def rest_s(failures: int, *, jitter: Callable[[], float] = random.random) -> float:
    """Seconds to rest after so many failures in a row: doubling, half of it at random."""
    longest = min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(max(failures - 1, 0), 16))
    return longest * (0.5 + 0.5 * jitter())


def should_arrange(*, left: int, arranged_at: float | None, now: float) -> bool:
    """Whether what arrived of an entry should be laid out now: `left` files are still to come, `arranged_at` is when it was last.

    A clock that was set back counts as time gone by.
    """
    return left == 0 or arranged_at is None or not 0 <= now - arranged_at < ARRANGE_EVERY_S
