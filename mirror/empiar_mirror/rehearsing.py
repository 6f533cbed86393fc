"""The whole job against the rehearsal archive, step by step, each with what it proved."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.faults import standard_faults
from empiar_mirror.rehearsal.globus import CLIENT_SECRET, GlobusConfig
from empiar_mirror.rehearsal.globus.faults import standard_globus_faults
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import DEFAULT_FILE
from empiar_schema.faults import ConfigFault
from empiar_schema.sizes import format_bytes

MARK: Final = "# Written by `empiar-mirror rehearse`: its archive exists only while that command runs."
#: Five requests a second are right for a public archive, and needless caution towards our own.
_OWN_ARCHIVE: Final = "\n[crawl]\nrequests_per_s = 500\n"
#: With faults the servers fall silent on purpose, and nobody wants to wait for that as long as for a real archive.
_IMPATIENT: Final = 'stall_s = "2s"\n'
#: Nothing passes at an archive that is served here, and one of its files is damaged at the source.
_NO_WAITS: Final = 'retry_wait_s = "0.1s"\n'
#: Its entries are small: nothing would go by Globus.
_ALL_BY_GLOBUS: Final = 'from_bytes = 0\nstall = "4s"\nbundle_files = 50\n'
#: The stand-in of Globus is opened by this secret, which opens nothing else.
ENVIRON: Final = {"EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET": CLIENT_SECRET}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the rehearsal."""

    name: str
    sentence: str
    #: Whether it ended as a mirror must.
    good: bool


def served(folder: Path, *, faults: bool, globus: bool) -> Rehearsal:
    """The archive that is served; with `globus`, by a stand-in of that service too, whose collection of ours is `folder`."""
    config = None
    if globus:
        config = GlobusConfig(folder=folder, faults=standard_globus_faults() if faults else ())
    return Rehearsal(faults=standard_faults() if faults else (), globus=config)


def configure(folder: Path, archive: Rehearsal, *, faults: bool, globus: bool) -> Path:
    """`folder` holds a configuration for a mirror of `archive`; returns the file.

    Raises:
        ConfigFault: the folder holds something that no rehearsal wrote.
    """
    file = folder / DEFAULT_FILE
    if folder.exists() and any(folder.iterdir()) and not _is_ours(file):
        raise ConfigFault(f"{folder} holds other files", hint="name a new folder, or an earlier rehearsal's")
    folder.mkdir(parents=True, exist_ok=True)
    # The `[globus]` table is the last that the archive writes. Only an absolute root says where it is in the collection.
    text = (
        archive.settings_toml(folder / "empiar") + _ALL_BY_GLOBUS
        if globus
        else archive.settings_toml("empiar")
    )
    channels = 'channels = ["globus", "https", "ftp"]\n' if globus else ""
    transfer = f"\n[transfer]\n{_NO_WAITS}{channels}{_IMPATIENT if faults else ''}"
    file.write_text(f"{MARK}\n{text}{_OWN_ARCHIVE}{transfer}")
    return file


def _is_ours(file: Path) -> bool:
    return file.is_file() and file.read_text(errors="replace").startswith(MARK)


async def perform(mirror: Mirror, archive: Rehearsal) -> list[Step]:
    """Crawls, mirrors, mirrors again, verifies, and checks the manifests with an independent program."""
    crawled = await mirror.crawl(None, full=False)
    steps = [
        Step(
            "crawl",
            f"{crawled.entries} entries and {crawled.listed} file listings read, {len(crawled.failed)} failed",
            not crawled.failed,
        )
    ]
    ids = await mirror.catalogue.read(
        lambda conn: [
            row[0] for row in conn.execute("SELECT empiar_id FROM entries WHERE listed_at IS NOT NULL")
        ]
    )
    first = (await mirror.sync(ids)).transfer
    steps.append(
        Step(
            "sync",
            f"{first.arrived} files arrived, {format_bytes(first.bytes_moved)} moved, {len(first.failed)} failed",
            not first.failed and not first.stopped,
        )
    )
    if first.stopped:
        return steps
    bytes_before = archive.bytes_served()
    again = (await mirror.sync(ids)).transfer
    served = archive.bytes_served() - bytes_before
    steps.append(
        Step(
            "second sync",
            f"{again.arrived} files arrived, {served} bytes were asked of the archive, {again.already_here} files were here",
            (served == 0 and again.arrived == 0) or bool(first.failed),
        )
    )
    proof = await mirror.verify(ids, quick=False)
    steps.append(
        Step(
            "verify",
            f"{proof.checked} files read again, {format_bytes(proof.bytes_read)}, {len(proof.damaged)} damaged",
            not proof.damaged,
        )
    )
    steps.append(await asyncio.to_thread(_sha256sum, mirror.settings.root, ids))
    arranged = await mirror.arrange(ids)
    placed = sum(report.linked + report.kept for views in arranged.values() for report in views.values())
    steps.append(Step("arrange", f"{placed} files in datasets/", placed > 0))
    return steps


def _sha256sum(root: Path, ids: list[int]) -> Step:
    """The manifests hold by the word of a program that is not ours."""
    program = shutil.which("sha256sum")
    if program is None:
        return Step("manifests", "not checked: there is no sha256sum on this machine", good=True)
    checked, wrong = 0, []
    for empiar_id in ids:
        manifest = root / "manifests" / str(empiar_id) / "manifest-sha256.txt"
        folder = root / "archive" / str(empiar_id)
        if not folder.is_dir():
            continue
        command = [program, "--check", "--quiet", "--strict", str(manifest)]
        if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:  # noqa: S603 - no shell
            wrong.append(str(empiar_id))
        checked += 1
    sentence = f"sha256sum accepts {checked - len(wrong)} of {checked} manifests"
    return Step(
        "manifests", sentence + (f"; not {', '.join(wrong)}" if wrong else ""), not wrong and checked > 0
    )
