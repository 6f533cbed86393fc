"""Whether a file that is not there is missing, or the disk below it is away."""

from __future__ import annotations

import os
from pathlib import Path

from empiar_mirror.arrive import archive_path
from empiar_mirror.checking import Finding
from empiar_mirror.scrub_budget import concerns_one_file
from empiar_schema.faults import StorageFault


def require_disk(archive: Path, finding: Finding, *, more_beside: bool) -> None:
    """Returns where the finding can be damage of this one file; `more_beside` says that the record has others in its folder.

    A folder that is missing as a whole, or empty where several files should be, is a disk that is not mounted until a person
    says otherwise: what scrubbing took for damage it would fetch again, terabytes of it.

    Raises:
        StorageFault: it looks as though the disk were away, or refused this process.
    """
    path = archive_path(archive, finding.file.remote)
    if not concerns_one_file(finding.errno):
        raise StorageFault(
            f"{path} was not checked: {finding.wrong}",
            hint="check the disk, its mount and the rights of this user; `empiar-mirror doctor` looks at them; nothing was marked as damaged",
        )
    if finding.errno is None:
        return  # it was read: the disk is there
    entry = archive / str(finding.file.remote.empiar_id)
    between = [folder for folder in path.parents if folder.is_relative_to(entry)]
    for folder in (archive, *reversed(between)):
        if not folder.is_dir():
            raise _away(f"the folder {folder} is missing as a whole")
    with os.scandir(path.parent) as names:
        empty = next(names, None) is None
    if empty and more_beside:
        raise _away(f"the folder {path.parent} is empty, and several files should be in it")


def many_in_a_row(findings: list[Finding]) -> StorageFault:
    """The fault that so many damaged files one after another are."""
    names = ", ".join(str(finding.file.remote) for finding in findings[:3])
    return StorageFault(
        f"{len(findings)} files in a row do not hold ({names}, …), the first because {findings[0].wrong}",
        hint="so many at once speak of the disk, the memory or the controller: check them; nothing of it was marked; "
        "`empiar-mirror verify` records what is really damaged, and `repair` fetches it again",
    )


def _away(what: str) -> StorageFault:
    return StorageFault(
        f"scrubbing stopped: {what}",
        hint="mount the disk; nothing was marked as damaged; if the files are really gone, `empiar-mirror verify` records it "
        "and `repair` fetches them again",
    )
