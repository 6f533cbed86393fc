"""What `status` and `why` say of files that Globus has, has brought, or gave back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from empiar_mirror.cli import cli
from empiar_mirror.globus.task_status import GlobusTask
from empiar_mirror.reading import reading
from empiar_mirror.status import Status, ailments, read_status
from empiar_mirror.transfer_facts import failed_files, files_unverified
from empiar_mirror.why import Reason, why_entry, why_path
from empiar_schema import globus_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.settings import ArchiveSettings, GlobusSettings, Settings
from empiar_schema.states import Channel
from empiar_schema.transfer_settings import TransferSettings
from globus_shown import (
    ELSEWHERE,
    ENTRY,
    FAILED,
    NOW,
    QUEUED,
    REASON,
    RUNNING,
    SIZE,
    UNWANTED,
    make_globus_mirror,
)

WORKER = "pid 7, empiar-mirror sync 10017"
SETTINGS = Settings(
    transfer=TransferSettings(channels=(Channel.GLOBUS, Channel.HTTPS)),
    globus=GlobusSettings(collection="11111111-2222-3333-4444-555555555555"),
)
STALL_S = SETTINGS.globus.stall


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("globus") / "mirror"
    make_globus_mirror(folder)
    return folder


@pytest.fixture
def catalogue(root: Path) -> Iterator[sqlite3.Connection]:
    with reading(root) as connection:
        yield connection


def status(catalogue: sqlite3.Connection, ids: list[int] | None = None, *, now: float = NOW) -> Status:
    return read_status(catalogue, ids, now=now, worker=WORKER, globus=SETTINGS.globus)


def link(task_id: str) -> str:
    return f"https://app.globus.org/activity/{task_id}/overview"


# --- status -------------------------------------------------------------------------------------------------


def test_open_tasks_are_shown_with_what_they_moved_and_where_to_look(catalogue: sqlite3.Connection) -> None:
    running, queued, planned = status(catalogue).globus
    assert (running.label, running.task_id, running.link) == ("running", RUNNING, link(RUNNING))
    assert running.standing(NOW) == "at work (OK)"
    assert running.moved == "9.31 GiB of 14 GiB, 2 of 3 files, 3 faults"
    assert running.standing(NOW + 3600) == "at work (OK), nothing new for 61 min"
    assert queued.standing(NOW) == "in the account's queue"
    assert planned.standing(NOW) == "waiting for a place among the account's tasks"
    assert planned.link is None


def test_tasks_that_failed_within_a_day_are_shown_and_no_others(catalogue: sqlite3.Connection) -> None:
    [failed] = status(catalogue).globus_failed
    assert (failed.task_id, failed.error) == (FAILED, REASON)
    assert status(catalogue, now=NOW + 90_000).globus_failed == ()


def test_the_tasks_of_other_entries_are_not_shown(catalogue: sqlite3.Connection) -> None:
    assert len(status(catalogue, [ENTRY]).globus) == 3
    other = status(catalogue, [UNWANTED])
    assert (other.globus, other.globus_failed, other.files_with_globus) == ((), (), 0)


def test_what_was_not_verified_is_neither_left_nor_failed_nor_stuck(catalogue: sqlite3.Connection) -> None:
    found = status(catalogue)
    assert (found.files_left, found.files_unverified, found.failed_files) == (7, 1, 0)
    assert found.bytes_left == 7 * SIZE
    assert found.files_with_globus == 3
    assert {file.path for file in found.stuck} == {"data/f_freed.mrc", "data/g_refused.mrc"}
    assert files_unverified(catalogue, ids=[ENTRY, ENTRY, UNWANTED]) == (1, SIZE)
    failed = {file.path for file in failed_files(catalogue, ids=[ENTRY], only=None)}
    assert f"{ENTRY}/data/h_unverified.mrc" not in failed
    assert f"{ENTRY}/data/f_freed.mrc" in failed


def test_what_globus_delivered_lately_counts_for_the_rate_of_the_last_minutes(
    catalogue: sqlite3.Connection,
) -> None:
    """Its task began an hour ago; the 5 GB came within the window."""
    assert status(catalogue).bytes_per_s == pytest.approx(SIZE / 840)


def test_a_stalled_or_paused_task_is_an_ailment_and_one_in_the_queue_is_not(
    catalogue: sqlite3.Connection,
) -> None:
    found = status(catalogue)
    running, queued, _ = found.globus
    assert ills(found, NOW) == []
    later = NOW + STALL_S
    assert ills(found, later) == [
        f"the Globus task 'running' is at work (OK), nothing new for 2 h: see {link(RUNNING)}"
    ]
    for paused in (
        replace(running, nice_status="PAUSED_BY_ADMIN"),
        replace(running, status="INACTIVE", nice_status="CREDENTIALS_EXPIRED"),
    ):
        [ill] = ills(replace(found, globus=(paused,)), NOW)
        assert f"is paused ({paused.nice_status})" in ill
        assert link(RUNNING) in ill
    cancelled = replace(running, cancelled_because="nothing has come for 2 h")
    assert ills(replace(found, globus=(cancelled, queued)), later) == []
    assert "being cancelled: nothing has come for 2 h" in cancelled.standing(later)


def ills(found: Status, now: float) -> list[str]:
    return ailments(found, now=now, disk_refusal=None, stall_s=STALL_S)


def test_a_process_is_not_called_silent_while_globus_brings_bytes_or_is_waited_for_in_the_queue(
    catalogue: sqlite3.Connection,
) -> None:
    found = replace(status(catalogue), last_bytes_at=NOW - 10_000)
    running, queued, planned = found.globus
    silent = [f"{WORKER} is running, but no byte has come for 30 minutes"]
    assert ills(replace(found, globus=(running,)), NOW) == []
    assert ills(replace(found, globus=(running,)), NOW + 3600) == silent
    assert ills(replace(found, globus=(queued,)), NOW + 3600) == []
    assert ills(replace(found, globus=(planned,)), NOW + 3600) == silent
    only_globus = replace(found, globus=(running,), files_with_globus=found.files_left)
    assert ills(only_globus, NOW + 3600) == [], "its own patience is globus.stall"


def test_without_a_process_nobody_knows_how_a_task_stands(catalogue: sqlite3.Connection) -> None:
    found = replace(status(catalogue), worker=None)
    assert ills(found, NOW + 10 * STALL_S) == ["7 files are wanted, and no process is at work"]


def test_the_command_shows_tasks_and_says_where_verify_is_due(root: Path) -> None:
    file = root.parent / "empiar-mirror.toml"
    file.write_text('root = "mirror"\n[globus]\nweb_url = "https://web.example"\n')
    result = CliRunner().invoke(cli, ["status", "--config", str(file)])
    assert result.exit_code == 0, result.output
    assert "Globus task 'queued'  in the account's queue: 0 B of 4.66 GiB, 0 of 1 file" in result.output
    assert f"https://web.example/activity/{QUEUED}/overview" in result.output
    assert "1 file, 4.66 GiB, transferred by Globus and not verified: `empiar-mirror verify`" in result.output
    document = json.loads(CliRunner().invoke(cli, ["status", "--json", "--config", str(file)]).output)
    assert [task["label"] for task in document["globus"]] == ["running", "queued", "planned"]
    assert document["globus"][1]["standing"] == "in the account's queue"
    assert document["entries"][0]["unverified_files"] == document["files_unverified"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task_id": None}, "being submitted"),
        ({"state": "abandoned"}, "no longer waited for, and to be cancelled"),
        ({"state": "ended", "status": "FAILED"}, "ended as FAILED"),
    ],
)
def test_every_standing_has_its_words(
    catalogue: sqlite3.Connection, change: dict[str, str | None], words: str
) -> None:
    task: GlobusTask = replace(status(catalogue).globus[0], **change)  # type: ignore[arg-type]  # texts or None
    assert task.standing(NOW) == words
    assert task.idle_s(NOW + 10**6) == 0 or task.is_waited_for


# --- why ----------------------------------------------------------------------------------------------------


def why(catalogue: sqlite3.Connection, name: str, *, worker: str | None = WORKER) -> Reason:
    [reason] = why_path(catalogue, ENTRY, f"data/{name}", worker=worker, settings=SETTINGS, now=NOW)
    return reason


@pytest.mark.parametrize(
    ("name", "state", "sentence"),
    [
        (
            "b_delivered.mrc",
            "wanted",
            "it is wanted: Globus brought it at 2025-12-31T23:59:00Z, and it waits to be verified",
        ),
        (
            "c_under_way.mrc",
            "claimed",
            f"it is claimed: with the Globus task 'running' <{link(RUNNING)}>, at work (OK)",
        ),
        (
            "d_queued.mrc",
            "claimed",
            f"it is claimed: with the Globus task 'queued' <{link(QUEUED)}>, in the account's queue",
        ),
        (
            "e_planned.mrc",
            "claimed",
            "it is claimed: planned for the Globus task 'planned', waiting for a place among the account's tasks",
        ),
        (
            "f_freed.mrc",
            "wanted",
            f"it is wanted: waiting for its turn; Globus gave it back: {REASON}",
        ),
        (
            "g_refused.mrc",
            "wanted",
            "it is wanted: waiting for its turn; Globus gave it back: Globus passed it over: FILE_NOT_FOUND, and gets it no more before the next sync",
        ),
        ("i_never_planned.mrc", "wanted", "it is wanted: waiting for its turn"),
    ],
)
def test_a_file_says_what_globus_has_to_do_with_it(
    catalogue: sqlite3.Connection, name: str, state: str, sentence: str
) -> None:
    reason = why(catalogue, name)
    assert (reason.state, reason.sentence) == (state, sentence)
    resting = why(catalogue, name, worker=None).sentence
    assert resting == f"{sentence}; no process works now: `empiar-mirror sync {ENTRY}` goes on"


def test_an_unverified_file_says_who_brought_it_and_what_to_do(catalogue: sqlite3.Connection) -> None:
    reason = why(catalogue, "h_unverified.mrc", worker=None)
    assert reason.state == "unverified"
    assert "`verify` does that where it is" in reason.sentence
    assert link(ELSEWHERE) in reason.sentence
    assert "2025-12-31T22:36:40Z" in reason.sentence


def test_a_file_that_is_being_verified_says_so(tmp_path: Path) -> None:
    make_globus_mirror(tmp_path / "mirror")
    with Catalogue.open(tmp_path / "mirror" / "empiar.db") as opened:
        opened.write_now(lambda c: c.execute("UPDATE copy SET state = 2 WHERE state = 0 AND file_id = 2"))
        with opened.reader() as conn:
            assert "and it is being verified now" in why(conn, "b_delivered.mrc").sentence


def test_an_entry_says_what_is_with_which_task_and_how_the_rest_goes(catalogue: sqlite3.Connection) -> None:
    reasons = why_entry(catalogue, ENTRY, worker=WORKER, settings=SETTINGS, now=NOW)
    told = [reason.sentence for reason in reasons if reason.state == "globus"]
    assert told[0] == f"1 file (4.66 GiB) is with the Globus task 'running' <{link(RUNNING)}>, at work (OK)"
    assert [sentence.split(" the Globus task ")[1][:8] for sentence in told] == [
        "'running",
        "'queued'",
        "'planned",
    ]
    [way] = [reason.sentence for reason in reasons if reason.state == "route"]
    assert way.startswith("what waits (2 files, 9.31 GiB) goes by globus: 9.31 GiB missing is at least")
    assert way.endswith("; 1 file (4.66 GiB) that Globus gave back goes by https")
    by_state = [reason.sentence for reason in reasons if reason.state in ("wanted", "claimed", "unverified")]
    assert "3 files (14 GiB) are claimed: with Globus, or planned for it" in by_state
    assert "1 file (4.66 GiB) is wanted: brought by Globus, and waiting to be verified" in by_state
    assert any(
        sentence.startswith("1 file (4.66 GiB) is unverified: transferred by Globus") for sentence in by_state
    )


def test_the_next_sync_offers_globus_again_what_it_gave_back(catalogue: sqlite3.Connection) -> None:
    reasons = why_entry(catalogue, ENTRY, worker=None, settings=SETTINGS, now=NOW)
    [way] = [reason.sentence for reason in reasons if reason.state == "route"]
    assert way.startswith("what waits (3 files, 14 GiB) goes by globus: 14 GiB missing is at least")
    assert "gave back" not in way


def test_where_only_what_globus_gave_back_is_left_it_goes_by_another_channel(tmp_path: Path) -> None:
    make_globus_mirror(tmp_path / "mirror")
    with Catalogue.open(tmp_path / "mirror" / "empiar.db") as opened:
        opened.write_now(
            lambda c: c.execute(
                "DELETE FROM copy WHERE state <= 1 AND file_id NOT IN (SELECT file_id FROM files WHERE name = 'g_refused.mrc')"
            )
        )
        with opened.reader() as conn:
            reasons = why_entry(conn, ENTRY, worker=WORKER, settings=SETTINGS, now=NOW)
    [way] = [reason.sentence for reason in reasons if reason.state == "route"]
    assert way == "1 file (4.66 GiB) that Globus gave back goes by https"


def test_where_globus_is_not_used_there_is_no_talk_of_routes(catalogue: sqlite3.Connection) -> None:
    reasons = why_entry(catalogue, ENTRY, worker=WORKER, settings=Settings(), now=NOW)
    assert "route" not in {reason.state for reason in reasons}


def test_no_sentence_shows_a_submission_id(catalogue: sqlite3.Connection) -> None:
    ids = [bundle.submission_id for bundle in globus_store.open_bundles(catalogue)]
    assert any(ids)
    reasons = why_entry(catalogue, ENTRY, worker=None, settings=SETTINGS, now=NOW)
    text = json.dumps([reason.sentence for reason in reasons]) + str(status(catalogue))
    assert not any(number in text for number in filter(None, ids))
    assert ArchiveSettings().globus_collection not in text
