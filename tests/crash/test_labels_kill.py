"""`kill -9` while ground truth and stacks are made: the next start repairs it, and the layout holds what a quiet run makes."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from entry_here import ID, everything_below, put_here
from labelled_entry import PLACES, finish, image, labels, picks_on, relion
from lives import lived

WORKER = Path(__file__).with_name("making_worker.py")
#: The others are those of every maker (`test_making_kill`).
STEPS = ["cleared", "placed"]
CONFIG = '[arrange]\nviews = ["cut"]\n[view.cut]\nstacks = "extracted"\n[making]\nworkers = 2\nbox = 20\n'


def entry_at(folder: Path, *, later: bool = False) -> Path:
    """A mirror of two labelled micrographs; `later`, the picks are others, and one micrograph has none any more."""
    folder.mkdir(exist_ok=True)
    star = picks_on("a.mrc", PLACES[:3]) if later else [*picks_on("a.mrc"), *picks_on("b.mrc", PLACES[:4])]
    files = {"data/a.mrc": image(), "data/b.mrc": image(seed=2), "data/p.star": labels(relion(star))}
    put_here(folder, files, inspected=True)
    return folder


def work(root: Path, *options: str) -> int:
    file = root.parent / "empiar-mirror.toml"
    file.write_text(f'root = "{root}"\n{CONFIG}')
    return lived(WORKER, str(file), str(ID), *options)[0]


def assert_records_hold(root: Path) -> None:
    """Every product on record has the bytes on record."""
    with closing(sqlite3.connect(f"file:{root / 'empiar.db'}?mode=ro", uri=True)) as conn:
        for path, sha256 in conn.execute("SELECT local_path, sha256 FROM derived").fetchall():
            assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == sha256, path


def derived(root: Path) -> dict[str, bytes]:
    return everything_below(root / "derived" / str(ID))


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What runs that nobody disturbs make, before and after the picks changed."""
    root = entry_at(tmp_path_factory.mktemp("quiet") / "mirror")
    finish(root, CONFIG, view="cut")
    first = derived(root)
    finish(entry_at(root, later=True), CONFIG, view="cut")
    return first, derived(root)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_killed_while_labels_are_made_the_next_start_makes_what_a_quiet_run_makes(
    tmp_path: Path, quiet: tuple[dict[str, bytes], dict[str, bytes]], step: str
) -> None:
    root = tmp_path / "mirror"
    for later, expected in zip((False, True), quiet, strict=True):
        entry_at(root, later=later)
        assert work(root, "--at", step) == -signal.SIGKILL
        assert_records_hold(root)
        assert work(root) == 0
        assert_records_hold(root)
        current = {path: data for path, data in derived(root).items() if path in expected}
        assert current == expected
        assert [path for path in (root / "staging").rglob("*") if path.is_file()] == []
        recorded = {os.path.relpath(path, root / "derived" / str(ID)) for path in on_record(root)}
        assert recorded == set(derived(root)), "nothing stands there that is not on record"


def on_record(root: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{root / 'empiar.db'}?mode=ro", uri=True)) as conn:
        return [path for (path,) in conn.execute("SELECT local_path FROM derived")]
