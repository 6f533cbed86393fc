"""Particle stacks: split in the order of the rows, cut out at the centres, and every row that has no image told."""

from __future__ import annotations

import errno
import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from empiar_imaging.pixels.limits import ReadLimits
from empiar_imaging.pixels.mrc_files import StackWriter
from empiar_imaging.pixels.render import ExtractRequest, SplitRequest, make_extracted_stack, make_split_stack
from empiar_imaging.pixels.stacks import (
    BoxOptions,
    EdgePolicy,
    LeftOut,
    StackReport,
    StackSlice,
    extract_stack,
    parse_reference,
    split_stack,
)
from empiar_schema.faults import ConfigFault, StorageFault, UnreadableImage
from image_files import asymmetric, mrc_bytes, nibbles, read_mrc, write_mrc

PLAIN = BoxOptions(box=8, normalise=False)


def deposited(path: Path, images: int, *, dtype: str = "float32", box: int = 6, base: int = 0) -> Path:
    data = np.stack([np.full((box, box), base + n) for n in range(images)]).astype(dtype)
    data[:, 0, 1] += 1  # asymmetric
    return write_mrc(path, data)


def valid(path: Path) -> bool:
    out = io.StringIO()
    return mrcfile.validate(path, print_file=out) or not print(out.getvalue())


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("000012@Extract/job/a b.mrcs", (12, "Extract/job/a b.mrcs")),
        ("1@x@y.mrcs", (1, "x@y.mrcs")),
        ("a.mrcs", None),
        ("@a.mrcs", None),
        ("-1@a.mrcs", None),
        ("1@", None),
        ("9" * 5000 + "@a", None),
    ],
)
def test_references_to_images_of_stacks_are_understood_or_refused(
    text: str, parsed: tuple[int, str] | None
) -> None:
    assert parse_reference(text) == parsed


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float16", "float32"])
def test_a_split_stack_has_the_rows_order_and_the_deposited_numbers(tmp_path: Path, dtype: str) -> None:
    one = deposited(tmp_path / "one.mrcs", 9, dtype=dtype)
    two = deposited(tmp_path / "two.mrcs", 4, dtype=dtype, base=50)
    rows = [(9, one), (1, two), (1, one), (4, two), (9, one)]
    target = tmp_path / "out" / "m_particles.mrc"
    report = split_stack([StackSlice(*row) for row in rows], target)
    assert report == StackReport(target, 5, 6, 6, dtype, 1.34, (), ())
    written = read_mrc(target)
    assert written.dtype == np.dtype(dtype)
    assert [int(image[3, 3]) for image in written] == [8, 50, 0, 53, 8]
    assert (written[:, 0, 1] == written[:, 3, 3] + 1).all()
    assert valid(target)


def test_a_split_stack_is_an_image_stack_with_pixel_size_and_statistics(tmp_path: Path) -> None:
    one = deposited(tmp_path / "one.mrcs", 9)
    target = tmp_path / "m_particles.mrcs"
    split_stack([StackSlice(n, one) for n in (2, 5)], target, pixel_size_angstrom=0.91)
    with mrcfile.open(target) as mrc:
        assert mrc.is_image_stack()
        assert (int(mrc.header.ispg), int(mrc.header.mz), int(mrc.header.nz)) == (0, 1, 2)
        assert float(mrc.voxel_size.x) == pytest.approx(0.91)
        assert mrc.header.dmean == pytest.approx(mrc.data.mean())
        assert mrc.header.rms == pytest.approx(mrc.data.std(), rel=1e-5)
        assert (float(mrc.header.dmin), float(mrc.header.dmax)) == (1.0, 5.0)


@pytest.mark.parametrize(("order", "mode", "code"), [(">", 1, "i2"), (">", 2, "f4"), ("<", 12, "f2")])
def test_stacks_of_the_other_byte_order_are_written_in_this_one(
    tmp_path: Path, order: str, mode: int, code: str
) -> None:
    data = asymmetric(3 * 4, 5, code).reshape(3, 4, 5)
    stack = tmp_path / "big.mrcs"
    stack.write_bytes(
        mrc_bytes(data.astype(f"{order}{code}").tobytes(), shape=(5, 4, 3), mode=mode, order=order)
    )
    split_stack([StackSlice(3, stack), StackSlice(1, stack)], tmp_path / "out.mrc")
    np.testing.assert_array_equal(read_mrc(tmp_path / "out.mrc"), data[[2, 0]])


