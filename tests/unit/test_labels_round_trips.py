"""Through any two formats and back, a particle stays where it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from empiar_imaging.labels import (
    CoordinateOrigin,
    LabelFormat,
    LabelTable,
    Reading,
    Writing,
    concatenated,
    read_labels,
    to_origin,
    write_labels,
)
from empiar_imaging.labels.names import micrograph_stem

#: Odd sizes, not square, different for each micrograph.
SHAPES = {"a.b_0001": (3711, 3837), "c 2": (101, 57)}
EXACT = {LabelFormat.STAR, LabelFormat.CRYOLO}


def picks() -> LabelTable:
    rng = np.random.default_rng(7)
    names, x, y = [], [], []
    for stem, (height, width) in SHAPES.items():
        for place in range(200):
            names.append(f"Micrographs/{stem}.mrc")
            # Whole, half and any positions, among them the edges.
            step = (1, 0.5, 1e-6)[place % 3]
            x.append(round(float(rng.uniform(0, width)) / step) * step)
            y.append(round(float(rng.uniform(0, height)) / step) * step)
    x[0], y[0], x[1], y[1] = 0.0, 0.0, 3837.0, 3711.0
    return LabelTable(names, np.array(x), np.array(y), CoordinateOrigin.TOP, box_px=64, diameter_px=48)


def through(table: LabelTable, form: LabelFormat, *, box: int) -> LabelTable:
    """The table written and read again, Y counted from the top."""
    written = write_labels(table, form=form, writing=Writing(box_px=box, shapes=SHAPES))
    parts = [
        read_labels(raw, name=f"{stem}{form.suffix}" if stem else "all", form=form)
        for stem, raw in written.files.items()
    ]
    return to_origin(
        concatenated(parts), {stem: shape[0] for stem, shape in SHAPES.items()}, CoordinateOrigin.TOP
    )


def stems(table: LabelTable) -> list[str]:
    return [micrograph_stem(name) for name in table.micrograph]


@pytest.mark.parametrize("box", [64, 63])
@pytest.mark.parametrize(("first", "second"), list(product(LabelFormat, LabelFormat)))
def test_positions_stay_within_half_a_pixel_through_every_pair_of_formats(
    first: LabelFormat, second: LabelFormat, box: int
) -> None:
    begun = picks()
    once = through(begun, first, box=box)
    back = through(through(once, second, box=box), first, box=box)
    slack = 0.5 + 1e-3 if LabelFormat.CRYOSPARC in (first, second) else 0.5
    for before, after in ((begun, once), (once, back)):
        assert stems(before) == stems(after)
        assert np.abs(before.x - after.x).max() <= slack
        assert np.abs(before.y - after.y).max() <= slack
    if {first, second} <= EXACT:
        assert np.allclose(begun.x, back.x, rtol=0, atol=1e-9)
        assert np.allclose(begun.y, back.y, rtol=0, atol=1e-9)


@pytest.mark.parametrize("form", list(LabelFormat))
def test_whole_positions_are_exact_in_every_format_with_even_boxes(form: LabelFormat) -> None:
    table = picks()
    table = replace(table, x=np.rint(table.x), y=np.rint(table.y))
    again = through(table, form, box=64)
    atol = 1e-3 if form is LabelFormat.CRYOSPARC else 0
    assert np.allclose(table.x, again.x, rtol=0, atol=atol)
    assert np.allclose(table.y, again.y, rtol=0, atol=atol)


@pytest.mark.parametrize("form", list(LabelFormat))
def test_a_pick_drawn_from_the_file_lies_on_its_particle_in_an_asymmetric_image(form: LabelFormat) -> None:
    """Independent of our reader: the numbers in the file, by the format's own rule, index the stored array."""
    height, width = 101, 57
    image = np.zeros((height, width))
    image[20, 40] = 1
    table = LabelTable(["m.mrc"], np.array([40.0]), np.array([20.0]), CoordinateOrigin.TOP)
    shapes = {"m": (height, width)}
    raw = next(iter(write_labels(table, form=form, writing=Writing(box_px=8, shapes=shapes)).files.values()))
    row, column = OWN_RULES[form](raw, height, width)
    assert image[row, column] == 1


def _last_line(raw: bytes) -> list[str]:
    return raw.decode().strip().splitlines()[-1].replace(",", "\t").split("\t")


