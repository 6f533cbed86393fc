"""Renditions, thumbnails and power spectra: limits, the flip, where picks land, and odd input."""

from __future__ import annotations

import io
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from empiar_imaging.pixels.contrast import METHODS, Limits, Method, find_limits, sample_step, to_grey
from empiar_imaging.pixels.jpeg import render_jpeg
from empiar_imaging.pixels.render import JpegRequest, ThumbnailRequest, make_jpeg, make_thumbnail
from empiar_imaging.pixels.spectrum import power_spectrum
from empiar_imaging.pixels.thumbnail import PickLayer, _reduced, render_thumbnail
from empiar_schema.faults import UnreadableImage
from image_files import asymmetric, eer_file, write_mrc

GREEN = (80, 255, 80)


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def noise(height: int, width: int, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(1000, 20, (height, width)).astype("float32")


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "float16", "float32", "float64", "bool"]
)
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("height", [1, 31, 32, 33, 70])
def test_grey_is_the_linear_mapping_rounded_whatever_the_type(dtype: str, flip: bool, height: int) -> None:
    image = asymmetric(height, 9, "int16").astype(dtype)
    limits = Limits(10.0, 90.0)
    grey, not_finite = to_grey(image, limits, flip=flip)
    exact = np.clip((image.astype("float64") - 10) * 255 / 80, 0, 255)
    wanted = exact[::-1] if flip else exact
    assert np.abs(grey - wanted).max() <= 0.5 + 1e-3
    assert not_finite == 0


def test_pixels_that_are_no_numbers_are_counted_and_black_and_infinite_ones_saturate() -> None:
    image = noise(40, 50)
    image[3, 4], image[39, 0], image[0, 0] = np.nan, np.inf, -np.inf
    grey, not_finite = to_grey(image, Limits(900.0, 1100.0), flip=False)
    assert not_finite == 3
    assert (grey[3, 4], grey[39, 0], grey[0, 0]) == (0, 255, 0)


@pytest.mark.parametrize("method", METHODS)
def test_limits_disregard_pixels_that_are_no_numbers(method: Method) -> None:
    image = noise(60, 70)
    clean = find_limits(image, method)
    image[::7, ::5] = np.nan
    image[1, 1] = np.inf
    dirty = find_limits(image, method)
    assert np.isfinite([dirty.low, dirty.high]).all()
    assert dirty.low == pytest.approx(clean.low, abs=10)
    assert dirty.high == pytest.approx(clean.high, abs=10)


def test_limits_are_those_of_their_definition_on_a_small_image() -> None:
    image = noise(101, 103)
    assert find_limits(image, "minmax") == Limits(float(image.min()), float(image.max()))
    low, high = np.percentile(image.astype("float64"), (0.5, 99.5))
    assert find_limits(image, "percentile") == Limits(low, high)
    mean, spread = image.mean(dtype="float64"), image.std(dtype="float64")
    found = find_limits(image, "sigma")
    assert found.low == pytest.approx(mean - 3 * spread)
    assert found.high == pytest.approx(mean + 3 * spread)


def test_limits_of_a_large_image_come_from_a_sample_that_is_close_enough() -> None:
    image = noise(2048, 2048)
    found = find_limits(image, "percentile")
    assert sample_step(2048, 2048) == 5
    below = np.count_nonzero(image < found.low) / image.size
    above = np.count_nonzero(image > found.high) / image.size
    assert below == pytest.approx(0.005, abs=0.0005)
    assert above == pytest.approx(0.005, abs=0.0005)


@pytest.mark.parametrize(
    "shape", [(1, 1), (512, 512), (4096, 4096), (3838, 3710), (11_520, 8184), (3, 100_000)]
)
def test_samples_are_bounded_and_steps_odd(shape: tuple[int, int]) -> None:
    step = sample_step(*shape)
    assert step % 2 == 1
    assert len(range(0, shape[0], step)) * len(range(0, shape[1], step)) < 2**18 * 1.4


@pytest.mark.parametrize("value", [0.0, 7.5, -3e30, 1e-44])
def test_an_image_of_one_value_is_an_even_grey(value: float) -> None:
    data, record = render_jpeg(np.full((20, 30), value, "float32"))
    assert record.low == record.high
    assert np.unique(decoded(data)).tolist() == [128]


@pytest.mark.parametrize("method", METHODS)
def test_an_image_without_numbers_is_told(method: Method) -> None:
    with pytest.raises(UnreadableImage, match="finite"):
        render_jpeg(np.full((9, 9), np.nan, "float32"), method=method)


@pytest.mark.parametrize("shape", [(37, 53), (64, 48), (1, 9)])
def test_a_rendition_has_the_image_s_own_size_and_the_same_bytes_every_time(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    data, record = render_jpeg(image, method="sigma", quality=95)
    again, _ = render_jpeg(image.copy(), method="sigma", quality=95)
    assert data == again
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (shape[1], shape[0]))
    assert (record.width, record.height, record.flip, record.quality, record.method) == (
        shape[1],
        shape[0],
        True,
        95,
        "sigma",
    )


