"""Tables as CSV, JSON, JSON lines, Parquet and XLSX files: the same rows make the same bytes."""

from __future__ import annotations

import csv
import itertools
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from empiar_mirror.export.tables import Column, Kind
from empiar_mirror.query import Row, Value
from empiar_mirror.query_formats import NEED_EXPORT, json_object, plain, xlsx_cell
from empiar_schema.faults import ConfigFault

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["csv", "json", "jsonl", "parquet", "xlsx"]
#: Rows of a Parquet row group.
GROUP_ROWS: Final = 65_536
#: So many rows at once are Python's objects before they are Arrow's columns, which take a fraction of the memory.
BATCH_ROWS: Final = 8_192
#: Rows of an Excel sheet, its header among them.
SHEET_ROWS: Final = 1_048_576
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
#: The earliest time that a ZIP archive can state: files state it instead of the time at which they were made.
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_XLSX_TIMES: Final = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is to be written: rows in order, once."""

    name: str
    columns: Sequence[Column]
    rows: Iterable[Row]


def write(sheet: Sheet, path: Path, form: Format, *, guard_formulas: bool = False) -> int:
    """The rows stand in the new file `path`; returns how many. With `guard_formulas`, texts that a spreadsheet would take for formulas get an apostrophe before them in CSV.

    Raises:
        ConfigFault: a library for the format is missing.
        OSError: the disk refused.
    """
    counted = _Counted(sheet.rows)
    names = tuple(column.name for column in sheet.columns)
    if form == "csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(map(_guarded if guard_formulas else _plain_row, counted))
    elif form in ("json", "jsonl"):
        with path.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(_json_pieces(names, counted, array=form == "json"))
    else:
        {"parquet": _write_parquet, "xlsx": _write_xlsx}[form](sheet.name, sheet.columns, counted, path)
    return counted.count


class _Counted:
    def __init__(self, rows: Iterable[Row]) -> None:
        self.count = 0
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


def _plain_row(row: Row) -> list[Value]:
    return [value.hex() if isinstance(value, bytes) else value for value in row]


def _guarded(row: Row) -> list[Value]:
    return [f"'{v}" if isinstance(v, str) and v.startswith(_FORMULA) else plain(v) for v in row]


def _json_pieces(names: tuple[str, ...], rows: Iterable[Row], *, array: bool) -> Iterator[str]:
    if not array:
        yield from (json_object(names, row) + "\n" for row in rows)
        return
    separator = "["
    for row in rows:
        yield f"{separator}\n{json_object(names, row)}"
        separator = ","
    yield "[]\n" if separator == "[" else "\n]\n"


def _write_parquet(name: str, columns: Sequence[Column], rows: Iterable[Row], path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ConfigFault("Parquet needs pyarrow, which is not installed", hint=NEED_EXPORT) from None
    kinds: dict[Kind, pa.DataType] = {
        "int": pa.int64(),
        "real": pa.float64(),
        "text": pa.string(),
        "blob": pa.binary(),
    }
    schema = pa.schema([(column.name, kinds[column.kind]) for column in columns])

    def batches(group: Iterator[Row]) -> Iterator[pa.RecordBatch]:
        while batch := list(itertools.islice(group, BATCH_ROWS)):
            arrays = [
                _array(values, column, kinds)
                for values, column in zip(zip(*batch, strict=True), columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3) as writer:
        iterator = iter(rows)
        while group := list(batches(itertools.islice(iterator, GROUP_ROWS))):
            writer.write_table(pa.Table.from_batches(group), row_group_size=GROUP_ROWS)


def _array(values: tuple[Value, ...], column: Column, kinds: dict[Kind, pa.DataType]) -> pa.Array:
    import pyarrow as pa

    kind = kinds[column.kind]
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        if column.kind == "text":
            return pa.array([None if value is None else str(plain(value)) for value in values], type=kind)
        if column.kind == "real":
            return pa.array([float(v) if isinstance(v, int) else v for v in values], type=kind)
        raise


def _write_xlsx(name: str, columns: Sequence[Column], rows: Iterable[Row], path: Path) -> None:
    try:
        from openpyxl import Workbook
    except ImportError:
        raise ConfigFault("XLSX needs openpyxl, which is not installed", hint=NEED_EXPORT) from None
    book = Workbook(write_only=True)
    iterator = iter(rows)
    number, more = 0, True
    first = next(iterator, None)
    while more:
        number += 1
        # Excel's sheets have at most 31 characters of name, and a limit of rows: what is beyond goes into a further one.
        sheet = book.create_sheet(name[:25] if number == 1 else f"{name[:25]} {number}")
        sheet.append([xlsx_cell(sheet, column.name) for column in columns])
        written = 1
        while first is not None and written < SHEET_ROWS:
            sheet.append([xlsx_cell(sheet, value) for value in first])
            written += 1
            first = next(iterator, None)
        more = first is not None
    stamped = path.with_name(f"{path.name}.stamped")
    try:
        book.save(stamped)
        _without_times(stamped, path)
    finally:
        stamped.unlink(missing_ok=True)


def _without_times(made: Path, path: Path) -> None:
    """The same archive without the time at which it was made, in its entries and in the document's properties."""
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            info = zipfile.ZipInfo(entry.filename, date_time=_ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            with source.open(entry) as stream, target.open(info, "w", force_zip64=True) as out:
                if entry.filename == "docProps/core.xml":
                    out.write(_XLSX_TIMES.sub(rb"\g<1>1980-01-01T00:00:00Z", stream.read()))
                    continue
                while piece := stream.read(2**20):
                    out.write(piece)
