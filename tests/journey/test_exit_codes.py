"""Exit codes and last words of the command line, as scripts and cron jobs see them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.faults import Fault, FaultKind
from empiar_mirror.rehearsal.link import Link
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.stretches import UNPROVEN_BYTES
from empiar_schema.configuration import DEFAULT_FILE, PREFIX
from empiar_schema.faults import ExitCode
from independent import assert_mirrored, assert_tidy
from mirrors import opened, settings_for
from rehearsal_in_thread import rehearsal_in_thread

ID = 10190
FILES = {"a.mrc": 70_000, "b.mrc": 3 * 2**20}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}

#: The command line of a user who gives up soon; minutes of patience are right for a mirror and wrong for a test.
IMPATIENT = """
import functools, sys
import empiar_mirror.cli, empiar_mirror.crawling, empiar_mirror.transferring
empiar_mirror.transferring.Hosts = functools.partial(empiar_mirror.transferring.Hosts, patience_s=0.2)
empiar_mirror.crawling.PoliteHttp = functools.partial(empiar_mirror.crawling.PoliteHttp, tries=1)
sys.exit(empiar_mirror.cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def archive() -> Iterator[Rehearsal]:
    broken = [
        Fault(kind=FaultKind.STATUS, match="10191/data/b.mrc", channel="https", value="404", times=None),
        Fault(kind=FaultKind.FTP_550, match="10191/data/b.mrc", times=None),
    ]
    with rehearsal_in_thread(
        Rehearsal([big_entry(ID, FILES), big_entry(10191, FILES)], faults=broken)
    ) as served:
        yield served


@pytest.fixture
def home(tmp_path: Path, archive: Rehearsal) -> Path:
    """A folder with a configuration and an empty mirror."""
    with opened(settings_for(archive, tmp_path)):
        return tmp_path


def cli(
    folder: Path, *arguments: str, program: tuple[str, ...] = ("-m", "empiar_mirror")
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "should not have happened" not in done.stderr
    return done


def test_0_everything_asked_for_is_done(home: Path, archive: Rehearsal) -> None:
    for command in (
        ["crawl", str(ID)],
        ["sync", f"EMPIAR-{ID}"],
        ["sync"],
        ["verify"],
        ["repair"],
        ["status", "--healthy"],
    ):
        done = cli(home, *command)
        assert done.returncode == ExitCode.OK, (command, done.stderr)
    assert_mirrored(archive, home / "mirror", ID)


def test_1_some_files_failed_and_are_named(home: Path, archive: Rehearsal) -> None:
    done = cli(home, "sync", "10191", str(ID))
    assert done.returncode == ExitCode.SOME_FILES_FAILED
    assert "10191/data/b.mrc" in done.stdout
    assert "550" in done.stdout
    assert_mirrored(archive, home / "mirror", ID)


@pytest.mark.parametrize(
    "arguments", [["sync", "EMDB-1"], ["sync", "-1"], ["verify", "10017/data"], ["nonsense"]]
)
def test_2_bad_usage(home: Path, arguments: list[str]) -> None:
    done = cli(home, *arguments)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("root = 'mirror'\n[transfer]\nstal_s = 3\n", "stall_s"),
        ("root = 'mirror'\n[transfer]\nstall_s = 'soon'\n", "stall_s"),
        ("root = 'mirror'\n[transfer]\nchannels = ['gopher']\n", "channels"),
        ("root = ", "empiar-mirror.toml"),
        ("root = 'mirror'\n[archive]\nhttps_url = 'https://'\n", "https_url"),
    ],
)
def test_2_bad_configuration_names_the_key(home: Path, toml: str, said: str) -> None:
    (home / DEFAULT_FILE).write_text(toml)
    done = cli(home, "sync", str(ID))
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert said in done.stderr


def nobody_there(home: Path) -> None:
    """All addresses of the configuration lead to a port where nobody listens."""
    config = home / DEFAULT_FILE
    config.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:9", config.read_text()))


