"""`kill -9` at every step of making derived files: the next start repairs it, and no record ever speaks of other bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from empiar_schema.states import Role
from entry_here import ID, put_here
from lives import lived, living

WORKER = Path(__file__).with_name("making_worker.py")
STEPS = ["claimed", "ran", "checked", "listed", "cleared", "placed", "recorded", "tidied"]
MOVIES = {f"data/{name}.tif": (Role.MOVIE, f"movie {name}".encode()) for name in "abc"}
PROGRAM = """
import os, sys
open(sys.argv[2], "w").write(os.environ["MODE"] + " of " + open(sys.argv[1]).read())
open(os.environ["MODE"] + ".txt", "w").write("how it was made")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    put_here(folder, MOVIES)
    (tmp_path / "program.py").write_text(PROGRAM)
    return folder


def configure(root: Path, mode: str) -> Path:
    """A hook whose products change with `mode`: one in its bytes, one in its name."""
    file = root.parent / "empiar-mirror.toml"
    file.write_text(
        f'root = "{root}"\n[making]\nworkers = 2\n[hook.average]\n'
        f'command = ["{sys.executable}", "{root.parent}/program.py", "{{input}}", "{{output}}"]\n'
        f'environment = {{ MODE = "{mode}" }}\noutputs = [\n'
        '  { path = "{stem}.mrc", kind = "micrograph" },\n'
        f'  {{ path = "{mode}.txt", name = "{{stem}}.{mode}.txt", kind = "log" }},\n]\n'
    )
    return file


def work(config: Path, *options: str) -> tuple[int, str]:
    return lived(WORKER, str(config), str(ID), *options)


def recorded(root: Path) -> dict[str, str]:
    """Path below `root` and sha256 of every product on record."""
    with closing(sqlite3.connect(f"file:{root / 'empiar.db'}?mode=ro", uri=True)) as conn:
        rows = conn.execute("SELECT local_path, sha256 FROM derived").fetchall()
    return {os.path.relpath(path, root): sha256 for path, sha256 in rows}


def assert_records_hold(root: Path) -> None:
    for path, sha256 in recorded(root).items():
        assert hashlib.sha256((root / path).read_bytes()).hexdigest() == sha256, path


def assert_whole(root: Path, mode: str) -> None:
    """All three files are made in this mode, nothing else stands there, and staging is empty."""
    folder = f"derived/{ID}/average/data"
    names = [f"{name}.mrc" for name in "abc"] + [f"{name}.{mode}.txt" for name in "abc"]
    assert sorted(recorded(root)) == sorted(f"{folder}/{name}" for name in names)
    assert sorted(os.listdir(root / folder)) == sorted(names)
    assert (root / folder / "a.mrc").read_text() == f"{mode} of movie a"
    assert [path for path in (root / "staging").rglob("*") if path.is_file()] == []
    assert_records_hold(root)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_next_start_makes_the_rest(root: Path, step: str) -> None:
    for mode, nth in (("rough", "1"), ("fine", "3")):
        config = configure(root, mode)
        status, errors = work(config, "--at", step, "--nth", nth)
        assert status == -signal.SIGKILL, errors
        assert_records_hold(root)
        status, errors = work(config)
        assert status == 0, errors
        assert_whole(root, mode)


def test_a_program_does_not_outlive_a_mirror_that_was_killed(root: Path) -> None:
    hang = root.parent / "program.py"
    pids = root.parent / "pids"
    pids.mkdir()
    hang.write_text(
        "import os, subprocess, sys, time\n"
        f"open('{pids}/' + str(os.getpid()), 'w')\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import os, time; os.setsid(); time.sleep(600)'])\n"
        f"open('{pids}/' + str(child.pid), 'w')\ntime.sleep(600)\n"
    )
    config = configure(root, "rough")
    config.write_text(config.read_text() + f'writable = ["{pids}"]\n')
    with living(WORKER, str(config), str(ID)):
        until(lambda: len(os.listdir(pids)) == 4)
    until(lambda: not [pid for pid in os.listdir(pids) if alive(pid)])


def until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def alive(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
