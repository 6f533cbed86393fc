"""`labels import`: the coordinates of a released CryoPPP tree for micrographs that are here."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from empiar_mirror.cli import main
from empiar_mirror.reports import ImportReport
from entry_here import ID, everything_below, opened, put_here
from labelled_entry import (
    HEIGHT,
    PLACES,
    coordinates,
    entry,
    finish,
    image,
    label_set,
    labels,
    makers,
    picks_on,
    queried,
    read_csv,
    relion,
)

FLOATS = [(float(x), float(y)) for x, y in PLACES]
PATCHED = "m2_patch_aligned_doseweighted"
#: The entry's own labels, which imported ones go before.
OWN = {"data/p.star": labels(relion(picks_on("m1.mrc", PLACES[:1])))}


def table(count: int = len(PLACES), *, diameter: int = 9) -> str:
    lines = [f"{x},{HEIGHT - y},{diameter}" for x, y in PLACES[:count]]
    return "\n".join(["X-Coordinate,Y-Coordinate,Diameter", *lines, ""])


FULL = {
    f"{ID}/micrographs/m1.mrc": "",
    f"{ID}/micrographs/m2.mrc": "",
    f"{ID}/ground_truth/particle_coordinates/m1.csv": table(),
    f"{ID}/ground_truth/particle_coordinates/m2.csv": table(3),
    f"{ID}/ground_truth/particle_coordinates/gone.csv": table(2),
    f"{ID}/ground_truth/false_positives/m1_false_positives.csv": "X-Coordinate,Y-Coordinate\n50,60\n",
}
LITE = {path.replace("m1.mrc", "m1.jpg").replace("m2.mrc", "m2.jpg"): text for path, text in FULL.items()}
OLDER = {
    path.replace("ground_truth/particle_coordinates", "metadata/coordinates")
    .replace("ground_truth", "metadata")
    .replace("/micrographs/", "/micrograph_images/"): text
    for path, text in FULL.items()
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    files = {
        "data/m1.mrc": image(),
        f"data/{PATCHED}.mrc": image(PLACES[:3], seed=2),
        "data/m3.mrc": image(seed=3),
    }
    put_here(folder, {**files, **OWN}, inspected=True)
    return folder


def folder(path: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return path


def archive(path: Path, files: Mapping[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def imported(root: Path, source: Path, toml: str = "") -> ImportReport:
    with opened(root, toml, built_in=[makers]) as mirror:
        return asyncio.run(mirror.import_labels(source, None))


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(root: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls `labels import`: exit code, what it printed, what it said."""
    config = root.parent / "empiar-mirror.toml"
    config.write_text(f'root = "{root}"\n')

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["labels", "import", "--config", str(config), *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize("files", [FULL, LITE, OLDER], ids=["full", "Lite", "older names"])
@pytest.mark.parametrize("pack", [folder, archive])
def test_labels_of_every_generation_stand_in_the_layout(
    root: Path, tmp_path: Path, files: dict[str, str], pack: Callable[[Path, dict[str, str]], Path]
) -> None:
    report = imported(root, pack(tmp_path / ("tree" if pack is folder else "tree.tar.gz"), files))
    assert report.making.failed == ()
    assert coordinates(root) == {"m1": FLOATS, "m2": FLOATS[:3]}
    rejected = read_csv(entry(root) / "ground_truth/false_positives/m1_false_positives.csv")
    assert [row[:2] for row in rejected[1:]] == [["50", "60"]]
    assert {row[2] for row in read_csv(entry(root) / "ground_truth/particle_coordinates/m1.csv")[1:]} == {"9"}
    [one] = report.entries
    assert (one.empiar_id, one.particles, one.annotated_micrographs) == (ID, 11, 2)
    assert (one.unmatched_labels, one.unmatched_micrographs) == (1, 1)
    assert label_set(root)["orientation"] == "agrees"


def test_the_command_counts_what_found_no_counterpart_and_names_the_report(
    root: Path, tmp_path: Path, call: Call
) -> None:
    code, out, _ = call(str(archive(tmp_path / "t.tar.gz", FULL)))
    assert code == 0
    assert (
        f"EMPIAR-{ID}: 11 particles on 2 micrographs; 1 name in the labels without a micrograph here" in out
    )
    assert "1 micrograph without labels" in out
    report = Path(out.partition("all names: ")[2].partition("\n")[0])
    names = json.loads(report.read_text())["names"]
    assert (names["unmatched_labels"], names["unmatched_micrographs"]) == (["gone"], ["m3"])
    assert coordinates(root) == {"m1": FLOATS, "m2": FLOATS[:3]}


def test_the_command_answers_in_json_too(tmp_path: Path, call: Call) -> None:
    code, out, _ = call("--json", str(folder(tmp_path / "t", FULL | {"10028/micrographs/x.mrc": ""})))
    answer = json.loads(out)
    assert code == 0
    assert answer["entries"][0]["particles"] == 11
    assert answer["not_here"] == [10028]


def test_a_later_import_replaces_the_earlier_one(root: Path, tmp_path: Path) -> None:
    imported(root, folder(tmp_path / "one", FULL))
    fewer = {path: text for path, text in FULL.items() if "m1.csv" in path or "micrographs" in path}
    report = imported(root, folder(tmp_path / "two", fewer))
    assert report.making.made == 1 + 1, "the imported tables, and the ground truth"
    assert coordinates(root) == {"m1": FLOATS}
    assert not (entry(root) / "ground_truth/false_positives").exists()
    assert imported(root, folder(tmp_path / "two", fewer)).making.made == 0


def test_imported_labels_stay_when_nothing_is_imported_any_more(root: Path, tmp_path: Path) -> None:
    imported(root, folder(tmp_path / "one", FULL))
    assert finish(root).made == 0
    assert queried(root, "SELECT DISTINCT maker, stale FROM derived WHERE kind LIKE 'imported%'") == [
        ("imported_labels", 0)
    ]
    assert coordinates(root) == {"m1": FLOATS, "m2": FLOATS[:3]}


def test_a_micrograph_annotated_without_particles_keeps_its_empty_table(root: Path, tmp_path: Path) -> None:
    files = FULL | {f"{ID}/ground_truth/particle_coordinates/m3.csv": "X-Coordinate,Y-Coordinate,Diameter\n"}
    report = imported(root, folder(tmp_path / "t", files))
    assert coordinates(root) == {"m1": FLOATS, "m2": FLOATS[:3], "m3": []}
    assert report.entries[0].unmatched_micrographs == 0


def test_a_tree_of_entries_that_are_not_here_is_refused_with_what_to_do(tmp_path: Path, call: Call) -> None:
    code, _, err = call(
        str(folder(tmp_path / "t", {"10028/ground_truth/particle_coordinates/x.csv": table()}))
    )
    assert code == 2
    assert "holds labels of 10028, of which nothing is here" in err
    assert "empiar-mirror sync 10028" in err


def test_an_entry_of_the_tree_that_holds_no_labels_is_said_and_costs_nothing(
    root: Path, tmp_path: Path, call: Call
) -> None:
    code, out, _ = call(str(folder(tmp_path / "t", {f"{ID}/micrographs/m1.mrc": ""})))
    assert code == 0
    assert f"{ID}: the tree holds no coordinates of it" in out
    assert coordinates(root) == {"m1": FLOATS[:1]}, "the entry's own labels"


def cut(path: Path) -> Path:
    whole = archive(path, FULL).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def escaping(path: Path) -> Path:
    files = {f"../../{ID}/ground_truth/particle_coordinates/m1.csv": table(), "/etc/x": "", **FULL}
    archive(path, files)
    with tarfile.open(path, "r:gz") as tar:
        assert any(".." in name for name in tar.getnames())
    return path


def bomb(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(f"{ID}/ground_truth/particle_coordinates/m1.csv")
        info.size = 40_000_000
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def nothing(path: Path) -> Path:
    path.write_bytes(b"<html>404</html>")
    return path


@pytest.mark.parametrize("make", [cut, bomb, nothing])
def test_a_damaged_or_hostile_archive_is_one_sentence_and_nothing_is_written(
    root: Path, tmp_path: Path, call: Call, make: Callable[[Path], Path]
) -> None:
    source = make(tmp_path / "tree.tar.gz")
    code, _, err = call(str(source))
    assert code == 1
    assert "Traceback" not in err
    assert "tree.tar.gz" in err
    assert not (root / "derived").exists() or everything_below(root / "derived") == {}


def test_names_that_lead_out_of_the_tree_write_nothing_there(root: Path, tmp_path: Path) -> None:
    source = escaping(tmp_path / "tree.tar.gz")
    before = set(everything_below(tmp_path))
    imported(root, source)
    new = {path for path in set(everything_below(tmp_path)) - before if not path.startswith("mirror/")}
    assert new == set()
    assert set(coordinates(root)) <= {"m1", "m2"}
