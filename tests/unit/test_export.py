"""The catalogue as files: the same bytes from the same catalogue, whole or not at all, read by other programs."""

from __future__ import annotations

import csv
import errno
import functools
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest

from empiar_mirror.cli import main
from empiar_mirror.export import beside, exporting, writers
from empiar_mirror.export.exporting import Wish, export_all, export_snapshot, export_table, table_named
from empiar_mirror.export.tables import Column, everything, exportable, kind_of, published, table_of
from empiar_mirror.export.writers import Format, Sheet, write
from empiar_mirror.query import Row
from empiar_mirror.reading import reading
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry
from empiar_schema.entry import Author, CrossReference, Entry, ImageSet
from empiar_schema.faults import ConfigFault, StorageFault
from empiar_schema.settings import Settings
from small_mirror import ENTRY, NOW, SIZE, make_small_mirror

RICH = Entry(
    empiar_id=10600,
    title="=HYPERLINK(1)",
    dataset_size="1.5 TB",
    authors=(Author(name="Scheres SHW"), Author(name="Kühlbrandt W")),
    cross_references=(CrossReference(kind="EMDB", accession="EMD-2"), CrossReference(kind="EMDB", accession="EMD-1")),
    imagesets=(ImageSet(position=0, name="x", directory="data", image_width=4096, pixel_width_angstrom=0.65),),
)  # fmt: skip
FORMATS: tuple[Format, ...] = ("parquet", "csv", "json", "jsonl", "xlsx")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("mirror")
    make_small_mirror(root)
    with Catalogue.open(root / "empiar.db") as catalogue:
        catalogue.write_now(functools.partial(record_entry, entry=RICH, source="api", now=NOW))
    return Settings(root=root)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("form", FORMATS)
def test_everything_twice_is_the_same_bytes_from_the_catalogue_and_from_a_copy(
    settings: Settings, tmp_path: Path, form: Format
) -> None:
    first = export_all(settings, tmp_path / "a", Wish(form))
    export_all(settings, tmp_path / "b", Wish(form, copy_from=0))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert set(first.rows) == {table.name for table in everything()}
    assert first.rows["files"] == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    for line in (tmp_path / "a" / "manifest-sha256.txt").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "a" / name).read_bytes()).hexdigest() == digest


def test_parquet_parts_are_one_table_of_stated_kinds(settings: Settings, tmp_path: Path) -> None:
    export_all(settings, tmp_path / "a", Wish("parquet"))
    parts = sorted(path.name for path in (tmp_path / "a" / "files").iterdir())
    assert parts == ["entries-10000-10499.parquet", "entries-10500-10999.parquet"]
    table = pq.read_table(tmp_path / "a" / "files")
    assert table.num_rows == 9
    assert str(table.schema.field("bytes").type) == "int64"
    assert table.column("bytes").to_pylist().count(SIZE) == 7
    with reading(settings.root) as connection:
        paths = [row[0] for row in connection.execute("SELECT path FROM files ORDER BY empiar_id, file_id")]
    assert table.column("path").to_pylist() == paths


def test_declared_columns_of_all_views_are_of_the_kind_that_exports_say(settings: Settings) -> None:
    declared = {"INT": "int", "INTEGER": "int", "TEXT": "text", "REAL": "real", "BLOB": "blob"}
    with reading(settings.root) as connection:
        for view in exportable():
            for row in connection.execute("SELECT name, type FROM pragma_table_xinfo(?)", (view,)):
                if row[1]:
                    assert kind_of(row[0]) == declared[row[1]], (view, row[0])


def test_a_snapshot_can_be_published(settings: Settings, tmp_path: Path) -> None:
    made = export_snapshot(settings, tmp_path / "out", Wish("parquet"))
    assert made.place.name == "empiar-catalogue-2026-01-01"
    for name, data in tree(made.place).items():
        assert str(settings.root).encode() not in data, name
    names = {column.name for table in published() for column in table.columns}
    assert not names & {"local_path", "state"}
    readme = (made.place / "README.md").read_text()
    assert "CC0" in readme
    assert "{" not in readme
    schema = json.loads((made.place / "schema.json").read_text())
    assert schema["files"]["columns"][0]["name"] == "file_id"
    assert pq.read_table(made.place / "checksums.parquet").num_rows == 3
    again = export_snapshot(settings, tmp_path / "second", Wish("parquet"))
    assert tree(again.place) == tree(made.place)


def test_a_catalogue_without_entries_makes_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    Catalogue.open(tmp_path / "m" / "empiar.db", create=True).close()
    with pytest.raises(ConfigFault, match="no entry yet"):
        export_snapshot(Settings(root=tmp_path / "m"), tmp_path / "o", Wish("csv"))
    assert export_all(Settings(root=tmp_path / "m"), tmp_path / "a", Wish("parquet")).rows["files"] == 0


def test_cryoppp_has_its_columns_and_na_for_empty_lists(settings: Settings, tmp_path: Path) -> None:
    export_table(settings, table_named("cryoppp"), tmp_path / "c.csv", Wish("csv"))
    with (tmp_path / "c.csv").open(newline="") as stream:
        rows = {row["EMPIAR ID"]: row for row in csv.DictReader(stream)}
    poor, rich = rows[str(ENTRY)], rows["10600"]
    assert (poor["Micrographs"], poor["Movies"], poor["Image Ext"]) == ("6", "0", "*.mrc")
    assert (poor["EMDB"], poor["PDB"], poor["Authors"], poor["Size"]) == ("N/A",) * 4
    assert poor["FTP path"].endswith(f"/world_availability/{ENTRY}/")
    assert poor["Globus path"] == f"/gridftp/empiar/world_availability/{ENTRY}/"
    assert (rich["EMDB"], rich["Authors"]) == ("EMD-1, EMD-2", "Scheres SHW, Kühlbrandt W")
    assert (rich["Size"], rich["Image width"], rich["Pixel size (A)"]) == ("1.5 TB", "4096", "0.65")


