"""`kill -9` while labels are saved: what was saved before is in force, and the next save goes on from there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from by_hand import picks, saved
from empiar_mirror.by_hand.versions import current, entries_with_labels, remote_of, versions_of
from empiar_mirror.folders import Folders
from entry_here import ID

PATH = "data/a.mrc"
TESTS = Path(__file__).parents[1]
#: Saves a second version, and dies at the given step.
WORKER = """
import os, signal, sys
from pathlib import Path
from empiar_mirror.by_hand import versions
from by_hand import picks, saved

step = sys.argv[2]

def dying(name, *, after):
    real = getattr(versions, name)
    def call(*given):
        if after:
            real(*given)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(versions, name, call)

if step == "flushed": dying("sync_file", after=True)
if step == "linked": dying("_link", after=True)
saved(Path(sys.argv[1]), "data/a.mrc", picks((2, 2)), base=1)
"""


@pytest.mark.parametrize(("step", "in_force"), [("flushed", 1), ("linked", 2)])
def test_a_version_is_there_whole_or_not_at_all(tmp_path: Path, step: str, in_force: int) -> None:
    Folders.below(tmp_path)
    saved(tmp_path, PATH, picks((1, 1)))
    died = subprocess.run(
        [sys.executable, "-c", WORKER, str(tmp_path), step],
        env={"PYTHONPATH": f"{TESTS}:{':'.join(sys.path)}"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    files = versions_of(tmp_path, remote_of(ID, PATH))
    one = current(files)
    assert one is not None
    assert one.problems == ()
    assert one.version.version == in_force
    assert one.version.picks == picks((in_force, in_force))
    assert len(files) == in_force
    assert saved(tmp_path, PATH, picks((3, 3)), base=in_force).version == in_force + 1
    assert list(entries_with_labels(tmp_path)) == [ID]
