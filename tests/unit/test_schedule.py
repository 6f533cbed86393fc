"""When an entry is due: pure arithmetic on times."""

from __future__ import annotations

import math
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_crawler.schedule import (
    LONGEST_BACKOFF_S,
    NEVER_FAILED,
    Failures,
    Sweep,
    backoff_s,
    harvest_window,
    interval_of,
    is_due,
    listing_may_stand,
    shortest_interval,
)

HOUR = 3600.0


@given(st.integers(10_000, 99_999), st.floats(1.0, 1e7))
def test_own_interval_lies_between_ninety_and_a_hundred_percent_and_never_varies(
    empiar_id: int, interval_s: float
) -> None:
    own = interval_of(empiar_id, interval_s)
    assert shortest_interval(interval_s) <= own <= interval_s
    assert own == interval_of(empiar_id, interval_s)


def test_entries_crawled_together_fall_due_at_different_times() -> None:
    assert len({round(interval_of(i, 6 * HOUR)) for i in range(10_000, 13_000)}) > 1_000


def test_entry_that_was_never_looked_at_is_due() -> None:
    assert is_due(10017, None, now=0.0, interval_s=HOUR)


def test_entry_is_due_when_its_interval_is_over_and_not_before() -> None:
    assert not is_due(10017, 1000.0, now=1000.0 + 0.89 * HOUR, interval_s=HOUR)
    assert is_due(10017, 1000.0, now=1000.0 + HOUR, interval_s=HOUR)


def test_failed_entry_waits_longer_each_time_up_to_a_week() -> None:
    waits = [backoff_s(n) for n in range(40)]
    assert waits[:4] == [0.0, 600.0, 1200.0, 2400.0]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_BACKOFF_S


def test_failed_entry_is_not_due_within_its_wait_even_if_never_crawled() -> None:
    failures = NEVER_FAILED.and_another(5000.0).and_another(6000.0)
    assert failures == Failures(2, 6000.0)
    assert not is_due(10017, None, now=6000.0 + 1199, interval_s=HOUR, failures=failures)
    assert is_due(10017, None, now=6000.0 + 1200, interval_s=HOUR, failures=failures)


@pytest.mark.parametrize(
    ("crawled_at", "listed_at", "stands"),
    [
        (None, 9_000.0, False),
        (5_000.0, None, False),
        (5_000.0, 9_000.0, True),
        (5_000.0, 1.0, True),  # however old: its turn comes in the sweep
        # Crawled lately, so something else made it due: an announced change.
        (9_900.0, 9_900.0, False),
    ],
)
def test_listing_stands_if_the_metadata_was_merely_old(
    crawled_at: float | None, listed_at: float | None, stands: bool
) -> None:
    assert listing_may_stand(crawled_at, listed_at, now=10_000.0, interval_s=HOUR) is stands


@given(st.integers(1, 5000), st.lists(st.floats(60, 400_000), min_size=1, max_size=40))
def test_the_sweep_takes_every_listing_once_in_its_time_whenever_crawls_come(
    listed: int, pauses: list[float]
) -> None:
    now, until, taken, relist_s = 0.0, 0.0, 0, 14 * 86_400.0
    for pause in pauses:
        now += pause
        sweep = Sweep(listed, until, relist_s)
        share = sweep.owed(now)
        until = sweep.after(share, eligible=listed + 1, now=now)
        taken += share
    assert abs(taken - listed * now / relist_s) <= 1 + 1e-6 * listed


def test_a_sweep_that_missed_its_time_makes_up_for_it_slowly_and_owes_no_more_than_all() -> None:
    late = Sweep(3000, 0.0, 14 * 86_400.0)
    assert late.owed(1e9) == 3000
    even = 3000 / (14 * 24)
    assert late.at_most(HOUR, None) == math.ceil(4 * even)
    assert late.at_most(HOUR, 10) == 10
    assert late.at_most(HOUR / 100, 10) == 1
    now = 1e9
    assert late.after(30, eligible=3000, now=now) == pytest.approx(
        now - late.relist_s + 30 * late.relist_s / 3000
    )
    assert late.after(5, eligible=5, now=now) == now, "what nobody can do is not owed"


@pytest.mark.parametrize(
    ("last", "complete", "window"),
    [
        (None, None, None),
        ("2026-11-20", None, None),
        ("2026-11-20", "2026-11-18", ("2026-11-19", "2026-11-22")),
        ("2026-11-22", "2026-11-22", ("2026-11-21", "2026-11-22")),
        ("2026-11-20", "2026-11-15", None),
        # A clock that was wrong once must not hide what changed meanwhile.
        ("2031-01-01", "2026-11-20", None),
    ],
)
def test_changes_are_asked_for_with_a_day_of_overlap_and_all_entries_once_a_week(
    last: str | None, complete: str | None, window: tuple[str, str] | None
) -> None:
    assert harvest_window(last, complete, today=date(2026, 11, 22)) == window