def test_a_rendition_can_be_turned_back_into_values_by_its_record() -> None:
    image = np.linspace(0, 5000, 64 * 64, dtype="float32").reshape(64, 64)
    data, record = render_jpeg(image, method="minmax", quality=95)
    values = record.low + decoded(data)[::-1] / 255 * (record.high - record.low)
    assert np.abs(values - image).max() < 100


def particles(height: int, width: int, centres: list[tuple[int, int]]) -> np.ndarray:
    """Dark discs of 9 pixels at (x, y) as stored, on noise."""
    image = noise(height, width)
    rows, columns = np.ogrid[:height, :width]
    for x, y in centres:
        image[(columns - x) ** 2 + (rows - y) ** 2 <= 16] -= 400
    return image


@pytest.mark.parametrize("shape", [(101, 160), (160, 101), (128, 128)])
def test_a_cryoppp_pick_lands_on_its_particle_in_the_rendition_at_row_y(shape: tuple[int, int]) -> None:
    height, width = shape
    centres = [(20, 10), (70, 33), (50, 90)]
    data, _ = render_jpeg(particles(height, width, centres), method="minmax")
    picture = decoded(data).astype(int)
    for x, y in centres:
        cryoppp_y = height - y  # as the per-micrograph CSV has it
        on = picture[cryoppp_y - 2 : cryoppp_y + 2, x - 2 : x + 3].mean()
        mirrored = picture[max(0, y - 2) : y + 2, x - 2 : x + 3].mean()
        assert on < picture.mean() - 60
        assert mirrored > picture.mean() - 60


@pytest.mark.parametrize("size", [64, 50, 37])
@pytest.mark.parametrize("shape", [(301, 203), (200, 310)])
def test_circles_lie_on_their_particles_in_a_thumbnail(shape: tuple[int, int], size: int) -> None:
    image = np.full(shape, 1000, "float32")
    image[60:80, 120:140] = 0  # centre (129.5, 69.5)
    layer = PickLayer(x=[129.5], y=[69.5], diameter=60.0, colour=GREEN)
    thumbnail = render_thumbnail(image, [layer], size=size, picture="png", method="minmax")
    picture = decoded(thumbnail.data)
    assert max(thumbnail.width, thumbnail.height) == size
    green = np.argwhere((picture == GREEN).all(axis=-1))
    circle = (green.min(axis=0) + green.max(axis=0)) / 2
    plain = decoded(render_thumbnail(image, size=size, picture="png", method="minmax").data).astype(float)
    dark = np.argwhere(plain < 128).mean(axis=0)
    assert np.abs(circle - dark).max() <= 1.0
    assert circle[0] > thumbnail.height / 2  # low rows of the file are at the bottom


def test_a_thumbnail_s_pixels_are_means_of_areas() -> None:
    image = np.zeros((8, 8), "float32")
    image[0:4, 0:4] = np.arange(16).reshape(4, 4)
    image[4:8, 4:8] = 15
    # Means 7.5 and 0 above, 0 and 15 below; the flip brings the lower ones up.
    picture = decoded(render_thumbnail(image, size=2, picture="png", method="minmax").data)
    assert picture.tolist() == [[0, 255], [128, 0]]


def test_picks_that_cannot_be_drawn_are_counted(tmp_path: Path) -> None:
    source = write_mrc(tmp_path / "a.mrc", noise(100, 80))
    layer = PickLayer(x=(1.0, np.nan, 40.0, -5.0, 1e300), y=(1.0, 4.0, np.inf, 5.0, 5.0))
    result = make_thumbnail(ThumbnailRequest(source=source, target=tmp_path / "t.png", layers=(layer,)))
    assert result.drawn == 1
    assert result.notes == ("4 picks are not drawn: outside of the image, no numbers, or too many",)


def test_a_thumbnail_survives_holes_and_absurd_diameters() -> None:
    image = noise(90, 90)
    image[10:20, 10:20] = np.nan
    for diameter in (0.0, 1e30, None):
        assert render_thumbnail(image, [PickLayer([5], [5], diameter)], size=45).drawn == 1
    with pytest.raises(UnreadableImage, match="finite"):
        render_thumbnail(np.full((9, 9), np.inf, "float32"))


@pytest.mark.parametrize("shape", [(600, 900), (513, 511), (70, 300)])
def test_a_wave_shows_in_the_spectrum_at_its_frequency_and_nyquist_is_the_edge(
    shape: tuple[int, int],
) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    period_x, period_y = 4.0, 8.0
    wave = np.sin(2 * np.pi * (columns / period_x + rows / period_y))
    image = (noise(*shape) + 200 * wave).astype("float32")
    spectrum = power_spectrum(image, size=256, pixel_size_angstrom=1.5)
    assert spectrum.nyquist_angstrom == 3.0
    side = spectrum.size
    assert spectrum.grey.shape == (side, side)
    middle = side / 2
    # Rows are flipped: positive frequencies along the rows are at the top, from 1 on.
    found = {tuple(place) for place in np.argwhere(spectrum.grey == 255)}
    right = (round(side - 1 - (middle + side / period_y)), round(middle + side / period_x))
    left = (round(side - 1 - (middle - side / period_y)), round(middle - side / period_x))
    assert right in found
    assert left in found


