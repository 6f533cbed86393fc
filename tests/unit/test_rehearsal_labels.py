"""Labels of entries 10110 to 10112 by the word of other programs: on their particles, and mirrored on none."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterator

import gemmi
import numpy as np
import pytest
from numpy.typing import NDArray

from cryoppp_loader import Floats, brightness
from rehearsal_files import ARCHIVE, BOXES, BRIGHT, CRYOSPARC, RELION, bytes_of, paths, pixels

#: Picks (column, row) by path of the micrograph.
Picks = dict[str, list[tuple[float, float]]]


def star_rows(data: bytes, *tags: str) -> Iterator[tuple[str, ...]]:
    """Rows of a STAR file's table with these columns, by gemmi."""
    document = gemmi.cif.read_string(data.decode())
    [block] = [block for block in document if block.find_loop(f"_{tags[0]}")]
    for row in block.find([f"_{tag}" for tag in tags]):
        yield tuple(gemmi.cif.as_string(value) for value in row)


def relion_picks(table: str) -> Picks:
    picks: Picks = defaultdict(list)
    for name, x, y in star_rows(
        bytes_of(RELION, table), "rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"
    ):
        picks["data/micrographs/" + name.rpartition("/")[2]].append((float(x), float(y)))
    return picks


def structured(empiar_id: int, path: str) -> NDArray[np.void]:
    array = np.load(io.BytesIO(bytes_of(empiar_id, path)), allow_pickle=False)
    assert isinstance(array, np.ndarray)
    return array


def sparc_picks(kind: str) -> Picks:
    """The particles of the main table, with their places in the passthrough, as row = H − fraction × H."""
    passed = structured(CRYOSPARC, f"data/J45/J45_passthrough_particles_{kind}.cs")
    where = {row["uid"]: row for row in passed}
    picks: Picks = defaultdict(list)
    for particle in structured(CRYOSPARC, f"data/J45/particles_{kind}.cs"):
        row = where[particle["uid"]]
        height, width = row["location/micrograph_shape"]
        name = row["location/micrograph_path"].decode().rpartition("/")[2]
        y = height - float(row["location/center_y_frac"]) * height
        picks["data/motioncorrected/" + name].append((float(row["location/center_x_frac"]) * width, y))
    return picks


def box_picks(suffix: str) -> Picks:
    """Centres by the tables of one program in 10112."""
    picks: Picks = {}
    for path in paths(BOXES, under="data/picks/", suffix=suffix):
        _, _, program, part, name = path.split("/")
        text = bytes_of(BOXES, path)
        if program == "Topaz":
            for row in csv.DictReader(io.StringIO(text.decode()), delimiter="\t"):
                picks.setdefault(f"data/{part}/{row['image_name']}.mrc", []).append(
                    (float(row["x_coord"]), float(row["y_coord"]))
                )
            continue
        if program == "crYOLO":
            rows = list(star_rows(text, "CoordinateX", "CoordinateY", "Width", "Height"))
        else:
            rows = [tuple(line.split("\t")) for line in text.decode().splitlines()]
        centres = [(float(x) + float(w) / 2, float(y) + float(h) / 2) for x, y, w, h in rows]
        picks[f"data/{part}/{name.rpartition('.')[0]}.mrc"] = centres
    return picks


SETS: dict[str, tuple[int, Callable[[], Picks]]] = {
    "RELION": (RELION, lambda: relion_picks("data/labels/particles_selected.star")),
    "cryoSPARC": (CRYOSPARC, lambda: sparc_picks("selected")),
    "EMAN": (BOXES, lambda: box_picks(".box")),
    "crYOLO": (BOXES, lambda: box_picks(".cbox")),
    "Topaz": (BOXES, lambda: box_picks(".txt")),
}


@pytest.mark.parametrize("labels", SETS)
def test_labels_lie_on_particles_and_every_mistaken_reading_of_them_does_not(labels: str) -> None:
    empiar_id, read = SETS[labels]
    judged = 0
    for path, picks in read().items():
        if ARCHIVE.file(empiar_id, path.encode()) is None:
            continue
        image = pixels(empiar_id, path)
        height, width = image.shape
        right = np.array(picks)
        assert brightness(image, right).min() > BRIGHT, path
        x, y = right.T
        for wrong in ((x, height - y), (width - x, y), (width - x, height - y), (y, x)):
            assert brightness(image, np.column_stack(wrong)).max() < BRIGHT, path
        judged += len(picks)
    assert judged > 20


