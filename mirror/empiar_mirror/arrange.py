"""Standard layouts on disk: ``datasets/<view>/<id>`` made of links to ``archive/<id>`` and ``derived/<id>``.

A reader sees the old layout of an entry or the new one, never half of one: the new one is built in a folder whose
name begins with a dot, made durable, and swapped in. ``mapping.tsv`` at its top, beside and not inside the
folders that programs glob, says of every link which file of EMPIAR, or which derived file, it is. It is written before the first link
and swapped in with them, so it also tells our links from files that people put there: those move on
into the new layout, and are never deleted.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_mirror.derived_layout import plan_view
from empiar_mirror.layout import LaidFile, LayoutPlan, Origin, Place, Rule
from empiar_mirror.linking import LinkMode, exchange, link_all
from empiar_mirror.view_files import laid_files
from empiar_schema.disk import make_folder, standing, storage_fault, sync_folder
from empiar_schema.faults import StorageFault
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.paths import RemotePath, bytes_from_text, checked_name
from empiar_schema.product_reads import products_of, roles_worked_on
from empiar_schema.products import Product
from empiar_schema.states import Role

MAPPING: Final = "mapping.tsv"
#: Where a file that somebody put into a layout goes if a link takes its name.
DISPLACED: Final = "displaced"

#: Columns of the mapping.
COLUMNS: Final = ("place", "path", "role", "origin", "stem", "sha256", "rule", "chosen", "maker")
#: Folders below `root` that layouts link to.
SOURCES: Final = {Origin.DEPOSITED: "archive", Origin.DERIVED: "derived"}
#: So many files without a place are named for each reason; the rest is counted.
NAMED: Final = 3
_LEFTOVER = re.compile(r"\.([1-9][0-9]*)\.(?:new|old)")
_NO_EXCHANGE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


@dataclass(frozen=True, slots=True)
class ArrangeReport:
    """Links that are new, stood before, and are gone; and what could not be laid out, with reasons."""

    linked: int
    kept: int
    removed: int
    #: Paths below the entry, or below ``derived/<id>``, whose file is not where the catalogue says.
    missing: tuple[str, ...] = ()
    #: Sentences about what the view lacks, files without a place, and names that some computers take for one.
    notes: tuple[str, ...] = ()
    #: Whether all that is to be made of the entry's files could be made.
    complete: bool = True


def read_plan(conn: sqlite3.Connection, empiar_id: int, recipe: ViewRecipe) -> LayoutPlan:
    """The places of the view, from the catalogue alone."""
    return plan_view(
        laid_files(conn, empiar_id, recipe),
        products_of(conn, empiar_id),
        recipe,
        empiar_id=empiar_id,
        worked_on=roles_worked_on(conn, empiar_id, recipe.image_maker),
    )


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
    try:
        _finish(folder, empiar_id)
        _refuse_in_the_way(target)
        found, missing = _with_sources(root, empiar_id, plan)
        notes = tuple(_notes(plan))
        if not rebuild and _stands(target, found, mode):
            return ArrangeReport(0, len(found.places), 0, missing, notes)
        kept, removed = _compare(_read_mapping(target), found.places)
        if found.places or removed:
            fresh = folder / f".{empiar_id}.new"
            _build(fresh, found, mode)
            _publish(fresh, target)
    except OSError as error:
        raise storage_fault(error, f"cannot arrange {target}") from error
    return ArrangeReport(len(found.places) - kept, kept, removed, missing, notes)


def shown_inodes(root: Path, empiar_id: int, *, view: str) -> Counter[tuple[int, int]]:
    """How often the layout's own links name each inode; what people put into it does not count."""
    target = root / "datasets" / view / str(empiar_id)
    found: Counter[tuple[int, int]] = Counter()
    for place in _read_mapping(target):
        try:
            facts = os.lstat(target / _on_disk(place))
        except OSError:
            continue
        found[facts.st_dev, facts.st_ino] += 1
    return found


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
    yield from plan.notes
    reasons: dict[str, list[str]] = defaultdict(list)
    for file, reason in plan.unplaced:
        reasons[reason].append(file.path)
    for reason, paths in reasons.items():
        more = f" and {len(paths) - NAMED:,} more" if len(paths) > NAMED else ""
        verb = "has" if len(paths) == 1 else "have"
        yield f"{', '.join(paths[:NAMED])}{more} {verb} no place: {reason}"
    for places in plan.alike:
        names = ", ".join(place.path for place in places)
        yield f"one name on file systems that ignore case or Unicode form: {names}"


def _refuse_in_the_way(target: Path) -> None:
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir()):
        raise StorageFault(
            f"{target} is in the way and is no folder", hint="move it elsewhere, then arrange again"
        )


def _on_disk(stored: str) -> str:
    if stored.isascii() and "%" not in stored:
        return stored  # nearly all
    return os.fsdecode(bytes_from_text(stored))


