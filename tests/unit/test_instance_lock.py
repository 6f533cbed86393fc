"""One working process per mirror."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from empiar_mirror.instance_lock import InstanceLock, holder
from empiar_schema.faults import CatalogueFault, StorageFault

HOLD = """
import sys, pathlib
from empiar_mirror.instance_lock import InstanceLock
lock = InstanceLock.take(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_the_lock_and_gets_it_when_that_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(CatalogueFault, match=f"pid {process.pid}, -c"):
            InstanceLock.take(tmp_path)
        assert f"pid {process.pid}" in (holder(tmp_path) or "")
        process.kill()
    assert holder(tmp_path) is None
    with InstanceLock.take(tmp_path):
        assert f"pid {os.getpid()}" in (holder(tmp_path) or "")
    assert holder(tmp_path) is None


def test_asking_who_holds_it_makes_no_file(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageFault):
        InstanceLock.take(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_made_is_a_storage_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFault, match="cannot write"):
        InstanceLock.take(tmp_path / "file" / "root")
