"""Rows of a query as text or as a file: table, CSV, JSON, JSON lines, Parquet, XLSX."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from empiar_mirror.query import Row, Rows, Tabular, Value
from empiar_schema.disk import usual_mode
from empiar_schema.faults import ConfigFault, StorageFault

#: The table's column widths come from so many first rows, so that a long result streams.
_WIDTH_ROWS: Final = 500
_MAX_WIDTH: Final = 100
#: Parquet's column types come from so many first rows; SQLite's values carry their own.
_BATCH_ROWS: Final = 50_000
#: Excel's own limits.
_XLSX_ROWS: Final = 1_048_576
_XLSX_TEXT: Final = 32_767
_XLSX_EXACT_INT: Final = 10**15
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
NEED_EXPORT: Final = "install the optional part: pip install 'empiar-mirror[export]'"

if TYPE_CHECKING:
    from openpyxl.cell import Cell
    from openpyxl.worksheet._write_only import WriteOnlyWorksheet

JSONValue = None | int | float | str


def write_table(rows: Rows, out: TextIO) -> None:
    """Aligned columns for reading; numbers to the right, nothing for NULL."""
    from rich.cells import cell_len

    iterator = iter(rows)
    first = [_cells(row) for row in itertools.islice(iterator, _WIDTH_ROWS)]
    header = tuple(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", column) for column in rows.columns)
    widths = [
        min(_MAX_WIDTH, max(map(cell_len, column)))
        for column in zip(header, *(c for c, _ in first), strict=True)
    ]
    right = [any(n[i] for _, n in first) for i in range(len(header))]

    def line(cells: tuple[str, ...]) -> str:
        padded = []
        for cell, width, to_right in zip(cells, widths, right, strict=True):
            space = " " * max(0, width - cell_len(cell))
            padded.append(space + cell if to_right else cell + space)
        return "  ".join(padded).rstrip() + "\n"

    out.write(line(header))
    out.write("  ".join("─" * width for width in widths) + "\n")
    out.writelines(line(cells) for cells, _ in first)
    out.writelines(line(_cells(row)[0]) for row in iterator)


def write_csv(rows: Tabular, out: TextIO) -> None:
    """RFC 4180 with Unix line ends; NULL is an empty field, a BLOB its hexadecimal digits."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.columns)
    writer.writerows([plain(value) for value in row] for row in rows)


def write_json(rows: Tabular, out: TextIO) -> None:
    """One array of objects."""
    separator = "["
    for row in rows:
        out.write(f"{separator}\n{json_object(rows.columns, row)}")
        separator = ","
    out.write("[]\n" if separator == "[" else "\n]\n")


def write_jsonl(rows: Rows, out: TextIO) -> None:
    """One object a line."""
    out.writelines(json_object(rows.columns, row) + "\n" for row in rows)


