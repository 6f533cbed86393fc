"""What statements of several mirrors about one entry have in common, and where they part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from empiar_mirror.statement import Folder, Member, Statement

#: The name of our own side.
HERE: Final = "here"


class Verdict(StrEnum):
    """How the statements of an entry compare, apart from ``only NAME``."""

    EQUAL = "equal"
    #: What two or more of them have is the same; some have more than others.
    OVERLAP = "equal in what both have"
    DIFFERS = "differs"


class Kind(StrEnum):
    """How a file, or a folder without the digests of its files, differs."""

    LACKING = "not everywhere"
    SIZE = "other size"
    BYTES = "same size, other bytes"
    FOLDER = "folder differs"


@dataclass(frozen=True, slots=True)
class Difference:
    """A file or folder (its path ends with ``/``) about which the statements part."""

    path: str
    kind: Kind
    #: The digest that each side states; None where it does not have it.
    stated: dict[str, str | None]
    #: The sides that agree, where they are more than half of three or more.
    majority: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """One entry, compared."""

    entry: str
    #: A `Verdict`, or ``only NAME`` where no other side has files of it.
    verdict: str
    #: The sides that have files of the entry.
    sides: tuple[str, ...]
    majority: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    #: Whether some folders were compared by their own digests alone, because a statement holds none of their files.
    by_folder: bool = False

    @property
    def differs(self) -> bool:
        """Whether something differs that two sides have."""
        return self.verdict == Verdict.DIFFERS


def compare(entry: str, statements: Mapping[str, Statement | None]) -> Compared:
    """How the statements of the sides about this entry compare; None where a side states nothing of it.

    Only what is here counts. A file that EMPIAR lists no longer is no difference where a side still has its bytes.
    """
    having = {side: s for side, s in statements.items() if s is not None and s.here.files + s.gone.files}
    sides = tuple(having)
    if not having:
        return Compared(entry, Verdict.EQUAL, ())
    if len(having) == 1:
        return Compared(entry, f"only {sides[0]}", sides)
    whole = _majority({side: s.here.digest for side, s in having.items()}, of=len(statements))
    if len({s.here.digest for s in having.values()}) == 1:
        return Compared(entry, Verdict.EQUAL, sides, whole)
    folders = {side: {folder.path: folder for folder in s.folders} for side, s in having.items()}
    differences: list[Difference] = []
    by_folder = False
    for path in sorted({path for of_side in folders.values() for path in of_side}):
        stated = {side: of_side.get(path) for side, of_side in folders.items()}
        if len({folder.digest if folder else None for folder in stated.values()}) == 1:
            continue
        if any(folder is not None and folder.members is None for folder in stated.values()):
            by_folder = True
            differences.append(_of_folder(path, stated))
        else:
            differences += _of_files(path, stated, {side: s.gone.members or () for side, s in having.items()})
    parted = any(difference.kind is not Kind.LACKING for difference in differences)
    verdict = Verdict.DIFFERS if parted else Verdict.OVERLAP
    return Compared(entry, verdict, sides, whole, tuple(differences), by_folder)


def _of_folder(path: str, stated: Mapping[str, Folder | None]) -> Difference:
    digests = {side: folder.digest if folder else None for side, folder in stated.items()}
    kind = Kind.FOLDER if len(set(digests.values()) - {None}) > 1 else Kind.LACKING
    return Difference(f"{path}/", kind, digests, _majority(digests, of=len(digests)))


def _of_files(
    path: str, stated: Mapping[str, Folder | None], gone: Mapping[str, Sequence[Member]]
) -> list[Difference]:
    """The files of one folder about which the sides part."""
    files = {
        side: {member.name: member for member in (folder.members or () if folder else ())}
        for side, folder in stated.items()
    }
    prefix = f"{path}/" if path else ""
    for side, members in gone.items():
        for member in members:
            folder, _, name = member.name.rpartition("/")
            if folder == path:
                files[side].setdefault(name, member._replace(name=name))
    names = {name for of_side in files.values() for name in of_side}
    found = []
    for name in sorted(names):
        members_of = {side: of_side.get(name) for side, of_side in files.items()}
        facts = {m and (m.size, m.sha256) for m in members_of.values()}
        if len(facts) == 1:
            continue
        there = [member for member in members_of.values() if member is not None]
        digests = {side: m.sha256 if m else None for side, m in members_of.items()}
        found.append(
            Difference(f"{prefix}{name}", _kind(there), digests, _majority(digests, of=len(digests)))
        )
    return found


def _kind(there: Sequence[Member]) -> Kind:
    if len({member.size for member in there}) > 1:
        return Kind.SIZE
    return Kind.BYTES if len({member.sha256 for member in there}) > 1 else Kind.LACKING


def _majority(stated: Mapping[str, Hashable | None], *, of: int) -> tuple[str, ...]:
    """The sides that state the same, if three or more are asked and more than half of them do so."""
    counts = Counter(value for value in stated.values() if value is not None)
    if of < 3 or not counts:
        return ()
    value, count = counts.most_common(1)[0]
    return tuple(side for side, own in stated.items() if own == value) if 2 * count > of else ()
