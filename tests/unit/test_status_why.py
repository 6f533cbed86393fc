"""What stands where, and why something is not here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from empiar_mirror.plan_facts import asked_for, bytes_held, entry_need, recent_attempts, unknown_entries
from empiar_mirror.reading import reading
from empiar_mirror.status import Status, ailments, read_status
from empiar_mirror.why import Reason, why_entry, why_path
from empiar_schema.settings import Settings
from empiar_schema.states import Channel, CopyState
from small_mirror import DIRECTORY, ENTRY, NOW, SIZE, UNLISTED, UNWANTED, make_small_mirror

SETTINGS = Settings()
STALL_S = SETTINGS.globus.stall
WORKER = "pid 7, empiar-mirror sync 10017"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    make_small_mirror(folder)
    return folder


@pytest.fixture
def catalogue(root: Path) -> Iterator[sqlite3.Connection]:
    with reading(root) as connection:
        yield connection


def status(catalogue: sqlite3.Connection, *, worker: str | None = None, now: float = NOW) -> Status:
    return read_status(catalogue, None, now=now, worker=worker, globus=SETTINGS.globus)


# --- facts --------------------------------------------------------------------------------------------------


def test_a_plan_moves_what_is_neither_here_nor_given_up(catalogue: sqlite3.Connection) -> None:
    need = entry_need(catalogue, ENTRY)
    assert (need.files, need.bytes) == (3, 3 * SIZE)
    assert (need.files_here, need.bytes_here) == (2, SIZE + 1000)
    assert (need.files_failed, need.files_of_unknown_size, need.bytes_partial) == (2, 0, 0)
    assert entry_need(catalogue, UNWANTED).files == 2


def test_only_entries_that_were_asked_for_are_asked_for(catalogue: sqlite3.Connection) -> None:
    assert asked_for(catalogue) == [ENTRY]
    assert unknown_entries(catalogue, [ENTRY, UNWANTED, UNLISTED, 99]) == [UNLISTED, 99]
    assert bytes_held(catalogue) == SIZE + 1000


def test_only_attempts_that_moved_bytes_are_measurements(catalogue: sqlite3.Connection) -> None:
    assert [attempt.bytes for attempt in recent_attempts(catalogue, channel=Channel.HTTPS)] == [SIZE, SIZE]
    assert recent_attempts(catalogue, channel=Channel.FTP) == []
    assert recent_attempts(catalogue, since=NOW) == []


# --- status -------------------------------------------------------------------------------------------------


def test_the_status_counts_entries_and_names_what_is_stuck_with_its_reason(
    catalogue: sqlite3.Connection,
) -> None:
    found = status(catalogue)
    assert [entry.empiar_id for entry in found.entries] == [ENTRY]
    assert (found.files_left, found.failed_files) == (3, 2)
    stuck = {file.path.rpartition("/")[2]: file for file in found.stuck}
    assert set(stuck) == {"b_damaged.mrc", "c_parked.mrc", "d_waiting.mrc"}
    assert stuck["c_parked.mrc"].error == "GET c_parked.mrc: HTTP 404"
    assert stuck["c_parked.mrc"].next_try is None
    assert stuck["d_waiting.mrc"].next_try == "2026-01-01T00:05:00Z"


def test_the_rate_is_that_of_the_last_minutes_and_gives_the_time_left(catalogue: sqlite3.Connection) -> None:
    found = status(catalogue)
    assert found.bytes_per_s == pytest.approx(2 * SIZE / 8)
    assert found.seconds_left == pytest.approx(found.bytes_left / (2 * SIZE / 8))
    assert status(catalogue, now=NOW + 10**6).bytes_per_s is None
    assert status(catalogue, now=NOW + 10**6).last_bytes_at == NOW - 2


def test_work_that_nobody_does_and_damage_are_ailments(catalogue: sqlite3.Connection) -> None:
    ills = ailments(status(catalogue), now=NOW, disk_refusal=None, stall_s=STALL_S)
    assert ills == [
        "1 file is damaged: `empiar-mirror repair` fetches again",
        "3 files are wanted, and no process is at work",
    ]


def test_a_process_that_moves_nothing_for_half_an_hour_is_ill(catalogue: sqlite3.Connection) -> None:
    fresh = replace(status(catalogue, worker=WORKER), stuck=())
    assert ailments(fresh, now=NOW, disk_refusal=None, stall_s=STALL_S) == []
    assert ailments(fresh, now=NOW + 3600, disk_refusal=None, stall_s=STALL_S) == [
        f"{WORKER} is running, but no byte has come for 30 minutes"
    ]
    assert ailments(fresh, now=NOW + 3600, disk_refusal="full", stall_s=STALL_S) == [
        "the disk takes nothing more: full"
    ]
    resting = replace(fresh, next_try_at=NOW + 7200)
    assert ailments(resting, now=NOW + 3600, disk_refusal=None, stall_s=STALL_S) == []


def test_a_mirror_with_nothing_to_do_is_healthy(catalogue: sqlite3.Connection) -> None:
    idle = read_status(catalogue, [UNWANTED], now=NOW, worker=None, globus=SETTINGS.globus)
    assert ailments(idle, now=NOW, disk_refusal=None, stall_s=STALL_S) == []


# --- why ----------------------------------------------------------------------------------------------------


def sentences(reasons: list[Reason]) -> str:
    return "\n".join(reason.sentence for reason in reasons)


@pytest.mark.parametrize(
    ("empiar_id", "state", "sentence"),
    [
        (99, "unknown", "EMPIAR-99 is not in the catalogue: `empiar-mirror crawl 99`"),
        (UNLISTED, "unlisted", f"have not been listed yet: `empiar-mirror crawl {UNLISTED}`"),
        (UNWANTED, "unwanted", f"nobody asked for it: `empiar-mirror sync {UNWANTED}`"),
        (ENTRY, "progress", "2 of 7 files are here"),
    ],
)
def test_an_entry_says_what_it_lacks(
    catalogue: sqlite3.Connection, empiar_id: int, state: str, sentence: str
) -> None:
    reasons = why_entry(catalogue, empiar_id, worker=None, settings=SETTINGS, now=NOW)
    assert reasons[0].state == state
    assert sentence in reasons[0].sentence


def test_an_entry_on_its_way_has_a_sentence_for_each_state(catalogue: sqlite3.Connection) -> None:
    reasons = {
        reason.state: reason
        for reason in why_entry(catalogue, ENTRY, worker=None, settings=SETTINGS, now=NOW)[1:]
    }
    assert set(reasons) == {"arrived", "damaged", "parked", "wanted", "claimed"}
    assert "GET c_parked.mrc: HTTP 404" in reasons["parked"].sentence
    assert f"`empiar-mirror repair {ENTRY}`" in reasons["damaged"].sentence
    assert "no process works now" in reasons["wanted"].sentence


@pytest.mark.parametrize(
    ("name", "worker", "state", "parts"),
    [
        (
            "a_arrived.mrc",
            None,
            "arrived",
            ["2026-01-01T00:00:00Z", f"/archive/{ENTRY}/{DIRECTORY}/a_arrived.mrc"],
        ),
        ("b_damaged.mrc", None, "damaged", ["3 bytes differ", f"`empiar-mirror repair {ENTRY}`"]),
        ("c_parked.mrc", None, "parked", ["HTTP 404", f"`empiar-mirror repair {ENTRY}`"]),
        ("d_waiting.mrc", WORKER, "wanted", ["HTTP 503", "tried again from 2026-01-01T00:05:00Z on"]),
        ("e_claimed.mrc", WORKER, "claimed", [f"by {WORKER}"]),
        ("e_claimed.mrc", None, "claimed", ["has ended, the next sync takes it up again"]),
        ("f_wanted.mrc", None, "wanted", ["no process works now", f"`empiar-mirror sync {ENTRY}`"]),
    ],
)
def test_a_file_says_why_in_one_sentence(
    catalogue: sqlite3.Connection, name: str, worker: str | None, state: str, parts: list[str]
) -> None:
    [reason] = why_path(catalogue, ENTRY, f"{DIRECTORY}/{name}", worker=worker, settings=SETTINGS, now=NOW)
    assert reason.state == state
    for part in parts:
        assert part in reason.sentence


def test_a_file_nobody_asked_for_and_one_that_is_not_there(catalogue: sqlite3.Connection) -> None:
    [unwanted] = why_path(
        catalogue, UNWANTED, f"{DIRECTORY}/only.mrc", worker=None, settings=SETTINGS, now=NOW
    )
    assert unwanted.state == "unwanted"
    [elsewhere] = why_path(catalogue, ENTRY, "data/A_arrived.mrc", worker=None, settings=SETTINGS, now=NOW)
    assert f"did you mean {DIRECTORY}/a_arrived.mrc?" in elsewhere.sentence
    [misspelt] = why_path(
        catalogue, ENTRY, f"{DIRECTORY}/a_arived.mrc", worker=None, settings=SETTINGS, now=NOW
    )
    assert f"did you mean {DIRECTORY}/a_arrived.mrc" in misspelt.sentence
    [unknown] = why_path(catalogue, 99, "data/x", worker=None, settings=SETTINGS, now=NOW)
    assert "not in the catalogue" in unknown.sentence


def test_a_folder_sums_up_what_is_in_it(catalogue: sqlite3.Connection) -> None:
    reasons = why_path(catalogue, ENTRY, "data", worker=None, settings=SETTINGS, now=NOW)
    assert {reason.state for reason in reasons} == {"arrived", "damaged", "parked", "wanted", "claimed"}
    assert "1 file (" in next(reason.sentence for reason in reasons if reason.state == "arrived")
    assert sentences(why_path(catalogue, ENTRY, "dat", worker=None, settings=SETTINGS, now=NOW)).startswith(
        "EMPIAR-10017 has no file dat"
    )


def test_every_state_that_a_copy_can_have_has_a_word_here() -> None:
    from empiar_schema.states import MEANING

    assert set(MEANING) == set(CopyState)
