"""The files of labels by hand: ``labels/<id>/<path of the micrograph>/v0003.json``. Work of people, which nothing can fetch again.

A version is written under another name, flushed, and linked to its own, which fails if that exists: no version is ever overwritten.
A version that was saved beside another one is ``v0004-aside.json``: it is kept, and is not the current one. Whoever serves the page is
the only writer; everybody may read at any time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_imaging.labels.by_hand import LARGEST_BYTES, HandVersion, read_version, write_version
from empiar_schema.disk import make_folder, standing, storage_fault, sync_file, sync_folder
from empiar_schema.faults import BadLabels, HostileName
from empiar_schema.paths import RemotePath, bytes_from_text, text_from_bytes

FOLDER: Final = "labels"
#: More versions of one micrograph are a program that has lost its way.
MOST_VERSIONS: Final = 9_999
_NAME: Final = re.compile(rb"v([0-9]{4})(-aside)?\.json")
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
#: Two visitors save at once: who comes second sees the version of the first.
_SAVING: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class VersionFile:
    """One version of the labels of one micrograph, by its name alone."""

    remote: RemotePath
    number: int
    aside: bool
    path: Path

    @property
    def shown(self) -> str:
        """Below the mirror's root, as a stored text."""
        return f"{FOLDER}/{self.remote}/{self.path.name}"

    def raw(self) -> bytes:
        """Its bytes.

        Raises:
            BadLabels: it cannot be read, or has more bytes than a version can have.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise BadLabels(f"{self.shown} is no file")
                return file.read(LARGEST_BYTES + 1)
        except OSError as error:
            raise BadLabels(f"{self.shown} cannot be read: {error.strerror}") from error

    def read(self) -> HandVersion:
        """What it holds.

        Raises:
            BadLabels: it cannot be read, or is not the version that its place says.
        """
        version = read_version(self.raw(), what=self.shown)
        if (version.empiar_id, version.micrograph) != (self.remote.empiar_id, self.remote.path):
            raise BadLabels(
                f"{self.shown} holds labels of another micrograph, {version.empiar_id}/{version.micrograph}",
                hint="move it to the folder of that micrograph",
            )
        if (version.version, version.aside) != (self.number, self.aside):
            raise BadLabels(f"{self.shown} says that it is version {version.version}: it was renamed")
        return version


@dataclass(frozen=True, slots=True)
class Current:
    """The version that counts, and why newer ones do not."""

    file: VersionFile
    version: HandVersion
    problems: tuple[str, ...]


def folder_of(root: Path, remote: RemotePath) -> Path:
    """Where the versions of a micrograph stand."""
    return root / FOLDER / str(remote.empiar_id) / os.fsdecode(remote.raw)


def versions_of(root: Path, remote: RemotePath) -> tuple[VersionFile, ...]:
    """The micrograph's versions in their order; none where nobody has saved any."""
    try:
        names = [os.fsencode(path.name) for path in folder_of(root, remote).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise storage_fault(error, f"cannot read {folder_of(root, remote)}") from error
    return _sorted(root, remote, names)


def _sorted(root: Path, remote: RemotePath, names: list[bytes]) -> tuple[VersionFile, ...]:
    found = {}
    for name in sorted(names, reverse=True):  # of v0003-aside.json and v0003.json the second counts
        if match := _NAME.fullmatch(name):
            path = folder_of(root, remote) / os.fsdecode(name)
            found[int(match[1])] = VersionFile(remote, int(match[1]), match[2] is not None, path)
    return tuple(found[number] for number in sorted(found))


def current(versions: tuple[VersionFile, ...]) -> Current | None:
    """The newest version that can be read and does not stand aside; None where there is none."""
    problems: list[str] = []
    for file in reversed(versions):
        if file.aside:
            continue
        try:
            return Current(file, file.read(), tuple(problems))
        except BadLabels as fault:
            problems.append(str(fault))
    return None


def all_versions(root: Path, empiar_id: int) -> Iterator[tuple[VersionFile, ...]]:
    """The versions of each micrograph of the entry that has any, by path. Links are not followed.

    Raises:
        StorageFault: the disk refused.
    """
    base = os.fsencode(root / FOLDER / str(empiar_id))
    try:
        for place, folders, names in os.walk(base, onerror=_raise):
            folders.sort()
            if place == base or not any(map(_NAME.fullmatch, names)):
                continue
            with suppress(HostileName):  # nobody's micrograph can stand there
                remote = RemotePath.from_bytes(empiar_id, place[len(base) + 1 :])
                yield _sorted(root, remote, names)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_fault(error, f"cannot look through {root / FOLDER}") from error


def _raise(error: OSError) -> None:
    raise error


def entries_with_labels(root: Path) -> dict[int, int]:
    """Entries of which there are labels by hand, and a number that differs after each save."""
    found = {}
    with suppress(FileNotFoundError), os.scandir(root / FOLDER) as places:
        for place in places:
            if place.name.isdecimal() and place.is_dir(follow_symlinks=False):
                found[int(place.name)] = place.stat().st_mtime_ns
    return found


def save(
    root: Path, remote: RemotePath, *, base: int, make: Callable[[int, bool], HandVersion]
) -> HandVersion:
    """A new version is durable: the current one if `base` is what was current, else one aside. `make` gets its number and whether it is aside.

    Raises:
        BadLabels: there are too many versions.
        StorageFault: the disk refused; nothing is saved.
    """
    with _SAVING:
        versions = versions_of(root, remote)
        known = [version.number for version in versions if not version.aside]
        aside = base != max(known, default=0)
        number = max((version.number for version in versions), default=0) + 1
        if number > MOST_VERSIONS:
            raise BadLabels(f"{remote} has {MOST_VERSIONS:,} versions, and takes no more")
        version = make(number, aside)
        if aside and versions and _same(versions[-1], version):
            return versions[-1].read()  # saved again, because nobody heard that it was
        target = folder_of(root, remote) / f"v{number:04d}{'-aside' if aside else ''}.json"
        _write(root, target, write_version(version))
        # The entry's folder tells the service that something is new below it.
        with suppress(OSError):
            os.utime(root / FOLDER / str(remote.empiar_id))
        return version


def _same(file: VersionFile, version: HandVersion) -> bool:
    try:
        before = file.read()
    except BadLabels:
        return False
    return before.aside and (before.author, before.base, before.picks, before.diameter_px) == (
        version.author, version.base, version.picks, version.diameter_px,
    )  # fmt: skip


def _write(root: Path, target: Path, data: bytes) -> None:
    # With a number of its own: what a killed process left is nobody's, and is in nobody's way.
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        for folder in make_folder(target.parent, within=standing(root)):
            sync_folder(folder)
        _require_inside(root, target.parent)
        try:
            part.write_bytes(data)
            part.chmod(0o444)
            sync_file(part)
            _link(part, target)
            sync_folder(target.parent)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    except OSError as error:
        raise storage_fault(error, f"cannot save {target}") from error


def _link(part: Path, target: Path) -> None:
    """`target` is the file that `part` is; fails where it exists."""
    try:
        os.link(part, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here. Whoever serves the page is the only writer, so that looking first is safe.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        part.rename(target)


def _require_inside(root: Path, folder: Path) -> None:
    """No folder on the way is a link: what is saved stays below the root."""
    if folder.resolve() != (root.resolve() / folder.relative_to(root)):
        raise OSError(errno.ELOOP, "a folder on the way is a symbolic link", str(folder))


def shown_path(path: Path) -> str:
    """A path as a stored text."""
    return text_from_bytes(os.fsencode(path))


def remote_of(empiar_id: int, path: str) -> RemotePath:
    """The micrograph at a path below the entry, as a person writes it or as a stored text.

    Raises:
        HostileName: no file can be there.
    """
    return RemotePath.from_bytes(empiar_id, bytes_from_text(path))
