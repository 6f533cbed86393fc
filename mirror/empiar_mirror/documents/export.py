"""A bag that stands by itself, for tools that follow no links out of it: hard links where the file system allows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from empiar_mirror.arrange import MAPPING
from empiar_mirror.documents import bag
from empiar_mirror.documents.placed import DEPOSITED, PlacedFile, placed_files
from empiar_mirror.documents.view import DOCUMENTS, PAYLOAD, documents_folder
from empiar_mirror.linking import LinkKind, link
from empiar_schema.disk import storage_fault, sync_file, sync_folder
from empiar_schema.faults import ConfigFault, StorageFault
from empiar_schema.paths import bytes_from_text

#: Never a symbolic link: a bag's payload must be in the bag.
_KINDS: Final[tuple[LinkKind, ...]] = ("hardlink", "reflink", "copy")


def write_bag(root: Path, empiar_id: int, *, view: str, folder: Path) -> Path:
    """``<folder>/<id>-<view>`` is a complete BagIt bag of the layout, with its RO-Crate and Croissant; returns it.

    It appears in whole or not at all. On the mirror's own file system the payload costs no room.

    Raises:
        ConfigFault: there is no layout, it cannot be a bag, or the name is taken.
        StorageFault: the disk refused, or a file is not where the layout says.
    """
    described = documents_folder(root, empiar_id, view)
    target = folder / f"{empiar_id}-{view}"
    if not (described / bag.TAG_MANIFEST).is_file():
        raise ConfigFault(
            f"there is no bag of EMPIAR-{empiar_id} in the view {view}",
            hint="`empiar-mirror arrange --json` says why in its notes: nothing is here yet, or a name is not UTF-8.",
        )
    if os.path.lexists(target):
        raise ConfigFault(f"{target} exists", hint="remove it, or name another folder")
    fresh = folder / f".{target.name}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            _fill(
                fresh, root, empiar_id, layout=root / "datasets" / view / str(empiar_id), described=described
            )
            fresh.rename(target)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        sync_folder(folder)
    except OSError as error:
        raise storage_fault(error, f"cannot write the bag {target}") from error
    return target


def _fill(fresh: Path, root: Path, empiar_id: int, *, layout: Path, described: Path) -> None:
    payload = fresh / PAYLOAD
    payload.mkdir(parents=True)
    folders = {payload}
    for file in placed_files(layout):
        place = payload / os.fsdecode(bytes_from_text(file.place))
        if place.parent not in folders:
            place.parent.mkdir(parents=True, exist_ok=True)
            folders.update(_up_to(payload, place.parent))
        _link(_source(root, empiar_id, file), place)
    shutil.copyfile(layout / MAPPING, payload / MAPPING)
    for name in DOCUMENTS:
        if (described / name).is_file():
            shutil.copyfile(described / name, fresh / name)
    for written in [payload / MAPPING, *(path for path in fresh.iterdir() if path.is_file())]:
        sync_file(written)
    for made in sorted(folders, reverse=True):
        sync_folder(made)
    sync_folder(fresh)


def _source(root: Path, empiar_id: int, file: PlacedFile) -> Path:
    """The file itself, not the layout's link to it."""
    top = root / ("archive" if file.origin == DEPOSITED else "derived") / str(empiar_id)
    return top / os.fsdecode(bytes_from_text(file.path))


def _link(source: Path, place: Path) -> None:
    for kind in _KINDS:
        try:
            link(source, place, kind)
        except StorageFault as fault:
            if kind == _KINDS[-1] or fault.full:
                raise
        else:
            return


def _up_to(top: Path, folder: Path) -> Iterable[Path]:
    while folder != top:
        yield folder
        folder = folder.parent