def test_the_spectrum_of_pure_noise_is_flat_over_the_radius() -> None:
    grey = power_spectrum(noise(1024, 1024), size=256).grey.astype(float)
    middle = grey[96:160, 96:160].mean()
    edge = grey[:32].mean()
    assert middle == pytest.approx(edge, abs=10)


def test_a_spectrum_passes_over_holes_and_refuses_what_is_too_small() -> None:
    image = noise(300, 300)
    image[:64, :64] = np.nan
    assert power_spectrum(image, size=64).tiles > 10
    with pytest.raises(UnreadableImage, match="too few"):
        power_spectrum(noise(15, 400))
    with pytest.raises(UnreadableImage, match="finite"):
        power_spectrum(np.full((64, 64), np.nan, "float32"))


def test_requests_and_results_travel_to_a_process_pool_and_back(tmp_path: Path) -> None:
    source = write_mrc(tmp_path / "a.mrc", noise(80, 60))
    jpeg = JpegRequest(source=source, target=tmp_path / "out" / "a.jpg", method="minmax", quality=80)
    thumb = ThumbnailRequest(
        source=source,
        target=tmp_path / "out" / "a.png",
        spectrum_target=tmp_path / "out" / "a_spectrum.png",
        layers=(PickLayer((30.0,), (40.0,), 12.0),),
        size=40,
    )
    broken = JpegRequest(source=tmp_path / "none.eer", target=tmp_path / "out" / "b.jpg")
    broken.source.write_bytes(b"II+\0 cut")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        made = pool.submit(make_jpeg, jpeg).result()
        drawn = pool.submit(make_thumbnail, thumb).result()
        with pytest.raises(UnreadableImage, match=r"none\.eer"):
            pool.submit(make_jpeg, broken).result()
    assert made.path.stat().st_size == made.bytes
    assert (made.rendition.width, made.rendition.height, made.frames) == (60, 80, 1)
    assert (drawn.width, drawn.height, drawn.drawn) == (30, 40, 1)
    assert drawn.nyquist_angstrom == pytest.approx(2.68)
    assert drawn.spectrum_path is not None and drawn.spectrum_path.is_file()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "a.png", "a_spectrum.png"]
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_movie_s_rendition_shows_the_mean_and_an_eer_file_s_the_sum(tmp_path: Path) -> None:
    frames = np.stack([np.full((20, 20), level, "float32") for level in (1, 2, 6)])
    frames[:, 3, 4] = [0, 0, 30]
    result = make_jpeg(
        JpegRequest(source=write_mrc(tmp_path / "m.mrcs", frames), target=tmp_path / "m.jpg", method="minmax")
    )
    assert (result.frames, result.rendition.low, result.rendition.high) == (3, 3.0, 10.0)
    eer = tmp_path / "a.eer"
    eer.write_bytes(eer_file([[7], [7], [9]], height=32, width=32))
    result = make_jpeg(JpegRequest(source=eer, target=tmp_path / "e.jpg", method="minmax"))
    assert (result.rendition.low, result.rendition.high) == (0.0, 2.0)


def test_a_picture_that_cannot_be_made_leaves_nothing_and_an_older_one_as_it_is(tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.jpg"
    target.parent.mkdir()
    target.write_bytes(b"older")
    source = write_mrc(tmp_path / "a.mrc", np.full((9, 9), np.nan, "float32"))
    with pytest.raises(UnreadableImage):
        make_jpeg(JpegRequest(source=source, target=target))
    assert [path.name for path in target.parent.iterdir()] == ["a.jpg"]
    assert target.read_bytes() == b"older"


@pytest.mark.parametrize("shape", [(97, 131), (131, 97), (64, 256), (500, 501)])
@pytest.mark.parametrize("parts", [(1, 1), (12, 14), (40, 63), (64, 97)])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16", "float64"])
def test_a_reduced_image_is_the_mean_of_areas(
    shape: tuple[int, int], parts: tuple[int, int], dtype: str
) -> None:
    image = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    exact = _weights(shape[0], parts[0]) @ image.astype("float64") @ _weights(shape[1], parts[1]).T
    np.testing.assert_allclose(_reduced(image, parts[1], parts[0]), exact, rtol=1e-5)


def _weights(side: int, parts: int) -> np.ndarray:
    edges = np.arange(parts + 1)[:, None] * side / parts
    covered = np.clip(edges - np.arange(side), 0, 1)
    weights: np.ndarray = np.diff(covered, axis=0) * parts / side
    return weights