def test_three_programs_name_the_same_picks_and_twins_have_different_ones() -> None:
    eman, cryolo, topaz = (box_picks(suffix) for suffix in (".box", ".cbox", ".txt"))
    assert eman == cryolo == topaz
    assert set(eman) == set(paths(BOXES, suffix=".mrc"))
    assert eman["data/Micrographs_part1/061.mrc"] != eman["data/Micrographs_part2/061.mrc"]
    corners = b"".join(bytes_of(BOXES, path) for path in paths(BOXES, suffix=".box"))
    assert b"-" in corners, "some boxes reach beyond the image"


def test_rejected_picks_are_where_nothing_is() -> None:
    for empiar_id, picks in (
        (RELION, relion_picks("data/labels/particles_excluded.star")),
        (CRYOSPARC, sparc_picks("excluded")),
    ):
        assert len(picks) >= 4
        for path, places in picks.items():
            assert brightness(pixels(empiar_id, path), np.array(places)).max() < BRIGHT


def test_the_relion_entry_is_as_awkward_as_it_says() -> None:
    tags = ("rlnMicrographName", "rlnOpticsGroup", "rlnImageName")
    rows = list(star_rows(bytes_of(RELION, "data/labels/particles_selected.star"), *tags))
    names = {name.rpartition("/")[2] for name, _, _ in rows}
    deposited = {path.rpartition("/")[2] for path in paths(RELION, under="data/micrographs/")}
    assert {group for _, group, _ in rows} == {"1", "2"}
    assert names - deposited == {"grid9_9999_DW.mrc"}
    assert deposited - names == {"gain.mrc", "grid2_0004_DW.mrc", "grid2_0005_DW.mrc"}
    assert any(" " in name for name in names)
    assert any(name.count(".") > 1 for name in names)
    assert [name for name, _, _ in rows] != sorted(name for name, _, _ in rows), "rows stand mixed"


def cut_out(image: Floats, x: float, y: float, side: int) -> Floats:
    left, top = round(x) - side // 2, round(y) - side // 2
    return image[top : top + side, left : left + side]


def test_sections_of_deposited_stacks_are_boxes_of_the_micrographs_by_the_stars_references() -> None:
    tags = ("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", "rlnImageName")
    stacks = {path.rpartition("/")[2]: pixels(RELION, path) for path in paths(RELION, suffix=".mrcs")}
    used: dict[str, list[int]] = defaultdict(list)
    for name, x, y, reference in star_rows(bytes_of(RELION, "data/labels/particles_selected.star"), *tags):
        number, _, stack = reference.partition("@")
        stack = stack.rpartition("/")[2]
        used[stack].append(int(number))
        if "9999" not in name:
            image = pixels(RELION, "data/micrographs/" + name.rpartition("/")[2])
            assert np.array_equal(stacks[stack][int(number) - 1], cut_out(image, float(x), float(y), 48))
    assert {stack: sorted(numbers) for stack, numbers in used.items()} == {
        stack: list(range(1, len(data) + 1)) for stack, data in stacks.items()
    }
    assert any(numbers != sorted(numbers) for numbers in used.values()), "row and section differ somewhere"


def test_cryosparcs_stacks_are_boxes_of_the_micrographs_by_path_and_index() -> None:
    passed = {
        row["uid"]: row for row in structured(CRYOSPARC, "data/J45/J45_passthrough_particles_selected.cs")
    }
    particles = structured(CRYOSPARC, "data/J45/particles_selected.cs")
    assert set(particles["uid"]) < set(passed), "the passthrough has rows of its own"
    assert list(particles["uid"]) != list(passed)[-len(particles) :]
    picks = sparc_picks("selected")
    for path, places in picks.items():
        stem = path.rpartition("/")[2][:-4]
        stack = pixels(CRYOSPARC, f"data/J45/extract/{stem}_particles.mrc")
        image = pixels(CRYOSPARC, path)
        assert len(stack) == len(places)
        for section, (x, y) in zip(stack, places, strict=True):
            assert np.array_equal(section, cut_out(image, x, y, 40))


def test_tables_of_cryosparc_are_packed_arrays_that_numpy_writes_alike() -> None:
    for path in paths(CRYOSPARC, suffix=".cs"):
        again = io.BytesIO()
        np.save(again, structured(CRYOSPARC, path))
        assert again.getvalue() == bytes_of(CRYOSPARC, path), path
