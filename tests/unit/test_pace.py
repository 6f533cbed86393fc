from __future__ import annotations

import pytest

from empiar_mirror.pace import (
    ARRANGE_EVERY_S,
    FIRST_REST_S,
    LONGEST_REST_S,
    listed_since,
    rest_s,
    should_arrange,
    until_crawl_s,
    until_due_s,
    until_scrub_s,
)


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.9), (0.5, 1.0), (1.0, 1.1)])
def test_crawls_come_a_tenth_earlier_or_later(chance: float, share: float) -> None:
    assert until_crawl_s(4000, jitter=lambda: chance) == pytest.approx(1000 * share)


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
