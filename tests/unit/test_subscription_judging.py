"""What follows from a subscription's result: pure judgement."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.subscriptions.judging import FLOOD, Decision, Item, decide, hold_reason
from empiar_schema.subscriptions import Recorded


def item(empiar_id: int, size: int = 10, *, mark: str | None = "1", new: bool = True) -> Item:
    return Item(empiar_id, 0, 1, size, mark, new)


def taken(empiar_id: int, size: int = 10, *, mark: str = "1", gone: bool = False) -> Recorded:
    return Recorded(empiar_id, 0, gone, wanted=True, files=1, bytes=size, mark=mark, left_out=None)


def asked(decision: Decision) -> list[int]:
    return [one.empiar_id for one in decision.ask]


def test_a_result_is_believed_unless_it_is_suddenly_nothing_or_ten_times_as_much() -> None:
    assert hold_reason(None, 5000) is None
    assert hold_reason(0, 5000) is None
    assert hold_reason(3, 29) is None
    assert hold_reason(3, 1) is None
    assert "returns nothing" in (hold_reason(3, 0) or "")
    assert "returns 30, and returned 3 before" in (hold_reason(3, 30) or "")


@given(st.integers(1, 10**6), st.integers(0, 10**7))
def test_a_hold_depends_on_the_ratio_alone(before: int, now: int) -> None:
    assert (hold_reason(before, now) is not None) == (now == 0 or now >= FLOOD * before)


def test_a_budget_stops_at_the_first_match_that_does_not_fit_in_the_order_of_the_query() -> None:
    decision = decide([item(3, 40), item(1, 50), item(2, 30), item(4, 1)], {}, budget=100, new_only=False)
    assert asked(decision) == [3, 1]
    assert [one.empiar_id for one in decision.over_budget] == [2, 4]
    assert {(one.empiar_id, reason) for one, reason in decision.note} == {(2, "budget"), (4, "budget")}


def test_what_was_made_wanted_counts_against_the_budget_also_when_it_is_returned_no_longer() -> None:
    recorded = {1: taken(1, 60), 2: taken(2, 30, gone=True)}
    decision = decide([item(1, 60), item(3, 20)], recorded, budget=100, new_only=False)
    assert asked(decision) == []
    assert [one.empiar_id for one in decision.over_budget] == [3]
    assert asked(decide([item(1, 60), item(3, 20)], recorded, budget=110, new_only=False)) == [3]


def test_what_grows_beyond_the_budget_keeps_what_it_has_and_gets_no_more() -> None:
    grown = item(1, 80, mark="2")
    decision = decide([grown], {1: taken(1, 60)}, budget=70, new_only=False)
    assert (asked(decision), decision.note) == ([], ((grown, "budget"),))
    assert asked(decide([grown], {1: taken(1, 60)}, budget=80, new_only=False)) == [1]
    shrunk = item(1, 50, mark="2")
    assert asked(decide([shrunk], {1: taken(1, 60)}, budget=10, new_only=False)) == [1]


def test_nothing_is_asked_twice_unless_its_listing_changed_or_it_is_to_be_asked_afresh() -> None:
    same = decide([item(1)], {1: taken(1)}, budget=None, new_only=False)
    assert (same.ask, same.note, same.gone) == ((), (), ())
    assert asked(decide([item(1, mark="2")], {1: taken(1)}, budget=None, new_only=False)) == [1]
    assert asked(decide([item(1)], {1: taken(1)}, budget=None, new_only=False, afresh=True)) == [1]


def test_of_what_is_new_only_older_matches_are_noted_and_left() -> None:
    decision = decide([item(1, new=False), item(2)], {}, budget=None, new_only=True)
    assert asked(decision) == [2]
    assert [(one.empiar_id, reason) for one, reason in decision.note] == [(1, "older")]
    assert asked(decide([item(1, new=False)], {}, budget=None, new_only=False)) == [1]


def test_what_is_not_listed_waits_and_does_not_end_the_budget() -> None:
    decision = decide([item(1, 0, mark=None), item(2)], {}, budget=10, new_only=False)
    assert (asked(decision), decision.unlisted) == ([2], 1)


def test_what_disappears_is_recorded_once_and_nothing_else_follows() -> None:
    assert decide([], {1: taken(1)}, budget=None, new_only=False) == Decision((), (), ((1, 0),), (), 0, 0)
    assert decide([], {1: taken(1, gone=True)}, budget=None, new_only=False).gone == ()


def test_what_returns_is_recorded_without_being_asked_for_again() -> None:
    decision = decide([item(1)], {1: taken(1, gone=True)}, budget=None, new_only=False)
    assert (decision.ask, decision.note) == ((), ((item(1), None),))


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 100)), unique_by=lambda pair: pair[0]),
    st.integers(1, 500),
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 100)), unique_by=lambda pair: pair[0]),
)
def test_a_budget_is_never_exceeded_by_what_is_newly_asked(
    found: list[tuple[int, int]], budget: int, before: list[tuple[int, int]]
) -> None:
    recorded = {number: taken(number, size) for number, size in before}
    decision = decide([item(*pair) for pair in found], recorded, budget=budget, new_only=False)
    spent = sum(match.bytes for match in recorded.values())
    asked_bytes = sum(one.bytes for one in decision.ask)
    assert asked_bytes == 0 or spent + asked_bytes <= budget
    assert not {one.empiar_id for one in decision.ask} & recorded.keys()
