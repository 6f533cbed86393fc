"""The loader that judges CryoPPP trees can tell right from wrong: a judge who always agrees is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cryoppp_loader
from cryoppp_loader import NAMES, annotated, brightness, load, load_lite
from rehearsal_files import BRIGHT, RELION, bytes_of, pixels, places

STEM = "grid1 pos 4_DW"
PATH = f"data/micrographs/{STEM}.mrc"
HEIGHT = 431
PLACES = places(RELION, PATH)


def tree(folder: Path, picks: list[tuple[int, int]], *, header: list[str] = NAMES) -> Path:
    """An entry with one annotated micrograph and one that is not; Y as `picks` say."""
    entry = folder / str(RELION)
    (entry / "micrographs").mkdir(parents=True)
    (entry / "ground_truth" / "particle_coordinates").mkdir(parents=True)
    for stem in (STEM, "grid2_0004_DW"):
        source = f"data/micrographs/{stem}.mrc"
        (entry / "micrographs" / f"{stem}.mrc").write_bytes(bytes_of(RELION, source))
    lines = [",".join([*header, "Angle-Psi"]), *(f"{x},{y},24,10.5" for x, y in picks)]
    (entry / "ground_truth" / "particle_coordinates" / f"{STEM}.csv").write_text("\n".join(lines) + "\n")
    return entry


def test_picks_with_y_from_the_other_edge_lie_on_particles_and_those_with_row_numbers_do_not(
    tmp_path: Path,
) -> None:
    right = tree(tmp_path / "right", [(x, HEIGHT - y) for x, y in PLACES])
    assert annotated(right) == [STEM]
    labelled = load(right, STEM)
    assert labelled.image.shape == (HEIGHT, 509)
    assert brightness(labelled.image, labelled.picks).min() > BRIGHT
    assert set(labelled.picks[:, 2]) == {24.0}
    wrong = load(tree(tmp_path / "wrong", PLACES), STEM)
    assert brightness(wrong.image, wrong.picks).max() < BRIGHT


def test_lites_picture_is_read_as_it_is(tmp_path: Path) -> None:
    entry = tree(tmp_path, [(x, HEIGHT - y) for x, y in PLACES])
    grey = np.clip(20 * pixels(RELION, PATH)[::-1] + 80, 0, 255).astype(np.uint8)
    picture = entry / "micrographs" / f"{STEM}.jpg"
    Image.fromarray(grey).save(picture, quality=90)
    assert annotated(entry, suffix=".jpg") == [STEM]
    labelled = load_lite(entry, STEM)
    assert brightness(labelled.image, labelled.picks).min() > BRIGHT
    Image.fromarray(grey[::-1]).save(picture, quality=90)
    upside_down = load_lite(entry, STEM)
    assert brightness(upside_down.image, upside_down.picks).max() < BRIGHT


def test_columns_in_another_order_are_refused(tmp_path: Path) -> None:
    entry = tree(tmp_path, [(1, 2)], header=["Y-Coordinate", "X-Coordinate", "Diameter"])
    with pytest.raises(ValueError, match="begins with the columns"):
        load(entry, STEM)


def test_a_place_outside_of_the_image_is_as_dark_as_can_be_and_the_edge_itself_is_inside() -> None:
    image = pixels(RELION, PATH)
    found = brightness(image, np.array([(-1.0, 5.0), (10.0, HEIGHT + 1.0), (10.0, HEIGHT), (508.0, 0.0)]))
    assert np.isneginf(found[:2]).all()
    assert np.isfinite(found[2:]).all()


def test_the_loader_shares_no_code_with_what_it_judges() -> None:
    assert "empiar" not in Path(cryoppp_loader.__file__).read_text()
