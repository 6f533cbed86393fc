from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.stretches import BLOCK_BYTES, Remaining, Stretch, missing

B = BLOCK_BYTES


def test_a_new_file_is_one_gap() -> None:
    assert missing(3 * B + 5, []) == [(0, 3 * B + 5)]


def test_an_empty_file_still_has_to_be_asked_for() -> None:
    remaining = Remaining(0)
    assert not remaining.done
    stretch = remaining.take(None)
    remaining.give_back(stretch, ended=True)
    assert remaining.done


@given(
    size=st.integers(1, 40 * B),
    blocks=st.sets(st.integers(0, 39), max_size=40),
)
def test_gaps_and_proven_blocks_tile_the_file(size: int, blocks: set[int]) -> None:
    proven = [(b * B, min(B, size - b * B)) for b in blocks if b * B < size]
    gaps = missing(size, proven)
    covered = sorted([*gaps, *((s, s + n) for s, n in proven)])
    position = 0
    for start, stop in covered:
        assert start == position
        position = stop
    assert position == size
    assert gaps == sorted(gaps)


def test_stretches_are_cut_on_the_block_grid() -> None:
    remaining = Remaining(10 * B)
    first = remaining.take(3 * B + 100)
    assert (first.start, first.stop) == (0, 3 * B)
    second = remaining.take(3 * B)
    assert (second.start, second.stop) == (3 * B, 6 * B)
    assert remaining.running == 2
    assert remaining.bytes_left == 10 * B


def test_an_interrupted_stretch_goes_on_where_it_stood() -> None:
    remaining = Remaining(4 * B)
    stretch = remaining.take(2 * B)
    stretch.position = B + 7
    remaining.give_back(stretch)
    again = remaining.take(None)
    assert again is stretch
    assert again.position == B + 7
    again.position = 2 * B
    remaining.give_back(again)
    rest = remaining.take(None)
    assert (rest.start, rest.stop) == (2 * B, 4 * B)
    rest.position = 4 * B
    remaining.give_back(rest)
    assert remaining.done


def test_only_a_gap_after_proven_bytes_may_compare_what_precedes_it() -> None:
    remaining = Remaining(6 * B, [(0, B), (B, B)])
    first = remaining.take(2 * B)
    assert first.after_proven
    second = remaining.take(2 * B)
    assert not second.after_proven, "the bytes before it are with another connection"


def test_a_stretch_of_unknown_size_ends_when_the_server_says_so() -> None:
    remaining = Remaining(None)
    stretch = remaining.take(B)
    assert stretch.stop is None
    assert not stretch.complete
    stretch.position = 12
    remaining.give_back(stretch, ended=True)
    assert remaining.done


def test_restart_makes_everything_missing_again() -> None:
    remaining = Remaining(4 * B, [(0, 2 * B)])
    remaining.restart(5 * B)
    stretch = remaining.take(None)
    assert (stretch.start, stretch.stop, stretch.after_proven) == (0, 5 * B, False)


@given(st.data())
def test_however_connections_come_and_go_each_byte_is_brought_exactly_once(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12 * B))
    remaining = Remaining(size)
    running: list[Stretch] = []
    brought: list[tuple[int, int]] = []
    while not remaining.done:
        if not remaining.nothing_left_to_take and (not running or data.draw(st.booleans())):
            running.append(remaining.take(data.draw(st.sampled_from([None, B, 3 * B]))))
            continue
        stretch = running.pop(data.draw(st.integers(0, len(running) - 1)))
        assert stretch.stop is not None
        left = stretch.stop - stretch.position
        count = left if data.draw(st.booleans()) else min(left, B - 1)
        brought.append((stretch.position, stretch.position + count))
        stretch.position += count
        remaining.give_back(stretch)
    position = 0
    for start, stop in sorted(b for b in brought if b[0] < b[1]):
        assert start == position
        position = stop
    assert position == size
    assert remaining.bytes_left == 0
