"""Standard layouts on disk: ``datasets/<view>/<id>`` made of links to ``archive/<id>``.

A reader sees the old layout of an entry or the new one, never half of one: the new one is built in a folder whose
name begins with a dot, made durable, and swapped in. ``mapping.tsv`` at its top, beside and not inside the
folders that programs glob, says of every link which file of EMPIAR it is. It is written before the first link
and swapped in with them, so it also tells our links from files that people put there: those move on
into the new layout, and are never deleted.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_mirror.arrive import sync_folder
from empiar_mirror.layout import FOLDERS, LaidFile, LayoutPlan, Place
from empiar_mirror.linking import LinkMode, exchange, link
from empiar_mirror.staging import storage_fault
from empiar_schema.faults import StorageFault
from empiar_schema.paths import RemotePath, bytes_from_text, checked_name
from empiar_schema.states import HERE, Role

MAPPING: Final = "mapping.tsv"
#: Where a file that somebody put into a layout goes if a link takes its name.
DISPLACED: Final = "displaced"

_COLUMNS: Final = ("place", "path", "role", "origin", "stem", "sha256", "rule")
_LEFTOVER = re.compile(r"\.([1-9][0-9]*)\.(?:new|old)")
_NO_EXCHANGE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


@dataclass(frozen=True, slots=True)
class ArrangeReport:
    """Links that are new, stood before, and are gone; and what could not be laid out, with reasons."""

    linked: int
    kept: int
    removed: int
    #: Paths below the entry whose file is not where the catalogue says.
    missing: tuple[str, ...] = ()
    #: Sentences about files without a place, and about names that some computers take for one.
    notes: tuple[str, ...] = ()


def laid_files(conn: sqlite3.Connection, empiar_id: int) -> list[LaidFile]:
    """The entry's files that are here and have a role in the layout."""
    rows = conn.execute(
        "SELECT c.file_id, c.path, f.role, c.sha256 FROM copies c JOIN files f ON f.file_id = c.file_id"
        " WHERE c.empiar_id = ? AND c.state IN (SELECT value FROM json_each(?))"
        " AND f.role IN (SELECT value FROM json_each(?))",
        (empiar_id, json.dumps(sorted(HERE)), json.dumps(sorted(FOLDERS))),
    )
    return [LaidFile(file_id, path, Role(role), sha256) for file_id, path, role, sha256 in rows]


def arrange_entry(
    root: Path,
    empiar_id: int,
    *,
    view: str,
    plan: LayoutPlan,
    mode: LinkMode = "auto",
    rebuild: bool = False,
) -> ArrangeReport:
    """``datasets/<view>/<id>`` shows what `plan` says; nothing is touched if it did so before (or `rebuild`).

    Raises:
        StorageFault: the disk refused, or something that is no folder is in the way.
        HostileName: a place or path of the plan would leave its folder.
    """
    folder = root / "datasets" / view
    target = folder / str(empiar_id)
    archive = root / "archive" / str(empiar_id)
    try:
        _finish(folder, empiar_id)
        _refuse_in_the_way(target)
        places, missing = _with_sources(archive, empiar_id, plan.places)
        notes = tuple(_notes(plan))
        if not rebuild and _stands(target, archive, places, mode):
            return ArrangeReport(0, len(places), 0, missing, notes)
        kept, removed = _compare(_read_mapping(target), places)
        if places or removed:
            fresh = folder / f".{empiar_id}.new"
            _build(fresh, archive, places, mode)
            _publish(fresh, target)
    except OSError as error:
        raise storage_fault(error, f"cannot arrange {target}") from error
    return ArrangeReport(len(places) - kept, kept, removed, missing, notes)


def clean_leftovers(root: Path) -> int:
    """Layouts that a crash left half made or half removed are gone; returns how many. The layouts themselves stand.

    Raises:
        StorageFault: the disk refused.
    """
    cleaned = 0
    try:
        for folder in (root / "datasets").glob("*/"):
            ids = {
                int(found[1]) for entry in os.scandir(folder) if (found := _LEFTOVER.fullmatch(entry.name))
            }
            for empiar_id in sorted(ids):
                cleaned += _finish(folder, empiar_id)
    except OSError as error:
        raise storage_fault(error, f"cannot clean {root / 'datasets'}") from error
    return cleaned


def _notes(plan: LayoutPlan) -> Iterator[str]:
    for file, reason in plan.unplaced:
        yield f"{file.path} has no place: {reason}"
    for places in plan.alike:
        names = ", ".join(place.path for place in places)
        yield f"one name on file systems that ignore case or Unicode form: {names}"


def _refuse_in_the_way(target: Path) -> None:
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir()):
        raise StorageFault(
            f"{target} is in the way and is no folder", hint="Move it elsewhere, then arrange again."
        )


def _on_disk(stored: str) -> str:
    return os.fsdecode(bytes_from_text(stored))


