"""The states of a copy, exhaustively."""

import re
from itertools import product
from pathlib import Path

import pytest

from empiar_schema import states
from empiar_schema.states import CLAIMABLE, FAILED, HERE, MEANING, TRANSITIONS, CopyState, may_follow


def reachable_from(start: CopyState) -> set[CopyState]:
    seen, waiting = {start}, [start]
    while waiting:
        for state in TRANSITIONS[waiting.pop()] - seen:
            seen.add(state)
            waiting.append(state)
    return seen


def test_every_state_has_transitions_into_known_states_and_a_sentence_for_people() -> None:
    assert set(TRANSITIONS) == set(CopyState) == set(MEANING)
    assert all(after <= set(CopyState) for after in TRANSITIONS.values())
    assert all(MEANING.values())


def test_the_states_are_those_of_the_public_contract_and_two_more() -> None:
    words = "wanted claimed partial arrived parked quarantined damaged withdrawn"
    assert {str(state) for state in CopyState} == {*words.split(), "unverified", "evicted"}


def test_every_state_is_reached_from_wanted() -> None:
    assert reachable_from(CopyState.WANTED) == set(CopyState)


@pytest.mark.parametrize("state", CopyState)
def test_from_every_state_a_copy_can_arrive(state: CopyState) -> None:
    assert CopyState.ARRIVED in reachable_from(state)


@pytest.mark.parametrize(("before", "after"), list(product(CopyState, CopyState)))
def test_may_follow_says_what_the_table_says(before: CopyState, after: CopyState) -> None:
    assert may_follow(before, after) is (after in TRANSITIONS[before])


@pytest.mark.parametrize("state", CopyState)
def test_no_state_follows_itself(state: CopyState) -> None:
    assert not may_follow(state, state)


def test_bytes_here_are_given_up_only_by_command_or_through_a_verify_that_found_damage() -> None:
    assert TRANSITIONS[CopyState.ARRIVED] - HERE == {CopyState.DAMAGED, CopyState.EVICTED}
    assert TRANSITIONS[CopyState.WITHDRAWN] - HERE == {CopyState.DAMAGED}


def test_only_claimable_states_lead_to_claimed() -> None:
    assert {state for state in CopyState if may_follow(state, CopyState.CLAIMED)} == CLAIMABLE


def test_a_failed_copy_goes_on_only_when_wanted_again_or_when_it_holds_after_all() -> None:
    for state in FAILED:
        assert TRANSITIONS[state] <= {CopyState.WANTED, CopyState.ARRIVED}


def test_here_claimable_and_failed_do_not_overlap_and_leave_only_what_others_work_on() -> None:
    assert not HERE & CLAIMABLE
    assert not HERE & FAILED
    assert not CLAIMABLE & FAILED
    left = {CopyState.CLAIMED, CopyState.UNVERIFIED, CopyState.EVICTED}
    assert set(CopyState) - HERE - CLAIMABLE - FAILED == left


def test_what_was_not_verified_is_never_taken_for_here_nor_for_failed() -> None:
    assert CopyState.UNVERIFIED not in HERE | FAILED | CLAIMABLE
    assert TRANSITIONS[CopyState.UNVERIFIED] == {CopyState.WANTED}
    assert {state for state in CopyState if may_follow(state, CopyState.UNVERIFIED)} == {CopyState.CLAIMED}


def test_the_diagram_in_the_package_readme_is_the_table() -> None:
    readme = Path(states.__file__).with_name("README.md").read_text()
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", readme, re.MULTILINE))
    assert drawn == {(str(before), str(after)) for before, ways in TRANSITIONS.items() for after in ways}
    for state, meaning in MEANING.items():
        assert f"| `{state}` | {meaning} |" in readme
