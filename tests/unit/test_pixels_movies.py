"""Frame averages: exact means in little memory, and a gain reference applied the right way round or not at all."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from empiar_imaging.pixels.gain import Orientation, choose_orientation, fitting, oriented
from empiar_imaging.pixels.render import AverageRequest, AverageResult, make_frame_average
from empiar_imaging.pixels.source import open_image
from empiar_schema.faults import UnreadableImage
from image_files import eer_file, read_mrc, write_mrc

BACK = {Orientation.ROTATE_90: Orientation.ROTATE_270, Orientation.ROTATE_270: Orientation.ROTATE_90}


def gain_on_frames(shape: tuple[int, int], *, spread: float = 0.1, seed: int = 1) -> np.ndarray:
    """A reference that lies on the frames, as a detector with this spread of sensitivities needs it."""
    return (1 / np.random.default_rng(seed).normal(1, spread, shape).clip(0.4, 1.6)).astype("float32")


def counts(gain: np.ndarray, frames: int, *, seed: int = 2) -> np.ndarray:
    """Frames of about three electrons a pixel, on a specimen with some structure, before gain correction."""
    rows, columns = np.indices(gain.shape)
    specimen = 3 + np.sin(rows / 9) + np.cos(columns / 13)
    return np.random.default_rng(seed).poisson(specimen / gain, (frames, *gain.shape)).astype("uint8")


def average(tmp_path: Path, movie: Path, gain: Path | None = None, **options: object) -> AverageResult:
    request = AverageRequest(movie=movie, target=tmp_path / "out" / "average.mrc", gain=gain, **options)  # type: ignore[arg-type]
    return make_frame_average(request)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32", "float16"])
def test_an_average_is_the_exact_mean_of_the_frames(tmp_path: Path, dtype: str) -> None:
    data = np.random.default_rng(1).integers(0, 100, (7, 13, 17)).astype(dtype)
    result = average(tmp_path, write_mrc(tmp_path / "m.mrcs", data, pixel_size=0.83))
    written = read_mrc(result.path)
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, data.astype("float64").mean(axis=0), rtol=1e-6)
    assert (result.frames, result.width, result.height) == (7, 17, 13)
    assert result.pixel_size_angstrom == pytest.approx(0.83)
    assert result.orientation is None
    assert result.notes == ()


def test_many_frames_of_the_largest_numbers_do_not_overflow(tmp_path: Path) -> None:
    data = np.full((40_000, 1, 2), 65_535, "uint16")
    assert read_mrc(average(tmp_path, write_mrc(tmp_path / "m.mrcs", data)).path).max() == 65_535


def test_an_eer_movie_s_average_is_events_per_frame(tmp_path: Path) -> None:
    movie = tmp_path / "m.eer"
    movie.write_bytes(eer_file([[0, 5], [5], [5, 1000], [9]], height=32, width=32))
    written = read_mrc(average(tmp_path, movie).path)
    assert written.flat[5] == 0.75
    assert written.sum() == pytest.approx(1.5)


def test_the_file_says_in_its_header_what_it_is_and_mrcfile_finds_it_valid(tmp_path: Path) -> None:
    gain = gain_on_frames((96, 128))
    movie = tmp_path / "m.tif"
    tifffile.imwrite(movie, counts(gain, 20), photometric="minisblack", metadata=None)
    reference = write_mrc(tmp_path / "gain.mrc", gain)
    result = average(tmp_path, movie, reference, pixel_size_angstrom=1.06)
    out = io.StringIO()
    assert mrcfile.validate(result.path, print_file=out), out.getvalue()
    with mrcfile.open(result.path) as mrc:
        assert mrc.get_labels() == ["unaligned, gain-corrected (as_is) average of 20 frames"]
        assert float(mrc.voxel_size.x) == pytest.approx(1.06)
        assert mrc.header.dmean == pytest.approx(mrc.data.mean(), rel=1e-5)
        assert mrc.header.rms == pytest.approx(mrc.data.std(), rel=1e-4)
    first = result.path.read_bytes()
    assert average(tmp_path, movie, reference, pixel_size_angstrom=1.06).path.read_bytes() == first


@pytest.mark.parametrize("orientation", list(Orientation))
@pytest.mark.parametrize("shape", [(96, 96), (96, 130)])
def test_the_pixels_tell_which_way_round_a_gain_reference_lies(
    tmp_path: Path, orientation: Orientation, shape: tuple[int, int]
) -> None:
    gain = gain_on_frames(shape)
    frames = counts(gain, 20)
    # Stored such that `orientation` brings it back onto the frames.
    stored = np.ascontiguousarray(oriented(gain, BACK.get(orientation, orientation)))
    movie = tmp_path / "m.tif"
    tifffile.imwrite(movie, frames, photometric="minisblack", compression="lzw", metadata=None)
    result = average(tmp_path, movie, write_mrc(tmp_path / "gain.mrc", stored))
    assert result.orientation == orientation
    assert result.operation == "multiply"
    np.testing.assert_allclose(read_mrc(result.path), frames.mean(axis=0) * gain, rtol=1e-5)


def test_only_orientations_that_cover_the_frames_are_thought_of() -> None:
    assert len(fitting((5, 5), (5, 5))) == 8
    assert set(fitting((5, 7), (5, 7))) == {
        Orientation.AS_IS, Orientation.FLIP_UP_DOWN, Orientation.FLIP_LEFT_RIGHT, Orientation.ROTATE_180,
    }  # fmt: skip
    assert set(fitting((5, 7), (7, 5))) == {
        Orientation.ROTATE_90, Orientation.ROTATE_270, Orientation.TRANSPOSE, Orientation.ANTI_TRANSPOSE,
    }  # fmt: skip
    assert fitting((5, 7), (10, 14)) == ()


def unapplied(tmp_path: Path, frames: np.ndarray, gain: np.ndarray) -> str:
    movie = write_mrc(tmp_path / "m.mrcs", frames)
    result = average(tmp_path, movie, write_mrc(tmp_path / "gain.mrc", gain))
    assert result.orientation is None
    assert result.operation is None
    assert "no gain applied" in result.label
    np.testing.assert_allclose(read_mrc(result.path), frames.mean(axis=0), rtol=1e-6)
    (note,) = result.notes
    assert note.startswith("gain not applied: ")
    return note


def test_frames_that_are_corrected_already_are_not_corrected_again(tmp_path: Path) -> None:
    gain = gain_on_frames((96, 128))
    corrected = counts(gain, 12).astype("float32") * gain
    assert "do not carry the pattern" in unapplied(tmp_path, corrected, gain)


def test_a_reference_of_another_detector_is_not_applied(tmp_path: Path) -> None:
    frames = counts(gain_on_frames((96, 96), seed=1), 12)
    assert "do not carry the pattern" in unapplied(tmp_path, frames, gain_on_frames((96, 96), seed=9))


def test_a_reference_of_another_size_is_not_applied(tmp_path: Path) -> None:
    frames = counts(gain_on_frames((96, 96)), 3)
    assert "192 × 192 pixels, the frames 96 × 96" in unapplied(tmp_path, frames, gain_on_frames((192, 192)))


def test_a_reference_that_holds_the_reciprocal_is_not_applied(tmp_path: Path) -> None:
    gain = gain_on_frames((96, 96))
    assert "reciprocal" in unapplied(tmp_path, counts(gain, 12), (1 / gain).astype("float32"))


def test_a_reference_without_features_or_with_many_images_is_not_applied(tmp_path: Path) -> None:
    frames = counts(gain_on_frames((64, 64)), 3)
    assert "one value throughout" in unapplied(tmp_path, frames, np.ones((64, 64), "float32"))
    assert "has 2 images" in unapplied(tmp_path, frames, np.ones((2, 64, 64), "float32"))


def test_a_reference_that_cannot_be_read_is_a_note(tmp_path: Path) -> None:
    movie = write_mrc(tmp_path / "m.mrcs", counts(gain_on_frames((64, 64)), 3))
    reference = tmp_path / "gain.mrc"
    reference.write_bytes(b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>" * 9)
    result = average(tmp_path, movie, reference)
    assert result.orientation is None
    assert len(result.notes) == 1
    assert result.notes[0].startswith("gain not applied: gain.mrc: ")


def test_a_reference_that_is_symmetric_is_applied_since_both_ways_are_the_same(tmp_path: Path) -> None:
    half = gain_on_frames((48, 128))
    gain = np.concatenate([half, half[::-1]])
    movie = write_mrc(tmp_path / "m.mrcs", counts(gain, 12))
    result = average(tmp_path, movie, write_mrc(tmp_path / "gain.mrc", gain))
    assert result.orientation in (Orientation.AS_IS, Orientation.FLIP_UP_DOWN)


def test_the_caller_s_word_counts_but_what_the_pixels_say_is_noted(tmp_path: Path) -> None:
    gain = gain_on_frames((96, 96))
    frames = counts(gain, 12)
    movie = write_mrc(tmp_path / "m.mrcs", frames)
    reference = write_mrc(tmp_path / "gain.mrc", gain)
    result = average(tmp_path, movie, reference, orientation=Orientation.FLIP_UP_DOWN)
    assert result.orientation is Orientation.FLIP_UP_DOWN
    assert "though the frames' pattern speaks for as_is" in result.notes[0]
    np.testing.assert_allclose(read_mrc(result.path), frames.mean(axis=0) * gain[::-1], rtol=1e-5)
    wide = write_mrc(tmp_path / "wide.mrc", gain_on_frames((96, 90)))
    result = average(tmp_path, movie, wide, orientation=Orientation.AS_IS)
    assert result.orientation is None
    assert "does not cover" in result.notes[0]


def test_eer_frames_are_divided_by_a_reference_and_multiplied_by_one_called_gain(tmp_path: Path) -> None:
    gain = gain_on_frames((64, 64), spread=0.3)
    chance = np.random.default_rng(3).random((200, 64, 64)) < 0.3 / gain
    movie = tmp_path / "m.eer"
    movie.write_bytes(eer_file([np.flatnonzero(frame).tolist() for frame in chance], height=64, width=64))
    reciprocal = write_mrc(tmp_path / "ref.mrc", (5 / gain).astype("float32"))
    result = average(tmp_path, movie, reciprocal)
    assert (result.orientation, result.operation) == (Orientation.AS_IS, "divide")
    expected = chance.mean(axis=0) * gain / (1 / (1 / gain).mean())
    np.testing.assert_allclose(read_mrc(result.path), expected, rtol=1e-4)
    multiplied = tmp_path / "x.gain"
    tifffile.imwrite(multiplied, gain)
    result = average(tmp_path, movie, multiplied)
    assert (result.orientation, result.operation) == (Orientation.AS_IS, "multiply")
    np.testing.assert_allclose(read_mrc(result.path), chance.mean(axis=0) * gain, rtol=1e-4)


def test_dead_pixels_are_filled_and_counted(tmp_path: Path) -> None:
    gain = gain_on_frames((96, 96))
    frames = counts(gain, 12)
    gain[4, 5], gain[6, 7], gain[8, 9] = 0, np.nan, -1
    movie = write_mrc(tmp_path / "m.mrcs", frames)
    result = average(tmp_path, movie, write_mrc(tmp_path / "gain.mrc", gain))
    written = read_mrc(result.path)
    assert result.dead_pixels == 3
    assert "3 pixels are dead" in result.notes[1]
    assert np.isfinite(written).all()
    assert written[4, 5] == written[6, 7] == written[8, 9]
    assert written[4, 5] == pytest.approx(
        np.delete(written.ravel(), [4 * 96 + 5, 6 * 96 + 7, 8 * 96 + 9]).mean(), rel=1e-5
    )


def test_hot_pixels_do_not_decide_the_orientation() -> None:
    gain = gain_on_frames((128, 128), spread=0.05)
    mean = counts(gain, 20).mean(axis=0).astype("float32")
    mean[17, :] = 5000  # a bad row
    mean[30, 40] = 1e6
    assert choose_orientation(mean, gain).orientation is Orientation.AS_IS


def test_complex_frames_are_told(tmp_path: Path) -> None:
    movie = write_mrc(tmp_path / "m.mrc", np.ones((4, 4), "complex64"))
    with pytest.raises(UnreadableImage, match="complex"):
        average(tmp_path, movie)


@pytest.mark.parametrize("suffix", [".mrcs", ".tif"])
def test_memory_is_two_frames_and_not_the_movie(tmp_path: Path, suffix: str) -> None:
    frames = np.random.default_rng(1).integers(0, 9, (64, 512, 512)).astype("float32")
    path = tmp_path / f"m{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, frames, photometric="minisblack", compression="zlib", metadata=None)
    else:
        write_mrc(path, frames)
    with open_image(path) as source:
        source.frame(0)  # what libraries keep for good is there now
        tracemalloc.start()
        try:
            source.total()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 4 * frames[0].nbytes < frames.nbytes / 10


def test_the_whole_process_stays_small_over_a_mapped_movie(tmp_path: Path) -> None:
    frame = 4 * 1400 * 1400
    path = tmp_path / "m.mrcs"
    write_mrc(path, np.ones((40, 1400, 1400), "float32"))
    code = (
        "import resource, sys; from pathlib import Path; from empiar_imaging.pixels.source import open_image\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "with open_image(Path(sys.argv[1])) as source:\n"
        "    source.frame(0); before = peak(); source.total(); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 6 * frame < 40 * frame / 4
