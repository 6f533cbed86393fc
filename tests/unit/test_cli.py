"""The command line: thin, scriptable, with exit codes and sentences that scripts and people can rely on."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from empiar_mirror.cli import COMMANDS, cli, main
from empiar_mirror.instance_lock import InstanceLock
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import DEFAULT_FILE, PREFIX
from empiar_wire.hosts import Hosts
from rehearsal_in_thread import rehearsal_in_thread

#: The smallest entry of the rehearsal archive that has micrographs.
ENTRY = "10108"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and none of our variables in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture(scope="module")
def archive() -> Iterator[Rehearsal]:
    with rehearsal_in_thread() as served:
        yield served


@pytest.fixture
def mirror(archive: Rehearsal, here: Path) -> Path:
    """A configured, empty mirror of the rehearsal archive in the current folder."""
    (here / DEFAULT_FILE).write_text(archive.settings_toml("empiar"))
    assert main(["init", "--config", "other.toml"]) == 0
    (here / "other.toml").unlink()
    return here / "empiar"


class Output:
    """What one call printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> dict[str, object]:
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


Call = Callable[..., Output]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in this process."""

    def run(*arguments: str) -> Output:
        capsys.readouterr()
        code = main(arguments)
        return Output(code, *capsys.readouterr())

    return run


# --- without an archive -------------------------------------------------------------------------------------


def test_the_commands_are_those_of_the_contract_that_exist() -> None:
    assert COMMANDS == (
        "init", "crawl", "subscribe", "subscriptions", "plan", "sync", "run", "status", "why", "verify", "scrub", "repair", "pin", "unpin", "pins", "evict", "recall", "attest", "compare", "make", "arrange", "convert", "labels", "query", "search", "export", "serve", "doctor", "globus", "notify", "rehearse",
    )  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_takes_config_and_json(name: str, call: Call) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type] # the group needs no context
    assert command is not None
    assert len(command.get_short_help_str(200)) > 20
    below = list(command.commands) if isinstance(command, click.Group) else []
    for words in [[name, one] for one in below] or [[name]]:
        help_text = call(*words, "--help")
        assert help_text.code == 0
        assert "--config FILE" in help_text.out
        assert "--json" in help_text.out


def test_help_is_instant_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from empiar_mirror.cli import main; main(['--help']);"
        "print([m for m in ('aiohttp', 'pydantic', 'rich', 'structlog', 'sqlite_utils') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["sync", "x"], ["sync", "--nonsense"], ["query"], ["query", "SELECT 1", "--format", "x"], ["why"], ["why", "x/y"],
     ["sync", "10017", "--config", "nowhere.toml"], ["init", "a", "--config", "b"]],
)  # fmt: skip
def test_bad_usage_is_exit_2_with_a_sentence(arguments: list[str], call: Call) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err
    assert "Traceback" not in done.err


def test_a_wrong_configuration_is_exit_2_and_names_the_nearest_key(here: Path, call: Call) -> None:
    (here / DEFAULT_FILE).write_text("rot = 'x'")
    done = call("status")
    assert done.code == 2
    assert "unknown key rot; did you mean root?" in done.err


@pytest.mark.parametrize(
    "arguments", [["status"], ["plan", "10017"], ["why", "10017"], ["query", "SELECT 1"], ["sync", "10017"]]
)
def test_without_a_catalogue_the_way_to_one_is_named(arguments: list[str], call: Call) -> None:
    done = call(*arguments)
    assert done.code == 4
    assert "empiar-mirror init" in done.err


def test_init_writes_a_configuration_and_a_catalogue_and_never_overwrites(here: Path, call: Call) -> None:
    assert call("init", "new/mirror").code == 0
    file = here / "new" / "mirror" / DEFAULT_FILE
    assert "#api_url" in file.read_text()
    assert (here / "new" / "mirror" / "empiar" / "empiar.db").is_file()
    assert sorted(path.name for path in file.parent.iterdir()) == ["empiar", DEFAULT_FILE]
    file.write_text("# mine")
    again = call("init", "new/mirror")
    assert (again.code, file.read_text()) == (2, "# mine")
    file.unlink()
    third = call("init", "new/mirror", "--json")
    assert third.json()["catalogue_created"] is False


def test_init_where_nothing_can_be_written_is_exit_4(here: Path, call: Call) -> None:
    (here / "file").write_text("")
    assert call("init", "file/below").code in (2, 4)
    assert (here / "file").read_text() == ""


def test_sync_of_nothing_is_refused_rather_than_taken_for_everything(mirror: Path, call: Call) -> None:
    done = call("sync")
    assert done.code == 2
    assert "no entry was named" in done.err


def test_a_defect_is_one_sentence_and_a_traceback_only_with_debug(
    mirror: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr("empiar_mirror.status.read_status", broken)
    quiet = call("status")
    assert quiet.code == 1
    assert "this should not have happened: ZeroDivisionError: by design" in quiet.err
    assert "Traceback" not in quiet.err
    assert "Traceback" in call("status", "--debug").err


def test_output_that_nobody_reads_to_the_end_is_no_error(mirror: Path) -> None:
    sql = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 200000) SELECT x FROM c"
    command = [sys.executable, "-m", "empiar_mirror", "query", sql, "--limit", "0", "--format", "csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


# --- against the rehearsal archive --------------------------------------------------------------------------


def test_one_entry_from_plan_to_repair(mirror: Path, call: Call) -> None:
    assert "run `empiar-mirror crawl 10108` first" in call("plan", ENTRY).err
    assert call("crawl", ENTRY).code == 0
    plan = call("plan", f"EMPIAR-{ENTRY}", "--json").json()
    assert plan["files"] == 7
    assert "no measurement yet" in call("plan", ENTRY).out
    assert "nobody asked for it" in call("why", ENTRY).out

    synced = call("sync", ENTRY, "--json")
    assert synced.code == 0
    transfer = synced.json()["transfer"]
    assert isinstance(transfer, dict)
    assert transfer["arrived"] == 7
    assert "0 files arrived" in call("sync").out
    assert call("plan", "--json").json()["files"] == 0
    assert call("status", "--healthy").code == 0
    assert "100%" in call("status", ENTRY).out
    assert "is here: all 7 files" in call("why", ENTRY).out

    victim = next((mirror / "archive" / ENTRY).rglob("mic_001.mrc"))
    content = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(content[:2000] + b"\0" + content[2001:])
    assert call("verify", ENTRY, "--quick").code == 0
    damaged = call("verify", ENTRY)
    assert damaged.code == 5
    assert "mic_001.mrc  damaged" in damaged.out
    assert call("status", "--healthy").code == 1
    assert call("repair", ENTRY).code == 0
    assert victim.read_bytes() == content
    assert call("verify").code == 0
    assert call("arrange", "--rebuild").code == 0
    assert (
        call("query", f"SELECT count(*) FROM copies WHERE empiar_id = {ENTRY}", "--format", "csv").out
        == "count(*)\n7\n"
    )


def test_plan_explains_what_files_are_taken_for_and_how_to_correct_it(
    mirror: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("crawl", ENTRY).code == 0
    explained = call("plan", ENTRY, "--explain").out
    assert "  roles: " in explained
    assert "uncertain role" not in explained
    assert "roles" not in call("plan", ENTRY, "--json").json()

    stated = [{"entry": int(ENTRY), "path": "data/**/mic_00?.mrc", "role": "particle_stack"}]
    monkeypatch.setenv("EMPIAR_MIRROR_ROLE", json.dumps(stated))
    assert call("crawl", ENTRY).code == 0
    (roles,) = json.loads(call("plan", ENTRY, "--explain", "--json").out)["roles"]
    assert roles["overridden"] == roles["files"]["particle_stack"] > 0
    assert "stated in the configuration" in call("plan", ENTRY, "--explain").out


def test_plan_names_a_query_that_shows_files_of_uncertain_role(mirror: Path, call: Call) -> None:
    assert call("crawl", ENTRY).code == 0
    with contextlib.closing(sqlite3.connect(mirror / "empiar.db")) as conn, conn:
        conn.execute("UPDATE file SET role_percent = 65 WHERE name LIKE 'mic_001%'")
    lines = call("plan", ENTRY, "--explain").out.splitlines()
    (line,) = [line for line in lines if line.strip().startswith("empiar-mirror query")]
    assert "1 file of uncertain role (below 0.7)" in "\n".join(lines)
    _, _, sql = shlex.split(line)
    assert "mic_001.mrc" in call("query", sql, "--format", "csv").out


def test_an_entry_that_the_archive_lacks_is_exit_1(mirror: Path, call: Call) -> None:
    done = call("sync", "19999")
    assert done.code == 1
    assert "not served by the archive" in done.out


def test_an_archive_that_is_not_there_is_exit_3(
    mirror: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three minutes of patience are right for a mirror and wrong for a test.
    monkeypatch.setattr("empiar_mirror.transferring.Hosts", functools.partial(Hosts, patience_s=0.1))
    for key in ("API_URL", "SEARCH_URL", "SITE_URL", "HTTPS_URL"):
        monkeypatch.setenv(f"{PREFIX}ARCHIVE__{key}", "http://127.0.0.1:9/x")
    monkeypatch.setenv(f"{PREFIX}ARCHIVE__FTP_URL", "ftp://127.0.0.1:9/x")
    assert call("crawl").code == 3


def test_a_second_working_process_is_turned_away_and_readers_are_not(mirror: Path, call: Call) -> None:
    with InstanceLock.take(mirror):
        done = call("sync", ENTRY)
        assert done.code == 4
        assert f"pid {os.getpid()}" in done.err
        assert call("status").code == 0


def test_query_writes_files_but_not_over_others_and_not_into_the_mirror(
    mirror: Path, here: Path, call: Call
) -> None:
    assert call("query", "SELECT 1 AS n", "-o", "a.csv").code == 0
    assert (here / "a.csv").read_text() == "n\n1\n"
    assert call("query", "SELECT 2 AS n", "-o", "a.csv").code == 2
    assert call("query", "SELECT 2 AS n", "-o", "a.csv", "--force").code == 0
    assert (here / "a.csv").read_text() == "n\n2\n"
    assert call("query", "SELECT 1", "-o", str(mirror / "empiar.db"), "--force").code == 2
    assert call("query", "SELECT 1", "--format", "xlsx").code == 2
    cut = call("query", "SELECT 1 UNION SELECT 2", "--limit", "1")
    assert "cut after 1 rows" in cut.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_sync_with_130_and_the_next_one_finishes_it(
    here: Path, call: Call, number: signal.Signals
) -> None:
    from empiar_mirror.rehearsal.link import Link

    slow = Rehearsal(link=Link(bytes_per_s=150_000))
    with rehearsal_in_thread(slow) as archive:
        (here / DEFAULT_FILE).write_text(archive.settings_toml("empiar") + "\n[transfer]\nstall_s = '5s'\n")
        assert main(["init", "--config", "x.toml"]) == 0
        assert call("crawl", ENTRY).code == 0
        command = [sys.executable, "-m", "empiar_mirror", "sync", ENTRY, "--log-level", "debug"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "attempt.began" in line:
                    break
            process.send_signal(number)
            guard = threading.Timer(30, process.kill)
            guard.start()
            _, err = process.communicate()
            guard.cancel()
        assert process.returncode == 130
        assert "Traceback" not in err
    with rehearsal_in_thread() as archive:
        (here / DEFAULT_FILE).write_text(archive.settings_toml("empiar"))
        assert call("sync", ENTRY).code == 0
        assert call("verify", ENTRY).code == 0


def test_the_rehearsal_leaves_a_mirror_that_can_be_asked(here: Path, call: Call) -> None:
    done = call("rehearse", "--keep", "demo", "--json")
    assert done.code == 0
    report = done.json()
    assert report["good"] is True
    assert (here / "demo" / "empiar" / "manifests" / "10101" / "manifest-sha256.txt").is_file()
    with contextlib.chdir(here / "demo"):
        assert call("status", "--json").json()["files_left"] == 0
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("")
    assert call("rehearse", "--keep", "mine").code == 2
