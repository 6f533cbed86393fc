"""How many files become one task, and how a task names them (pure)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_mirror.globus.places import Places, plain
from empiar_schema.globus_bundles import BundleFile, Candidate
from empiar_schema.sizes import format_bytes
from empiar_wire.globus_facts import LABEL_LENGTH, FilterRule, TransferItem

#: With less than this a task costs more time than it shares out.
LEAST_BYTES: Final = 10 * 10**9
LEAST_FILES: Final = 1_000
#: Folders with fewer wanted files are named file by file.
RECURSIVE_FILES: Final = 10
#: A folder whose rest has more different endings is named file by file.
MOST_ENDINGS: Final = 20
#: Endings that mean themselves in a filter's pattern, in the catalogue and at the service.
_PLAIN_ENDING: Final = re.compile(r"\.[A-Za-z0-9_~+-]+")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a task may be given."""

    bytes: int
    files: int

    def shared(self, *, bytes: int, files: int, tasks: int) -> Limits:  # noqa: A002 - the field's own word
        """So little that `tasks` tasks end at about the same time, if so much is left in all; never above these."""
        return Limits(
            min(self.bytes, max(LEAST_BYTES, -(-bytes // tasks))),
            min(self.files, max(LEAST_FILES, -(-files // tasks))),
        )


def cut(candidates: Iterable[Candidate], limits: Limits) -> Iterator[list[Candidate]]:
    """The files in bundles, in their order; only a file that is larger than the limit has a bundle above it."""
    bundle: list[Candidate] = []
    size = 0
    for candidate in candidates:
        more = candidate.bytes or 0
        if bundle and (len(bundle) >= limits.files or size + more > limits.bytes):
            yield bundle
            bundle, size = [], 0
        bundle.append(candidate)
        size += more
    if bundle:
        yield bundle


def label(empiar_ids: Sequence[int], *, files: int, size: int, mark: str) -> str:
    """What a person reads in the Globus web app: ``empiar-mirror EMPIAR-10017, 1234 files, 284 GiB, 4f09ac12``.

    Letters, digits, blanks, commas, dots and dashes only: older versions of the service took nothing else. `mark` tells the task
    from all others.
    """
    named = f"EMPIAR-{empiar_ids[0]}"
    if len(empiar_ids) > 1:
        named += f" and {len(empiar_ids) - 1} more entries"
    counted = f"{files} file" if files == 1 else f"{files} files"
    text = f"empiar-mirror {named}, {counted}, {format_bytes(size)}, {mark}"
    return text[:LABEL_LENGTH].strip()


#: Every folder of one entry that lists files, by its stored text: the listed names that are not in the bundle; None where they
#: are too many to be worth a filter, or all.
Folders = Mapping[str, tuple[str, ...] | None]


def items_of(
    files: Sequence[BundleFile], folders: Mapping[int, Folders], places: Places
) -> tuple[list[TransferItem], list[FilterRule]]:
    """The items of a task for these files, and the filters on its recursive ones. Every file can be named (`plain`).

    A folder of which all is wanted, with all below it, is one recursive item; where the rest can be told by its
    suffixes, which no wanted file has, filters leave it out. Everything else is named file by file, so that nothing
    that is here already moves again. Files that no listing names may come with a folder.
    """
    wanted: dict[int, dict[str, list[BundleFile]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        wanted[file.remote.empiar_id][file.remote.directory].append(file)
    # As if the service did not care about case, which nothing says.
    endings = {_last_suffix(file.remote.name).lower() for file in files}
    excluded: set[str] = set()
    items: list[TransferItem] = []
    for empiar_id, by_folder in wanted.items():
        whole = _whole_folders(by_folder, folders.get(empiar_id, {}), endings, excluded)
        for folder in sorted(whole):
            path = plain(folder) or ""
            items.append(
                TransferItem(places.source(empiar_id, path), places.destination(empiar_id, path), True)
            )
        for folder, members in by_folder.items():
            if folder not in whole and whole.isdisjoint(_ancestors(folder)):
                for file in members:
                    path = plain(file.remote.path) or ""
                    items.append(
                        TransferItem(places.source(empiar_id, path), places.destination(empiar_id, path))
                    )
    return items, [FilterRule("exclude", f"*{ending}") for ending in sorted(excluded)]


def _whole_folders(
    wanted: Mapping[str, Sequence[BundleFile]], folders: Folders, endings: set[str], excluded: set[str]
) -> set[str]:
    """Topmost folders that can be copied as a whole; adds to `excluded` what filters have to leave out."""
    complete: dict[str, bool] = {}
    count: dict[str, int] = {}
    leave: dict[str, set[str]] = {}
    parents = {parent for folder in folders for parent in _ancestors(folder)}
    for folder in sorted(parents.union(folders), key=lambda f: -f.count("/") - (f != "")):
        out = _left_out(folders.get(folder, ()), endings)
        count[folder] = count.get(folder, 0) + len(wanted.get(folder, ()))
        leave.setdefault(folder, set()).update(out or ())
        can = out is not None and len(leave[folder]) <= MOST_ENDINGS and plain(folder) is not None
        complete[folder] = complete.get(folder, True) and can
        if folder:
            above = folder.rpartition("/")[0]
            complete[above] = complete.get(above, True) and complete[folder]
            count[above] = count.get(above, 0) + count[folder]
            leave.setdefault(above, set()).update(leave[folder])
    whole = {
        folder
        for folder in complete
        if complete[folder]
        and count[folder] >= RECURSIVE_FILES
        and not any(complete[above] for above in _ancestors(folder))
    }
    for folder in whole:
        excluded |= leave[folder]
    return whole


def _left_out(others: tuple[str, ...] | None, endings: Collection[str]) -> set[str] | None:
    """The endings that filters have to leave out so that of the folder only wanted files come; None if they cannot."""
    if others is None:
        return None
    out = set(map(_last_suffix, others))
    if any(not _PLAIN_ENDING.fullmatch(ending) or ending.lower() in endings for ending in out):
        return None
    return out


def _last_suffix(name: str) -> str:
    """``.mrc``, as it is stored; empty without a dot."""
    _, dot, last = name.rpartition(".")
    return dot + last


def _ancestors(folder: str) -> Iterator[str]:
    """The folders above, up to the entry's own, which is ``""``."""
    while folder:
        folder = folder.rpartition("/")[0]
        yield folder
