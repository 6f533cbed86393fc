"""Prepared pictures and their tiles: sizes, orientation, seams, and what low-pass does to each frequency."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from empiar_imaging.pixels.contrast import Limits
from empiar_imaging.pixels.pyramid import Pyramid, bytes_needed, read_head, read_piece, write_pyramid
from empiar_imaging.pixels.raw import Pixels
from empiar_imaging.pixels.tiles import TILE, LowPass, look, png, tile_count, tile_png
from empiar_schema.faults import UnreadableImage


def prepared(folder: Path, image: Pixels) -> tuple[Path, Pyramid]:
    path = folder / "p"
    path.unlink(missing_ok=True)
    found = write_pyramid(image, path)
    with path.open("rb") as file:
        assert read_head(file) == found
    assert path.stat().st_size <= bytes_needed(image.shape[1], image.shape[0])
    return path, found


def whole(path: Path, pyramid: Pyramid, number: int, low_pass: LowPass | None = None) -> np.ndarray:
    """A level put together from its tiles."""
    level = pyramid.levels[number]
    columns, rows = tile_count(level)
    with path.open("rb") as file:
        limits = look(file, pyramid.levels, number, low_pass)
        lines = [
            np.hstack(
                [
                    np.asarray(
                        Image.open(io.BytesIO(tile_png(file, pyramid.levels, number, c, r, low_pass, limits)))
                    )
                    for c in range(columns)
                ]
            )
            for r in range(rows)
        ]
    return np.vstack(lines)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (255, 257), (600, 513), (1025, 300)])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "float16", "float32", "float64"])
def test_every_level_is_whole_in_every_number_type(
    tmp_path: Path, shape: tuple[int, int], dtype: str
) -> None:
    image = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    path, pyramid = prepared(tmp_path, image)
    width, height = shape[1], shape[0]
    for number, level in enumerate(pyramid.levels):
        assert (level.width, level.height) == (width, height)
        assert whole(path, pyramid, number).shape == (height, width)
        width, height = -(-width // 2), -(-height // 2)
    assert max(pyramid.levels[-1].width, pyramid.levels[-1].height) <= TILE


def test_the_last_row_comes_first_and_columns_stay(tmp_path: Path) -> None:
    image = np.zeros((300, 400), "f4")
    image[:10, :20] = 1  # the first rows as stored, at the left
    path, pyramid = prepared(tmp_path, image + np.random.default_rng(1).normal(0, 0.01, image.shape))
    shown = whole(path, pyramid, 0)
    assert shown[-10:, :20].min() == 255
    assert shown[:-10].mean() < 150
    assert shown[-10:, 20:].mean() < 150


def test_pixels_that_are_no_numbers_and_outliers_do_not_spoil_the_rest(tmp_path: Path) -> None:
    image = np.random.default_rng(1).normal(10, 2, (400, 400)).astype("f4")
    plain = whole(*prepared(tmp_path, image), 0)
    image[5, 5], image[6, 6], image[7, 7] = np.nan, np.inf, 1e30
    assert abs(whole(*prepared(tmp_path, image), 0).astype(int) - plain)[:380].max() <= 1
    with pytest.raises(UnreadableImage, match="finite"):
        write_pyramid(np.full((4, 4), np.nan, "f4"), tmp_path / "nan")
    with pytest.raises(UnreadableImage, match="complex"):
        write_pyramid(np.zeros((4, 4), "c8"), tmp_path / "complex")
    assert whole(*prepared(tmp_path, np.full((30, 30), 7, "u1")), 0).std() == 0


def test_low_pass_halves_the_amplitude_at_its_resolution(tmp_path: Path) -> None:
    across = np.arange(512)
    image = np.random.default_rng(1).normal(0, 1e-3, (512, 512)) + np.sin(2 * np.pi * across / 16)
    path, pyramid = prepared(tmp_path, image)
    limits = Limits(0, 65_535)

    def amplitude(low_pass: LowPass | None) -> float:
        with path.open("rb") as file:
            tile = tile_png(file, pyramid.levels, 0, 0, 1, low_pass, limits)
        row = np.asarray(Image.open(io.BytesIO(tile)))[128].astype(float)
        return float(2 * abs(np.fft.fft(row - row.mean())[256 // 16]) / 256)

    full = amplitude(None)
    assert amplitude(LowPass(16)) == pytest.approx(full / 2, rel=0.03)
    assert amplitude(LowPass(8)) == pytest.approx(full * 2**-0.25, rel=0.03)
    assert amplitude(LowPass(64)) < full / 50


def test_tiles_of_a_low_passed_level_have_no_seams(tmp_path: Path) -> None:
    image = np.random.default_rng(1).normal(0, 1, (600, 600)).astype("f4")
    shown = whole(*prepared(tmp_path, image), 0, LowPass(40)).astype(int)
    steps = abs(np.diff(shown, axis=1)).mean(axis=0)
    assert steps[TILE - 1] < 1.5 * np.median(steps)
    assert shown.std() > 20  # the contrast is that of what is left


def test_sigma_is_the_same_length_on_every_level() -> None:
    assert LowPass(100).sigma(0) == pytest.approx(100 * math.sqrt(math.log(2) / 2) / math.pi)
    assert LowPass(100).sigma(2) == pytest.approx(LowPass(100).sigma(0) / 4)
    assert LowPass(1e9).sigma(0) < 100


def test_a_piece_beyond_the_edge_repeats_it_and_a_cut_file_is_a_sentence(tmp_path: Path) -> None:
    path, pyramid = prepared(tmp_path, np.random.default_rng(1).normal(0, 1, (50, 60)))
    with path.open("rb") as file:
        piece = read_piece(file, pyramid.levels[0], left=-5, top=-5, width=70, height=60)
        inner = read_piece(file, pyramid.levels[0], left=0, top=0, width=60, height=50)
    assert (piece[5:55, 5:65] == inner).all()
    assert (piece[:5, 5:65] == inner[0]).all()
    assert (inner[:, -1] == piece[5:55, 65:].T).all()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    with path.open("rb") as file, pytest.raises(UnreadableImage, match="cut"):
        read_piece(file, pyramid.levels[0], left=0, top=0, width=60, height=50)


def test_a_png_of_ours_is_one(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    assert (np.asarray(Image.open(io.BytesIO(png(grey)))) == grey).all()
