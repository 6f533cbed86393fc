"""The examples of docs/labels.md run, and its picture is right."""

from __future__ import annotations

import shlex
import tarfile
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from empiar_imaging.labels import CoordinateOrigin, LabelFormat, LabelTable, Writing, write_labels
from empiar_mirror.cli import main
from empiar_schema.configuration import DEFAULT_FILE
from entry_here import ID, put_here
from labelled_entry import image

PAGE = (Path(__file__).parents[2] / "docs" / "labels.md").read_text()


def test_every_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    particles = LabelTable(
        ["Micrographs/a.mrc", "Micrographs/b.mrc"],
        np.array([40.0, 41]),
        np.array([20.0, 21]),
        CoordinateOrigin.TOP,
    )
    (tmp_path / "particles.star").write_bytes(write_labels(particles, form=LabelFormat.STAR).files[""])
    (tmp_path / "micrographs").mkdir()
    for name in ("a.mrc", "b.mrc"):
        with mrcfile.new(tmp_path / "micrographs" / name) as mrc:
            mrc.set_data(np.zeros((101, 57), "int8"))
    both = write_labels(particles, form=LabelFormat.CRYOSPARC, writing=Writing(shapes=(101, 57))).files[""]
    (tmp_path / "J12_passthrough_particles.cs").write_bytes(both)
    np.save(tmp_path / "J12_particles.npy", np.array([(1,), (2,)], [("uid", "<u8")]))
    (tmp_path / "J12_particles.npy").rename(tmp_path / "J12_particles.cs")
    mirrored(tmp_path)
    lines = [line for line in PAGE.splitlines() if line.startswith("$ ")]
    assert len(lines) >= 5
    for line in lines:
        words = shlex.split(line)[1:]
        assert words[0] == "empiar-mirror"
        assert main(words[1:]) == 0, f"{line}\n{capsys.readouterr().err}"
        assert capsys.readouterr().out


def mirrored(here: Path) -> None:
    """A mirror of one micrograph, and a released tree with labels of it."""
    (here / DEFAULT_FILE).write_text('root = "empiar"\n')
    (here / "empiar").mkdir()
    put_here(here / "empiar", {"data/m.mrc": image()}, inspected=True)
    table = here / "tree" / str(ID) / "ground_truth" / "particle_coordinates" / "m.csv"
    table.parent.mkdir(parents=True)
    table.write_text("X-Coordinate,Y-Coordinate,Diameter\n40,81,9\n")
    with tarfile.open(here / f"{ID}.tar.gz", "w:gz") as tar:
        tar.add(here / "tree" / str(ID), str(ID))


def test_the_picture_shows_what_the_writers_write() -> None:
    pick = LabelTable(["m.mrc"], np.array([40.0]), np.array([20.0]), CoordinateOrigin.TOP)

    def written(form: LabelFormat) -> str:
        return next(
            iter(write_labels(pick, form=form, writing=Writing(box_px=8, shapes=(101, 57))).files.values())
        ).decode()

    assert "X = 40   Y = 20" in PAGE
    assert "m\t40\t20" in written(LabelFormat.TOPAZ)
    assert "x = 36   y = 16" in PAGE
    assert written(LabelFormat.EMAN) == "36\t16\t8\t8\n"
    assert "X = 40   Y = 81" in PAGE
    assert written(LabelFormat.CRYOPPP).splitlines()[1].startswith("40,81,")


def test_every_format_stands_in_the_table() -> None:
    for form in LabelFormat:
        assert f"| `{form}` |" in PAGE