@pytest.mark.parametrize("command", [["crawl"], ["crawl", str(ID)], ["sync", str(ID)]], ids=" ".join)
def test_3_the_archive_is_not_there(home: Path, command: list[str]) -> None:
    nobody_there(home)
    done = cli(home, *command, program=("-c", IMPATIENT))
    assert done.returncode == ExitCode.UNREACHABLE
    assert "127.0.0.1:9" in done.stderr
    assert "→" in done.stderr


def test_3_the_archive_has_gone_since_the_crawl(home: Path) -> None:
    assert cli(home, "crawl", str(ID)).returncode == ExitCode.OK
    nobody_there(home)
    done = cli(home, "sync", str(ID), program=("-c", IMPATIENT))
    assert done.returncode == ExitCode.UNREACHABLE
    assert "has not answered" in done.stderr


def test_4_there_is_no_catalogue(home: Path) -> None:
    (home / "mirror" / "empiar.db").unlink()
    done = cli(home, "sync", str(ID))
    assert done.returncode == ExitCode.STORAGE
    assert "empiar-mirror init" in done.stderr


def test_5_damage_is_found_and_named_and_repair_ends_it(home: Path, archive: Rehearsal) -> None:
    assert cli(home, "sync", str(ID)).returncode == ExitCode.OK
    victim = home / f"mirror/archive/{ID}/data/b.mrc"
    victim.chmod(0o644)
    with victim.open("r+b") as file:
        file.seek(2_000_000)
        byte = file.read(1)
        file.seek(2_000_000)
        file.write(bytes([byte[0] ^ 1]))
    assert cli(home, "verify", "--quick").returncode == ExitCode.OK, "sizes and headers are as they were"
    for _ in range(2):
        done = cli(home, "verify", str(ID))
        assert done.returncode == ExitCode.DAMAGE_FOUND
        assert "data/b.mrc" in done.stdout
        assert "a.mrc" not in done.stdout
    assert cli(home, "repair").returncode == ExitCode.OK
    assert cli(home, "verify").returncode == ExitCode.OK
    assert_mirrored(archive, home / "mirror", ID)


@pytest.mark.slow
@pytest.mark.parametrize(("channel", "number"), [("https", signal.SIGTERM), ("ftp", signal.SIGINT)])
def test_130_stopped_by_a_signal_the_next_sync_goes_on(
    tmp_path: Path, channel: str, number: signal.Signals
) -> None:
    files = {f"m{n}.mrc": 12 * 2**20 for n in range(4)}
    total = sum(files.values())
    with rehearsal_in_thread(Rehearsal([big_entry(ID, files)], link=Link(bytes_per_s=6e6))) as archive:
        with opened(
            settings_for(archive, tmp_path, more=f'channels = ["{channel}"]\nconnections_per_file = 1\n')
        ):
            pass
        process = subprocess.Popen(
            [sys.executable, "-m", "empiar_mirror", "sync", str(ID)],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_bytes(tmp_path / "mirror", total // 3, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == ExitCode.STOPPED
        assert "what is under way is kept" in errors
        assert "Traceback" not in errors
        kept = bytes_here(tmp_path / "mirror")
        assert kept < total  # it did not wait for the end
        before = archive.bytes_served()
        done = cli(tmp_path, "sync", str(ID))
        assert done.returncode == ExitCode.OK, done.stderr
        assert_mirrored(archive, tmp_path / "mirror", ID)
        assert_tidy(tmp_path / "mirror")
        # What the server has handed to its system counts as served, read or not.
        in_sockets = len(files) * 2**20
        assert archive.bytes_served() - before <= total - kept + UNPROVEN_BYTES + in_sockets


def bytes_here(root: Path) -> int:
    """Bytes of part files and of files that have arrived."""
    found = [*(root / "staging").rglob("*.part"), *(root / "archive").rglob("*.mrc")]
    return sum(file.stat().st_blocks * 512 for file in found)


def wait_for_bytes(root: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while bytes_here(root) < count:
        assert process.poll() is None, "it ended before it was stopped"
        assert time.monotonic() < deadline
        time.sleep(0.05)
