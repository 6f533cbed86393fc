"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Callable


def backoff_s(
    failures: int,
    *,
    first_s: float = 2.0,
    ceiling_s: float = 300.0,
    jitter: Callable[[], float] = random.random,
) -> float:
    """Seconds to wait after so many failures in a row: doubling from `first_s`, at most `ceiling_s`, the upper half of it random.

    The randomness keeps many waiting tasks, and many mirrors, from coming back at the same moment.
    `jitter` returns a number from 0 to 1.
    """
    longest = min(ceiling_s, first_s * 2.0 ** min(max(failures - 1, 0), 32))
    return longest * (0.5 + 0.5 * jitter())
