"""Hours and days by the clock on the wall."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empiar_schema.hours import (
    WEEK_MINUTES,
    days_of,
    first_minute,
    hours_open,
    open_at_minute,
    open_share,
)

BERLIN = ZoneInfo("Europe/Berlin")


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


def opens_in(now: float, hours: str) -> float:
    found = first_minute(now, lambda moment: hours_open(moment, hours, BERLIN))
    assert found is not None
    return found - now


def test_the_wait_for_the_hours_crosses_a_change_of_the_clocks() -> None:
    evening = at("2026-03-28T22:00")
    assert opens_in(evening, "04:00-05:00") == 5 * 3600, "a night that is an hour short"
    assert opens_in(evening, "02:00-03:00") == at("2026-03-30T02:00") - evening
    assert opens_in(at("2026-03-28T04:30"), "04:00-05:00") == 0
    assert opens_in(at("2026-03-28T03:59:30"), "04:00-05:00") == 30
    assert first_minute(evening, lambda _: False) is None


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ("", {0, 1, 2, 3, 4, 5, 6}),
        ("Mon-Fri", {0, 1, 2, 3, 4}),
        ("sat, SUN", {5, 6}),
        ("Fri-Mon", {4, 5, 6, 0}),
        ("Wed", {2}),
        ("Mon,Wed-Thu", {0, 2, 3}),
    ],
)
def test_days_are_named_by_lists_and_spans(days: str, found: set[int]) -> None:
    assert days_of(days) == found


@pytest.mark.parametrize("days", ["Monday", "Mon-", "-Fri", "1-5", "Mon;Tue", "Mon,,Tue"])
def test_what_names_no_days_is_refused(days: str) -> None:
    with pytest.raises(ValueError, match="Mon-Fri"):
        days_of(days)


def test_hours_across_midnight_belong_to_the_day_on_which_they_begin() -> None:
    friday, saturday, monday = at("2026-01-16T23:00"), at("2026-01-17T05:59"), at("2026-01-19T05:59")
    assert hours_open(friday, "22:00-06:00", BERLIN, days="Mon-Fri")
    assert hours_open(saturday, "22:00-06:00", BERLIN, days="Mon-Fri")
    assert not hours_open(monday, "22:00-06:00", BERLIN, days="Mon-Fri"), "Sunday's night"
    assert hours_open(saturday, "", BERLIN, days="Sat")
    assert not hours_open(friday, "", BERLIN, days="Sat")


@settings(max_examples=20, deadline=None)
@given(
    hours=st.from_regex(
        r"([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]", fullmatch=True
    ).filter(str.isascii),
    days=st.sampled_from(["", "Mon-Fri", "Sat,Sun", "Wed"]),
    now=st.integers(1_700_000_000, 1_800_000_000),
)
def test_hours_are_open_for_their_length_on_each_of_their_days(hours: str, days: str, now: int) -> None:
    minutes = [open_at_minute(minute, hours, days=days) for minute in range(WEEK_MINUTES)]
    assert sum(minutes) == round(open_share(hours) * 1440) * len(days_of(days))
    local = datetime.fromtimestamp(now, BERLIN)
    of_week = local.weekday() * 1440 + local.hour * 60 + local.minute
    assert hours_open(now, hours, BERLIN, days=days) is minutes[of_week]


def test_local_time_is_that_of_the_machine_unless_told() -> None:
    now = at("2026-01-15T12:34", ZoneInfo("UTC"))
    local = datetime.fromtimestamp(now, UTC).astimezone()
    hour = f"{local.hour:02}:00-{(local.hour + 1) % 24:02}:00"
    assert hours_open(now, hour)


def test_the_open_share_of_a_day() -> None:
    assert open_share("") == open_share("08:00-08:00") == 1
    assert open_share("22:00-04:00") == open_share("04:00-10:00") == 0.25
