"""The library of saved queries on the catalogue of a rehearsal, each with what it must find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_mirror.cli import main
from empiar_mirror.query import Row, ask
from empiar_mirror.rehearsal.entries import standard_entries
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.saved.header import parse_query
from empiar_mirror.saved.known import is_name, library, saved_query
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import ConfigFault
from mirrors import opened, settings_for
from rehearsal_in_thread import rehearsal_in_thread
from small_mirror import ENTRY, make_small_mirror, same_file_in_another_entry

SUBSCRIPTION = '[subscription.one]\nsql = "SELECT empiar_id FROM entries WHERE empiar_id = 10101"\n'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All of the rehearsal archive crawled, one entry fetched for a subscription, another one by name."""
    import asyncio

    folder = tmp_path_factory.mktemp("rehearsed")
    with rehearsal_in_thread(Rehearsal(standard_entries())) as rehearsal:
        settings = settings_for(rehearsal, folder, more=SUBSCRIPTION)
        with opened(settings) as mirror:
            asyncio.run(mirror.crawl(None))
            asyncio.run(mirror.sync([10101]))
        yield settings.root


def found(root: Path, name: str, **given: str) -> list[dict[str, object]]:
    query = saved_query(name, {})
    with ask(root, query.sql, parameters=query.values(given)) as rows:
        return [dict(zip(rows.columns, row, strict=True)) for row in rows]


def ids(rows: list[dict[str, object]]) -> list[object]:
    return [row["empiar_id"] for row in rows]


def test_entries_with_eer_files_up_to_a_size(root: Path) -> None:
    [row] = found(root, "eer-entries")
    assert (row["empiar_id"], row["eer_imagesets"], row["images"]) == (10103, 1, 4)
    assert found(root, "eer-entries", max_bytes="1B") == []


def test_micrographs_have_pixel_sizes_and_addresses_and_a_path_once_they_are_here(root: Path) -> None:
    rows = found(root, "micrographs", id="EMPIAR-10101")
    assert len(rows) == 30
    assert {row["width"] for row in rows} == {512}
    assert all(str(row["https_url"]).endswith(str(row["path"])) for row in rows)
    assert all(Path(str(row["local_path"])).is_file() for row in rows)
    assert {row["local_path"] for row in found(root, "micrographs", id="10102")} == {None}


def test_growth_sums_up(root: Path) -> None:
    rows = found(root, "growth")
    with ask(
        root, "SELECT count(*), sum(dataset_bytes) FROM entries WHERE release_date IS NOT NULL"
    ) as counts:
        [total] = counts
    assert (rows[-1]["entries_in_all"], rows[-1]["bytes_in_all"]) == total
    assert [row["month"] for row in rows] == sorted({str(row["month"]) for row in rows})
    assert next(row["month"] for row in found(root, "growth", since="2023-01")) == "2023-01"


def test_formats(root: Path) -> None:
    formats = {row["format"]: int(str(row["entries"])) for row in found(root, "formats")}
    assert formats["EER"] == 1
    assert formats["MRC"] == max(formats.values())


def test_the_biggest_folders_of_all_and_of_one_entry(root: Path) -> None:
    everywhere = found(root, "biggest-folders")
    sizes = [int(str(row["bytes"])) for row in everywhere]
    assert sizes == sorted(sizes, reverse=True)
    assert {10101, 10102, 10103} <= set(ids(everywhere))
    [largest, *_] = found(root, "biggest-folders", id="10101")
    assert (largest["directory"], largest["files"]) == ("data/micrographs", 30)


def test_what_changed_lately(root: Path) -> None:
    rows = found(root, "changes")
    assert {(row["empiar_id"], row["kind"]) for row in rows} >= {(10101, "added"), (10103, "added")}
    assert {row["empiar_id"] for row in found(root, "changes", days="0.5d")} == {
        row["empiar_id"] for row in rows
    }


def test_contradictions_of_all_and_of_one_entry(root: Path) -> None:
    everywhere = found(root, "contradictions")
    assert everywhere
    one = found(root, "contradictions", id=str(everywhere[0]["empiar_id"]))
    assert one == [row for row in everywhere if row["empiar_id"] == everywhere[0]["empiar_id"]]


def test_throughput_counts_every_attempt_by_hour_and_channel(root: Path) -> None:
    rows = found(root, "throughput")
    with ask(root, "SELECT count(*), sum(bytes_moved) FROM transfers") as counts:
        [total] = counts
    assert (sum(int(str(r["attempts"])) for r in rows), sum(int(str(r["bytes"])) for r in rows)) == total


