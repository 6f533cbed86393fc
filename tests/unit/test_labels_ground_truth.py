"""From label tables of any frame to CryoPPP's ground truth on the micrographs of a view."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from empiar_imaging.labels import (
    CoordinateOrigin,
    LabelFormat,
    LabelTable,
    Writing,
    read_labels,
    write_labels,
)
from empiar_imaging.labels.cryoppp_csv import COLUMNS, ENTRY_COLUMNS
from empiar_imaging.labels.ground_truth import build_ground_truth
from empiar_imaging.labels.matching import LabelledMicrograph, match
from empiar_imaging.labels.names import (
    base_name,
    base_stem,
    micrograph_of_file,
    micrograph_stem,
)
from empiar_imaging.labels.recognise import LabelKind, counts_from_bottom, passthrough_of, recognise
from empiar_schema.faults import BadLabels
from empiar_schema.stems import cryoppp_name, without_uid

HEIGHT, WIDTH = 101, 57
UID = "000123456789012345678"


def micrograph(stem: str, **changes: object) -> LabelledMicrograph:
    base = LabelledMicrograph(stem, f"{stem}.mrc", HEIGHT, WIDTH, 1.5, f"data/{stem}.mrc")
    return replace(base, **changes)  # type: ignore[arg-type] # the names are fields


def table(names: list[str], x: list[float], y: list[float], **changes: object) -> LabelTable:
    base = LabelTable(names, np.array(x, "float64"), np.array(y, "float64"), CoordinateOrigin.TOP)
    return replace(base, **changes)  # type: ignore[arg-type] # the names are fields


def rows(raw: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(raw.decode())))


def test_a_loader_like_those_of_the_consumers_draws_every_pick_on_its_particle() -> None:
    """CryoSegNet and CryoTransformer read columns 0 to 2 by position and draw on the vertically flipped image."""
    image = np.zeros((HEIGHT, WIDTH))
    rng = np.random.default_rng(3)
    places = [(int(r), int(c)) for r, c in zip(rng.integers(3, 97, 40), rng.integers(3, 53, 40), strict=True)]
    for row, column in places:
        image[row, column] = 1
    labels = table(["M/a.b.mrc"] * 40, [c for _, c in places], [r for r, _ in places])
    made = build_ground_truth(10017, [micrograph("a.b")], selected=[labels], diameter_px=20)
    read = rows(made.files["particle_coordinates/a.b.csv"])
    assert tuple(read[0]) == COLUMNS
    flipped = image[::-1]
    for line in read[1:]:
        x, y, diameter = int(line[0]), int(line[1]), int(line[2])
        assert diameter == 20
        assert flipped[y - 1, x] == 1  # row H − Y as stored is row Y − 1 after the flip
        assert image[HEIGHT - y, x] == 1


def test_the_entrys_files_have_the_columns_of_the_layout_in_order_and_say_their_frame() -> None:
    labels = table(
        ["x/a.mrc", "x/b c.mrc", "x/a.mrc"],
        [1, 2, 3],
        [10, 20, 30],
        columns={
            "_rlnAnglePsi": ["-1.5", "2", "3"],
            "_rlnOpticsGroup": ["1", "1", "1"],
            "_rlnUnknown": ["a", "b", "c"],
        },
        optics={"_rlnOpticsGroup": ["1"], "_rlnOpticsGroupName": ["one"]},
    )
    made = build_ground_truth(10017, [micrograph("a"), micrograph("b c"), micrograph("d")], selected=[labels])
    assert list(made.files) == [
        "empiar-10017_particles_selected.star",
        "empiar-10017_particles_selected.csv",
        "particle_coordinates/a.csv",
        "particle_coordinates/b c.csv",
    ]
    entry = rows(made.files["empiar-10017_particles_selected.csv"])
    assert tuple(entry[0]) == ENTRY_COLUMNS
    assert entry[2] == ["b c_particles.mrc", "b c.mrc", "2", "81", "2", "", "", "", "", "", "", "", "1", ""]
    star = read_labels(
        made.files["empiar-10017_particles_selected.star"], name="x.star", form=LabelFormat.STAR
    )
    assert star.origin is CoordinateOrigin.BOTTOM
    assert star.y.tolist() == [91, 81, 71]
    assert star.micrograph == ["micrographs/a.mrc", "micrographs/b c.mrc", "micrographs/a.mrc"]
    assert star.image == [
        "000001@particles_stack/a_particles.mrc",
        "000001@particles_stack/b c_particles.mrc",
        "000002@particles_stack/a_particles.mrc",
    ]
    assert star.optics["_rlnOpticsGroupName"] == ["one"]
    assert made.unmatched_micrographs == ("d",)
    assert made.diameter.px is None
    assert "the labels state no diameter, so the column is empty" in made.notes
    assert rows(made.files["particle_coordinates/a.csv"])[1] == [
        "1",
        "91",
        "",
        "-1.5",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
    ]


def test_a_star_for_relion_counts_rows_as_stored() -> None:
    made = build_ground_truth(
        1,
        [micrograph("a")],
        selected=[table(["a"], [1.25], [10.5])],
        stacks=False,
        star_origin=CoordinateOrigin.TOP,
    )
    star = read_labels(made.files["empiar-1_particles_selected.star"], name="x.star", form=LabelFormat.STAR)
    assert (star.origin, star.y[0], star.image) == (CoordinateOrigin.TOP, 10.5, None)


def test_the_same_labels_make_the_same_bytes() -> None:
    labels = table(["a", "b"], [1, 2], [3, 4])
    views = [micrograph("a"), micrograph("b")]
    first, second = (build_ground_truth(1, views, selected=[labels]).files for _ in range(2))
    assert first == second


def test_excluded_picks_go_to_false_positives_and_micrographs_without_particles_get_an_empty_csv() -> None:
    made = build_ground_truth(
        1,
        [micrograph("a"), micrograph("b"), micrograph("c")],
        selected=[table(["a"], [1], [2], without_particles=("b",))],
        excluded=[table(["a"], [5], [6])],
    )
    assert rows(made.files["false_positives/a_false_positives.csv"])[1][:2] == ["5", "95"]
    assert "empiar-1_particles_excluded.star" in made.files
    assert rows(made.files["particle_coordinates/b.csv"]) == [list(COLUMNS)]
    assert "particle_coordinates/c.csv" not in made.files
    assert made.unmatched_micrographs == ("c",)


def test_labels_without_a_micrograph_are_named_and_left_out() -> None:
    made = build_ground_truth(1, [micrograph("a")], selected=[table(["a.mrc", "z.mrc"], [1, 2], [3, 4])])
    assert made.unmatched_labels == ("z.mrc",)
    assert made.selected is not None
    assert made.selected.micrograph == ["a.mrc"]
    assert any("z.mrc" in note for note in made.notes)


def test_positions_outside_are_left_out_and_many_of_them_set_the_table_aside() -> None:
    good = table(["a"] * 20, list(range(1, 21)), list(range(1, 21)))
    few = replace(good, x=np.array([*range(1, 20), 300.0]))
    made = build_ground_truth(1, [micrograph("a")], selected=[few])
    assert made.selected is not None
    assert len(made.selected) == 19
    assert "1 of 20 labels lie outside of their images and were left out" in made.notes
    many = build_ground_truth(1, [micrograph("a")], selected=[replace(good, x=good.x * 10)])
    assert many.selected is None
    assert not many.files
    assert any("images of another size" in note for note in many.notes)


def test_a_position_that_occurs_again_stands_once() -> None:
    labels = table(["a", "a", "a"], [1, 1.1, 2], [3, 3, 4])
    made = build_ground_truth(1, [micrograph("a")], selected=[labels, table(["x/a.mrc"], [2], [4])])
    assert made.selected is not None
    assert made.selected.x.tolist() == [1, 2]
    assert "2 labels at positions that occur before were left out" in made.notes


def test_picks_on_binned_images_are_scaled_if_sizes_say_so() -> None:
    labels = table(["a.mrc"], [10], [5], shapes={"a.mrc": (HEIGHT * 2, WIDTH * 2)}, diameter_px=40)
    made = build_ground_truth(1, [micrograph("a")], selected=[labels])
    assert made.selected is not None
    assert (made.selected.x[0], made.selected.y[0]) == (5, HEIGHT - 2.5)
    assert made.diameter.px == 20
    transposed = replace(labels, shapes={"a.mrc": (WIDTH, HEIGHT)})
    assert build_ground_truth(1, [micrograph("a")], selected=[transposed]).selected is None


def test_pixel_sizes_scale_only_where_the_coordinates_agree() -> None:
    """As with EMPIAR-10345, whose stated pixel size is half that of its micrographs."""
    labels = table(["a"] * 4, [1, 2, 50, 40], [1, 2, 90, 40], pixel_size_angstrom=0.75)
    trap = build_ground_truth(1, [micrograph("a")], selected=[labels])
    assert trap.selected is not None
    assert trap.selected.x.tolist() == [1, 2, 50, 40]
    assert any("fit as they are" in note for note in trap.notes)
    super_resolution = replace(labels, x=labels.x * 2, y=labels.y * 2)
    true = build_ground_truth(1, [micrograph("a")], selected=[super_resolution])
    assert true.selected is not None
    assert true.selected.x.tolist() == [1, 2, 50, 40]
    assert any("multiplied by 0.5" in note for note in true.notes)


@pytest.mark.parametrize(
    ("given", "labels", "box", "expected"),
    [(30, 20, 64, (30, "user")), (None, 20, 64, (20, "labels")), (None, None, 64, (64, "box")), (None, None, None, (None, ""))],
)  # fmt: skip
def test_the_diameter_is_the_users_or_the_labels_or_the_boxs_and_never_invented(
    given: float | None, labels: float | None, box: float | None, expected: tuple[float | None, str]
) -> None:
    source = table(["a"], [1], [2], diameter_px=labels, box_px=box)
    made = build_ground_truth(1, [micrograph("a")], selected=[source], diameter_px=given)
    assert (made.diameter.px, made.diameter.source) == expected


# --- names --------------------------------------------------------------------------------------------------


def test_names_lose_folders_the_last_suffix_and_a_uid_only_where_it_is_one() -> None:
    assert base_stem("a/b.c.d.tif") == "b.c.d"
    assert micrograph_stem("x/Jan16_12.46.42") == "Jan16_12.46.42"
    assert without_uid(base_name(f"J1/{UID}_061.mrc")) == "061.mrc"
    assert without_uid("0123456789_061.mrc") == "0123456789_061.mrc"
    name = base_name(f"J1/{UID}_m_patch_aligned_doseweighted.mrc")
    assert cryoppp_name(name) == "m.mrc" == cryoppp_name(cryoppp_name(name))
    assert cryoppp_name("m_patch_aligned.mrc") == "m_patch_aligned.mrc"
    assert micrograph_of_file("a.b_autopick.star") == "a.b"


@pytest.mark.parametrize(
    ("label", "stems", "cryoppp", "expected"),
    [
        ("MotionCorr/job002/a.b.mrc", ["a.b"], False, "a.b"),
        ("a.b", ["a.b", "a"], False, "a.b"),
        (f"J3/motioncorrected/{UID}_m.mrc", ["m"], False, "m"),
        (f"J3/{UID}_m_patch_aligned_doseweighted.mrc", ["m"], True, "m"),
        ("m.mrc", ["m_patch_aligned_doseweighted"], True, "m_patch_aligned_doseweighted"),
        ("m.mrc", ["m_patch_aligned_doseweighted"], False, None),
        ("m_autopick", ["m"], False, "m"),
        ("m_autopick", ["m", "m_autopick"], False, "m_autopick"),
        ("n.mrc", ["m"], False, None),
    ],
)
def test_labels_find_micrographs_by_stem(
    label: str, stems: list[str], cryoppp: bool, expected: str | None
) -> None:
    found = match([label], [micrograph(stem) for stem in stems], cryoppp=cryoppp).found
    assert (found[label].stem if label in found else None) == expected


def test_folders_tell_micrographs_of_one_name_apart_or_the_label_is_ambiguous() -> None:
    parts = [micrograph(f"part{n}__061", path=f"data/part{n}/061.mrc") for n in (1, 2)]
    found = match(["Import/part2/061.mrc", "061.mrc", "part1__061.mrc"], parts)
    assert {name: m.stem for name, m in found.found.items()} == {
        "Import/part2/061.mrc": "part2__061",
        "part1__061.mrc": "part1__061",
    }
    assert found.ambiguous_labels == ("061.mrc",)


# --- which files --------------------------------------------------------------------------------------------

STAR = b"data_particles\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnMicrographName #3\n1 2 a\n"


def cs(*, name: str = "J2_particles_selected.cs") -> tuple[str, bytes]:
    one = LabelTable(["a"], np.ones(1), np.ones(1), CoordinateOrigin.BOTTOM)
    return name, write_labels(one, form=LabelFormat.CRYOSPARC, writing=Writing(shapes=(9, 9))).files[""]


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("data/run_data.star", STAR, (LabelFormat.STAR, LabelKind.SELECTED)),
        ("particles_rejected.star", STAR, (LabelFormat.STAR, LabelKind.EXCLUDED)),
        ("p.star", STAR.replace(b"MicrographName", b"TomoName"), (LabelFormat.STAR, LabelKind.TOMOGRAPHY)),
        ("run_model.star", b"data_model_classes\nloop_\n_rlnReferenceImage #1\n1@a.mrcs\n", None),
        ("micrographs_ctf.star", b"data_\nloop_\n_rlnMicrographName #1\na.mrc\n", None),
        (*cs(), (LabelFormat.CRYOSPARC, LabelKind.SELECTED)),
        (*cs(name="J2_particles_excluded.cs"), (LabelFormat.CRYOSPARC, LabelKind.EXCLUDED)),
        (*cs(name="J2_passthrough_particles_selected.cs"), (LabelFormat.CRYOSPARC, LabelKind.PASSTHROUGH)),
        ("a.csv", b"X-Coordinate,Y-Coordinate,Diameter\n1,2,3\n", (LabelFormat.CRYOPPP, LabelKind.SELECTED)),
        ("a_false_positives.csv", b"X-Coordinate,Y-Coordinate\n", (LabelFormat.CRYOPPP, LabelKind.EXCLUDED)),
        ("prices.csv", b"X,Y\n1,2\n", None),
        ("a.box", b"10\t20\t100\t100\n", (LabelFormat.EMAN, LabelKind.SELECTED)),
        ("a.box", b"Micrograph,X,Y\n", None),
        ("a.txt", b"10\t20\t100\t100\n", None),
        ("picks.txt", b"image_name\tx_coord\ty_coord\n", (LabelFormat.TOPAZ, LabelKind.SELECTED)),
        ("a.cbox", b"10 20 100 100 0.5\n", (LabelFormat.CRYOLO, LabelKind.SELECTED)),
        ("a.mrc", STAR, None),
        ("a.star", b"\x89\0\0", None),
        ("a.star", b"", None),
        ("mic_rebadged.star", STAR, (LabelFormat.STAR, LabelKind.SELECTED)),
    ],
)  # fmt: skip
def test_label_files_are_recognised_by_their_beginning(
    name: str, head: bytes, expected: tuple[LabelFormat, LabelKind] | None
) -> None:
    found = recognise(name, head)
    assert (None if found is None else (found.form, found.kind)) == expected


def test_the_passthrough_of_particles_is_found_by_folder_and_job() -> None:
    names = [
        "x/J2_passthrough_particles_selected.cs",
        "x/J2_passthrough_particles_excluded.cs",
        "x/J3_passthrough_particles.cs",
    ]
    assert passthrough_of("x/J2_particles_selected.cs", names) == names[0]
    assert passthrough_of("x/J3_020_particles.cs", names) == names[2]
    assert passthrough_of("y/J3_020_particles.cs", names) is None
    assert passthrough_of("x/particles_selected.cs", names[:2]) == names[0]
    assert (
        passthrough_of("x/particles_selected.cs", ["x/P88_J2_passthrough_particles_selected.cs"]) is not None
    )
    assert passthrough_of("x/P1_J2_particles_selected.cs", names) == names[0]
    assert counts_from_bottom("a/empiar-10017_particles_selected.star")
    assert not counts_from_bottom("a/particles_selected.star")


def test_boxes_need_a_size_and_two_micrographs_of_one_stem_two_names() -> None:
    with pytest.raises(BadLabels, match="boxes have a size"):
        write_labels(table(["a"], [1], [2]), form=LabelFormat.EMAN)
    with pytest.raises(BadLabels, match="have one stem"):
        write_labels(
            table(["x/a.mrc", "y/a.mrc"], [1, 2], [2, 3]), form=LabelFormat.EMAN, writing=Writing(box_px=4)
        )


def test_the_height_is_asked_for_where_the_frame_changes() -> None:
    with pytest.raises(BadLabels, match="the frame changes, so the image height is needed") as caught:
        write_labels(table(["a"], [1], [2]), form=LabelFormat.CRYOPPP)
    assert caught.value.hint == "give --height, or --micrographs FOLDER with the images"
