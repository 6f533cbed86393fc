"""From the catalogue to files: one table, all of them, or a snapshot to publish. What is written appears whole or not at all."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path

from empiar_mirror.export import cryoppp
from empiar_mirror.export.beside import built_beside, clear_beside, take_place
from empiar_mirror.export.frozen import COPY_FROM_BYTES, frozen
from empiar_mirror.export.snapshot import CRYOPPP_FILE, MANIFEST, readme, schema_document, snapshot_name
from empiar_mirror.export.tables import Table, everything, exportable, part_of, published, table_of
from empiar_mirror.export.writers import Format, Sheet, write
from empiar_mirror.query import Row
from empiar_schema.disk import sync_file, sync_folder, usual_mode
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings

Told = Callable[[str, int], None]


@dataclass(slots=True)
class Exported:
    """What was written: where, and the rows of each table."""

    place: Path
    rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """How an export is to be made."""

    form: Format
    force: bool = False
    guard_formulas: bool = False
    #: From this size of the catalogue on it is copied first.
    copy_from: int = COPY_FROM_BYTES


def table_named(name: str) -> Table:
    """The view of this name, or CryoPPP's catalogue.

    Raises:
        ConfigFault: there is none.
    """
    if name == cryoppp.NAME:
        return cryoppp.TABLE
    known = exportable()
    if name not in known:
        raise ConfigFault(
            f"there is no view {name} to export", hint=f"there are {', '.join([cryoppp.NAME, *known])}"
        )
    return table_of(name)


def export_table(settings: Settings, table: Table, out: Path, wish: Wish) -> Exported:
    """The table stands in the file `out`.

    Raises:
        ConfigFault: `out` exists and is not to be replaced, or is no place for it.
        StorageFault, CatalogueFault: the disk or the catalogue refused.
    """
    _prepare(out, settings.root, force=wish.force, as_folder=False)
    with (
        built_beside(out) as folder,
        frozen(settings.root, folder, large=table.large, copy_from=wish.copy_from) as connection,
    ):
        made = folder / "table"
        rows = _rows(connection, table, _bases(settings))
        count = write(
            Sheet(
                table.name,
                table.columns,
                rows,
            ),
            made,
            wish.form,
            guard_formulas=wish.guard_formulas,
        )
        made.chmod(usual_mode())
        sync_file(made)
        made.replace(out)
        sync_folder(out.parent)
    return Exported(out, {table.name: count})


def export_all(settings: Settings, out: Path, wish: Wish, *, told: Told | None = None) -> Exported:
    """All public views stand in the folder `out`, with `manifest-sha256.txt`.

    Raises:
        ConfigFault, StorageFault, CatalogueFault: as `export_table`.
    """
    _prepare(out, settings.root, force=wish.force, as_folder=True)
    with built_beside(out) as folder:
        with frozen(settings.root, folder, large=True, copy_from=wish.copy_from) as connection:
            tree = folder / "tree"
            tree.mkdir()
            rows = _write_tables(connection, everything(), tree, wish, _bases(settings), told)
        _finish(tree)
        take_place(tree, out)
    return Exported(out, rows)


def export_snapshot(settings: Settings, out: Path, wish: Wish, *, told: Told | None = None) -> Exported:
    """The folder ``empiar-catalogue-YYYY-MM-DD`` stands in the folder `out`: what can be published, with README, schema and manifest. The day is that of the latest crawl.

    Raises:
        ConfigFault: the catalogue knows of no crawl; else as `export_table`.
    """
    out.mkdir(parents=True, exist_ok=True)
    _prepare(out / "x", settings.root, force=True, as_folder=True)
    with built_beside(out / "x") as folder:
        with frozen(settings.root, folder, large=True, copy_from=wish.copy_from) as connection:
            name = snapshot_name(connection)
            place = out / name
            _prepare(place, settings.root, force=wish.force, as_folder=True)
            tree = folder / "tree"
            tree.mkdir()
            tables = published()
            rows = _write_tables(connection, tables, tree, wish, _bases(settings), told)
            catalogue = Sheet(
                cryoppp.NAME, cryoppp.TABLE.columns, _rows(connection, cryoppp.TABLE, _bases(settings))
            )
            rows[cryoppp.NAME] = write(
                catalogue, tree / CRYOPPP_FILE, "csv", guard_formulas=wish.guard_formulas
            )
        (tree / "schema.json").write_text(schema_document(tables), encoding="utf-8")
        (tree / "README.md").write_text(readme(name, tables, rows, wish.form), encoding="utf-8")
        _finish(tree)
        take_place(tree, place)
    return Exported(place, rows)


def _bases(settings: Settings) -> dict[str, str]:
    archive = settings.archive
    path = archive.globus_path.strip("/")
    return {"ftp": archive.ftp_url, "https": archive.https_url, "globus": f"/{path}" if path else ""}


def _rows(
    connection: sqlite3.Connection,
    table: Table,
    bases: Mapping[str, str],
    *,
    first: int = 0,
    last: int = 2**62,
) -> Iterator[Row]:
    if not table.by_entry:
        yield from connection.execute(table.sql)
        return
    ids = connection.execute(
        "SELECT empiar_id FROM entries WHERE empiar_id BETWEEN ? AND ? ORDER BY empiar_id", (first, last)
    ).fetchall()
    for (empiar_id,) in ids:
        yield from connection.execute(table.sql, {"id": empiar_id, **bases})


def _write_tables(
    connection: sqlite3.Connection,
    tables: list[Table],
    tree: Path,
    wish: Wish,
    bases: Mapping[str, str],
    told: Told | None,
) -> dict[str, int]:
    counts: dict[str, int] = {}
    for table in tables:
        if table.by_entry and wish.form == "parquet":
            counts[table.name] = _write_parts(connection, table, tree, wish, bases)
        else:
            sheet = Sheet(table.name, table.columns, _rows(connection, table, bases))
            counts[table.name] = write(
                sheet, tree / f"{table.name}.{wish.form}", wish.form, guard_formulas=wish.guard_formulas
            )
        if told is not None:
            told(table.name, counts[table.name])
    return counts


def _write_parts(
    connection: sqlite3.Connection, table: Table, tree: Path, wish: Wish, bases: Mapping[str, str]
) -> int:
    """A folder with a file for each range of entries: readers of Parquet take the folder as one table."""
    folder = tree / table.name
    folder.mkdir()
    ids = (
        row[0] for row in connection.execute("SELECT empiar_id FROM entries ORDER BY empiar_id").fetchall()
    )
    total = 0
    parts = [part for part, _ in itertools.groupby(ids, key=part_of)] or [part_of(0)]
    for first, last in parts:
        rows = _rows(connection, table, bases, first=first, last=last)
        path = folder / f"entries-{first:05d}-{last:05d}.parquet"
        total += write(Sheet(table.name, table.columns, rows), path, wish.form)
    return total


def _finish(tree: Path) -> None:
    """The manifest names every file; all is durable and has the usual rights."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    lines = []
    for path in files:
        with path.open("rb") as stream:
            lines.append(
                f"{file_digest(stream, 'sha256').hexdigest()}  {path.relative_to(tree).as_posix()}\n"
            )
    (tree / MANIFEST).write_text("".join(lines), encoding="utf-8")
    for path in [*files, tree / MANIFEST]:
        path.chmod(usual_mode())
        sync_file(path)
    for path in [tree, *(path for path in tree.rglob("*") if path.is_dir())]:
        path.chmod(usual_mode() | (usual_mode() & 0o444) >> 2)
        sync_folder(path)