def _star(raw: bytes, height: int, width: int) -> tuple[int, int]:
    from gemmi import cif

    block = cif.read_string(raw.decode()).sole_block()
    return int(float(block.find_loop("_rlnCoordinateY")[0])), int(
        float(block.find_loop("_rlnCoordinateX")[0])
    )


def _cbox(raw: bytes, height: int, width: int) -> tuple[int, int]:
    from gemmi import cif

    block = cif.read_string(raw.decode()).find_block("cryolo")
    assert block is not None
    x, y, w, h = (
        float(block.find_loop(f"_{n}")[0]) for n in ("CoordinateX", "CoordinateY", "Width", "Height")
    )
    return int(y + h / 2), int(x + w / 2)


def _box(raw: bytes, height: int, width: int) -> tuple[int, int]:
    x, y, w, h = map(int, raw.split())
    return y + h // 2, x + w // 2


def _csv(raw: bytes, height: int, width: int) -> tuple[int, int]:
    first = 2 if raw.startswith(b"Particles") else 0
    cells = _last_line(raw)
    return height - int(cells[first + 1]), int(cells[first])


def _cs(raw: bytes, height: int, width: int) -> tuple[int, int]:
    import io

    records = np.load(io.BytesIO(raw), allow_pickle=False)
    x, y = records["location/center_x_frac"][0], records["location/center_y_frac"][0]
    assert records["location/micrograph_shape"][0].tolist() == [height, width]
    return round(height - float(y) * height), round(float(x) * width)


def _topaz(raw: bytes, height: int, width: int) -> tuple[int, int]:
    cells = _last_line(raw)
    assert cells[0] == "m"
    return int(cells[2]), int(cells[1])


OWN_RULES = {
    LabelFormat.STAR: _star,
    LabelFormat.CRYOLO: _cbox,
    LabelFormat.EMAN: _box,
    LabelFormat.CRYOPPP: _csv,
    LabelFormat.CRYOPPP_ENTRY: _csv,
    LabelFormat.CRYOSPARC: _cs,
    LabelFormat.TOPAZ: _topaz,
}


def test_scores_images_and_further_columns_survive_star_and_cryosparc() -> None:
    begun = LabelTable(
        micrograph=["a b.mrc", "50%AA.mrc"],
        x=np.array([1.5, 2.0]),
        y=np.array([3.0, 4.0]),
        origin=CoordinateOrigin.TOP,
        image=["000003@Extract/a b.mrcs", "000001@x.mrcs"],
        score=np.array([0.25, 0.5]),
        columns={
            "_rlnDefocusU": ["12345.5", "1"],
            "_myOwnColumn": ["p q", ""],
            "_rlnOpticsGroup": ["1", "2"],
        },
        optics={"_rlnOpticsGroup": ["1", "2"], "_rlnOpticsGroupName": ["one", "two words"]},
    )
    star = write_labels(begun, form=LabelFormat.STAR).files[""]
    read = read_labels(star, name="x.star", form=LabelFormat.STAR)
    assert read.micrograph == begun.micrograph
    assert read.image == begun.image
    assert read.score is not None
    assert read.score.tolist() == [0.25, 0.5]
    assert dict(read.columns) == dict(begun.columns)
    assert dict(read.optics) == dict(begun.optics)
    shapes = dict.fromkeys(begun.micrograph, (10, 10))
    written = write_labels(begun, form=LabelFormat.CRYOSPARC, writing=Writing(shapes=shapes))
    assert written.notes == ("columns without a place in this format: _myOwnColumn",)
    cs = read_labels(written.files[""], name="x.cs", form=LabelFormat.CRYOSPARC)
    assert cs.image == begun.image
    assert cs.micrograph == begun.micrograph
    assert np.asarray(cs.columns["_rlnDefocusU"]).tolist() == [12345.5, 1.0]


def test_scales_go_both_ways() -> None:
    table = LabelTable(["a.mrc"], np.array([400.0]), np.array([800.0]), CoordinateOrigin.TOP, diameter_px=40)
    raw = write_labels(table, form=LabelFormat.TOPAZ, writing=Writing(scale=4)).files[""]
    assert raw == b"image_name\tx_coord\ty_coord\na\t100\t200\n"
    again = read_labels(raw, name="t.txt", form=LabelFormat.TOPAZ, reading=Reading(scale=4))
    assert (again.x[0], again.y[0]) == (400, 800)