def test_four_bit_and_unsigned_byte_images_are_written_in_a_type_that_mrcfile_knows(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 16, (4, 5))
    packed = tmp_path / "packed.mrcs"
    packed.write_bytes(mrc_bytes(nibbles(image), shape=(5, 4, 1), mode=101))
    unsigned = tmp_path / "unsigned.mrcs"
    unsigned.write_bytes(mrc_bytes(bytes(range(236, 256)), shape=(5, 4, 1), mode=0, imod_flags=0))
    assert split_stack([StackSlice(1, packed)], tmp_path / "a.mrc").dtype == "int8"
    np.testing.assert_array_equal(read_mrc(tmp_path / "a.mrc"), image)
    report = split_stack([StackSlice(1, unsigned)], tmp_path / "b.mrc")
    assert report.notes == ("uint8 pixels are written as int16",)
    assert read_mrc(tmp_path / "b.mrc").ravel().tolist() == list(range(236, 256))


def test_rows_without_an_image_are_left_out_and_told_and_the_others_kept(tmp_path: Path) -> None:
    one = deposited(tmp_path / "one.mrcs", 3)
    cut = deposited(tmp_path / "cut.mrcs", 3)
    cut.write_bytes(cut.read_bytes()[:-1])
    other = deposited(tmp_path / "other.mrcs", 3, box=7)
    missing = tmp_path / "missing.mrcs"
    rows = [StackSlice(2, one), StackSlice(0, one), StackSlice(4, one), StackSlice(10**12, one),
            StackSlice(1, missing), StackSlice(1, cut), StackSlice(1, other), StackSlice(3, one)]  # fmt: skip
    report = split_stack(rows, tmp_path / "out.mrc")
    assert [int(image[3, 3]) for image in read_mrc(tmp_path / "out.mrc")] == [1, 2]
    assert report.images == 2
    assert [item.row for item in report.left_out] == [1, 2, 3, 4, 5, 6]
    reasons = [item.reason for item in report.left_out]
    assert reasons[0] == "one.mrcs has 3 images, number 0 is asked for"
    assert reasons[3] == "missing.mrcs is not here"
    assert reasons[4].startswith("cut.mrcs: ")
    assert reasons[5] == "other.mrcs holds 7 × 7 float32, the rows before it 6 × 6 float32"


def test_nothing_is_written_where_no_row_has_an_image(tmp_path: Path) -> None:
    report = split_stack([StackSlice(1, tmp_path / "missing.mrcs")], tmp_path / "out.mrc")
    assert (report.path, report.images) == (None, 0)
    assert list(tmp_path.iterdir()) == []
    assert split_stack([], tmp_path / "out.mrc").left_out == ()


def test_rows_that_go_through_more_stacks_than_stay_open_are_all_there(tmp_path: Path) -> None:
    stacks = [deposited(tmp_path / f"{n}.mrcs", 2, base=10 * n) for n in range(40)]
    rows = [StackSlice(number, stack) for number in (1, 2) for stack in stacks]
    split_stack(rows, tmp_path / "out.mrc")
    values = [int(image[3, 3]) for image in read_mrc(tmp_path / "out.mrc")]
    assert values == [10 * n for n in range(40)] + [10 * n + 1 for n in range(40)]


def test_a_stack_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    one = deposited(tmp_path / "one.mrcs", 3)
    limits = ReadLimits(unpacked_bytes=300)
    with pytest.raises(UnreadableImage, match="are allowed"):
        split_stack([StackSlice(1, one)] * 3, tmp_path / "out.mrc", limits=limits)
    with pytest.raises(UnreadableImage, match="are allowed"):
        extract_stack(asymmetric(20, 20), [10] * 3, [10] * 3, tmp_path / "out.mrc", PLAIN, limits=limits)
    assert [path.name for path in tmp_path.iterdir()] == ["one.mrcs"]


def cut_out(
    tmp_path: Path, image: np.ndarray, centres: Sequence[tuple[float, float]], options: BoxOptions
) -> tuple[StackReport, np.ndarray]:
    target = tmp_path / "m_particles.mrc"
    x, y = zip(*centres, strict=True)
    report = extract_stack(image, x, y, target, options, pixel_size_angstrom=1.5)
    if report.path is None:
        return report, np.empty((0, options.box, options.box))
    assert valid(target)
    return report, read_mrc(target).reshape(-1, options.box, options.box)