def write_parquet(rows: Rows, path: Path) -> None:
    """A Parquet file; a column's type is that of its values in the first 50,000 rows (text where they are mixed).

    Raises:
        ConfigFault: pyarrow is missing, or a later value does not fit its column.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ConfigFault("Parquet needs pyarrow, which is not installed", hint=NEED_EXPORT) from None
    types = {int: pa.int64(), float: pa.float64(), bytes: pa.binary(), str: pa.string()}
    iterator = iter(rows)
    batch = list(itertools.islice(iterator, _BATCH_ROWS))
    kinds = [_kind_of([row[i] for row in batch]) for i in range(len(rows.columns))]
    schema = pa.schema([(name, types[kind]) for name, kind in zip(rows.columns, kinds, strict=True)])
    with pq.ParquetWriter(path, schema) as writer:
        while True:
            columns = [
                [_fitted(row[i], kind, rows.columns[i]) for row in batch] for i, kind in enumerate(kinds)
            ]
            arrays = [
                pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            batch = list(itertools.islice(iterator, _BATCH_ROWS))
            if not batch:
                return


def write_xlsx(rows: Rows, path: Path) -> None:
    """An Excel file of one sheet; text stays text, also where it begins like a formula.

    Raises:
        ConfigFault: openpyxl is missing, or the result has more rows than a sheet can hold.
    """
    try:
        from openpyxl import Workbook
    except ImportError:
        raise ConfigFault("XLSX needs openpyxl, which is not installed", hint=NEED_EXPORT) from None
    book = Workbook(write_only=True)
    sheet = book.create_sheet("query")

    sheet.append([xlsx_cell(sheet, column) for column in rows.columns])
    for number, row in enumerate(rows, start=2):
        if number > _XLSX_ROWS:
            raise ConfigFault(
                "the result has more rows than an Excel sheet holds", hint="write parquet or csv"
            )
        sheet.append([xlsx_cell(sheet, value) for value in row])
    book.save(path)


def xlsx_cell(sheet: WriteOnlyWorksheet, value: Value) -> Cell | JSONValue:
    """A value as Excel can hold it: text stays text, also where it begins like a formula, and whole numbers keep all their digits."""
    from openpyxl.cell import WriteOnlyCell

    shown = plain(value)
    if isinstance(shown, int) and abs(shown) >= _XLSX_EXACT_INT:
        shown = str(shown)  # Excel keeps 15 digits of a number
    if isinstance(shown, float) and not math.isfinite(shown):
        shown = str(shown)
    if not isinstance(shown, str):
        return shown
    text = WriteOnlyCell(sheet, _CONTROL.sub(" ", shown)[:_XLSX_TEXT])
    text.data_type = "s"
    # Without this mark Excel would take "=cmd|…" for a formula once somebody edits the cell.
    text.quotePrefix = shown.startswith(("=", "+", "-", "@"))
    return text


TEXT_FORMATS: Final[dict[str, Callable[[Rows, TextIO], None]]] = {
    "table": write_table,
    "csv": write_csv,
    "json": write_json,
    "jsonl": write_jsonl,
}
FILE_FORMATS: Final[dict[str, Callable[[Rows, Path], None]]] = {"parquet": write_parquet, "xlsx": write_xlsx}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place whole at the end, or vanishes after an error.

    Raises:
        StorageFault: the folder cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        os.close(descriptor)
    except OSError as error:
        raise StorageFault(
            f"cannot write {path}: {error.strerror}", hint="choose another file with -o"
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(usual_mode())
        temporary.replace(path)
    except OSError as error:
        raise StorageFault(
            f"cannot write {path}: {error.strerror}", hint="choose another file with -o"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def plain(value: Value) -> JSONValue:
    """A value as text formats have it: a BLOB is its hexadecimal digits."""
    return value.hex() if isinstance(value, bytes) else value


def _cells(row: Row) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    cells = tuple("" if v is None else _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(plain(v))) for v in row)
    return cells, tuple(isinstance(value, int | float) for value in row)


def json_object(columns: tuple[str, ...], row: Row) -> str:
    """A row as one JSON object."""
    # JSON has no infinity, SQLite's arithmetic has.
    finite = (None if isinstance(v, float) and not math.isfinite(v) else plain(v) for v in row)
    return json.dumps(dict(zip(columns, finite, strict=True)), ensure_ascii=False)


def _kind_of(values: list[Value]) -> type[int | float | bytes | str]:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return int
    if kinds and kinds <= {int, float}:
        return float
    return bytes if kinds == {bytes} else str


def _fitted(value: Value, kind: type[int | float | bytes | str], column: str) -> Value:
    if value is None or isinstance(value, kind):
        return value
    if kind is float and isinstance(value, int):
        return float(value)
    if kind is str:
        return str(plain(value))
    raise ConfigFault(
        f"the column {column} mixes kinds of values, which Parquet cannot hold",
        hint=f"write cast({column} AS REAL) or cast({column} AS TEXT) in the SQL",
    )
