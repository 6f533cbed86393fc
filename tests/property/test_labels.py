"""Any bytes are coordinates or a fault; frames and scales can be undone."""

from __future__ import annotations

import csv
import gzip
import io
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from empiar_imaging.labels import (
    CoordinateOrigin,
    LabelFormat,
    LabelTable,
    Writing,
    read_labels,
    scaled,
    to_origin,
    write_labels,
)
from empiar_imaging.labels.recognise import recognise
from empiar_imaging.labels.released import read_released
from empiar_schema.faults import BadLabels, HostileName
from empiar_schema.paths import text_from_bytes

SEEDS = {
    LabelFormat.STAR: b"\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnMicrographName #3\n1.5 2.5 a.mrc\n3 4 'b c.mrc'\n",
    LabelFormat.CRYOPPP: b"X-Coordinate,Y-Coordinate,Diameter\n1,2,3\n4,5,3\n",
    LabelFormat.CRYOPPP_ENTRY: b'Particles Filename,Micrographs Filename,X-Coordinate,Y-Coordinate\nq,"a, b.mrc",1,2\n',
    LabelFormat.EMAN: b"1\t2\t100\t100\n3 4 100 100\n",
    LabelFormat.CRYOLO: b"\ndata_cryolo\n\nloop_\n_CoordinateX\n_CoordinateY\n_Width\n_Height\n_Confidence\n1 2 10 10 0.5\n",
    LabelFormat.TOPAZ: b"image_name\tx_coord\ty_coord\tscore\na\t1\t2\t0.5\n",
    LabelFormat.CRYOSPARC: write_labels(
        LabelTable(["a.mrc"], np.array([1.0]), np.array([2.0]), CoordinateOrigin.BOTTOM),
        form=LabelFormat.CRYOSPARC,
        writing=Writing(shapes=(10, 20)),
    ).files[""],
}
forms = st.sampled_from(list(LabelFormat))


@st.composite
def damaged(draw: st.DrawFn) -> tuple[LabelFormat, bytes]:
    """A sound file with some bytes changed, put in or left out; or any bytes at all."""
    form = draw(forms)
    raw = bytearray(SEEDS[form] if draw(st.integers(0, 4)) else draw(st.binary(max_size=200)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 4))] = draw(
            st.binary(max_size=4)
            | st.sampled_from([b"\n", b"\t", b"'", b"nan", b"1e999", b"loop_\n", b"#", b"_x", b","])
        )
    return form, bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw)


@given(damaged())
def test_any_bytes_are_a_table_of_finite_positions_or_a_fault(given: tuple[LabelFormat, bytes]) -> None:
    form, raw = given
    recognise(f"x{form.suffix}", raw)
    try:
        table = read_labels(raw, name=f"x{form.suffix}", form=form)
    except BadLabels as fault:
        assert str(fault)
        return
    assert np.isfinite(table.x).all()
    assert np.isfinite(table.y).all()
    assert len(table) == len(table.x) == len(table.y)
    for other in LabelFormat:
        try:
            write_labels(table, form=other, writing=Writing(box_px=8, shapes=(100, 100)))
        except (BadLabels, HostileName):
            continue


positions = npst.arrays("float64", 5, elements=st.floats(-1e5, 1e5, allow_subnormal=False))


@given(positions, positions, st.integers(1, 20_000))
def test_the_frame_changes_by_height_minus_y_and_back(x: np.ndarray, y: np.ndarray, height: int) -> None:
    table = LabelTable(["a"] * 5, x, y, CoordinateOrigin.TOP)
    bottom = to_origin(table, height, CoordinateOrigin.BOTTOM)
    assert np.array_equal(bottom.y, height - y)
    assert np.allclose(to_origin(bottom, {"a": height}, CoordinateOrigin.TOP).y, y, rtol=0, atol=1e-9)
    assert np.array_equal(bottom.x, x)


@given(positions, st.floats(0.01, 100))
def test_a_scale_is_undone_by_its_inverse(x: np.ndarray, factor: float) -> None:
    table = LabelTable(["a"] * 5, x, x, CoordinateOrigin.TOP, diameter_px=10)
    again = scaled(scaled(table, factor), 1 / factor)
    assert np.allclose(again.x, x, rtol=1e-12, atol=1e-12)


names = st.binary(min_size=1, max_size=30).filter(
    lambda raw: not set(raw) & set(b"\0\r\n\t/") and raw.strip(b" \v\f\x1c\x1d\x1e\x85") == raw
)


@given(st.lists(names, min_size=1, max_size=5))
def test_any_name_without_line_ends_survives_star_and_an_entrys_csv(raw_names: list[bytes]) -> None:
    stored = [text_from_bytes(raw) for raw in raw_names]
    table = LabelTable(stored, np.ones(len(stored)), np.ones(len(stored)), CoordinateOrigin.BOTTOM)
    for form in (LabelFormat.STAR, LabelFormat.CRYOPPP_ENTRY, LabelFormat.CRYOSPARC):
        try:
            raw = write_labels(
                table, form=form, writing=Writing(shapes=(9, 9), origin=CoordinateOrigin.BOTTOM)
            ).files[""]
        except BadLabels:
            assert any({"'", '"'} <= set(name) for name in stored)
            continue
        assert read_labels(raw, name="x", form=form).micrograph == stored


@given(st.text(alphabet="=+-@ab1.,\"'", max_size=8))
def test_a_csv_of_ground_truth_holds_numbers_only_whatever_the_source_says(text: str) -> None:
    table = LabelTable(
        ["a"], np.ones(1), np.ones(1), CoordinateOrigin.BOTTOM, columns={"_rlnAnglePsi": [text]}
    )
    raw = write_labels(table, form=LabelFormat.CRYOPPP).files["a"].decode()
    cell = list(csv.reader(io.StringIO(raw)))[1][3]
    assert not cell or np.isfinite(float(cell))


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a", "é" * 120):
            info = tarfile.TarInfo(f"10017/ground_truth/particle_coordinates/{name}.csv")
            info.size = len(SEEDS[LabelFormat.CRYOPPP])
            tar.addfile(info, io.BytesIO(SEEDS[LabelFormat.CRYOPPP]))
    return stream.getvalue()


TAR = _tar()


@given(
    st.lists(st.tuples(st.integers(0, len(TAR) - 1), st.binary(min_size=1, max_size=12)), max_size=6),
    st.booleans(),
)
def test_any_archive_is_entries_or_a_fault(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, bytes]], zipped: bool
) -> None:
    raw = bytearray(TAR)
    for at, patch in changes:
        raw[at : at + len(patch)] = patch
    source = tmp_path_factory.mktemp("tar") / "x.tar"
    source.write_bytes(gzip.compress(bytes(raw), 1) if zipped else bytes(raw))
    try:
        entries = read_released(source)
    except BadLabels as fault:
        assert str(fault)
        return
    assert all(entry.empiar_id for entry in entries)
