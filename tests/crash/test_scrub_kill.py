"""`kill -9` at every step of scrubbing: the next run goes on, and no damaged bytes are ever lost or taken for sound."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from empiar_schema.states import Role
from entry_here import ID, put_here
from lives import lived

WORKER = Path(__file__).with_name("scrub_worker.py")
FILES = {f"data/{name}.tif": (Role.MOVIE, f"movie {name}".encode() * 400) for name in "abcdef"}
VICTIMS = ("b", "c")
#: Of the files in order: two damaged ones, which are read twice, are dealt with when the sound file after them has been read.
STEPS = [("read", n) for n in (1, 2, 5, 7)] + [
    ("recorded", 1), ("damaged", 1), ("damaged", 2), ("hidden", 1), ("set_aside", 1), ("set_aside", 2), ("wanted", 1), ("wanted", 2),
]  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    root = tmp_path / "mirror"
    root.mkdir()
    put_here(root, FILES)
    file = tmp_path / "empiar-mirror.toml"
    # Everything that was proven before now is due: put_here proves it long ago.
    file.write_text(f'root = "{root}"\n[scrub]\nperiod = "1d"\n')
    for name in VICTIMS:
        victim = root / f"archive/{ID}/data/{name}.tif"
        victim.chmod(0o644)
        victim.write_bytes(b"X" + victim.read_bytes()[1:])
    return file


def work(config: Path, *options: str) -> tuple[int, str]:
    return lived(WORKER, str(config), str(ID), *options)


def copies(root: Path) -> dict[str, tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{root / 'empiar.db'}?mode=ro", uri=True)) as conn:
        return {
            path.removeprefix("data/").removesuffix(".tif"): (state, verified_at)
            for path, state, verified_at in conn.execute("SELECT path, state, verified_at FROM copies")
        }


@pytest.mark.slow
@pytest.mark.parametrize(("step", "nth"), STEPS)
def test_killed_at_any_step_the_next_run_ends_it(config: Path, step: str, nth: int) -> None:
    root = config.parent / "mirror"
    long_ago = copies(root)["a"][1]
    status, errors = work(config, "--at", step, "--nth", str(nth))
    assert status == -signal.SIGKILL, errors
    for name, (state, verified_at) in copies(root).items():
        if name in VICTIMS:
            assert state in ("arrived", "damaged", "wanted")
            assert verified_at == long_ago, "damaged bytes are never taken for sound"
        else:
            assert state == "arrived"
    status, errors = work(config)
    assert status in range(3), errors
    after = copies(root)
    assert {name for name, (state, _) in after.items() if state == "wanted"} == set(VICTIMS)
    assert all(verified_at > long_ago for name, (_, verified_at) in after.items() if name not in VICTIMS)
    kept = sorted(path.read_bytes() for path in (root / "quarantine").rglob("*.bytes"))
    assert kept == [b"X" + FILES[f"data/{name}.tif"][1][1:] for name in VICTIMS]
    assert work(config) == (0, "")
