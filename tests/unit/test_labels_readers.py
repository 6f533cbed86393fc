"""Files of particle coordinates as programs write them, and as accidents leave them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence

import numpy as np
import pytest

from empiar_imaging.labels import CoordinateOrigin, LabelFormat, LabelTable, read_labels
from empiar_imaging.labels.cryosparc import read_cs
from empiar_imaging.labels.star import read_star, write_star
from empiar_imaging.labels.star_tables import star_tables
from empiar_schema.faults import BadLabels

RELION_31 = b"""
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographPixelSize #3
opticsGroup1            1     1.340000
"second group"          2     1.340000


# version 30001

data_particles

loop_
_rlnDefocusU #1
_rlnMicrographName #2
_rlnCoordinateY #3
_rlnImageName #4
_rlnCoordinateX #5
_rlnOpticsGroup #6
_myColumn #7
10000.5\t'MotionCorr/sb1 pos 1.mrc'   20.500000 000001@Extract/sb1.mrcs 10.250000 1 x
 11000.5 MotionCorr/b.mrc   40.000000 000002@Extract/b.mrcs 30.000000 2 "y z"

"""
RELION_30 = b"""
data_

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnAutopickFigureOfMerit #3
  100.000000   200.000000     0.750000
"""
CBOX = b"""
data_global

_cbox_format_version 1.0


data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
10.5 20.0 <NA> 100 100 1 90.2 91.1 0.87 <NA> <NA>

data_cryolo_include

loop_
_slice_index #1

