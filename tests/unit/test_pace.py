from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.pace import (
    ARRANGE_EVERY_S,
    FIRST_REST_S,
    LONGEST_REST_S,
    between_crawls_s,
    listed_since,
    quiet_for_s,
    rest_s,
    should_arrange,
    until_crawl_s,
    until_due_s,
    until_own_time_s,
    until_scrub_s,
)


@given(st.floats(0, 4e9), st.floats(60, 1e6), st.integers(0, 2**32 - 1))
def test_crawls_come_at_the_mirrors_own_times_whenever_they_end(
    now: float, interval_s: float, seed: int
) -> None:
    step_s = between_crawls_s(interval_s)
    first = now + until_crawl_s(now, interval_s=interval_s, seed=seed)
    assert step_s / 2 <= first - now <= 1.5 * step_s + 1e-3
    # A crawl that took a while, or a start at another moment, leads to the same times.
    again = first + 0.3 * step_s
    second = again + until_crawl_s(again, interval_s=interval_s, seed=seed)
    assert second - first == pytest.approx(step_s, rel=1e-3, abs=1e-3)


def test_mirrors_that_start_together_are_spread_over_the_time_between_crawls() -> None:
    seeds = [0, 2**30, 2**31, 3 * 2**30]
    waits = [until_own_time_s(0, interval_s=4000, seed=seed) for seed in seeds]
    assert waits == [0, 250, 500, 750]


@pytest.mark.parametrize(
    ("hours", "clock", "quiet_h"),
    [
        ("", "12:00", 0),
        ("08:00-18:00", "07:59", 0),
        ("08:00-18:00", "08:00", 10),
        ("08:00-18:00", "17:00", 1),
        ("08:00-18:00", "18:00", 0),
        ("22:00-06:00", "23:00", 7),
        ("22:00-06:00", "05:00", 1),
        ("22:00-06:00", "12:00", 0),
    ],
)
def test_quiet_hours_last_until_their_end(hours: str, clock: str, quiet_h: float) -> None:
    now = datetime.fromisoformat(f"2026-03-05T{clock}:00+00:00").timestamp()
    assert quiet_for_s(now, hours, UTC) == quiet_h * 3600


def test_rests_double_up_to_the_longest_and_are_half_at_random() -> None:
    rests = [rest_s(failures, jitter=lambda: 1.0) for failures in range(1, 30)]
    assert rests[:3] == [FIRST_REST_S, 2 * FIRST_REST_S, 4 * FIRST_REST_S]
    assert rests[-1] == LONGEST_REST_S
    assert rest_s(1, jitter=lambda: 0.0) == FIRST_REST_S / 2


@pytest.mark.parametrize(
    ("left", "arranged_at", "now", "wanted"),
    [
        (0, 999.0, 1000.0, True),  # complete
        (5, None, 1000.0, True),  # never yet
        (5, 999.0, 1000.0, False),
        (5, 1000.0, 1000.0 + ARRANGE_EVERY_S, True),
        (5, 5000.0, 1000.0, True),  # the clock was set back
    ],
)
def test_an_entry_is_arranged_when_it_is_complete_or_an_hour_has_passed(
    left: int, arranged_at: float | None, now: float, wanted: bool
) -> None:
    assert should_arrange(left=left, arranged_at=arranged_at, now=now) is wanted


@pytest.mark.parametrize(
    ("due", "wait_s"),
    [
        (None, 60.0),  # nothing: look again
        (1000.0, 0.0),
        (990.0, 0.0),
        (1010.0, 10.0),
        (1900.0, 60.0),
        (1000.0 + 3601, 0.0),  # put off by a clock that was ahead
        (1e12, 0.0),
    ],
)
def test_what_is_due_begins_then_and_what_cannot_wait_so_long_begins_at_once(
    due: float | None, wait_s: float
) -> None:
    assert until_due_s(due, now=1000.0, look_s=60.0, longest_s=3600.0) == wait_s


def test_a_short_period_is_looked_after_more_often() -> None:
    assert until_scrub_s(90 * 86_400.0, at_most_s=600.0) == 600.0
    assert until_scrub_s(20.0, at_most_s=600.0) == 2.0


@pytest.mark.parametrize(
    ("begun", "now", "took_s", "since"),
    [
        (1000.0, 1010.0, 10.0, 1000),
        (1000.0, 500.0, 10.0, 490),  # set back meanwhile
        (1000.0, 9000.0, 10.0, 1000),  # set forward meanwhile
    ],
)
def test_nothing_that_was_recorded_since_is_missed_where_the_clock_was_set(
    begun: float, now: float, took_s: float, since: int
) -> None:
    assert listed_since(begun, now=now, took_s=took_s) == since
