"""`empiar-mirror convert`: files in, files out, and a sentence where something is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from empiar_imaging.labels import LabelFormat
from empiar_mirror.cli import main
from empiar_mirror.cli.convert import FORMATS

STAR = """
data_particles

loop_
_rlnMicrographName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
Micrographs/a.b.mrc 10.0 20.0
"Micrographs/c d.mrc" 30.0 40.0
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.star").write_text(STAR)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["convert", *words])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_the_options_name_every_format() -> None:
    assert tuple(LabelFormat) == FORMATS


def test_a_star_becomes_a_folder_of_cryoppp_files_with_heights_from_the_images(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mics").mkdir()
    for name, shape in (("a.b.mrc", (101, 57)), ("c d.mrc", (99, 77))):
        with mrcfile.new(here / "mics" / name) as mrc:
            mrc.set_data(np.zeros(shape, "int8"))
    os.symlink(here / "mics" / "a.b.mrc", here / "mics" / "linked.mrc")
    code, out, _ = run(
        capsys,
        "p.star",
        "out",
        "--to",
        "cryoppp",
        "--micrographs",
        "mics",
        "--diameter",
        "150A",
        "--pixel-size",
        "1.5",
    )
    assert code == 0
    assert (here / "out" / "a.b.csv").read_text().splitlines()[1] == "10,81,100,,,,,,,,"
    assert (here / "out" / "c d.csv").read_text().splitlines()[1] == "30,59,100,,,,,,,,"
    assert "2 particles of 2 micrographs: star (Y from the top) → cryoppp (Y from the bottom)" in out
    code, _, _ = run(capsys, "out", "back.star", "--micrographs", "mics")
    assert code == 0
    assert "10.0 20.0" in (here / "back.star").read_text()


def test_json_reports_rows_frames_files_and_notes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "p.star").write_text(STAR + "x.mrc nan 1\n")
    code, out, err = run(capsys, "p.star", "p.cs", "--height", "101", "--width", "57", "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["rows"], report["micrographs"]) == (2, 2)
    assert (report["source_format"], report["target_format"]) == ("star", "cs")
    assert (report["source_origin"], report["target_origin"]) == ("top", "bottom")
    assert report["files"] == ["p.cs"]
    assert "1 row whose coordinates" in report["notes"][0]
    assert "note: 1 row" in err


@pytest.mark.parametrize(
    ("words", "code", "sentence", "hint"),
    [
        (["p.star", "p.csv", "--to", "cryoppp-entry"], 1, "the frame changes, so the image height is needed", "--height"),
        (["p.star", "p.cs", "--height", "100"], 1, "cryoSPARC's coordinates are fractions", "--width"),
        (["p.star", "p.cs", "--width", "100"], 2, "--width is of no use", "--micrographs"),
        (["p.star", "out", "--to", "box"], 1, "boxes have a size", "--box"),
        (["p.star", "out"], 2, "does not say which format", "--to: star, cryoppp"),
        (["p.star", "p.star"], 2, "p.star exists", "--force"),
        (["nothing.star", "o.box"], 2, "cannot read nothing.star", ""),
        (["p.star", "p.txt", "--diameter", "wide"], 2, "'wide' is no size", "180A"),
        (["p.star", "p.txt", "--diameter", "180A"], 2, "needs the pixel size", "--pixel-size"),
        (["p.star", "o.csv", "--micrographs", "nowhere"], 2, "cannot read the folder", ""),
        (["p.star", "o.csv", "--micrographs", "."], 2, "holds no images", "--height"),
        ([".", "o.csv", "--from", "topaz"], 2, "holds no coordinate files", "--from"),
        (["p.star", ".", "--to", "topaz"], 2, "is a folder", "name a file"),
        (["p.star", "o.txt", "--scale", "0"], 2, "", ""),
        (["p.star", "bad", "--from", "cs", "--to", "star"], 1, "no cryoSPARC file", ""),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_a_sentence_with_the_next_step(
    words: list[str], code: int, sentence: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = run(capsys, *words)
    assert found == code
    assert not out
    assert sentence in err
    assert hint in err
    assert "Traceback" not in err


def test_nothing_is_replaced_without_force_and_nothing_is_written_if_one_file_is_there(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "out").mkdir()
    (here / "out" / "c d.box").write_text("mine")
    words = ["p.star", "out", "--to", "box", "--box", "8"]
    assert run(capsys, *words)[0] == 2
    assert sorted(os.listdir("out")) == ["c d.box"]
    assert run(capsys, *words, "--force")[0] == 0
    assert (here / "out" / "c d.box").read_text() == "26\t36\t8\t8\n"
    assert sorted(os.listdir("out")) == ["a.b.box", "c d.box"]


def test_cryoppp_entry_stars_count_from_the_bottom_and_relions_from_the_top(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empiar-10017_particles_selected.star").write_text(STAR)
    code, out, _ = run(capsys, "empiar-10017_particles_selected.star", "t.txt", "--height", "101")
    assert code == 0
    assert "star (Y from the bottom)" in out
    assert "a.b\t10\t81" in (here / "t.txt").read_text()
    code, _, _ = run(
        capsys, "p.star", "u.txt", "--origin", "bottom", "--height", "101", "--scale", "2", "--to-scale", "2"
    )
    assert code == 0
    assert "a.b\t10\t30" in (here / "u.txt").read_text()  # (101 − 40) ÷ 2, halves to the smaller row


def test_hostile_names_stay_within_the_folder_and_too_long_ones_are_a_sentence(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["../../up.mrc", "/etc/passwd", "..", "a%2Fb"]
    rows = "".join(f"{name}\t1\t2\n" for name in names)
    (here / "t.txt").write_text(f"image_name\tx_coord\ty_coord\n{rows}")
    assert run(capsys, "t.txt", "out", "--to", "box", "--box", "8")[0] == 0
    assert sorted(os.listdir("out")) == ["...box", "a%2Fb.box", "passwd.box", "up.box"]
    assert sorted(os.listdir(".")) == ["out", "p.star", "t.txt"]
    (here / "v.star").write_text(STAR.replace("a.b", "m" * 300))
    code, _, err = run(capsys, "v.star", "out2", "--to", "box", "--box", "8")
    assert code == 4
    assert "File name too long" in err


def test_labels_of_micrographs_that_are_not_in_the_folder_are_left_out_and_counted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mics").mkdir()
    with mrcfile.new(here / "mics" / "a.b.mrc") as mrc:
        mrc.set_data(np.zeros((101, 57), "int8"))
    for form in ("cryoppp", "cs"):
        code, _, err = run(
            capsys, "p.star", f"out.{form}", "--to", form, "--micrographs", "mics", "--diameter", "9"
        )
        assert code == 0
        assert "1 particles of Micrographs/c d.mrc, left out" in err
    assert (here / "out.cryoppp").read_text().splitlines()[1].startswith("10,81,")
    # Where no size is needed, nothing is left out.
    code, out, err = run(capsys, "p.star", "out.txt", "--to", "topaz", "--micrographs", "mics")
    assert (code, "left out" in err) == (0, False)
    assert "2 particles" in out
    (here / "mics" / "a.b.mrc").rename(here / "mics" / "other.mrc")
    code, _, err = run(capsys, "p.star", "none", "--to", "cryoppp", "--micrographs", "mics")
    assert code == 1
    assert "image height is needed" in err
