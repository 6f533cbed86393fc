"""Contrast says which way up the picks are, and says nothing where there is nothing to see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from empiar_imaging.labels import CoordinateOrigin, LabelTable
from empiar_imaging.labels.orientation import Orientation, check_orientation, combined

Image = NDArray[np.float32]


def picture(
    height: int, width: int, *, particles: int, diameter: int, contrast: float, noise: float, seed: int = 1
) -> tuple[Image, LabelTable]:
    """Discs at random places on noise and a gradient, and where they are."""
    rng = np.random.default_rng(seed)
    image = (rng.normal(0, noise, (height, width)) + np.linspace(0, 3, height)[:, None]).astype("float32")
    x = rng.uniform(diameter, width - diameter, particles)
    y = rng.uniform(diameter, height - diameter, particles)
    rows, columns = np.mgrid[:diameter, :diameter] - diameter / 2
    disc = contrast * (rows**2 + columns**2 < (diameter / 2) ** 2)
    for row, column in zip((y - diameter / 2).astype(int), (x - diameter / 2).astype(int), strict=True):
        image[row : row + diameter, column : column + diameter] += disc.astype("float32")
    return image, LabelTable(["m"] * particles, x, y, CoordinateOrigin.TOP, diameter_px=diameter)


@pytest.mark.parametrize("contrast", [-1.0, 1.0])
@pytest.mark.parametrize(
    ("height", "width", "diameter", "noise"), [(1021, 999, 40, 5.0), (701, 1203, 60, 8.0), (301, 411, 9, 1.0)]
)
def test_dark_and_light_particles_tell_right_from_mirrored_in_noise(
    height: int, width: int, diameter: int, noise: float, contrast: float
) -> None:
    image, picks = picture(height, width, particles=60, diameter=diameter, contrast=contrast, noise=noise)
    right = check_orientation(image, picks)
    wrong = check_orientation(image, replace(picks, origin=CoordinateOrigin.BOTTOM))
    assert right.orientation is Orientation.AGREES
    assert wrong.orientation is Orientation.MIRRORED
    assert np.sign(right.as_given) == np.sign(contrast)
    assert right.score == pytest.approx(-wrong.score, abs=2)


def test_an_unknown_diameter_does_not_hinder() -> None:
    image, picks = picture(1021, 999, particles=60, diameter=50, contrast=-1, noise=5)
    assert check_orientation(image, replace(picks, diameter_px=None)).orientation is Orientation.AGREES


@pytest.mark.parametrize("seed", range(20))
def test_picks_at_chance_are_undecided(seed: int) -> None:
    image, picks = picture(1021, 999, particles=60, diameter=40, contrast=-1, noise=5)
    rng = np.random.default_rng(seed)
    chance = replace(picks, x=rng.uniform(0, 999, 60), y=rng.uniform(0, 1021, 60))
    assert check_orientation(image, chance).orientation is Orientation.UNDECIDED


def test_the_same_question_has_the_same_answer() -> None:
    image, picks = picture(500, 400, particles=10, diameter=30, contrast=-1, noise=5)
    assert check_orientation(image, picks, seed=3) == check_orientation(image, picks, seed=3)


def test_several_micrographs_decide_where_one_cannot() -> None:
    checks = []
    for seed in range(12):
        image, picks = picture(700, 700, particles=4, diameter=40, contrast=-1, noise=10, seed=seed)
        checks.append(check_orientation(image, picks))
    together = combined(checks)
    assert together.orientation is Orientation.AGREES
    assert together.picks == sum(check.picks for check in checks)
    assert abs(together.score) > np.median([abs(check.score) for check in checks])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((300, 300), "float32"),
        np.full((300, 300), np.nan, "float32"),
        np.zeros((4, 4), "uint8"),
        np.zeros((300, 300, 3), "uint8"),
        np.zeros((300, 300), "complex64"),
        np.zeros((0, 0), "float32"),
    ],
    ids=["constant", "NaN", "tiny", "colour", "complex", "empty"],
)
def test_an_image_with_nothing_in_it_is_undecided(image: NDArray[np.generic]) -> None:
    picks = LabelTable(
        ["m"] * 3, np.array([1.0, 100, 1e6]), np.array([1.0, 100, -5]), CoordinateOrigin.TOP, diameter_px=40
    )
    assert check_orientation(image, picks).orientation is Orientation.UNDECIDED
    assert combined([check_orientation(image, picks)]).picks == 0


def test_broken_pixels_do_not_decide() -> None:
    image, picks = picture(1021, 999, particles=60, diameter=40, contrast=-1, noise=5)
    hot = image.copy()
    hot[100:110, 100:110] = 1e9
    hot[50] = np.nan
    assert check_orientation(hot, picks).orientation is Orientation.AGREES
