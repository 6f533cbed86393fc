"""How many connections a host is thought to bear: whatever happens, within bounds, one cut an event, and back up again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from empiar_wire.congestion import WINDOW_S, Congestion, Window

#: Seconds that pass, and what is seen then.
STEPS = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.sampled_from(["refused", "stalled", "window", "idle window", "limit"]),
        st.integers(1, 64),
    ),
    max_size=80,
)


def window(rate: float, *, busy: bool = True, held_back: bool = False) -> Window:
    return Window(int(rate * WINDOW_S), WINDOW_S, busy, held_back)


@given(st.integers(1, 64), STEPS)
def test_never_above_the_ceiling_never_below_one_and_one_cut_a_window(
    ceiling: int, steps: list[tuple[float, str, int]]
) -> None:
    congestion, now, cut_at = Congestion(ceiling), 1000.0, float("-inf")
    for seconds, what, number in steps:
        now += seconds
        before = congestion.allowed
        match what:
            case "refused":
                cut = congestion.refused(began_at=now - number, now=now)
            case "stalled":
                cut = congestion.stalled(began_at=now - number, now=now)
            case "limit":
                ceiling, cut = number, False
                congestion.limit(ceiling)
            case _:
                cut = False
                grown = congestion.window(window(1e6 * number, busy=what == "window"), now=now)
                assert congestion.allowed == before + grown
                assert not (grown and what == "idle window")
        if cut:
            assert now >= cut_at + WINDOW_S
            assert congestion.allowed == max(1, before // 2) < before
            cut_at = now
        assert 1 <= congestion.allowed <= ceiling


@given(st.integers(2, 64), st.integers(1, 63))
def test_it_comes_back_to_the_ceiling_when_the_server_bears_it(ceiling: int, cuts: int) -> None:
    congestion, now = Congestion(ceiling), 0.0
    for _ in range(cuts):
        now += 10
        congestion.refused(began_at=now, now=now)
    for _ in range(3000):  # windows: less than two hours
        now += WINDOW_S
        congestion.window(window(1e6 * congestion.allowed), now=now)
        if congestion.allowed == ceiling:
            return
    raise AssertionError(f"still {congestion.allowed} of {ceiling}")


@given(st.integers(2, 64), st.integers(1, 16))
def test_a_server_with_a_limit_is_used_up_to_it_and_seldom_asked_for_more(ceiling: int, bears: int) -> None:
    congestion, now = Congestion(ceiling), 0.0
    refusals = []
    for _ in range(1800):  # an hour
        now += WINDOW_S
        if congestion.allowed > bears:
            congestion.refused(began_at=now, now=now)
            refusals.append(now)
        congestion.window(window(1e6 * min(bears, congestion.allowed)), now=now)
    if ceiling > bears:
        late = [when for when in refusals if when > 1800]
        assert len(late) <= 3, "the rests between tries become longer"
    assert congestion.allowed >= min(ceiling, bears) // 2


def test_many_streams_of_one_event_are_one_cut() -> None:
    congestion = Congestion(8)
    assert congestion.refused(began_at=100.0, now=103.0)
    for late in (103.1, 110.0, 115.0):
        assert not congestion.refused(began_at=101.0, now=late), "begun before the cut"
    assert congestion.allowed == 4
    assert congestion.refused(began_at=110.0, now=116.0)
    assert congestion.allowed == 2


def test_the_one_request_in_thirty_that_hangs_costs_no_connection() -> None:
    congestion = Congestion(8)
    for minute in range(60):
        assert not congestion.stalled(began_at=minute * 60.0, now=minute * 60.0 + 12)
    assert congestion.allowed == 8
    stalls = [congestion.stalled(began_at=4000.0, now=4012.0) for _ in range(4)]
    assert stalls == [False, False, True, False], "three of eight at once"


def test_a_connection_that_brings_nothing_is_the_last_for_a_while() -> None:
    congestion = Congestion(8)
    congestion.refused(began_at=0.0, now=1.0)
    grown = [congestion.window(window(4e6), now=3.0 + WINDOW_S * n) for n in range(7)]
    assert grown == [True, False, False, False, False, False, False]
    assert congestion.window(window(4e6), now=30.0)


def test_nothing_grows_that_the_bandwidth_limit_or_the_disk_holds_back() -> None:
    congestion = Congestion(8)
    congestion.refused(began_at=0.0, now=1.0)
    assert not any(congestion.window(window(4e6, held_back=True), now=5.0 + n) for n in range(50))


def test_what_was_learnt_outlasts_hours_with_fewer_connections() -> None:
    congestion = Congestion(8)
    congestion.limit(8, now_at_most=2)
    assert congestion.allowed == 2
    congestion.limit(8)
    assert congestion.allowed == 8
    congestion.refused(began_at=0.0, now=1.0)
    congestion.limit(16)
    assert congestion.allowed == 4
