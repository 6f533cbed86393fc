"""When scrubbing may read, how fast, and what is due."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.scrub_budget import (
    CLOCK_SLACK_S,
    LARGEST_PIECE,
    ByteRate,
    due,
    from_wrong_clock,
    hours_open,
    open_share,
    opens_in,
    pass_seconds,
    piece_bytes,
    usual_rate,
)

BERLIN = ZoneInfo("Europe/Berlin")
DAY = 86_400


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("hours", "time", "is_open"),
    [
        ("", "12:00", True),
        ("22:00-06:00", "21:59:59", False),
        ("22:00-06:00", "22:00", True),
        ("22:00-06:00", "00:00", True),
        ("22:00-06:00", "05:59:59", True),
        ("22:00-06:00", "06:00", False),
        ("09:00-17:30", "09:00", True),
        ("09:00-17:30", "17:29", True),
        ("09:00-17:30", "17:30", False),
        ("09:00-17:30", "00:00", False),
        ("08:00-08:00", "12:00", True),
        ("00:00-23:59", "23:59", False),
    ],
)
def test_hours_are_those_of_the_wall_and_may_cross_midnight(hours: str, time: str, is_open: bool) -> None:
    assert hours_open(at(f"2026-01-15T{time}"), hours, BERLIN) is is_open


def test_hours_that_do_not_exist_when_clocks_go_forward_are_not_open() -> None:
    begin = at("2026-03-29T00:00")
    opened = [m for m in range(23 * 60) if hours_open(begin + m * 60, "02:00-03:00", BERLIN)]
    assert opened == [], "from 02:00 the clock goes to 03:00"
    assert hours_open(at("2026-03-29T03:00"), "02:30-03:30", BERLIN)


def test_an_hour_that_comes_twice_is_open_twice() -> None:
    begin = at("2026-10-25T00:00")
    opened = [m for m in range(25 * 60) if hours_open(begin + m * 60, "02:00-03:00", BERLIN)]
    assert len(opened) == 120


def test_the_wait_for_the_hours_crosses_a_change_of_the_clocks() -> None:
    evening = at("2026-03-28T22:00")
    assert opens_in(evening, "04:00-05:00", BERLIN) == 5 * 3600, "a night that is an hour short"
    assert opens_in(evening, "02:00-03:00", BERLIN) == at("2026-03-30T02:00") - evening
    assert opens_in(at("2026-03-28T04:30"), "04:00-05:00", BERLIN) == 0
    assert opens_in(at("2026-03-28T03:59:30"), "04:00-05:00", BERLIN) == 30


def test_local_time_is_that_of_the_machine_unless_told() -> None:
    now = at("2026-01-15T12:34", ZoneInfo("UTC"))
    local = datetime.fromtimestamp(now, UTC).astimezone()
    hour = f"{local.hour:02}:00-{(local.hour + 1) % 24:02}:00"
    assert hours_open(now, hour)


def test_the_open_share_of_a_day() -> None:
    assert open_share("") == open_share("08:00-08:00") == 1
    assert open_share("22:00-04:00") == open_share("04:00-10:00") == 0.25


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