def test_entries_by_the_size_of_a_pixel(root: Path) -> None:
    rows = found(root, "pixel-sizes", max_angstrom="1.5")
    finest = [float(str(row["finest_angstrom"])) for row in rows]
    assert finest == sorted(finest)
    assert max(finest) <= 1.5
    assert len(rows) < len(found(root, "pixel-sizes", max_angstrom="1000"))


def test_no_two_files_of_a_rehearsal_are_the_same(root: Path) -> None:
    assert found(root, "duplicates", min_bytes="100kB") == []


def test_entries_with_movies_and_picks(root: Path) -> None:
    with ask(root, "SELECT empiar_id FROM imagesets WHERE category LIKE '%multiframe%'") as rows:
        movies = {row[0] for row in rows}
    assert set(ids(found(root, "movies-and-particles"))) <= movies


def test_disk_use_by_subscription(root: Path) -> None:
    [row] = found(root, "subscription-disk")
    assert (row["name"], row["percent_of_all"], row["waiting_files"]) == ("one", 100.0, 0)
    with ask(root, "SELECT here_bytes FROM entry_progress WHERE empiar_id = 10101") as rows:
        assert [(row["held_bytes"],)] == list(rows)


def test_what_is_not_complete_and_why(tmp_path: Path) -> None:
    make_small_mirror(tmp_path)
    rows = found(tmp_path, "incomplete")
    assert {row["empiar_id"] for row in rows} == {ENTRY}
    reasons = {row["copy_state"]: row["error"] for row in rows}
    assert reasons == {
        "parked": "GET c_parked.mrc: HTTP 404",
        "damaged": "3 bytes differ from the record",
    }


def test_equal_files_of_two_entries_are_found_by_their_digests(tmp_path: Path) -> None:
    make_small_mirror(tmp_path)
    with Catalogue.open(tmp_path / "empiar.db") as catalogue:
        catalogue.write_now(same_file_in_another_entry)
    [row] = found(tmp_path, "duplicates")
    assert (row["files"], row["entries"], row["sha256"]) == (3, 2, "00" * 32)


@pytest.mark.parametrize("name", sorted(library({})))
def test_every_query_runs_with_its_defaults_and_explains_itself(root: Path, name: str) -> None:
    query = library({})[name]
    assert is_name(name)
    assert f"| `{name}` |" in (Path(__file__).parents[2] / "docs" / "query.md").read_text()
    assert query.title
    given = {parameter.name: "10101" for parameter in query.parameters if parameter.default is None}
    assert all(parameter.description for parameter in query.parameters)
    with ask(root, query.sql, parameters=query.values(given)) as rows:
        assert all(isinstance(row, tuple) for row in rows)


def one(sql: str, **given: str) -> Row:
    query = parse_query("mine", sql)
    return tuple(query.values(given).values())


def test_parameters_have_kinds_and_defaults() -> None:
    head = "-- title: Mine\n-- parameter {} : what\nSELECT :x"
    assert one(head.format("x size = 2TB")) == (2 * 10**12,)
    assert one(head.format("x days = 36h")) == (1.5,)
    assert one(head.format("x id"), x="EMPIAR-10017") == (10017,)
    assert one(head.format("x id = all")) == (0,)
    assert one(head.format("x text"), x="5") == ("5",)
    assert one(head.format("x real"), x="5") == (5.0,)
    for kind, text in (("id", "all"), ("int", "1.5"), ("size", "big"), ("days", "x"), ("real", "one")):
        with pytest.raises(ConfigFault, match="the parameter x takes"):
            one(head.format(f"x {kind}"), x=text)
    with pytest.raises(ConfigFault, match="needs the parameter x"):
        one(head.format("x int"))
    with pytest.raises(ConfigFault, match="has no parameter y"):
        one(head.format("x int = 1"), y="1")
    with pytest.raises(ConfigFault, match="cannot be read"):
        parse_query("mine", "-- parameter x number: what\nSELECT 1")


def test_queries_of_the_configuration_stand_beside_those_of_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_small_mirror(tmp_path / "m")
    config = tmp_path / "c.toml"
    config.write_text(
        f'root = "{tmp_path / "m"}"\n[query.mine]\ntitle = "My own"\n'
        'sql = """\n-- parameter n int = 1: so many\nSELECT empiar_id FROM entries ORDER BY 1 LIMIT :n"""\n'
    )
    run = ["query", "--config", str(config)]
    assert main([*run, "--list"]) == 0
    listed = capsys.readouterr().out
    assert "My own" in listed
    assert all(name in listed for name in library({}))
    assert main([*run, "mine", "-p", "n=2", "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == ["empiar_id", "10017", "10028"]
    assert main([*run, "mine", "--show"]) == 0
    assert "SELECT empiar_id" in capsys.readouterr().out
    assert main([*run, "mien"]) == 2
    assert "did you mean mine?" in capsys.readouterr().err
    assert main(run) == 2
