"""From a job's folder to ``derived/``: the order of writing that never leaves a record without its bytes.

Before the first name changes, the names that will change are written down beside the job's folder. What a crash leaves is
told apart by them: a named file that the catalogue does not know is of no use to anybody and is removed at the next start.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from empiar_mirror.makers.folder import Checked, remove_tree
from empiar_mirror.makers.maker import JobFault, Task
from empiar_mirror.makers.templates import on_disk
from empiar_schema import job_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.disk import make_folder, standing, storage_fault, sync_folder
from empiar_schema.faults import HostileName
from empiar_schema.jobs import NewProduct
from empiar_schema.paths import RemotePath

_SUFFIX: Final = ".placing"
#: A list of names larger than this is none of ours.
_LARGEST_LIST: Final = 64 * 2**20


def derived_folder(root: Path, empiar_id: int) -> Path:
    """``derived/10017``."""
    return root / "derived" / str(empiar_id)


def planned(maker: str, empiar_id: int, task: Task, checked: Sequence[Checked]) -> tuple[NewProduct, ...]:
    """The products as they will be recorded, each at its path below ``derived/<id>``.

    Raises:
        JobFault: a name cannot be that of a file, or two outputs have one name.
    """
    products: dict[str, NewProduct] = {}
    for one in checked:
        output = one.output
        parts = [part for part in (maker, task.directory, output.name) if part]
        try:
            path = RemotePath.parse(empiar_id, "/".join(parts))
        except HostileName as error:
            raise JobFault(f"no file can have the name {output.name[:80]!r}", permanent=True) from error
        if not path.fits_file_system:
            raise JobFault(f"the name {output.name[:80]!r} is longer than file systems allow", permanent=True)
        if path.path in products:
            raise JobFault(f"two of its outputs would be called {output.name[:80]!r}", permanent=True)
        stem = output.stem if output.stem is not None else task.stem
        products[path.path] = NewProduct(
            path.path, output.kind, one.size, one.sha256, stem, output.details, output.parent_file_id
        )
    return tuple(products.values())


def write_list(folder: Path, paths: Iterable[str]) -> None:
    """The names that will be made or removed for the job in `folder` are written down.

    Not flushed: what a power cut takes of it leaves at worst a file in ``derived/`` that no record speaks of, until the job
    makes it again.

    Raises:
        StorageFault: the disk refused.
    """
    target = _list_of(folder)
    try:
        with target.open("w", encoding="utf-8") as stream:
            json.dump(sorted(set(paths)), stream)
    except OSError as error:
        raise storage_fault(error, f"cannot write {target}") from error


def place(root: Path, empiar_id: int, folder: Path, pairs: Sequence[tuple[Checked, NewProduct]]) -> None:
    """Each output stands at its product's path, under a durable name.

    Raises:
        StorageFault: the disk refused.
    """
    derived = derived_folder(root, empiar_id)
    changed: set[Path] = set()
    try:
        for checked, product in pairs:
            final = derived / on_disk(product.path)
            changed |= make_folder(final.parent, within=standing(root))
            (folder / checked.output.path).replace(final)
            changed.add(final.parent)
        for one in changed:
            sync_folder(one)
    except OSError as error:
        raise storage_fault(error, f"cannot place files under {derived}") from error


def remove(root: Path, empiar_id: int, paths: Iterable[str]) -> None:
    """No file stands at these paths any more.

    Raises:
        StorageFault: the disk refused.
    """
    derived = derived_folder(root, empiar_id)
    try:
        for path in paths:
            (derived / on_disk(path)).unlink(missing_ok=True)
    except OSError as error:
        raise storage_fault(error, f"cannot remove files under {derived}") from error


def tidy(folder: Path) -> None:
    """Nothing is left in staging of the job in `folder`.

    Raises:
        StorageFault: the disk refused.
    """
    try:
        remove_tree(folder)
        _list_of(folder).unlink(missing_ok=True)
    except OSError as error:
        raise storage_fault(error, f"cannot remove {folder}") from error


def recover_jobs(catalogue: Catalogue, root: Path) -> int:
    """No job is running, no folder of one is left, and ``derived/`` holds nothing of them that is not recorded; returns how many jobs were begun.

    Only the holder of the instance lock may call it.

    Raises:
        StorageFault: the disk refused.
        CatalogueFault: the catalogue refused.
    """
    with catalogue.reader() as conn:
        running = job_store.any_running(conn)
    given_back = catalogue.write_now(job_store.recover_jobs) if running else 0
    jobs = root / "staging" / "jobs"
    if not jobs.is_dir():
        return given_back
    for entry in sorted(jobs.iterdir()):
        if entry.suffix == _SUFFIX:
            _undo(catalogue, root, entry)
            entry.unlink()
    for entry in list(jobs.iterdir()):
        try:
            remove_tree(entry)
        except OSError as error:
            raise storage_fault(error, f"cannot remove {entry}") from error
    jobs.rmdir()
    return given_back


def _undo(catalogue: Catalogue, root: Path, listed: Path) -> None:
    """Files of a job that had been placed, or were to be removed, and that no record speaks of, are gone."""
    if not listed.stem.isdecimal() or listed.is_symlink() or listed.stat().st_size > _LARGEST_LIST:
        return
    with catalogue.reader() as conn:
        empiar_id = job_store.entry_of_job(conn, int(listed.stem))
        if empiar_id is None:
            return
        paths = set(_usable(listed, empiar_id))
        lost = paths - job_store.owners(conn, empiar_id, paths).keys()
    remove(root, empiar_id, lost)


def _usable(listed: Path, empiar_id: int) -> Iterable[str]:
    """The paths of the list that cannot lead out of the entry's folder; none of a list that was half written."""
    try:
        paths = json.loads(listed.read_bytes())
    except (ValueError, RecursionError):
        return
    for path in paths if isinstance(paths, list) else ():
        try:
            yield RemotePath.parse(empiar_id, str(path)).path
        except HostileName:
            continue


def _list_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{_SUFFIX}")
