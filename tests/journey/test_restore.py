"""docs/operations.md, "Back up, restore", done as it is written there, with everything that may have happened since the copy was made."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from independent import assert_manifest
from mirrors import opened, rows, settings_for

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
EARLY, LATE = 10301, 10302
FILES = {
    f"{name}.mrc": 40_000 + place for place, name in enumerate(["same", "changed", "withdrawn", "rotten"])
}


def procedure(root: Path, backup: Path) -> str:
    """The commands below "To restore", for this mirror and this copy."""
    found = re.search(r"^To restore.*?```sh\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    text = found[1].replace("/srv/empiar/", f"{root}/").replace("--owner=empiar-mirror ", "")
    text, replaced = re.subn(r"/backup/empiar-[\d-]+\.db", str(backup), text)
    assert replaced == 1
    return text


async def run(script: str, folder: Path) -> str:
    """`script` in a shell whose ``systemctl`` does nothing: here nothing runs. Ends at the first command that fails."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name, what in {
        "systemctl": "exit 0",
        "empiar-mirror": f'exec {sys.executable} -m empiar_mirror "$@"',
    }.items():
        tool = tools / name
        tool.write_text(f"#!/bin/sh\n{what}\n")
        tool.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = await asyncio.to_thread(
        subprocess.run, ["sh", "-e", "-x", "-c", script], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def inode(root: Path, entry: int, name: str) -> int:
    return (root / "archive" / str(entry) / "data" / name).stat().st_ino


async def test_the_procedure_as_it_is_written(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(EARLY, FILES), big_entry(LATE, FILES)]) as rehearsal:
        settings = settings_for(rehearsal, tmp_path)
        root, backup = settings.root, tmp_path / "backup.db"
        with opened(settings) as mirror:
            await mirror.sync([EARLY])
            with closing(sqlite3.connect(root / "empiar.db")) as connection:
                connection.execute("VACUUM INTO ?", (str(backup),))
            await mirror.sync([LATE])
            rotten = root / "archive" / str(EARLY) / "data" / "rotten.mrc"
            rotten.chmod(0o644)
            rotten.write_bytes(rotten.read_bytes()[:-1])
            assert (await mirror.verify(None)).damaged
            await mirror.repair(None)
        kept = {name: inode(root, LATE, name) for name in FILES} | {"early": inode(root, EARLY, "rotten.mrc")}
        orphan = root / "staging" / str(LATE) / "999.part"
        orphan.parent.mkdir(parents=True, exist_ok=True)
        orphan.write_bytes(b"half a file")
        rehearsal.archive.change_file(LATE, b"data/changed.mrc")
        rehearsal.archive.remove_file(LATE, b"data/withdrawn.mrc")

        await run(procedure(root, backup), tmp_path)
        assert not orphan.exists()
        assert (
            inode(root, EARLY, "rotten.mrc") == kept["early"]
        )  # repaired since: sound by the older record, too

        said = await run("empiar-mirror verify --json", tmp_path)
        unknown = json.loads(said)["strangers"]
        assert unknown == [f"{LATE}/{LATE}.xml", *(f"{LATE}/data/{name}" for name in sorted(FILES))]

        with opened(settings) as mirror:
            report = (await mirror.sync([LATE])).transfer
            [failed] = report.failed
            assert failed.path == f"{LATE}/data/changed.mrc"
            assert "did not record" in failed.error
            found = rows(mirror, "SELECT path, state FROM copies WHERE empiar_id = ?", [LATE])
        assert dict(found) == {  # type: ignore[arg-type]
            f"{LATE}.xml": "arrived",
            "data/same.mrc": "arrived",
            "data/rotten.mrc": "arrived",
            "data/changed.mrc": "quarantined",
        }
        assert {name: inode(root, LATE, name) for name in FILES} == {name: kept[name] for name in FILES}
        assert_manifest(root, LATE)
        said = await run("empiar-mirror verify --json", tmp_path)
        assert json.loads(said)["strangers"] == [f"{LATE}/data/changed.mrc", f"{LATE}/data/withdrawn.mrc"]

        with opened(settings) as mirror:
            again = (await mirror.repair([LATE])).transfer
            assert (again.bytes_moved, [one.path for one in again.failed]) == (0, [failed.path])
        assert len(list((root / "quarantine" / str(LATE)).glob("*.bytes"))) == 1, "nothing was fetched twice"

        # "To take the new ones, move the old file out of archive/ and repair."
        shutil.move(root / "archive" / str(LATE) / "data" / "changed.mrc", tmp_path / "before.mrc")
        with opened(settings) as mirror:
            assert (await mirror.repair([LATE])).transfer.failed == ()
        assert_manifest(root, LATE)