class _SourcePaths:
    """Where the files of an entry's layout stand. Folders are checked and put together once, not for every file."""

    def __init__(self, root: Path, empiar_id: int) -> None:
        self._empiar_id = empiar_id
        self._bases = {origin: f"{root / name / str(empiar_id)}/" for origin, name in SOURCES.items()}
        self._folders: dict[tuple[Origin, str], str] = {}

    def of(self, place: Place) -> str:
        """The absolute path of the place's file.

        Raises:
            HostileName: it would leave its folder.
        """
        file = place.file
        if isinstance(file, LaidFile):
            key, name = (Origin.DEPOSITED, file.directory), file.name
        else:
            directory, _, name = file.path.rpartition("/")
            key = (Origin.DERIVED, directory)
        folder = self._folders.get(key)
        if folder is None:
            RemotePath.parse(self._empiar_id, file.path)
            below = f"{_on_disk(key[1])}/" if key[1] else ""
            folder = self._folders[key] = self._bases[key[0]] + below
        return folder + _name_on_disk(name)


@dataclass(frozen=True, slots=True)
class _Found:
    """Places whose files are where the catalogue says, and the paths of these files."""

    places: list[Place]
    plan: LayoutPlan
    sources: _SourcePaths

    def links(self, layout: str) -> Iterator[tuple[str, str]]:
        """Source and place, as absolute paths, of the layout in the folder `layout`."""
        folders = {place.folder: f"{layout}/{place.folder}/" for place in self.places}
        for place in self.places:
            yield self.sources.of(place), folders[place.folder] + _name_on_disk(place.name)


def _name_on_disk(stored: str) -> str:
    plain = stored.isascii() and stored.isprintable() and "%" not in stored and "/" not in stored
    if plain and stored not in ("", ".", ".."):
        return stored  # nearly all
    return _on_disk(checked_name(bytes_from_text(stored)))


def _with_sources(root: Path, empiar_id: int, plan: LayoutPlan) -> tuple[_Found, tuple[str, ...]]:
    sources = _SourcePaths(root, empiar_id)
    found, missing = [], []
    for place in plan.places:
        _name_on_disk(place.name)
        try:
            regular = stat.S_ISREG(os.lstat(sources.of(place)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            regular = False
        if regular:
            found.append(place)
        else:
            missing.append(place.file.path)
    return _Found(found, plan, sources), tuple(missing)


def _mapping_lines(found: _Found) -> Iterator[str]:
    # Stored texts hold no tab and no line end, so nothing needs quoting. What many lines share is put together once.
    yield "\t".join(COLUMNS) + "\n"
    shared: dict[tuple[str, str, Rule], tuple[str, str]] = {}
    for place in found.places:
        file = place.file
        kind, maker = (file.kind, file.maker) if isinstance(file, Product) else (file.role.value, "")
        pieces = shared.get((kind, maker, place.rule))
        if pieces is None:
            chosen = _chosen(found.plan, place)
            pieces = (f"\t{kind}\t{place.origin}\t", f"\t{place.rule}\t{chosen}\t{maker}\n")
            shared[kind, maker, place.rule] = pieces
        sha256 = file.sha256.hex() if file.sha256 else ""
        yield f"{place.folder}/{place.name}\t{file.path}{pieces[0]}{place.stem}\t{sha256}{pieces[1]}"


def _chosen(plan: LayoutPlan, place: Place) -> str:
    if isinstance(place.file, Product):
        return "of the entry" if place.rule is Rule.ENTRY else "with its micrograph"
    return plan.gain_choice if place.file.role is Role.GAIN else plan.image_choice


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
    for place in places if before else ():
        kept += before.pop(place.path, None) == place.file.path
    return kept, len(before)


def _stands(target: Path, found: _Found, mode: LinkMode) -> bool:
    """Whether the layout at `target` is this one already, link by link."""
    try:
        with (target / MAPPING).open(encoding="utf-8", errors="surrogateescape", newline="\n") as stands:
            for line in _mapping_lines(found):
                if stands.readline() != line:
                    return False
            if stands.readline():
                return False
        return all(_shows(place, source, mode) for source, place in found.links(f"{target}"))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _shows(place: str, source: str, mode: LinkMode) -> bool:
    ours, original = os.lstat(place), os.lstat(source)
    if stat.S_ISLNK(ours.st_mode):
        relative = os.path.relpath(source, os.path.dirname(place))  # noqa: PTH120 - a Path costs more than the rest
        return mode in ("auto", "symlink") and os.readlink(place) == relative  # noqa: PTH115 - the same
    if (ours.st_dev, ours.st_ino) == (original.st_dev, original.st_ino):
        return mode in ("auto", "hardlink")
    same = (ours.st_size, ours.st_mtime_ns) == (original.st_size, original.st_mtime_ns)
    return same and mode in ("auto", "reflink", "copy")


def _build(fresh: Path, found: _Found, mode: LinkMode) -> None:
    make_folder(fresh.parent, within=standing(fresh.parents[2]))
    fresh.mkdir()
    with (fresh / MAPPING).open("x", encoding="utf-8", newline="\n") as mapping:
        mapping.writelines(_mapping_lines(found))
        mapping.flush()
        os.fsync(mapping.fileno())
    sync_folder(fresh)
    leaves = {fresh / folder for folder in {place.folder for place in found.places}}
    folders = leaves | {above for leaf in leaves for above in leaf.parents if fresh in above.parents}
    for folder in sorted(folders):
        folder.mkdir()
    link_all(found.links(f"{fresh}"), mode)
    for folder in sorted(folders):
        sync_folder(folder)
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
    make_folder(goal.parent, within=standing(target.parents[2]))
    file.rename(goal)
    sync_folder(goal.parent)