@pytest.mark.parametrize("box", [7, 8])
def test_a_box_has_its_centre_at_half_its_side_rounded_down(tmp_path: Path, box: int) -> None:
    image = np.arange(40 * 50, dtype="float32").reshape(40, 50)
    _, boxes = cut_out(
        tmp_path, image, [(20, 10), (20.4, 10.4), (19.5, 9.5)], BoxOptions(box=box, normalise=False)
    )
    assert boxes.shape == (3, box, box)
    for particle in boxes:
        assert particle[box // 2, box // 2] == image[10, 20]
    np.testing.assert_array_equal(boxes[0], image[10 - box // 2 :, 20 - box // 2 :][:box, :box])


def test_skip_leaves_out_boxes_at_the_edge_and_says_which(tmp_path: Path) -> None:
    image = asymmetric(30, 40)
    centres = [(4, 4), (3, 10), (36, 26), (37, 26), (20, 27), (10, 10), (np.nan, 5), (500, 5)]
    report, boxes = cut_out(tmp_path, image, centres, PLAIN)
    assert report.left_out == (
        LeftOut(1, "the box around (3, 10) reaches beyond the edge"),
        LeftOut(3, "the box around (37, 26) reaches beyond the edge"),
        LeftOut(4, "the box around (20, 27) reaches beyond the edge"),
        LeftOut(6, "the centre (nan, 5) is no pair of numbers"),
        LeftOut(7, "the centre (500, 5) lies outside of the micrograph"),
    )
    assert len(boxes) == report.images == 3
    np.testing.assert_array_equal(boxes[2], image[6:14, 6:14])


def test_fill_keeps_every_row_with_the_mean_outside(tmp_path: Path) -> None:
    image = asymmetric(30, 40)
    centres = [(0, 0), (40, 30), (20, 15), (np.inf, 3), (1e300, -1e300)]
    report, boxes = cut_out(tmp_path, image, centres, BoxOptions(box=8, edge="fill", normalise=False))
    assert report.left_out == ()
    assert report.images == 5
    mean = image.mean(dtype="float64")
    assert boxes[0][:4].ravel() == pytest.approx(mean)
    np.testing.assert_array_equal(boxes[0][4:, 4:], image[:4, :4])
    np.testing.assert_array_equal(boxes[1][:4, :4], image[26:, 36:])
    assert boxes[3] == pytest.approx(np.full((8, 8), mean))
    assert boxes[4] == pytest.approx(np.full((8, 8), mean))
    assert report.notes == (
        "row 3: the centre (inf, 3) is no pair of numbers",
        "row 4: the centre (1e+300, -1e+300) lies outside of the micrograph",
    )


def test_clamp_moves_boxes_inside(tmp_path: Path) -> None:
    image = asymmetric(30, 40)
    report, boxes = cut_out(
        tmp_path, image, [(0, 0), (40, 30), (-70, 15)], BoxOptions(box=8, edge="clamp", normalise=False)
    )
    assert report.left_out == ()
    np.testing.assert_array_equal(boxes[0], image[:8, :8])
    np.testing.assert_array_equal(boxes[1], image[22:, 32:])
    np.testing.assert_array_equal(boxes[2], image[11:19, :8])
    assert report.notes == ("row 2: the centre (-70, 15) lies outside of the micrograph",)


def test_particles_are_normalised_by_their_background_and_then_inverted(tmp_path: Path) -> None:
    image = np.random.default_rng(1).normal(500, 30, (64, 64)).astype("float32")
    image[28:36, 28:36] = 0
    options = BoxOptions(box=32, background_radius=10.0, invert=True)
    _, (particle,) = cut_out(tmp_path, image, [(32, 32)], options)
    rows, columns = np.ogrid[:32, :32]
    background = particle[(rows - 16) ** 2 + (columns - 16) ** 2 > 100]
    assert background.mean() == pytest.approx(0, abs=1e-5)
    assert background.std() == pytest.approx(1, abs=1e-5)
    assert particle[16, 16] > 10  # dark in the micrograph, bright in the stack


def test_an_even_box_is_normalised_to_zeros(tmp_path: Path) -> None:
    _, (particle,) = cut_out(tmp_path, np.full((32, 32), 9, "int16"), [(16, 16)], BoxOptions(box=8))
    assert not particle.any()


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32"])
def test_the_micrograph_s_own_numbers_are_kept_on_request(tmp_path: Path, dtype: str) -> None:
    image = asymmetric(30, 40, dtype)
    options = BoxOptions(box=8, edge="fill", normalise=False, dtype="source")
    report, boxes = cut_out(tmp_path, image, [(20, 15), (0, 0)], options)
    assert report.dtype == dtype
    assert boxes.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(boxes[0], image[11:19, 16:24])


@pytest.mark.parametrize(
    "options",
    [
        BoxOptions(box=1),
        BoxOptions(box=10_000),
        BoxOptions(box=8, dtype="source"),
        BoxOptions(box=8, normalise=False, invert=True, dtype="source"),
        BoxOptions(box=8, background_radius=4.0),
        BoxOptions(box=8, background_radius=float("nan")),
        BoxOptions(box=64, edge="clamp"),
    ],
)
def test_options_that_contradict_each_other_are_one_sentence(tmp_path: Path, options: BoxOptions) -> None:
    with pytest.raises(ConfigFault) as caught:
        extract_stack(asymmetric(30, 40), [10], [10], tmp_path / "a.mrc", options)
    assert caught.value.hint


def test_a_box_larger_than_the_micrograph_is_skipped_or_filled(tmp_path: Path) -> None:
    image = asymmetric(10, 12)
    report, _ = cut_out(tmp_path, image, [(5, 5)], BoxOptions(box=16))
    assert (report.images, report.path) == (0, None)
    report, (box,) = cut_out(tmp_path, image, [(6, 5)], BoxOptions(box=16, edge="fill", normalise=False))
    np.testing.assert_array_equal(box[3:13, 2:14], image)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    centres=st.lists(
        st.tuples(st.floats(-50, 80), st.floats(-50, 80)) | st.tuples(st.floats(), st.floats()), max_size=8
    ),
    box=st.integers(2, 20),
    edge=st.sampled_from(["skip", "fill", "clamp"]),
    shape=st.sampled_from([(21, 33), (40, 25)]),
)
def test_any_coordinates_give_as_many_images_as_rows_less_those_left_out(
    tmp_path: Path, centres: list[tuple[float, float]], box: int, edge: EdgePolicy, shape: tuple[int, int]
) -> None:
    image = asymmetric(*shape)
    x, y = [c[0] for c in centres], [c[1] for c in centres]
    report = extract_stack(image, x, y, tmp_path / "a.mrc", BoxOptions(box=box, edge=edge, normalise=False))
    assert report.images + len(report.left_out) == len(centres)
    if edge != "skip":
        assert report.images == len(centres)
    if report.images:
        assert len(read_mrc(tmp_path / "a.mrc").reshape(-1, box, box)) == report.images


def test_a_full_disk_is_a_full_disk_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(writer: StackWriter, image: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StackWriter, "append", full)
    with pytest.raises(StorageFault) as caught:
        extract_stack(asymmetric(30, 40), [10], [10], tmp_path / "a.mrc", PLAIN)
    assert caught.value.full
    assert list(tmp_path.iterdir()) == []


def test_both_kinds_are_made_in_a_process_pool(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        micrograph = write_mrc(tmp_path / "m.mrc", asymmetric(64, 48, "int16"), pixel_size=2.0)
        stack = deposited(tmp_path / "all.mrcs", 5)
    extract = ExtractRequest(
        micrograph=micrograph,
        target=tmp_path / "out" / "m_particles.mrc",
        x=(20.0, 1.0),
        y=(30.0, 1.0),
        options=PLAIN,
    )
    split = SplitRequest(slices=(StackSlice(5, stack),), target=tmp_path / "out" / "n_particles.mrc")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        extracted = pool.submit(make_extracted_stack, extract).result()
        divided = pool.submit(make_split_stack, split).result()
    assert (extracted.images, extracted.pixel_size_angstrom, len(extracted.left_out)) == (1, 2.0, 1)
    np.testing.assert_array_equal(read_mrc(extract.target).reshape(8, 8), asymmetric(64, 48)[26:34, 16:24])
    assert divided.images == 1