def _prepare(out: Path, root: Path, *, force: bool, as_folder: bool) -> None:
    """`out` may be written, and nothing of killed exports stands beside it."""
    if out.resolve().is_relative_to(root.resolve()):
        raise ConfigFault(f"{out} lies in the mirror itself", hint="write it somewhere else")
    if not out.parent.is_dir():
        raise ConfigFault(f"there is no folder {out.parent}", hint="make it, or choose another place")
    clear_beside(out.parent)
    if not out.exists() and not out.is_symlink():
        return
    if as_folder != out.is_dir():
        what = "a file" if as_folder else "a folder"
        raise ConfigFault(f"{out} is {what}", hint="choose another name; without --view, OUT is a folder")
    if as_folder and not any(out.iterdir()):
        return
    if not force:
        raise ConfigFault(f"{out} exists", hint="choose another name, or replace it with --force")
    if as_folder and not _is_export(out):
        raise ConfigFault(
            f"{out} holds something else than an export, and is not replaced", hint="choose another name"
        )


def _is_export(folder: Path) -> bool:
    """Whether all that is in the folder was written by an export: no other file may be lost with it."""
    try:
        lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    known = {line[66:] for line in lines} | {MANIFEST}
    return (
        all(path.is_dir() or path.relative_to(folder).as_posix() in known for path in folder.rglob("*"))
        and not folder.is_symlink()
    )
