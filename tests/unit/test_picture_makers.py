"""The makers of pictures: renditions, thumbnails, frame averages; and what damage and missing libraries cost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from empiar_mirror.reports import MakeReport
from empiar_schema.states import Role
from entry_here import ID, opened, put_here, rows
from image_files import mrc_bytes, read_mrc
from labelled_entry import (
    HEIGHT,
    PLACES,
    WIDTH,
    Files,
    coordinates,
    entry,
    finish,
    image,
    labels,
    made,
    movie,
    picks_on,
    queried,
    relion,
)

THUMBNAILS = "[making]\nthumbnails = true\n"
AVERAGES = '[arrange]\nviews = ["mean"]\n[view.mean]\nmicrographs = "frame_average"\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def put(root: Path, files: Files) -> None:
    put_here(root, files, inspected=True)


def put_labelled(root: Path) -> None:
    put(root, {"data/a.mrc": image(), "data/p.star": labels(relion(picks_on("a.mrc")))})


def grey(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture, dtype=float)


# --- renditions ---------------------------------------------------------------------------------------------


def test_two_views_with_two_methods_have_two_makers_side_by_side(root: Path) -> None:
    put_labelled(root)
    toml = '[arrange]\nviews = ["lite", "flat"]\n[view.flat]\npreset = "lite"\njpeg_method = "minmax"\n'
    assert finish(root, toml).failed == ()
    assert made(root, maker="jpeg%") == ["jpeg/data/a.jpg", "jpeg_minmax_90/data/a.jpg"]
    found = queried(root, "SELECT maker, details FROM derived WHERE kind = 'rendition' ORDER BY maker")
    assert [(name, json.loads(str(text))["method"]) for name, text in found] == [
        ("jpeg", "percentile"),
        ("jpeg_minmax_90", "minmax"),
    ]
    lite, flat = (grey(entry(root, view) / "micrographs/a.jpg") for view in ("lite", "flat"))
    assert not np.array_equal(lite, flat)


def test_pictures_of_lite_are_upside_down_so_that_its_coordinates_fit_as_they_are(root: Path) -> None:
    put_labelled(root)
    finish(root, '[arrange]\nviews = ["lite"]\n', view="lite")
    picture = grey(entry(root, "lite") / "micrographs/a.jpg")
    assert picture.shape == (HEIGHT, WIDTH)
    at_picks = [picture[round(HEIGHT - y), round(x)] for x, y in coordinates(root, "lite")["a"]]
    as_stored = [picture[round(y), round(x)] for x, y in coordinates(root, "lite")["a"]]
    assert min(at_picks) > max(as_stored)


def test_another_method_makes_the_pictures_again_and_the_same_makes_none(root: Path) -> None:
    put_labelled(root)
    toml = '[arrange]\nviews = ["lite"]\n[view.lite]\njpeg_quality = {}\n'
    counts = [finish(root, toml.format(quality), view="lite").made for quality in (80, 80, 70)]
    assert counts == [2, 0, 1]


# --- thumbnails ---------------------------------------------------------------------------------------------


def test_thumbnails_show_picks_and_a_power_spectrum(root: Path) -> None:
    put_labelled(root)
    plain = finish(root, THUMBNAILS.replace("true", "false"))
    assert (plain.made, made(root, maker="thumbnails")) == (1, [])
    assert finish(root, THUMBNAILS).failed == ()
    assert made(root, maker="thumbnails") == ["thumbnails/data/a.jpg", "thumbnails/data/a_spectrum.jpg"]
    [(details,)] = queried(root, "SELECT details FROM derived WHERE kind = 'thumbnail'")
    assert json.loads(str(details))["picks"] == len(PLACES)
    [(details,)] = queried(root, "SELECT details FROM derived WHERE kind = 'power_spectrum'")
    assert json.loads(str(details))["nyquist_angstrom"] == pytest.approx(5.0)
    with Image.open(root / "derived" / str(ID) / "thumbnails/data/a.jpg") as drawn:
        assert drawn.mode == "RGB"


def test_a_thumbnail_follows_new_picks_of_its_micrograph(root: Path) -> None:
    files: Files = {"data/a.mrc": image(), "data/b.mrc": image(seed=2)}
    put(root, files)
    assert finish(root, THUMBNAILS).made == 2
    put(root, {**files, "data/p.star": labels(relion(picks_on("a.mrc")))})
    assert finish(root, THUMBNAILS).made == 2, "the labels, and the one thumbnail with picks"
    assert finish(root, THUMBNAILS).made == 0


# --- averages -----------------------------------------------------------------------------------------------


def gain(value: float) -> tuple[Role, bytes]:
    pixels = np.full((HEIGHT, WIDTH), value, "<f4")
    pixels[:7] *= 1.5
    return Role.GAIN, mrc_bytes(pixels.tobytes(), shape=(WIDTH, HEIGHT, 1), mode=2)


def average_details(root: Path) -> dict[str, object]:
    [(details,)] = queried(root, "SELECT details FROM derived WHERE maker = 'frame_average'")
    found = json.loads(str(details))
    assert isinstance(found, dict)
    return found


def test_a_frame_average_with_two_gains_that_fit_alike_takes_none_and_says_so(root: Path) -> None:
    files = {
        "data/movies/a.mrcs": movie(),
        "data/movies/gain1.mrc": gain(1),
        "data/movies/gain2.mrc": gain(2),
    }
    put(root, files)
    assert finish(root, AVERAGES, view="mean").failed == ()
    notes = average_details(root)["notes"]
    assert isinstance(notes, list)
    assert any(
        note.startswith("gain not applied: 2 fit equally well: data/movies/gain1.mrc") for note in notes
    )
    averaged = read_mrc(entry(root, "mean") / "micrographs/a.mrc")
    frames = np.frombuffer(movie()[1][1024:], "<i2").reshape(-1, HEIGHT, WIDTH)
    assert np.allclose(averaged, frames.mean(axis=0), atol=1e-4)


def test_a_gain_reference_that_cannot_be_read_is_a_note_on_the_average(root: Path) -> None:
    put(root, {"data/movies/a.mrcs": movie(), "data/movies/gain.mrc": (Role.GAIN, gain(1)[1][:5000])})
    assert finish(root, AVERAGES, view="mean").failed == ()
    assert any("gain not applied" in note for note in average_details(root)["notes"])  # type: ignore[attr-defined] # a list


# --- damage -------------------------------------------------------------------------------------------------


def test_a_damaged_image_is_parked_with_the_reason_and_is_no_failure_of_the_run(root: Path) -> None:
    cut = (Role.MICROGRAPH, image(seed=2)[1][:-5000])
    put(root, {"data/a.mrc": image(), "data/bad.mrc": cut})
    report = finish(root, '[arrange]\nviews = ["lite"]\n' + THUMBNAILS, view="lite")
    assert report.failed == ()
    assert queried(root, "SELECT path, maker, state FROM jobs WHERE state <> 'made' ORDER BY maker") == [
        ("data/bad.mrc", "jpeg", "parked"),
        ("data/bad.mrc", "thumbnails", "parked"),
    ]
    [(problems,)] = queried(
        root, "SELECT problems FROM images JOIN files USING (file_id) WHERE path = 'data/bad.mrc'"
    )
    assert "truncated" in str(problems)
    assert [path.name for path in (entry(root, "lite") / "micrographs").iterdir()] == ["a.jpg"]


def test_an_image_that_cannot_be_drawn_for_no_reason_on_record_is_a_failure(root: Path) -> None:
    put(root, {"data/a.mrc": image(), "data/b.mrc": image(seed=2)})
    (root / "archive" / str(ID) / "data/b.mrc").unlink()
    report = finish(root, '[arrange]\nviews = ["lite"]\n', view="lite")
    [failed] = report.failed
    assert failed.path == f"{ID}/data/b.mrc"
    assert "No such file" in failed.error


# --- libraries ----------------------------------------------------------------------------------------------


def test_without_the_libraries_for_images_one_sentence_says_how_to_get_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIL", "scipy", "tifffile"):
        (tmp_path / "lib" / name).mkdir(parents=True)
        text = f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n"
        (tmp_path / "lib" / name / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))  # workers search what this process searches
    put_labelled(root)
    report = in_workers(root, '[arrange]\nviews = ["cryoppp", "lite"]\n' + THUMBNAILS)
    assert {failed.maker for failed in report.failed} == {"jpeg", "thumbnails"}
    for failed in report.failed:
        assert failed.error.count("pip install 'empiar-mirror[images]'") == 1
        assert "Traceback" not in failed.error
    assert made(root, maker="labels%"), "labels need none of them"


def in_workers(root: Path, toml: str) -> MakeReport:
    """The makers have run as they do in a mirror, in processes of their own."""
    from empiar_mirror.makers.registry import BUILT_IN

    with opened(root, toml, built_in=BUILT_IN) as mirror:
        report = asyncio.run(mirror.make([ID]))
        assert rows(mirror, "SELECT count(*) FROM jobs WHERE state = 'running'") == [(0,)]
    return report
