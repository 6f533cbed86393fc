from __future__ import annotations

import pytest

from empiar_mirror.pace import (
    ARRANGE_EVERY_S,
    FIRST_REST_S,
    LONGEST_REST_S,
    rest_s,
    should_arrange,
    until_crawl_s,
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
