"""Labels by hand as a document, and in ground truth: they decide their micrographs, and what is known of a pick stays with it."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from by_hand import picks, version
from empiar_imaging.labels.by_hand import (
    MOST_PICKS,
    HandVersion,
    read_version,
    read_versions,
    table_of,
    write_version,
    write_versions,
)
from empiar_imaging.labels.frames import to_origin
from empiar_imaging.labels.ground_truth import GroundTruth, build_ground_truth
from empiar_imaging.labels.matching import LabelledMicrograph
from empiar_imaging.labels.table import ANGLE_PSI, CoordinateOrigin, LabelTable
from empiar_schema.faults import BadLabels

A = LabelledMicrograph("a", "a.mrc", 160, 120, 1.5, "data/a.mrc")
B = LabelledMicrograph("b", "b.mrc", 160, 120, 1.5, "data/b.mrc")
#: Rows as stored.
STAR = LabelTable(
    ["a.mrc", "a.mrc", "b.mrc"],
    np.array([20.0, 60.25, 5.0]),
    np.array([15.0, 30.0, 6.0]),
    CoordinateOrigin.TOP,
    columns={ANGLE_PSI: ["11", "22", "33"]},
    diameter_px=9,
)


def truth(*versions: HandVersion, micrographs: tuple[LabelledMicrograph, ...] = (A, B)) -> GroundTruth:
    return build_ground_truth(10017, micrographs, selected=[STAR], by_hand=versions)


def rows(made: GroundTruth, name: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(made.files[name].decode(), newline="")))[1:]


# --- the document -------------------------------------------------------------------------------------------


def test_a_version_is_read_as_it_was_written() -> None:
    one = version("data/a b%FF.mrc", picks((1.25, 2), (3, 160, "rejected")), diameter=9.5)
    raw = write_version(one)
    assert read_version(raw, what="v0001.json") == one
    assert write_version(one) == raw
    assert json.loads(raw)["convention"].endswith("height - y")
    empty = version("data/a.mrc", ())
    assert read_version(write_version(empty), what="x") == empty
    assert read_versions(write_versions([one, empty])) == (one, empty)
    assert read_versions(write_versions([])) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"author": ""},
        {"author": "a\nb"},
        {"author": "x" * 101},
        {"note": "\x1b[31m"},
        {"picks": [{"x": -1, "y": 0}]},
        {"picks": [{"x": 121, "y": 0}]},
        {"picks": [{"x": 0, "y": 160.5}]},
        {"picks": [{"x": "1", "y": 2}]},
        {"picks": [{"x": 1, "y": 2, "state": "maybe"}]},
        {"picks": [{"x": 1, "y": 2, "more": 3}]},
        {"picks": [{"x": 1, "y": 2}] * (MOST_PICKS + 1)},
        {"origin": "bottom"},
        {"version": 0},
        {"micrograph_sha256": "x"},
        {"unknown": 1},
    ],
)
def test_what_is_no_version_is_refused_in_a_sentence(change: dict[str, object]) -> None:
    document = json.loads(write_version(version("data/a.mrc", picks((1, 2))))) | change
    with pytest.raises(BadLabels, match=r"v0001\.json is no version of labels by hand: ") as caught:
        read_version(json.dumps(document).encode(), what="v0001.json")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"\xff\xfe", b'{"picks": [{"x": NaN}]}'])
def test_other_bytes_are_no_version(raw: bytes) -> None:
    with pytest.raises(BadLabels):
        read_version(raw, what="v0001.json")


def test_a_version_that_is_cut_anywhere_is_refused() -> None:
    raw = write_version(version("data/a.mrc", picks((1, 2), (3, 4))))
    for length in range(0, len(raw) - 2, 7):
        with pytest.raises(BadLabels):
            read_version(raw[:length], what="v0001.json")


def test_y_counts_from_the_top_in_a_version_and_from_the_bottom_in_cryoppp_exactly() -> None:
    table = table_of(version("data/a.mrc", picks((0, 0), (120, 160), (7.25, 31.5))), "kept")
    bottom = to_origin(table, None, CoordinateOrigin.BOTTOM)
    assert bottom.y.tolist() == [160, 0, 128.5]
    assert to_origin(bottom, None, CoordinateOrigin.TOP).y.tolist() == [0, 160, 31.5]


# --- ground truth -------------------------------------------------------------------------------------------


def test_a_micrograph_that_was_looked_at_follows_the_hand_and_all_others_their_labels() -> None:
    made = truth(version("data/a.mrc", picks((20, 15, "rejected"), (60, 30), (100, 50))))
    # Y = 160 − row.
    assert [row[:2] for row in rows(made, "particle_coordinates/a.csv")] == [["60", "130"], ["100", "110"]]
    assert [row[:2] for row in rows(made, "particle_coordinates/b.csv")] == [["5", "154"]]
    assert [row[:2] for row in rows(made, "false_positives/a_false_positives.csv")] == [["20", "145"]]
    assert made.by_hand == 1
    assert made.unmatched_micrographs == ()


def test_what_is_known_of_a_pick_stays_with_it_kept_or_rejected() -> None:
    made = truth(version("data/a.mrc", picks((20, 15, "rejected"), (60, 30), (100, 50))))
    assert [row[3] for row in rows(made, "particle_coordinates/a.csv")] == ["22", ""]
    assert [row[3] for row in rows(made, "false_positives/a_false_positives.csv")] == ["11"]
    assert made.selected is not None
    # The exact position, where the page showed whole pixels.
    assert 60.25 in made.selected.x.tolist()


def test_a_rejected_pick_that_was_excluded_before_can_be_kept_again() -> None:
    out = LabelTable(["a.mrc"], np.array([33.0]), np.array([44.0]), CoordinateOrigin.TOP)
    by_hand = [version("data/a.mrc", picks((33, 44)))]
    made = build_ground_truth(10017, (A,), selected=[STAR], excluded=[out], by_hand=by_hand)
    assert [row[:2] for row in rows(made, "particle_coordinates/a.csv")] == [["33", "116"]]
    assert "false_positives/a_false_positives.csv" not in made.files


def test_nothing_kept_means_looked_at_and_nothing_there() -> None:
    made = build_ground_truth(10017, (A, B), selected=[], by_hand=[version("data/a.mrc", ())])
    assert rows(made, "particle_coordinates/a.csv") == []
    assert "particle_coordinates/b.csv" not in made.files
    assert made.unmatched_micrographs == ("b",)


def test_the_diameter_of_the_hand_is_that_of_its_micrograph() -> None:
    made = truth(version("data/a.mrc", picks((20, 15)), diameter=12))
    assert rows(made, "particle_coordinates/a.csv")[0][2] == "12"
    assert rows(made, "particle_coordinates/b.csv")[0][2] == "9"
    alone = build_ground_truth(
        1, (A,), selected=[], by_hand=[version("data/a.mrc", picks((20, 15)), diameter=12)]
    )
    assert alone.diameter.px == 12
    said = build_ground_truth(
        1, (A,), selected=[], by_hand=[version("data/a.mrc", picks((20, 15)), diameter=12)], diameter_px=20
    )
    assert rows(said, "particle_coordinates/a.csv")[0][2] == "20"


def test_a_picture_of_another_size_is_scaled_and_one_of_another_shape_left_out() -> None:
    half = version("data/a.mrc", picks((10, 20)), shape=(80, 60))
    assert [row[:2] for row in rows(truth(half), "particle_coordinates/a.csv")] == [["20", "120"]]
    other = truth(version("data/a.mrc", picks((10, 20)), shape=(60, 80)))
    assert [row[:2] for row in rows(other, "particle_coordinates/a.csv")] == [["20", "145"], ["60", "130"]]
    assert any("another shape" in note for note in other.notes)


def test_versions_without_a_micrograph_are_named() -> None:
    made = truth(version("data/gone.mrc", picks((1, 2))))
    assert any("gone.mrc" in note for note in made.notes)
    twin = LabelledMicrograph("a", "a.tif", 160, 120, 1.5, "data/a.tif")
    made = truth(version("data/a.mrc", picks((1, 2))), micrographs=(A, twin))
    assert any("same stem" in note for note in made.notes)


def test_a_position_stands_once() -> None:
    made = truth(version("data/a.mrc", picks((7, 8), (7.2, 8.1), (20, 15), (20, 15))))
    assert [row[:2] for row in rows(made, "particle_coordinates/a.csv")] == [["20", "145"], ["7", "152"]]


def test_micrographs_in_folders_are_found_by_their_whole_path() -> None:
    one = LabelledMicrograph("p1__61", "p1__61.mrc", 160, 120, None, "p1/61.mrc")
    two = LabelledMicrograph("p2__61", "p2__61.mrc", 160, 120, None, "p2/61.mrc")
    made = truth(version("p2/61.mrc", picks((7, 8))), micrographs=(one, two))
    assert [name for name in made.files if name.startswith("particle_coordinates")] == [
        "particle_coordinates/p2__61.csv"
    ]
