"""`scrub` from the command line: a flipped byte is found, replaced from the archive, and the mirror is whole again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from empiar_mirror.cli import main
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import DEFAULT_FILE
from empiar_schema.faults import ExitCode
from independent import assert_mirrored, assert_tidy
from mirrors import opened, settings_for
from rehearsal_in_thread import rehearsal_in_thread

ID = 10190
FILES = {"a.mrc": 1_049_600, "b.mrc": 3 * 2**20, "c.mrc": 1_049_600}


@pytest.fixture(scope="module")
def archive() -> Iterator[Rehearsal]:
    with rehearsal_in_thread(Rehearsal([big_entry(ID, FILES)])) as served:
        yield served


@pytest.fixture
def home(tmp_path: Path, archive: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with opened(settings_for(archive, tmp_path)):
        pass
    assert main(["sync", str(ID)]) == ExitCode.OK
    return tmp_path


def grow_old(home: Path) -> None:
    """Everything was last verified 100 days ago."""
    with closing(sqlite3.connect(home / "mirror" / "empiar.db")) as conn, conn:
        conn.execute("UPDATE copy SET verified_at = verified_at - 100 * 86400")


def scrub(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = main(["scrub", "--json", *options])
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return code, document


def test_damage_is_found_and_comes_again_with_the_next_sync(
    home: Path, archive: Rehearsal, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = scrub(capsys)
    assert (code, report["checked"], report["ended"]) == (ExitCode.OK, 0, "nothing is due")
    grow_old(home)
    victim = home / f"mirror/archive/{ID}/data/b.mrc"
    victim.chmod(0o644)
    with victim.open("r+b") as file:
        file.seek(2_000_000)
        byte = file.read(1)
        file.seek(2_000_000)
        file.write(bytes([byte[0] ^ 1]))
    code, report = scrub(capsys, str(ID))
    assert code == ExitCode.DAMAGE_FOUND
    assert report["checked"] == len(FILES) + 1, "the header file, too"
    damaged = report["damaged"]
    assert isinstance(damaged, list)
    assert [(file["path"], file["state"]) for file in damaged] == [(f"{ID}/data/b.mrc", "wanted")]
    assert not victim.exists()
    assert scrub(capsys)[0] == ExitCode.OK
    assert main(["sync"]) == ExitCode.OK
    assert_mirrored(archive, home / "mirror", ID)
    assert_tidy(home / "mirror")
    assert main(["verify"]) == ExitCode.OK


def test_time_that_is_over_ends_it_and_the_next_run_goes_on(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grow_old(home)
    code, report = scrub(capsys, "--for", "1ms")
    assert (code, report["ended"]) == (ExitCode.OK, "told to end")
    first = report["checked"]
    code, report = scrub(capsys)
    assert (code, report["ended"]) == (ExitCode.OK, "nothing is due")
    assert isinstance(first, int)
    assert isinstance(report["checked"], int)
    assert first + report["checked"] == len(FILES) + 1


def test_hours_hold_unless_told_otherwise(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grow_old(home)
    config = home / DEFAULT_FILE
    now = datetime.now().astimezone()
    closed = f"{(now.hour + 2) % 24:02}:00-{(now.hour + 3) % 24:02}:00"
    config.write_text(config.read_text() + f'[scrub]\nhours = "{closed}"\n')
    code, report = scrub(capsys)
    assert (code, report["checked"], report["ended"]) == (ExitCode.OK, 0, "outside scrub.hours")
    assert scrub(capsys, "--now")[1]["checked"] == len(FILES) + 1


@pytest.mark.parametrize("options", [["--for", "soon"], ["--for", "0s"], ["--bytes-per-s", "fast"]])
def test_quantities_that_are_none_are_refused(
    home: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scrub", *options]) == ExitCode.USAGE
    assert options[0] in capsys.readouterr().err


def test_folders_that_are_away_are_one_fault_and_cost_nothing(
    home: Path, archive: Rehearsal, capsys: pytest.CaptureFixture[str]
) -> None:
    grow_old(home)
    folder = home / f"mirror/archive/{ID}"
    folder.rename(home / "away")
    assert main(["scrub"]) == ExitCode.STORAGE
    assert "missing as a whole" in capsys.readouterr().err
    (home / "away").rename(folder)
    assert scrub(capsys)[0] == ExitCode.OK
    assert_mirrored(archive, home / "mirror", ID)
