"""Which limits hold at a time."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from empiar_mirror import doctor
from empiar_mirror.findings import Verdict
from empiar_mirror.limits import EVERYTHING, InForce, in_force, pause, scopes_of
from empiar_mirror.limits import connections as ceiling
from empiar_mirror.pacing import rested_at
from empiar_mirror.pacing_note import PacingNote, read_note
from empiar_mirror.reading import reading
from empiar_mirror.status import judge_health, read_status
from empiar_mirror.why import why_entry
from empiar_schema.configuration import load
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from empiar_schema.transfer_settings import TransferSettings
from small_mirror import ENTRY, NOW, make_small_mirror

BERLIN = ZoneInfo("Europe/Berlin")
HOST = "ftp.ebi.ac.uk"
BOTH = ((Channel.HTTPS, HOST), (Channel.FTP, HOST))


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own zone, which is what counts."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def settings(text: str) -> TransferSettings:
    import tomllib

    return TransferSettings.model_validate(tomllib.loads(text))


WORK_DAYS = settings("""
bandwidth = "200MB"
[[limit]]
days = "Mon-Fri"
hours = "08:00-18:00"
bytes_per_s = "50MB"
connections = 2
[[limit]]
hours = "22:00-06:00"
bytes_per_s = "none"
[[limit]]
channel = "ftp"
connections = 4
""")


@pytest.mark.parametrize(
    ("moment", "rate", "number"),
    [
        ("2026-01-15T12:00", 50_000_000, 2),
        ("2026-01-15T18:00", 200_000_000, 8),
        ("2026-01-15T23:00", None, 8),
        ("2026-01-17T12:00", 200_000_000, 8),  # a Saturday
        ("2026-01-17T05:59", None, 8),
    ],
)
def test_hours_take_the_place_of_what_holds_otherwise(moment: str, rate: int | None, number: int) -> None:
    holds = in_force(WORK_DAYS, EVERYTHING, at(moment))
    assert (holds.bytes_per_s, holds.connections) == (rate, number)


def test_limits_of_a_channel_hold_beside_those_of_everything() -> None:
    evening, noon = at("2026-01-15T19:00"), at("2026-01-15T12:00")
    for channel, expected in ((Channel.HTTPS, 8), (Channel.FTP, 4)):
        assert ceiling(WORK_DAYS, scopes_of(channel, HOST), evening) == expected
        assert ceiling(WORK_DAYS, scopes_of(channel, HOST), noon) == 2
    assert in_force(WORK_DAYS, (Channel.FTP, None), noon) == InForce(connections=4)


def test_a_pause_says_until_when() -> None:
    paused = settings('limit = [{ days = "Mon-Fri", hours = "08:00-18:00", bytes_per_s = 0 }]')
    noon = at("2026-01-15T12:00")
    found = pause(paused, BOTH, noon)
    assert found is not None
    assert found.sentence(noon) == "waits for 18:00, transfer.limit"
    assert pause(paused, BOTH, at("2026-01-15T18:00")) is None
    assert pause(paused, (), noon) is None, "nothing that could rest"


def test_a_pause_over_the_night_in_which_clocks_change_ends_by_the_wall() -> None:
    paused = settings('limit = [{ hours = "22:00-06:00", bytes_per_s = 0 }]')
    evening = at("2026-03-28T22:00")
    found = pause(paused, BOTH, evening)
    assert found is not None and found.until == evening + 7 * 3600, "a night that is an hour short"
    assert found.sentence(evening) == "waits for Sun 06:00, transfer.limit"


def test_a_channel_that_rests_is_no_rest_while_another_may() -> None:
    ftp = settings('limit = [{ channel = "ftp", bytes_per_s = 0 }]')
    assert pause(ftp, BOTH, at("2026-01-15T12:00")) is None
    alone = pause(ftp, BOTH[1:], at("2026-01-15T12:00"))
    assert alone is not None and alone.until is None and "at any time" in alone.sentence(0)


def test_after_a_pause_nobody_asks_for_bytes_at_once(tmp_path: Path) -> None:
    paused = settings('limit = [{ hours = "08:00-18:00", bytes_per_s = 0 }]')
    mirror, evening = Settings(root=tmp_path, transfer=paused), at("2026-01-15T18:10")
    rested = rested_at(mirror, evening, within_s=1800)
    assert rested is not None
    assert evening - 720 <= rested < evening - 600
    assert rested_at(mirror, evening + 7200, within_s=1800) is None
    assert rested_at(Settings(root=tmp_path), evening, within_s=1800) is None


def test_zero_everywhere_is_for_ever() -> None:
    for never in (
        settings("bandwidth = 0"),
        settings('bandwidth = 0\nlimit = [{ hours = "08:00-18:00", connections = 2 }]'),
    ):
        found = pause(never, BOTH, at("2026-01-15T12:00"))
        assert found is not None and found.until is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("connections = 0", "transfer.connections = 0"),
        ('[[transfer.limit]]\nhours = "8-18"\nbytes_per_s = 1', "must be hours such as 22:00-06:00"),
        ('[[transfer.limit]]\ndays = "Montag"\nbytes_per_s = 1', "must be days such as Mon-Fri"),
        ('[[transfer.limit]]\nhours = "08:00-18:00"', "limits nothing"),
        ("[[transfer.limit]]\nconnections = 0", "must be greater than 0"),
        ("[[transfer.limit]]\nconnections = 9", "more than transfer.connections (8)"),
        ('[[transfer.limit]]\nchannel = "globus"\nconnections = 1', "must be https or ftp"),
        ("[[transfer.limit]]\nbytes_per_s = -1", "must be 0, which pauses, or more"),
        ('[[transfer.limit]]\nbytes_per_sec = "1MB"', "did you mean transfer.limit.bytes_per_s?"),
        (
            '[[transfer.limit]]\nhours = "22:00-06:00"\nbytes_per_s = 1\n[[transfer.limit]]\ndays = "Mon"\nhours = "05:59-07:00"\nbytes_per_s = 2',
            "limits number 1 and 2 concern the same transfers at the same time",
        ),
        ("[[transfer.limit]]\nbytes_per_s = 1\n[[transfer.limit]]\nbytes_per_s = 2", "number 1 and 2"),
    ],
)
def test_impossible_limits_are_refused_with_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "empiar-mirror.toml").write_text(f"[transfer]\n{text}\n")
    with pytest.raises(ConfigFault) as refused:
        load(environ={}, cwd=tmp_path)
    assert sentence in str(refused.value)


def test_timetables_of_several_scopes_and_of_several_days_do_not_collide() -> None:
    settings("""
    [[limit]]
    hours = "08:00-18:00"
    bytes_per_s = 1
    [[limit]]
    hours = "08:00-18:00"
    channel = "ftp"
    bytes_per_s = 1
    [[limit]]
    days = "Sat,Sun"
    hours = "18:00-20:00"
    bytes_per_s = 1
    [[limit]]
    days = "Mon-Fri"
    hours = "18:00-08:00"
    bytes_per_s = 2
    """)


# --- who says so ----------------------------------------------------------------------------------------------


def test_status_and_why_say_what_is_waited_for_and_health_is_no_worse_for_it(tmp_path: Path) -> None:
    rests = "waits for 18:00, transfer.limit"
    make_small_mirror(tmp_path)
    with reading(tmp_path) as catalogue:
        read = functools.partial(
            read_status, catalogue, None, now=NOW + 10**6, worker="pid 7", globus=Settings().globus
        )
        silent = judge_health(read(), now=NOW + 10**6, disk_refusal=None, stall_s=7200)
        resting = judge_health(read(rests=rests), now=NOW + 10**6, disk_refusal=None, stall_s=7200)
        assert silent.standstill
        assert not resting.standstill
        assert read(connections={"https": 4}).connections == {"https": 4}
        pausing = Settings(root=tmp_path, transfer=settings("bandwidth = 0"))
        found = why_entry(catalogue, ENTRY, worker=None, settings=pausing, now=NOW)
        assert any(
            "transfer.bandwidth allows no transfers at any time" in reason.sentence for reason in found
        )
        assert not any(
            reason.state == "rest"
            for reason in why_entry(catalogue, ENTRY, worker=None, settings=Settings(), now=NOW)
        )


def test_doctor_tells_of_limits_that_let_nothing_come_and_of_hosts_that_nobody_asks(tmp_path: Path) -> None:
    wrong = Settings(root=tmp_path, transfer=settings("bandwidth = 0"))
    assert [finding.verdict for finding in doctor._pace(wrong)] == [Verdict.FAIL]
    stranger = settings('limit = [{ host = "example.org", connections = 2 }]')
    found = list(doctor._pace(Settings(root=tmp_path, transfer=stranger)))
    assert [finding.verdict for finding in found] == [Verdict.OK, Verdict.WARN]
    assert list(doctor._pace(Settings(root=tmp_path))) == []


def test_what_is_noted_for_status_goes_with_the_process_and_is_never_written_in_a_roots_place(
    tmp_path: Path,
) -> None:
    note = PacingNote(tmp_path)
    note.write({"https": (4, HOST)})
    assert list(tmp_path.iterdir()) == [], "no lock: the disk is away"
    (tmp_path / ".lock").touch()
    note.write({"https": (4, HOST)})
    assert read_note(tmp_path) == {"https": 4}
    (tmp_path / ".connections.json").write_text('{"https": 7}')
    assert read_note(tmp_path) == {}, "somebody else's words are none"
    note.clear()
    assert read_note(tmp_path) == {}
