"""What the configuration states of files stands above every rule; patterns mean what their page says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_imaging.judging import judge_folder
from empiar_imaging.role_overrides import NO_OVERRIDES, Overrides
from empiar_schema.files import ListedFile
from empiar_schema.image_facts import ImageFacts
from empiar_schema.role_reasons import RoleReason
from empiar_schema.role_settings import RoleOverride
from empiar_schema.states import Role

ENTRY = 10028


def stated(*rules: tuple[str, Role]) -> Overrides:
    return Overrides.of(ENTRY, [RoleOverride(entry=ENTRY, path=path, role=role) for path, role in rules])


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("data/a.mrc", "data/a.mrc", True),
        ("data/a.mrc", "data/aXmrc", False),
        ("data/*.mrc", "data/a.mrc", True),
        ("data/*.mrc", "data/x/a.mrc", False),
        ("data/*.mrc", "data/.mrc", True),
        ("*/*/gain*", "data/x/gain.mrc", True),
        ("*", "10028.xml", True),
        ("*", "data/a", False),
        ("data/?.mrc", "data/ß.mrc", True),
        ("data/?.mrc", "data/10.mrc", False),
        ("data/TS_01 [2].mrc", "data/TS_01 [2].mrc", True),
        ("data/TS_01 [2].mrc", "data/TS_01 2.mrc", False),
        ("data/a*b*c", "data/abbc", True),
        ("data/a*b*c", "data/ac", False),
        ("**", "10028.xml", True),
        ("**", "data/x/a", True),
        ("data/**", "data/x/y/a", True),
        ("data/**", "data/a", True),
        ("data/**", "datum/a", False),
        ("**/a.mrc", "a.mrc", True),
        ("**/a.mrc", "data/x/a.mrc", True),
        ("data/**/a.mrc", "data/a.mrc", True),
        ("data/**/x/*.mrc", "data/1/x/2/x/a.mrc", True),
        ("data/**/x/*.mrc", "data/1/x/2/a.mrc", False),
        ("**/x/**/y", "a/x/b/y", True),
        ("**/x/**/y", "a/y/b/x", False),
        ("data/a%0Ab", "data/a%0Ab", True),
    ],
)
def test_patterns_mean_what_the_page_says(pattern: str, path: str, fits: bool) -> None:
    assert (stated((pattern, Role.GAIN)).role(path) is Role.GAIN) is fits


def test_the_last_statement_that_fits_counts() -> None:
    overrides = stated(("data/**", Role.MOVIE), ("data/x/*", Role.OTHER))
    assert overrides.role("data/a") is Role.MOVIE
    assert overrides.role("data/x/a") is Role.OTHER
    assert overrides.role("10028.xml") is None


def test_statements_about_other_entries_are_not_ours() -> None:
    rules = [RoleOverride(entry=10017, path="**", role=Role.GAIN)]
    assert Overrides.of(ENTRY, rules) == NO_OVERRIDES
    assert Overrides.of(10017, rules).role("a") is Role.GAIN


def test_the_digest_tells_other_statements_and_another_order() -> None:
    one, two = ("data/**", Role.MOVIE), ("data/x/*", Role.OTHER)
    digests = [stated(*rules).digest for rules in ((), (one,), (two,), (one, two), (two, one))]
    assert digests[0] is None
    assert len(set(digests)) == 5
    assert stated(one, two).digest == digests[3]


def test_no_name_no_header_and_no_neighbour_overturns_a_statement() -> None:
    files = [ListedFile(name, None, False, None, 1) for name in ("CountRef.mrc", "a.eer", "b.mrc")]
    facts = {0: ImageFacts("mrc", 3838, 3710, 40), 2: ImageFacts("mrc", 3838, 3710, 40)}
    found = judge_folder([], "data", files, facts=facts, overrides=stated(("data/**", Role.PREVIEW)))
    assert set(found) == {(Role.PREVIEW, 1.0, RoleReason.OVERRIDE)}


@pytest.mark.timeout(60)  # by going back and forth it would take years
def test_a_hostile_name_does_not_make_a_pattern_slow() -> None:
    overrides = stated(("data/" + "a*" * 20 + "b", Role.GAIN), ("/".join(["**", "a"] * 10), Role.GAIN))
    for path in ("data/" + "a" * 4000, "/".join(["a"] * 400 + ["c"])):
        assert overrides.role(path) is None


@given(st.lists(st.sampled_from(["a", "b", "ab", "*", "?", "a*", "*b", "a*b*a", "*a*b*", "**"]), min_size=1, max_size=6),
       st.lists(st.sampled_from(["a", "b", "ab", "ba", "aab", "abba", "aabab"]), min_size=1, max_size=6))  # fmt: skip
def test_matching_agrees_with_a_plain_search(pattern: list[str], parts: list[str]) -> None:
    def fits(left: list[str], right: list[str]) -> bool:
        if not left:
            return not right
        if left[0] == "**":
            return fits(left[1:], right) or (bool(right) and fits(left, right[1:]))
        return bool(right) and name_fits(left[0], right[0]) and fits(left[1:], right[1:])

    def name_fits(left: str, right: str) -> bool:
        if not left:
            return not right
        if left[0] == "*":
            return name_fits(left[1:], right) or (bool(right) and name_fits(left, right[1:]))
        return bool(right) and left[0] in ("?", right[0]) and name_fits(left[1:], right[1:])

    found = stated(("/".join(pattern), Role.GAIN)).role("/".join(parts))
    assert (found is Role.GAIN) is fits(pattern, parts)
