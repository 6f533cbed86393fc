"""What came whole and is not believed yet: for how long, and how often it is asked for."""

from __future__ import annotations

import pytest

from empiar_mirror import doubts as module
from empiar_mirror.doubts import PATIENCE, TIMES, Doubts
from empiar_schema.transfer_store import LONGEST_WAIT_S

A, B = bytes(32), bytes([1] * 32)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def doubts(clock: Clock) -> Doubts:
    return Doubts(2.0, clock=clock)


def test_the_same_bytes_are_believed_after_a_while_and_not_before(doubts: Doubts, clock: Clock) -> None:
    assert doubts.believed_in(1, A) == 2 * PATIENCE
    clock.now += 2 * PATIENCE - 1
    assert doubts.believed_in(1, A) == 1
    clock.now += 1
    assert doubts.believed_in(1, A) == 0


def test_other_bytes_begin_a_doubt_of_their_own(doubts: Doubts, clock: Clock) -> None:
    doubts.believed_in(1, A)
    clock.now += 10 * PATIENCE
    assert doubts.believed_in(1, B) == 2 * PATIENCE
    assert doubts.believed_in(2, A) == 2 * PATIENCE
    doubts.forget(1)
    assert doubts.believed_in(1, B) == 2 * PATIENCE


def test_what_cannot_be_right_is_asked_for_with_growing_waits_and_not_for_ever(doubts: Doubts) -> None:
    waits = [doubts.reject(1, A) for _ in range(TIMES + 3)]
    assert waits == [*(2 * PATIENCE * 2**n for n in range(TIMES)), None, None, None]
    assert doubts.reject(2, A, patience=1) == 2
    doubts.forget(1)
    assert doubts.reject(1, A) == 2 * PATIENCE


def test_no_wait_is_longer_than_an_hour(clock: Clock) -> None:
    assert Doubts(1000.0, clock=clock).reject(1, A) == LONGEST_WAIT_S


def test_what_came_last_is_known(doubts: Doubts) -> None:
    assert not doubts.came_last(1, A)
    doubts.reject(1, A)
    assert (doubts.came_last(1, A), doubts.came_last(1, B), doubts.came_last(2, A)) == (True, False, False)


def test_few_doubts_are_kept_the_latest(doubts: Doubts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    for file_id in (1, 2, 3):
        doubts.reject(file_id, A)
    assert [doubts.came_last(file_id, A) for file_id in (1, 2, 3)] == [False, True, True]
