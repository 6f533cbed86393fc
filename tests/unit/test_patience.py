from __future__ import annotations

from empiar_mirror.transports.patience import TRIES, Patience


def patience_after(*waits_s: float, longest_s: float = 12.0) -> Patience:
    patience = Patience(longest_s)
    for waited_s in waits_s:
        patience.answered(waited_s)
    return patience


def test_nothing_is_believed_before_enough_answers_were_timed() -> None:
    assert patience_after(*[0.2] * 7).limit_s() == 12.0
    assert patience_after(*[0.2] * 8).limit_s() < 1.0


def test_answers_that_were_on_their_way_already_teach_nothing() -> None:
    assert patience_after(*[0.0001] * 1000).limit_s() == 12.0


def test_a_slow_host_is_given_three_times_its_slowest_answer_of_late() -> None:
    patience = patience_after(*[1.0] * 20)
    assert patience.limit_s() == 3.0
    for _ in range(200):
        patience.answered(0.1)
    assert patience.limit_s() == 0.5


def test_the_configured_time_is_never_exceeded() -> None:
    patience = patience_after(*[8.0] * 20)
    for _ in range(100):
        patience.lost()
    assert patience.limit_s() == 12.0


def test_each_further_try_is_given_longer_and_the_last_one_all_the_time() -> None:
    patience = patience_after(*[0.2] * 20)
    limits = [patience.limit_s(tries) for tries in range(TRIES + 1)]
    assert limits == sorted(limits)
    assert limits[1] == 2 * limits[0]
    assert limits[-1] == 12.0


def test_a_host_that_has_become_slower_is_not_left_again_and_again() -> None:
    patience = patience_after(*[0.2] * 20)
    usual = patience.limit_s()
    for _ in range(3):
        patience.lost()
    assert patience.limit_s() == 8 * usual
    for _ in range(20):
        patience.answered(0.2)
    assert patience.limit_s() == usual