def _with_sources(
    archive: Path, empiar_id: int, places: Iterable[Place]
) -> tuple[list[Place], tuple[str, ...]]:
    found, missing = [], []
    for place in places:
        RemotePath.parse(empiar_id, place.file.path)
        checked_name(bytes_from_text(place.name))
        try:
            regular = stat.S_ISREG((archive / _on_disk(place.file.path)).lstat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            regular = False
        if regular:
            found.append(place)
        else:
            missing.append(place.file.path)
    return found, tuple(missing)


def _mapping_lines(places: Iterable[Place]) -> Iterator[str]:
    # Stored texts hold no tab and no line end, so nothing needs quoting.
    yield "\t".join(_COLUMNS) + "\n"
    for place in places:
        file = place.file
        values = (place.path, file.path, file.role, "deposited", place.stem, file.sha256 or "", place.rule)
        yield "\t".join(values) + "\n"


def _read_mapping(view: Path) -> dict[str, str]:
    """Place → path on EMPIAR, as the layout at `view` says of itself."""
    try:
        with (view / MAPPING).open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
            rows = [line.rstrip("\n").split("\t", 2) for line in lines]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {row[0]: row[1] for row in rows[1:] if len(row) > 2}


def _compare(before: dict[str, str], places: Iterable[Place]) -> tuple[int, int]:
    """How many places stay what they are, and how many are gone; `before` is used up."""
    kept = 0
    for place in places:
        kept += before.pop(place.path, None) == place.file.path
    return kept, len(before)


def _stands(target: Path, archive: Path, places: Sequence[Place], mode: LinkMode) -> bool:
    """Whether the layout at `target` is this one already, link by link."""
    try:
        with (target / MAPPING).open(encoding="utf-8", errors="surrogateescape", newline="\n") as stands:
            for line in _mapping_lines(places):
                if stands.readline() != line:
                    return False
            if stands.readline():
                return False
        return all(
            _shows(target / _on_disk(place.path), archive / _on_disk(place.file.path), mode)
            for place in places
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


def _shows(place: Path, source: Path, mode: LinkMode) -> bool:
    ours, original = place.lstat(), source.lstat()
    if stat.S_ISLNK(ours.st_mode):
        return mode in ("auto", "symlink") and str(place.readlink()) == os.path.relpath(source, place.parent)
    if (ours.st_dev, ours.st_ino) == (original.st_dev, original.st_ino):
        return mode in ("auto", "hardlink")
    same = (ours.st_size, ours.st_mtime_ns) == (original.st_size, original.st_mtime_ns)
    return same and mode in ("auto", "reflink", "copy")


def _build(fresh: Path, archive: Path, places: Sequence[Place], mode: LinkMode) -> None:
    fresh.mkdir(parents=True)
    with (fresh / MAPPING).open("x", encoding="utf-8", newline="\n") as mapping:
        mapping.writelines(_mapping_lines(places))
        mapping.flush()
        os.fsync(mapping.fileno())
    sync_folder(fresh)
    folders = {place.folder for place in places}
    for name in sorted(folders):
        (fresh / name).mkdir()
    for place in places:
        link(archive / _on_disk(place.file.path), fresh / _on_disk(place.path), mode)
    for name in sorted(folders):
        sync_folder(fresh / name)
    sync_folder(fresh)


def _publish(fresh: Path, target: Path, *, swap: Callable[[Path, Path], None] = exchange) -> None:
    """`fresh` stands at `target`; what stood there before is taken apart."""
    if not target.exists():
        fresh.rename(target)
        sync_folder(target.parent)
        return
    retired = fresh
    try:
        swap(fresh, target)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        # For a moment there is no layout; a crash now is mended by `_finish`.
        retired = fresh.with_suffix(".old")
        target.rename(retired)
        fresh.rename(target)
    sync_folder(target.parent)
    _retire(retired, target)


def _finish(folder: Path, empiar_id: int) -> int:
    """What a crash left of an earlier arrangement of this entry is gone; returns how many folders."""
    target, fresh, old = (
        folder / name for name in (f"{empiar_id}", f".{empiar_id}.new", f".{empiar_id}.old")
    )
    finished = 0
    if old.is_dir() and not target.exists():
        old.rename(target)
        finished += 1
    for leftover in (fresh, old):
        if leftover.is_dir():
            _retire(leftover, target)
            finished += 1
    return finished


def _retire(view: Path, target: Path) -> None:
    """The layout at `view` is gone; what its mapping does not name is in `target` now, under the same name."""
    owned = {_on_disk(place) for place in _read_mapping(view)}
    _clear(view, "", owned | {MAPPING}, target)
    sync_folder(view.parent)


def _clear(folder: Path, below: str, owned: set[str], target: Path) -> None:
    mapping = None
    for entry in list(os.scandir(folder)):
        name = f"{below}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            _clear(Path(entry.path), f"{name}/", owned, target)
        elif name == MAPPING:
            mapping = Path(entry.path)
        elif name in owned:
            Path(entry.path).unlink()
        else:
            _carry_over(Path(entry.path), name, target)
    # Last, because until then it tells what is ours, should we be stopped here.
    if mapping is not None:
        mapping.unlink()
    folder.rmdir()


def _carry_over(file: Path, name: str, target: Path) -> None:
    goal = target / name
    count = 1
    while os.path.lexists(goal):
        goal = target / DISPLACED / (name if count == 1 else f"{name}.{count}")
        count += 1
    goal.parent.mkdir(parents=True, exist_ok=True)
    file.rename(goal)
    sync_folder(goal.parent)
