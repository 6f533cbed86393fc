"""Which files may be evicted, and how many of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from empiar_imaging.formats.evidence import HARMLESS, MEANING
from empiar_mirror.eviction.automatic import excess
from empiar_mirror.eviction.judging import (
    KEPT_MEANING,
    Candidate,
    Chooser,
    Kept,
    Rules,
    shrunk,
    why_kept,
)
from empiar_mirror.space import DiskUse
from empiar_schema.settings import DiskSettings
from empiar_schema.states import CopyState

NOW = 1_767_225_600
DAY = 86_400
RULES = Rules(NOW, listed_within=30 * DAY)
SOUND = Candidate(
    1, "data/a.mrc", CopyState.ARRIVED, 100, b"s" * 32, NOW - DAY, NOW - DAY, NOW - DAY, frees=100
)


def test_a_sound_file_that_the_archive_lists_may_go() -> None:
    assert why_kept(SOUND, RULES) is None


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"pinned": True}, Kept.PINNED),
        ({"pinned": True, "withdrawn": True}, Kept.PINNED),
        ({"subscribed": True}, Kept.SUBSCRIBED),
        ({"withdrawn": True}, Kept.WITHDRAWN),
        ({"state": CopyState.WITHDRAWN}, Kept.WITHDRAWN),
        ({"unlisted": True}, Kept.UNLISTED),
        ({"changed": True}, Kept.CHANGED),
        ({"listed_at": None}, Kept.LISTED_LONG_AGO),
        ({"listed_at": NOW - 31 * DAY}, Kept.LISTED_LONG_AGO),
        ({"listed_at": NOW + DAY}, Kept.LISTED_LONG_AGO),
        ({"problems": ("mrc.truncated",)}, Kept.DAMAGED_AT_SOURCE),
        ({"problems": ("image.constant", "of.tomorrow")}, Kept.DAMAGED_AT_SOURCE),
        ({"in_use": True}, Kept.IN_USE),
        ({"as_recorded": False}, Kept.NOT_AS_RECORDED),
        ({"sha256": None}, Kept.DAMAGED),
        ({"verified_at": None}, Kept.DAMAGED),
    ],
)
def test_whatever_could_not_come_back_as_it_was_stays(facts: Mapping[str, object], why: Kept) -> None:
    file = Candidate(**{**SOUND._asdict(), **facts})
    assert why_kept(file, RULES) is why


@pytest.mark.parametrize("state", sorted(set(CopyState) - {CopyState.ARRIVED}))
def test_no_state_but_arrived_is_evicted(state: CopyState) -> None:
    assert why_kept(SOUND._replace(state=state), RULES) is not None


def test_findings_on_content_are_no_damage() -> None:
    assert why_kept(SOUND._replace(problems=tuple(HARMLESS)), RULES) is None
    assert set(MEANING) > HARMLESS


def test_only_subscriptions_can_be_overruled() -> None:
    despite = Rules(NOW, listed_within=30 * DAY, despite_subscriptions=True)
    assert why_kept(SOUND._replace(subscribed=True), despite) is None
    assert why_kept(SOUND._replace(subscribed=True, pinned=True), despite) is Kept.PINNED


def test_without_a_target_all_that_may_go_goes_also_where_it_frees_nothing() -> None:
    chooser = Chooser(RULES)
    assert [chooser.judge(SOUND._replace(frees=frees)) for frees in (100, 0, 100)] == [None] * 3
    assert chooser.freed == 200
    assert not chooser.enough


def test_with_a_target_files_go_in_order_until_enough_would_be_free() -> None:
    chooser = Chooser(Rules(NOW, listed_within=30 * DAY, target=150))
    files = [
        SOUND,
        SOUND._replace(pinned=True),
        SOUND._replace(frees=0),
        SOUND,
        SOUND,
        SOUND._replace(pinned=True),
    ]
    assert [chooser.judge(file) for file in files] == [
        None, Kept.PINNED, Kept.LINKED, None, Kept.NOT_NEEDED, Kept.PINNED,
    ]  # fmt: skip
    assert chooser.freed == 200
    assert chooser.enough


def test_a_target_of_nothing_takes_nothing() -> None:
    assert Chooser(Rules(NOW, listed_within=30 * DAY, target=0)).judge(SOUND) is Kept.NOT_NEEDED


def test_every_reason_has_a_sentence() -> None:
    assert set(KEPT_MEANING) == set(Kept)


@pytest.mark.parametrize(
    ("before", "now", "believed"),
    [
        (None, 0, True),
        (0, 0, True),
        (1, 1, True),
        (1, 0, False),
        (100, 11, True),
        (100, 10, False),
        (5, 500, True),
    ],
)
def test_a_pin_that_suddenly_keeps_a_tenth_is_not_believed(
    before: int | None, now: int, believed: bool
) -> None:
    assert (shrunk(before, now) is None) is believed


def test_what_is_above_the_low_watermark_has_to_go() -> None:
    disk = DiskSettings(low_watermark=0.5, high_watermark=0.9)
    assert excess(DiskUse(1000, 100), disk) == 400
    assert excess(DiskUse(1000, 500), disk) == 0
    assert excess(DiskUse(1000, 900), disk) == 0
