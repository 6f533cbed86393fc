"""The makers of particle stacks: split from deposited stacks, or cut out of micrographs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from empiar_mirror.makers.stack_references import DepositedStacks, reference_rows, resolved
from empiar_schema.states import Role
from entry_here import ID, opened, put_here
from image_files import read_mrc
from labelled_entry import (
    HEIGHT,
    PLACES,
    Files,
    entry,
    finish,
    image,
    label_set,
    labels,
    made,
    makers,
    movie,
    picks_on,
    queried,
    relion,
    stack,
)

SECTIONS = np.arange(9 * 6 * 6).reshape(9, 6, 6)
EXTRACTED = '[arrange]\nviews = ["cut"]\n[view.cut]\nstacks = "extracted"\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def put(root: Path, files: Files) -> None:
    put_here(root, files, inspected=True)


def particles(sections: np.ndarray = SECTIONS) -> tuple[Role, bytes]:
    return Role.PARTICLE_STACK, stack(sections)


def star_of(*images: str) -> tuple[Role, bytes]:
    """A table with an image for each of the first places of ``a.mrc``."""
    return labels(relion(picks_on("a.mrc", PLACES[: len(images)]), images))


def stacked(root: Path, view: str = "cryoppp", name: str = "a_particles.mrc") -> np.ndarray:
    return read_mrc(entry(root, view) / "particles_stack" / name)


def details(root: Path, maker: str) -> dict[str, object]:
    [(found,)] = queried(root, f"SELECT details FROM derived WHERE maker = '{maker}'")
    read = json.loads(str(found))
    assert isinstance(read, dict)
    return read


# --- names --------------------------------------------------------------------------------------------------

LISTED = ("data/Extract/job1/a.mrcs", "data/Extract/job2/a.mrcs", "data/b_particles.mrc", "data/50%2541.mrcs")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Extract/job1/a.mrcs", LISTED[0]),
        ("/home/x/proj/Extract/job2/a.mrc", LISTED[1]),
        ("job2/a.mrcs", LISTED[1]),
        ("Extract/job3/a.mrcs", None),
        ("a.mrcs", None),
        ("b_particles.mrcs", LISTED[2]),
        ("J4/b_particles.mrc", LISTED[2]),
        ("50%41.mrcs", LISTED[3]),
        ("c.mrcs", None),
        ("", None),
    ],
)
def test_a_stack_is_meant_by_the_longest_common_end_of_its_path(name: str, path: str | None) -> None:
    assert DepositedStacks(LISTED).named(name) == path
    assert DepositedStacks(LISTED[::-1]).named(name) == path


def test_references_come_back_row_by_row_whatever_is_in_a_name() -> None:
    stacks = DepositedStacks(["data/a\u2028b.mrcs", "data/c@d.mrcs"])
    rows = resolved(["3@x/a\u2028b.mrc", "", "no reference", "000012@c@d.mrcs"], stacks)
    assert rows == ["000003@data/a\u2028b.mrcs", "", "", "000012@data/c@d.mrcs"]
    written = "".join(f"{row}\n" for row in rows).encode()
    assert reference_rows(written) == ((3, "data/a\u2028b.mrcs"), (0, ""), (0, ""), (12, "data/c@d.mrcs"))
    assert resolved(["1@c@d.mrcs", "1@gone.mrcs"], stacks) == "gone.mrcs"


# --- split --------------------------------------------------------------------------------------------------


def test_deposited_images_stand_in_the_order_of_the_rows(root: Path) -> None:
    star = star_of("000004@Extract/job3/one.mrcs", "000001@Extract/job3/two.mrcs", "9@Extract/job3/one.mrcs")
    files = {
        "data/a.mrc": image(),
        "data/p.star": star,
        "data/Extract/job3/one.mrcs": particles(),
        "data/Extract/job3/two.mrcs": particles(SECTIONS + 1000),
        "data/Extract/other/two.mrcs": particles(SECTIONS + 2000),
    }
    put(root, files)
    assert finish(root).failed == ()
    assert np.array_equal(stacked(root), [SECTIONS[3], SECTIONS[0] + 1000, SECTIONS[8]])
    assert details(root, "split_stacks") == {"images": 3, "rows": 3}
    assert made(root, maker="split_stacks") == ["split_stacks/data/a_particles.mrc"]


def test_the_relion_view_has_stacks_with_its_suffix(root: Path) -> None:
    put(root, {"data/a.mrc": image(), "data/p.star": star_of("1@x/s.mrcs"), "data/s.mrcs": particles()})
    assert finish(root, '[arrange]\nviews = ["cryoppp", "relion"]\n').failed == ()
    assert np.array_equal(stacked(root, "relion", "a_particles.mrcs"), stacked(root))


@pytest.mark.parametrize(
    ("image_name", "stacks"),
    [("1@x/gone.mrcs", ["data/s.mrcs"]), ("1@x/s.mrcs", ["data/one/s.mrcs", "data/two/s.mrcs"])],
    ids=["missing", "ambiguous"],
)
def test_a_stack_that_nobody_can_tell_makes_none_and_a_note_on_the_labels(
    root: Path, image_name: str, stacks: list[str]
) -> None:
    put(
        root,
        {
            "data/a.mrc": image(),
            "data/p.star": star_of(image_name, "2@x/s.mrcs"),
            **{path: particles() for path in stacks},
        },
    )
    assert finish(root).failed == ()
    assert made(root, maker="split_stacks") == []
    notes = label_set(root)["notes"]
    assert isinstance(notes, list)
    assert any(
        image_name[2:] in note and "stacks of which the entry has none, or several" in note for note in notes
    )


def test_a_stack_that_is_listed_but_not_here_is_waited_for_and_no_other_taken_for_it(root: Path) -> None:
    files = {
        "data/a.mrc": image(),
        "data/p.star": star_of("1@one/s.mrcs"),
        "data/one/s.mrcs": particles(),
        "data/two/s.mrcs": particles(SECTIONS + 1000),
    }
    put_here(root, files, inspected=True, absent={"data/one/s.mrcs"})
    assert finish(root).failed == ()
    assert made(root, maker="split_stacks") == []
    put(root, files)
    assert finish(root).made == 1
    assert np.array_equal(np.atleast_3d(stacked(root))[..., 0], SECTIONS[0])


def test_numbers_beyond_the_end_and_rows_without_an_image_are_named_by_their_rows(root: Path) -> None:
    star = star_of("2@s.mrcs", "none", "10@s.mrcs", "0@s.mrcs", "9@s.mrcs")
    put(root, {"data/a.mrc": image(), "data/p.star": star, "data/s.mrcs": particles()})
    assert finish(root).failed == ()
    assert np.array_equal(stacked(root), SECTIONS[[1, 8]])
    found = details(root, "split_stacks")
    assert (found["images"], found["rows"]) == (2, 5)
    notes = found["notes"]
    assert isinstance(notes, list)
    assert notes[0] == "1 rows name no image"
    assert [note.partition(":")[0] for note in notes[1:]] == ["row 3", "row 4"]
    assert "has 9 images, number 10 is asked for" in notes[1]


# --- extracted ----------------------------------------------------------------------------------------------


def put_labelled(root: Path) -> None:
    put(root, {"data/a.mrc": image(), "data/p.star": labels(relion(picks_on("a.mrc")))})


def test_the_box_follows_the_setting_else_the_diameter(root: Path) -> None:
    put_labelled(root)
    own = f"[making]\nparticle_diameters = {{ {ID} = 9 }}\nnormalise = false\n"
    assert finish(root, own + EXTRACTED, view="cut").failed == ()
    assert stacked(root, "cut").shape == (len(PLACES), 14, 14)
    finish(root, own + "box = 10\n" + EXTRACTED, view="cut")
    boxes = stacked(root, "cut")
    assert boxes.shape == (len(PLACES), 10, 10)
    (x, y), micrograph = PLACES[0], read_mrc(root / "archive" / str(ID) / "data/a.mrc")
    assert np.array_equal(boxes[0], micrograph[y - 5 : y + 5, x - 5 : x + 5])


def test_without_a_box_and_a_diameter_one_sentence_says_what_to_set(root: Path) -> None:
    put_labelled(root)
    [failed] = finish(root, EXTRACTED, view="cut").failed
    assert failed.error == (
        "nobody says how large a particle is; set making.box, or the entry's diameter in making.particle_diameters"
    )
    assert (entry(root, "cut") / "ground_truth/particle_coordinates/a.csv").is_file()


@pytest.mark.parametrize(("edge", "images"), [("fill", 8), ("clamp", 8), ("skip", 5)])
def test_boxes_at_the_edge_are_filled_moved_or_left_out(root: Path, edge: str, images: int) -> None:
    put_labelled(root)
    toml = f'[making]\nbox = 48\nedge = "{edge}"\n'
    assert finish(root, toml + EXTRACTED, view="cut").failed == ()
    found = details(root, "extracted_stacks")
    side = 24
    inside = sum(side <= x <= 120 - side and side <= y <= HEIGHT - side for x, y in PLACES)
    assert (found["images"], found["rows"]) == (inside if edge == "skip" else images, len(PLACES))
    assert len(stacked(root, "cut")) == found["images"]
    assert ("notes" in found) == (edge == "skip")


def test_a_micrograph_without_particles_has_a_table_and_no_stack(root: Path) -> None:
    files = {
        "data/a.mrc": image(),
        "data/b.mrc": image((), seed=2),
        "data/p.star": labels(relion(picks_on("a.mrc"))),
        "data/b.box": labels(b""),
        "data/b.csv": labels(b"X-Coordinate,Y-Coordinate,Diameter\n"),
    }
    put(root, files)
    report = finish(root, "[making]\nbox = 10\n" + EXTRACTED, view="cut")
    assert report.failed == ()
    assert (entry(root, "cut") / "ground_truth/particle_coordinates/b.csv").is_file()
    assert made(root, maker="extracted_stacks") == ["extracted_stacks/data/a_particles.mrc"]
    assert finish(root, "[making]\nbox = 10\n" + EXTRACTED, view="cut").made == 0


def test_contrast_and_normalisation_are_part_of_the_recipe(root: Path) -> None:
    put_labelled(root)

    def boxes(more: str) -> tuple[int, np.ndarray]:
        report = finish(root, f"[making]\nbox = 20\n{more}{EXTRACTED}", view="cut")
        return report.made, stacked(root, "cut")

    assert boxes("normalise = false\n")[0] == 2
    count, plain = boxes("normalise = false\n")
    assert count == 0
    count, inverted = boxes("normalise = false\ninvert = true\n")
    assert count == 1
    assert np.array_equal(inverted, -plain)
    count, normalised = boxes("")
    assert count == 1
    rows, columns = np.mgrid[-10:10, -10:10]
    ground = normalised[:, rows**2 + columns**2 > 7.5**2]
    assert np.allclose(ground.mean(axis=1), 0, atol=1e-4)
    assert np.allclose(ground.std(axis=1), 1, atol=1e-4)
    assert not np.array_equal(normalised, plain)


def test_nothing_is_cut_out_of_movies_and_the_layout_says_so(root: Path) -> None:
    put(root, {"data/movies/a.mrcs": movie(), "data/p.star": labels(relion(picks_on("a.mrc")))})
    toml = "[making]\nbox = 20\n" + EXTRACTED
    assert finish(root, toml, view="cut").failed == ()
    assert made(root, maker="extracted_stacks") == []
    assert "no particles are cut out of 1 movies, whose frames are not aligned" in notes_of(root, toml, "cut")


def notes_of(root: Path, toml: str, view: str) -> tuple[str, ...]:
    """What the layout says it lacks."""
    with opened(root, toml, built_in=[makers]) as mirror:
        return asyncio.run(mirror.arrange([ID]))[ID][view].notes


def test_a_micrograph_that_comes_later_costs_the_stacks_of_the_others_nothing(root: Path) -> None:
    star = labels(relion([*picks_on("a.mrc"), *picks_on("b.mrc", PLACES[:3])]))
    toml = "[making]\nbox = 20\n" + EXTRACTED
    put(root, {"data/a.mrc": image(), "data/p.star": star})
    finish(root, toml, view="cut")
    before = queried(root, "SELECT product_id, sha256 FROM derived WHERE maker = 'extracted_stacks'")
    put(root, {"data/a.mrc": image(), "data/b.mrc": image(seed=4), "data/p.star": star})
    assert finish(root, toml, view="cut").made == 2
    after = queried(
        root, "SELECT product_id, sha256 FROM derived WHERE maker = 'extracted_stacks' AND NOT stale"
    )
    assert before[0] in after
    assert len(after) == 2


def test_a_stack_leaves_the_layout_with_the_labels_of_its_micrograph(root: Path) -> None:
    toml = "[making]\nbox = 20\n" + EXTRACTED
    mics = {"data/a.mrc": image(), "data/b.mrc": image(seed=4)}
    put(root, {**mics, "data/p.star": labels(relion([*picks_on("a.mrc"), *picks_on("b.mrc")]))})
    finish(root, toml, view="cut")
    assert len(list((entry(root, "cut") / "particles_stack").iterdir())) == 2
    put(root, {**mics, "data/p.star": labels(relion(picks_on("a.mrc", PLACES[:3])))})
    finish(root, toml, view="cut")
    assert [path.name for path in (entry(root, "cut") / "particles_stack").iterdir()] == ["a_particles.mrc"]
    assert len(stacked(root, "cut")) == 3


def test_a_stack_that_cannot_be_made_anew_for_other_picks_leaves_the_layout(root: Path) -> None:
    micrograph = {"data/a.mrc": image()}
    put(root, {**micrograph, "data/p.star": labels(relion(picks_on("a.mrc")))})
    finish(root, "[making]\nbox = 20\n" + EXTRACTED, view="cut")
    assert len(stacked(root, "cut")) == len(PLACES)
    put(root, {**micrograph, "data/p.star": labels(relion(picks_on("a.mrc", PLACES[:3])))})
    assert len(finish(root, EXTRACTED, view="cut").failed) == 1
    assert not (entry(root, "cut") / "particles_stack").exists(), (
        "its sections are no longer those of the rows"
    )
    finish(root, "[making]\nbox = 20\n" + EXTRACTED, view="cut")
    assert len(stacked(root, "cut")) == 3