"""


def test_relion_3_1_is_read_by_names_with_quotes_tabs_and_several_optics_groups() -> None:
    table = read_star(RELION_31, what="particles.star")
    assert table.micrograph == ["MotionCorr/sb1 pos 1.mrc", "MotionCorr/b.mrc"]
    assert table.x.tolist() == [10.25, 30.0]
    assert table.y.tolist() == [20.5, 40.0]
    assert table.origin is CoordinateOrigin.TOP
    assert table.image == ["000001@Extract/sb1.mrcs", "000002@Extract/b.mrcs"]
    assert table.pixel_size_angstrom == 1.34
    assert table.optics["_rlnOpticsGroupName"] == ["opticsGroup1", "second group"]
    assert dict(table.columns) == {
        "_rlnDefocusU": ["10000.5", "11000.5"],
        "_rlnOpticsGroup": ["1", "2"],
        "_myColumn": ["x", "y z"],
    }


def test_relion_3_0_picks_are_named_after_their_file() -> None:
    table = read_star(RELION_30, what="mic.01_autopick.star")
    assert table.micrograph == ["mic.01"]
    assert table.score is not None
    assert table.score.tolist() == [0.75]
    assert not table.optics


def test_plain_and_general_reading_of_star_agree_with_gemmi() -> None:
    from gemmi import cif

    plain = (
        RELION_31.replace(b"'MotionCorr/sb1 pos 1.mrc'", b"a.mrc")
        .replace(b'"y z"', b"y")
        .replace(b'"second group"', b"s")
    )
    for raw in (RELION_31, plain, RELION_30, CBOX):
        blocks = list(cif.read_string(raw))
        for table in star_tables(raw, what="x"):
            block = next(block for block in blocks if block.name.strip() == table.block)
            for tag, values in table.columns.items():
                assert values == [cif.as_string(value) for value in block.find_values(tag)]


def test_names_that_are_no_utf_8_and_percent_signs_follow_the_rule_of_stored_texts() -> None:
    raw = RELION_30.replace(b"_rlnAutopickFigureOfMerit", b"_rlnMicrographName").replace(
        b"0.750000", b"caf\xe9/\xc3\xa9_50%41.mrc"
    )
    table = read_star(raw, what="x.star")
    assert table.micrograph == ["caf%E9/é_50%2541.mrc"]
    assert b"caf\xe9/\xc3\xa9_50%41.mrc" in write_star(table)


@pytest.mark.parametrize("tag", ["_rlnTomoName", "_rlnCoordinateZ", "_rlnCenteredCoordinateXAngst"])
def test_tomography_tables_are_never_read_as_positions_in_an_image(tag: str) -> None:
    raw = RELION_30.replace(b"_rlnAutopickFigureOfMerit", tag.encode())
    with pytest.raises(BadLabels, match="tomograms"):
        read_star(raw, what="particles.star")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (RELION_30.rstrip(b"\n")[:-20], "is cut: its last line, 8, has 2 of 3 values"),
        (RELION_30 + b"1 2\n3 4 5 6\n", "line 9 has 2 values, but the table has 3 columns"),
        (RELION_30 + b"1 2\n3\n", "line 9 has 2 values"),
        (RELION_30.replace(b"100.000000", b"left"), "row 1 has 'left' for _rlnCoordinateX, which is no number"),
        (b"", "has no table with"),
        (b"hello\n", "no sound STAR"),
        (RELION_31[:-8] + b"\n", "no sound STAR"),
        (RELION_30.decode().encode("utf-16"), "UTF-16"),
        (b"data_model_classes\nloop_\n_rlnReferenceImage\n_rlnClassDistribution\n1@a.mrcs 0.5\n", "model_classes"),
    ],
)  # fmt: skip
def test_a_damaged_or_other_star_is_one_clear_sentence(raw: bytes, sentence: str) -> None:
    with pytest.raises(BadLabels) as caught:
        read_star(raw, what="bad.star")
    assert sentence in str(caught.value)
    assert "bad.star" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_coordinates_that_are_no_numbers_or_beyond_any_image_are_left_out_and_counted() -> None:
    raw = RELION_30 + b"nan 1 1\n1 inf 1\n1e300 1 1\n? 1 1\n5 6 1\n"
    table = read_star(raw, what="x.star")
    assert table.x.tolist() == [100, 5]
    assert table.notes == ("4 rows whose coordinates are not finite, or beyond any image, left out",)


def test_a_last_row_without_line_end_is_noted_because_it_may_be_cut() -> None:
    assert "may be cut" in read_star(RELION_30.rstrip(b"\n")[:-2], what="x.star").notes[0]


def test_tables_longer_than_one_piece_are_read_whole_and_ragged_lines_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("empiar_imaging.labels.star_tables._PIECE_BYTES", 64)
    rows = [b"%d %d 1" % (n, n + 1) for n in range(500)]
    table = read_star(RELION_30 + b"\n".join(rows) + b"\n\n# version 30001\n\ndata_x\n_a 1\n", what="x.star")
    assert table.x.tolist() == [100, *range(500)]
    rows[300] = b"1 2"
    with pytest.raises(BadLabels, match=r"line 309 has 2 values"):
        read_star(RELION_30 + b"\n".join(rows) + b"\n", what="x.star")


# --- cryoSPARC ----------------------------------------------------------------------------------------------


def npy(records: np.ndarray[tuple[int], np.dtype[np.void]]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, records)
    return stream.getvalue()


PARTICLES = np.array(
    [(11, b">J2/extract/1_a_particles.mrc", 0, 0.5), (7, b"J2/extract/1_a_particles.mrc", 4, 0.25)],
    [("uid", "<u8"), ("blob/path", "S64"), ("blob/idx", "<u4"), ("ctf/df_angle_rad", "<f4")],
)
PASSTHROUGH = np.array(
    [(7, b"J1/motioncorrected/1_a.mrc", (101, 57), 0.5, 0.25, 1.5), (11, b"J1/motioncorrected/1_a.mrc", (101, 57), 1, 1, 1.5)],
    [("uid", "<u8"), ("location/micrograph_path", "S40"), ("location/micrograph_shape", "<u4", (2,)),
     ("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4"), ("location/micrograph_psize_A", "<f4")],
)  # fmt: skip


def test_cryosparc_particles_and_passthrough_are_joined_by_uid_and_fractions_become_pixels() -> None:
    table = read_cs(npy(PARTICLES), what="J2_particles.cs", passthrough=npy(PASSTHROUGH))
    assert table.micrograph == ["J1/motioncorrected/1_a.mrc"] * 2
    assert table.x.tolist() == [57, 28.5]
    assert table.y.tolist() == [101, 25.25]
    assert table.origin is CoordinateOrigin.BOTTOM
    assert table.image == [f"00000{n}@J2/extract/1_a_particles.mrc" for n in (1, 5)]
    assert table.shapes == {"J1/motioncorrected/1_a.mrc": (101, 57)}
    assert table.pixel_size_angstrom == 1.5
    assert np.allclose(np.asarray(table.columns["_rlnDefocusAngle"], "float64"), np.degrees([0.5, 0.25]))


def test_particles_without_places_ask_for_the_passthrough() -> None:
    with pytest.raises(BadLabels, match="does not say where") as caught:
        read_cs(npy(PARTICLES), what="x.cs")
    assert "--passthrough" in caught.value.hint


def _hostile_npy(header: str) -> bytes:
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("unpickled",)


def _pickled() -> bytes:
    records = np.array([(_Bomb(),)], [("uid", object)])
    stream = io.BytesIO()
    np.save(stream, records, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (_pickled(), "pickled Python objects"),
        (npy(PASSTHROUGH)[:-5], "is cut"),
        (npy(PASSTHROUGH) + b"\0", "is too long"),
        (npy(PASSTHROUGH)[:40], "header cannot be read"),
        (b"\x94CSDAT" + bytes(50), "compressed stream format"),
        (pickle.dumps([1]), "does not begin as a NumPy array"),
        (b"", "does not begin as a NumPy array"),
        (_hostile_npy("{'descr': [('uid', '<u8')], 'fortran_order': False, 'shape': (99999999999999,)}"), "is cut"),
        (_hostile_npy("{'descr': [('uid', '<u8')], 'fortran_order': False, 'shape': (-1,)}"), "header cannot be read"),
        (_hostile_npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0,)}"), "no table of records"),
        (_hostile_npy("(" * 60000), "header cannot be read"),
        (_hostile_npy("__import__('os').system('true')"), "header cannot be read"),
    ],
)  # fmt: skip
def test_a_damaged_or_hostile_cs_is_one_clear_sentence(
    raw: bytes, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadLabels, match=sentence):
        read_cs(raw, what="bad.cs")
    assert pickle is not None
    assert "unpickled" not in capsys.readouterr().out


def test_a_passthrough_of_another_job_is_refused() -> None:
    other = PASSTHROUGH.copy()
    other["uid"] = [1, 2]
    with pytest.raises(BadLabels, match="lacks 2 of 2 particles"):
        read_cs(npy(PARTICLES), what="x.cs", passthrough=npy(other))


# --- texts --------------------------------------------------------------------------------------------------

HEADER_11 = "X-Coordinate,Y-Coordinate,Diameter,Angle-Psi,Origin X (Ang),Origin Y (Ang),Defocus U,Defocus V,Defocus Angle,Phase Shift,CTF B Factor"


def read(raw: bytes | str, name: str, form: LabelFormat) -> LabelTable:
    return read_labels(raw.encode() if isinstance(raw, str) else raw, name=name, form=form)


def test_both_generations_of_cryoppp_csv_are_read() -> None:
    first = read("X-Coordinate,Y-Coordinate,Diameter\n10,20,142\n", "a.b.csv", LabelFormat.CRYOPPP)
    assert (first.micrograph, first.x[0], first.y[0], first.diameter_px) == (["a.b"], 10, 20, 142)
    released = read(f"\ufeff{HEADER_11}\r\n10,20,142,-1.5,,,20000,,,0,\r\n", "a.csv", LabelFormat.CRYOPPP)
    assert released.origin is CoordinateOrigin.BOTTOM
    assert released.columns["_rlnAnglePsi"] == ["-1.5"]
    assert released.columns["_rlnOriginXAngst"] == [""]


def test_an_entrys_csv_names_its_micrographs() -> None:
    raw = (
        "Particles Filename,Micrographs Filename,X-Coordinate,Y-Coordinate,Angle-Psi,Origin X (Ang),Origin Y (Ang),Defocus U,"
        'Defocus V,Defocus Angle,Phase Shift,CTF B Factor,Optics Group,Class Number\na_particles.mrc,"a, b.mrc",1,2,3,4,5,6,7,8,9,10,1,2\n'
    )
    table = read(raw, "empiar-1_particles_selected.csv", LabelFormat.CRYOPPP_ENTRY)
    assert table.micrograph == ["a, b.mrc"]
    assert table.columns["_rlnClassNumber"] == ["2"]


def test_a_csv_with_a_header_alone_means_looked_at_and_empty() -> None:
    table = read(f"{HEADER_11}\n", "a_false_positives.csv", LabelFormat.CRYOPPP)
    assert len(table) == 0
    assert table.without_particles == ("a",)


def test_eman_boxes_are_corners_of_the_smallest_row() -> None:
    table = read("10\t20\t100\t100\n-5 0 100 100 -3\n", "m.box", LabelFormat.EMAN)
    assert table.x.tolist() == [60, 45]
    assert table.y.tolist() == [70, 50]
    assert table.box_px == 100
    assert table.origin is CoordinateOrigin.TOP


def test_cryolo_boxes_of_both_generations_are_read() -> None:
    new = read(CBOX, "m.cbox", LabelFormat.CRYOLO)
    old = read("10.5\t20\t100\t100\t0.87\t90\t91\n", "m.cbox", LabelFormat.CRYOLO)
    for table in (new, old):
        assert (table.x[0], table.y[0], table.box_px) == (60.5, 70, 100)
        assert table.score is not None
        assert table.score[0] == 0.87


def test_cryolo_boxes_of_a_volume_are_refused() -> None:
    raw = CBOX.replace(b"20.0 <NA>", b"20.0 5").replace(
        b"\n\ndata_cryolo_include", b"\n10 20 6 100 100 1 9 9 0.8 1 0\n\ndata_cryolo_include"
    )
    with pytest.raises(BadLabels, match="volume"):
        read(raw, "m.cbox", LabelFormat.CRYOLO)


def test_topaz_is_read_by_its_header_with_or_without_scores() -> None:
    table = read("image_name\tx_coord\ty_coord\tscore\na.b\t10\t20\t-0.5\n", "t.txt", LabelFormat.TOPAZ)
    assert (table.micrograph, table.x[0], table.y[0]) == (["a.b"], 10, 20)
    assert table.score is not None
    assert table.score[0] == -0.5
    bare = read("score\ty_coord\tx_coord\timage_name\n1\t20\t10\tna me\n", "t.txt", LabelFormat.TOPAZ)
    assert (bare.micrograph, bare.x[0], bare.y[0]) == (["na me"], 10, 20)
    assert read("a\t1\t2\n", "t.txt", LabelFormat.TOPAZ).micrograph == ["a"]


CASES: Sequence[tuple[LabelFormat, bytes, str]] = [
    (LabelFormat.CRYOPPP, b"", "has no columns"),
    (LabelFormat.CRYOPPP, b"X-Coordinate,Y-Coordinate,Diameter\n1,2,3\n4,5", "is cut: its last line, 3, has 2 of 3 values"),
    (LabelFormat.CRYOPPP, b"X-Coordinate,Y-Coordinate,Diameter\n1,2\n4,5,6\n", "line 2 has 2 values"),
    (LabelFormat.CRYOPPP, b"X-Coordinate,Y-Coordinate\nx,2\n", "row 1 has 'x' for X-Coordinate"),
    (LabelFormat.CRYOPPP, "X-Coordinate,Y-Coordinate\n1,2\n".encode("utf-16"), "UTF-16"),
    (LabelFormat.CRYOPPP, b'X-Coordinate,Y-Coordinate\n"' + b"1" * 200_000, "no sound CSV"),
    (LabelFormat.EMAN, b"Micrograph name,X,Y,class\n", "line 1 is no row of numbers"),
    (LabelFormat.EMAN, b"1\t2\t100\n", "fewer than the four numbers"),
    (LabelFormat.CRYOLO, b"1\t2\t100\t100\n", "fewer than the five numbers"),
    (LabelFormat.CRYOLO, CBOX.replace(b"_Width", b"_Breadth"), "has no table with"),
    (LabelFormat.TOPAZ, b"a\t1\n", "no three columns"),
    (LabelFormat.TOPAZ, b"image_name\tx_coord\ty_coord\na\t1\t2\nb\t1\n", "line 3 has 2 values"),
    (LabelFormat.TOPAZ, b"image_name\tx_coord\ty_coord\na\t1\tu\n", "text where a number belongs"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "raw", "sentence"), CASES)
def test_a_damaged_text_is_one_clear_sentence(form: LabelFormat, raw: bytes, sentence: str) -> None:
    with pytest.raises(BadLabels) as caught:
        read(raw, "bad.file", form)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_beyond_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("empiar_imaging.labels.formats.MOST_BYTES", 10)
    with pytest.raises(BadLabels, match="more than coordinates are read from"):
        read(RELION_30, "x.star", LabelFormat.STAR)
