"""Labels by hand for people and other programs: which versions there are, and a table of those that are asked for. Read from their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from empiar_imaging.labels import LabelTable, concatenated
from empiar_imaging.labels.by_hand import HandVersion, State, table_of
from empiar_mirror.by_hand.versions import (
    VersionFile,
    all_versions,
    current,
    remote_of,
    versions_of,
)
from empiar_schema.faults import BadLabels, ConfigFault, HostileName


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """One version; what its file does not say is None."""

    empiar_id: int
    path: str
    version: int
    #: Whether layouts and exports follow it.
    current: bool
    aside: bool
    author: str | None
    saved_at: str | None
    kept: int | None
    rejected: int | None
    added: int | None
    note: str | None
    file: str
    problem: str | None


def listed(
    root: Path, ids: Iterable[int], recorded: Mapping[tuple[int, str, int], str]
) -> Iterator[ListedVersion]:
    """Every version of these entries, by path and number. `recorded` are digests that the catalogue knows: other bytes are a problem.

    Raises:
        StorageFault: the disk refused.
    """
    for empiar_id in ids:
        for files in all_versions(root, empiar_id):
            counts = current(files)
            for file in files:
                is_current = counts is not None and counts.file == file
                known = recorded.get((empiar_id, file.remote.path, file.number))
                yield _listed(file, is_current=is_current, recorded=known)


def _listed(file: VersionFile, *, is_current: bool, recorded: str | None) -> ListedVersion:
    version: HandVersion | None = None
    problem = None
    try:
        version = file.read()
        if recorded is not None and hashlib.sha256(file.raw()).hexdigest() != recorded:
            problem = "its bytes are not those on record: somebody has edited it, or the disk has"
    except BadLabels as fault:
        problem = str(fault)
    return ListedVersion(
        empiar_id=file.remote.empiar_id,
        path=file.remote.path,
        version=file.number,
        current=is_current,
        aside=file.aside,
        author=None if version is None else version.author,
        saved_at=None if version is None else version.saved_at,
        kept=None if version is None else len(version.of_state("kept")),
        rejected=None if version is None else len(version.of_state("rejected")),
        added=None if version is None else version.added,
        note=None if version is None else version.note,
        file=file.shown,
        problem=problem,
    )


def table_by_hand(
    root: Path, empiar_id: int, *, state: State, micrograph: str | None = None, version: int | None = None
) -> LabelTable:
    """The picks in that state of the entry's current versions, or of one micrograph, or of one version of it.

    Raises:
        BadLabels: a version that was asked for by its number cannot be read.
        ConfigFault: there is none.
        StorageFault: the disk refused.
    """
    versions = tuple(_chosen(root, empiar_id, micrograph, version))
    if not versions:
        of = f"{empiar_id}/{micrograph}" if micrograph else f"EMPIAR-{empiar_id}"
        lacking = "there are no labels" if version is None else f"there is no version {version} of labels"
        raise ConfigFault(
            f"{lacking} by hand of {of}",
            hint=f"`empiar-mirror labels list {empiar_id}` names what there is; the page that `serve` shows makes them",
        )
    return concatenated([table_of(one, state) for one in versions])


def _chosen(root: Path, empiar_id: int, micrograph: str | None, version: int | None) -> Iterator[HandVersion]:
    if micrograph is None:
        everything = (current(files) for files in all_versions(root, empiar_id))
        yield from (one.version for one in everything if one is not None)
        return
    try:
        files = versions_of(root, remote_of(empiar_id, micrograph))
    except HostileName as fault:
        raise ConfigFault(str(fault), hint="give the path as `labels list` shows it") from fault
    if version is not None:
        yield from (file.read() for file in files if file.number == version)
    elif (one := current(files)) is not None:
        yield one.version