def test_formulas_are_text_in_excel_as_they_are_in_csv_and_guarded_on_request(
    settings: Settings, tmp_path: Path
) -> None:
    entries = table_of("entries")
    export_table(settings, entries, tmp_path / "e.xlsx", Wish("xlsx"))
    export_table(settings, entries, tmp_path / "e.csv", Wish("csv"))
    export_table(settings, entries, tmp_path / "g.csv", Wish("csv", guard_formulas=True))
    [cell] = [
        c
        for row in openpyxl.load_workbook(tmp_path / "e.xlsx")["entries"].rows
        for c in row
        if c.value == RICH.title
    ]
    assert (cell.data_type, cell.quotePrefix) == ("s", True)
    assert ",=HYPERLINK(1)," in (tmp_path / "e.csv").read_text()
    assert ",'=HYPERLINK(1)," in (tmp_path / "g.csv").read_text()


def test_what_a_sheet_cannot_hold_goes_on_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "SHEET_ROWS", 3)
    rows: list[Row] = [(n,) for n in range(5)]
    write(Sheet("t", (Column("n", "int", ""),), rows), tmp_path / "t.xlsx", "xlsx")
    book = openpyxl.load_workbook(tmp_path / "t.xlsx")
    read = {sheet.title: [cell.value for (cell,) in sheet.rows] for sheet in book}
    assert read == {"t": ["n", 0, 1], "t 2": ["n", 2, 3], "t 3": ["n", 4]}


def test_nothing_is_replaced_without_force_and_no_strange_files_with_it(
    settings: Settings, tmp_path: Path
) -> None:
    out, one = tmp_path / "out", tmp_path / "e.csv"
    for force in (False, True):
        export_all(settings, out, Wish("csv", force=force))
        export_table(settings, table_of("entries"), one, Wish("csv", force=force))
    with pytest.raises(ConfigFault, match="exists"):
        export_all(settings, out, Wish("csv"))
    with pytest.raises(ConfigFault, match="exists"):
        export_table(settings, table_of("entries"), one, Wish("csv"))
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigFault, match="something else than an export"):
        export_all(settings, out, Wish("csv", force=True))
    with pytest.raises(ConfigFault, match="is a folder"):
        export_table(settings, table_of("entries"), out, Wish("csv", force=True))
    with pytest.raises(ConfigFault, match="lies in the mirror itself"):
        export_all(settings, settings.root / "out", Wish("csv"))
    with pytest.raises(ConfigFault, match="there is no folder"):
        export_all(settings, tmp_path / "no" / "out", Wish("csv"))
    assert (out / "thesis.txt").read_text() == "mine"


def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(rows: Iterable[Row]) -> Iterator[Row]:
        yield next(iter(rows))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "_rows", lambda *_a, **_k: full([(1,)]))
    with pytest.raises(StorageFault, match="No space left") as caught:
        export_table(settings, table_of("authors"), tmp_path / "a.csv", Wish("csv"))
    assert caught.value.full
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("swaps", [True, False])
def test_what_cannot_be_replaced_stands_where_it_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool
) -> None:
    def cannot(_one: Path, _other: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    if not swaps:
        monkeypatch.setattr(beside, "exchange", cannot)
    out, new = tmp_path / "out", tmp_path / "new"
    (out / "old").mkdir(parents=True)
    with pytest.raises(FileNotFoundError):
        beside.take_place(new, out)
    assert [path.name for path in out.iterdir()] == ["old"]
    (new / "young").mkdir(parents=True)
    beside.take_place(new, out)
    assert [path.name for path in out.iterdir()] == ["young"]


def test_an_export_shows_one_moment_while_another_process_writes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def writing(name: str, _rows: int) -> None:
        if name != "authors":  # entries are written, files and all others are not
            return
        with sqlite3.connect(settings.root / "empiar.db") as other:
            other.execute("UPDATE entry SET scale = ?", (name,))
        other.close()

    for copy_from in (0, 2**40):
        before = export_all(settings, tmp_path / f"before{copy_from}", Wish("csv"))
        during = export_all(
            settings, tmp_path / f"during{copy_from}", Wish("csv", copy_from=copy_from), told=writing
        )
        assert tree(before.place) == tree(during.place)


def test_the_command_exports_by_suffix_and_names_what_it_knows(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'root = "{settings.root}"\n')
    run = ["export", "--config", str(config)]
    assert main([*run, "--view", "cryoppp", str(tmp_path / "c.xlsx")]) == 0
    assert openpyxl.load_workbook(tmp_path / "c.xlsx")["cryoppp"].cell(1, 1).value == "EMPIAR ID"
    assert main([*run, "--view", "nothing", str(tmp_path / "n.csv")]) == 2
    assert "cryoppp, entries" in capsys.readouterr().err
    assert main([*run, "--snapshot", "--format", "csv", "--json", str(tmp_path / "s")]) == 0
    place = Path(json.loads(capsys.readouterr().out)["place"])
    assert (place / "cryoppp-catalogue.csv").is_file()
    assert main([*run, "--snapshot", "--view", "entries", str(tmp_path / "s")]) == 2
