"""When scrubbing may read, how fast, and what is due."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.scrub_budget import (
    CLOCK_SLACK_S,
    LARGEST_PIECE,
    ByteRate,
    due,
    from_wrong_clock,
    pass_seconds,
    piece_bytes,
    usual_rate,
)

DAY = 86_400


# --- due -----------------------------------------------------------------------------------------------------


def test_files_are_read_so_early_that_the_last_is_in_time() -> None:
    now, period = 1_700_000_000, 90 * DAY
    pass_s = pass_seconds(10**12, bytes_per_s=10**7, hours="22:00-04:00")
    assert pass_s == 400_000
    before = due(now, period_s=period, pass_s=pass_s)
    # All were proven at one moment, and the pass begins when they are due: the last is proven `pass_s` later.
    assert now - before + pass_s <= period
    assert now - before > period - 2 * pass_s, "and not much too early"


def test_a_pass_that_takes_longer_than_the_period_never_rests_and_reads_nothing_twice() -> None:
    now = 1_700_000_000
    assert due(now, period_s=DAY, pass_s=10 * DAY) == now - 1


def test_proofs_from_a_clock_that_was_ahead_do_not_stay_young_for_ever() -> None:
    now = 1_700_000_000
    assert now + 10 < from_wrong_clock(now) == now + CLOCK_SLACK_S, (
        "a clock that is set back a little costs nothing"
    )


# --- rate ----------------------------------------------------------------------------------------------------


@given(
    rate=st.integers(100, 10**9),
    pieces=st.lists(st.tuples(st.integers(1, LARGEST_PIECE), st.floats(0, 30)), min_size=2, max_size=30),
)
def test_no_stretch_of_time_sees_more_than_the_rate_and_one_piece(
    rate: int, pieces: list[tuple[int, float]]
) -> None:
    """Reading takes the second number, in seconds; then the reader rests as it is told."""
    limit, clock = ByteRate(rate), 1000.0
    reads: list[tuple[float, int]] = []
    for count, seconds in pieces:
        began, clock = clock, clock + seconds
        reads.append((began, count))
        clock += limit.spend(count, began=began, now=clock)
    for first, last in itertools.combinations(range(len(reads)), 2):
        window = reads[last][0] - reads[first][0]
        moved = sum(count for _, count in reads[first:last])
        assert moved <= rate * window * (1 + 1e-6) + 1e-3 * rate


def test_a_slow_disk_is_not_slowed_down_and_saves_nothing_up() -> None:
    limit = ByteRate(1000)
    assert limit.spend(1000, began=0, now=5) == 0
    assert limit.spend(1000, began=5, now=5) == 1


def test_reading_itself_counts_as_rest() -> None:
    assert ByteRate(1000).spend(1000, began=0, now=0.4) == pytest.approx(0.6)


def test_without_a_limit_there_is_no_rest() -> None:
    assert ByteRate(None).spend(10**12, began=0, now=0) == 0
    assert piece_bytes(None) == LARGEST_PIECE


def test_pieces_are_so_small_that_a_stop_is_heard_within_a_quarter_second() -> None:
    assert piece_bytes(10**6) == 250_000
    assert piece_bytes(1) == 4096
    assert piece_bytes(10**12) == LARGEST_PIECE


def test_the_usual_rate_is_measured_once_enough_was_read_and_never_above_the_limit() -> None:
    assert usual_rate(None, bytes_read=10**6, seconds=1) == 10**9
    assert usual_rate(None, bytes_read=10**9, seconds=100) == 10**7
    assert usual_rate(10**6, bytes_read=10**9, seconds=100) == 10**6
    assert usual_rate(10**8, bytes_read=10**9, seconds=100) == 10**7
    assert usual_rate(None, bytes_read=10**9, seconds=0) == 10**9
