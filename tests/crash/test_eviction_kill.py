"""`kill -9` at every step of an eviction: the next start removes nothing, and knows of every file whether it is here."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from entry_here import ID, everything_below, opened, put_here, rows
from evictions import FILES, NAMES
from lives import lived

WORKER = Path(__file__).with_name("eviction_worker.py")
#: How many files are gone when the worker dies there.
STEPS = {"intended": 0, "hidden": 0, "between": 2, "removed": 6, "recorded": 6}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    put_here(folder, FILES)
    with opened(folder, "") as mirror:
        asyncio.run(mirror.arrange([ID]))
    return folder


def work(root: Path, *options: str) -> tuple[int, str]:
    return lived(WORKER, str(root / "empiar-mirror.toml"), *options)


def names(folder: Path) -> str:
    return "".join(sorted(Path(path).name[0] for path in everything_below(folder) if path.endswith(".mrc")))


def assert_in_order(mirror: Mirror, here: str) -> None:
    """Disk, catalogue, layout and manifest agree on what is here."""
    root = mirror.folders.root
    assert names(root / "archive") == here
    found = rows(mirror, "SELECT substr(path, 6, 1), state FROM copies ORDER BY path")
    assert found == [(name, "arrived" if name in here else "evicted") for name in NAMES]
    assert names(root / "datasets") == here
    manifest = root / f"manifests/{ID}/manifest-sha256.txt"
    lines = manifest.read_text().splitlines() if here else []
    assert "".join(line[-5] for line in lines) == here
    for line in lines:
        sha256, path = line.split("  ")
        assert hashlib.sha256((root / "archive" / str(ID) / path).read_bytes()).hexdigest() == sha256
    assert rows(mirror, "SELECT count(*) FROM evictions WHERE removed_at IS NULL") == [(0,)]
    assert rows(mirror, "SELECT count(*) FROM evictions") == [(len(NAMES) - len(here),)]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "gone"), STEPS.items())
def test_killed_at_any_step_the_next_start_puts_it_in_order(root: Path, step: str, gone: int) -> None:
    status, errors = work(root, "--at", step)
    assert status == -signal.SIGKILL, errors
    with opened(root, "") as mirror:
        assert_in_order(mirror, NAMES[gone:])
    assert work(root)[0] == len(NAMES) - gone
    with opened(root, "") as mirror:
        assert_in_order(mirror, "")


def test_a_disk_that_is_away_is_not_taken_for_an_eviction(root: Path) -> None:
    assert work(root, "--at", "hidden")[0] == -signal.SIGKILL
    (root / "archive" / str(ID)).rename(root.parent / "unmounted")
    opened(root, "").close()
    (root.parent / "unmounted").rename(root / "archive" / str(ID))
    with opened(root, "") as mirror:
        assert_in_order(mirror, NAMES)
