"""The dry run: what has to move, whether it fits, and how long it takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.plan import UNMEASURED_BYTES_PER_S, EntryNeed, Moved, Plan, Room, room, throughput
from empiar_schema.states import Channel

MB = 10**6


def need(*, moved: int, partial: int = 0) -> EntryNeed:
    return EntryNeed(10017, 3, moved, 1, 5, partial, 0, 0)


def test_without_measurements_the_known_rate_of_a_connection_is_assumed_and_said() -> None:
    found = throughput([], Channel.HTTPS, connections=8)
    assert found.typical_bytes_per_s == found.slow_bytes_per_s == 8 * UNMEASURED_BYTES_PER_S
    assert not found.measured
    assert "no measurement yet" in found.basis


def test_overlapping_attempts_add_up_and_pauses_do_not_count() -> None:
    attempts = [Moved(0, 10, 100 * MB), Moved(0, 10, 100 * MB), Moved(100, 110, 200 * MB)]
    assert throughput(attempts, Channel.FTP, connections=4).typical_bytes_per_s == pytest.approx(20 * MB)


def test_an_attempt_over_many_stretches_counts_in_each_with_its_share() -> None:
    found = throughput([Moved(0, 6000, 6000 * MB)], Channel.FTP, connections=1)
    assert found.typical_bytes_per_s == pytest.approx(MB)
    assert found.slow_bytes_per_s == pytest.approx(MB)


def test_the_slow_estimate_comes_from_the_slowest_tenth() -> None:
    good = [Moved(600 * n, 600 * n + 100, 1000 * MB) for n in range(9)]
    bad = [Moved(6000, 6100, 10 * MB)]
    found = throughput(good + bad, Channel.HTTPS, connections=8)
    assert found.typical_bytes_per_s == pytest.approx(10 * MB)
    assert found.slow_bytes_per_s < 10 * MB


def test_an_attempt_shorter_than_the_clock_promises_no_infinity() -> None:
    assert throughput([Moved(5, 5, 10 * MB)], Channel.HTTPS, connections=1).typical_bytes_per_s == 10 * MB


@given(
    st.lists(
        st.builds(
            lambda start, length, count: Moved(start, start + length, count),
            st.floats(0, 1e6),
            st.floats(0, 1e5),
            st.integers(0, 10**12),
        ),
        max_size=20,
    )
)
def test_a_throughput_is_always_positive_and_slow_is_never_faster(attempts: list[Moved]) -> None:
    found = throughput(attempts, Channel.HTTPS, connections=2)
    assert 0 < found.slow_bytes_per_s <= found.typical_bytes_per_s * (1 + 1e-9)


@pytest.mark.parametrize(
    ("free", "quota", "held", "allowed"),
    [(300, None, 0, 250), (40, None, 0, 0), (300, 100, 30, 70), (300, 100, 200, 0), (300, 10_000, 0, 250)],
)
def test_watermark_and_quota_bound_the_room(free: int, quota: int | None, held: int, allowed: int) -> None:
    assert room(total=1000, free=free, high_watermark=0.95, quota=quota, held=held).allowed == allowed


def test_what_staging_holds_is_neither_moved_nor_needed_again() -> None:
    rate = throughput([], Channel.HTTPS, connections=1)
    plan = Plan((need(moved=100, partial=40), need(moved=10)), Channel.HTTPS, rate, Room(1000, 200, 70))
    assert (plan.bytes, plan.files, plan.fits) == (70, 6, True)
    assert plan.seconds == pytest.approx(70 / UNMEASURED_BYTES_PER_S)
    assert not Plan((need(moved=71),), Channel.HTTPS, rate, Room(1000, 200, 70)).fits
