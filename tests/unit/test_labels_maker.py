"""The maker `labels`: from an entry's own coordinate files, of any program, to ground truth in its layouts."""

from __future__ import annotations

import asyncio
import json
import pickle
import sqlite3
from pathlib import Path

import pytest

from empiar_mirror.makers.registry import BUILT_IN
from empiar_mirror.rehearsal import tables
from empiar_schema.catalogue import Catalogue
from empiar_schema.states import Role
from empiar_schema.transfer_store import record_damaged
from entry_here import ID, NOW, everything_below, opened, put_here
from labelled_entry import (
    HEIGHT,
    PLACES,
    WIDTH,
    Files,
    coordinates,
    cryosparc,
    entry,
    finish,
    image,
    label_set,
    labels,
    made,
    makers,
    movie,
    picks_on,
    problems,
    queried,
    read_csv,
    relion,
)

FLOATS = [(float(x), float(y)) for x, y in PLACES]
MICROGRAPHS: Files = {
    "data/mics/a.mrc": image(),
    "data/mics/b c.mrc": image(seed=2),
    "data/mics/d.frames.mrc": image(seed=3),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def put(root: Path, files: Files) -> None:
    put_here(root, files, inspected=True)


@pytest.mark.parametrize(
    "files",
    [
        {"data/particles.star": labels(relion(picks_on("MotionCorr/job002/a.mrc")))},
        {"data/boxes/a.box": labels(tables.box(PLACES, side=10))},
        {"data/boxes/a.cbox": labels(tables.cbox(PLACES, side=10, confidence=0.5))},
        {
            "data/particle_coordinates/topaz.txt": labels(
                tables.topaz([("a", x, y) for x, y in PLACES], score=1.5)
            )
        },
        {"data/labels/a.csv": labels(tables.cryoppp_csv(PLACES, height=HEIGHT, diameter=9))},
        cryosparc(),
        {"data/particles.star": (Role.METADATA, relion(picks_on("a.mrc")))},
    ],
    ids=["STAR", "box", "cbox", "Topaz", "CryoPPP", "cryoSPARC", "a STAR file that passes for metadata"],
)
def test_picks_of_every_program_stand_in_the_layout_at_their_places(root: Path, files: Files) -> None:
    put(root, {**MICROGRAPHS, **files})
    report = finish(root)
    assert report.failed == ()
    assert coordinates(root) == {"a": FLOATS}, "micrographs without labels have no table"
    found = label_set(root)
    assert found["selected"] == len(PLACES)
    assert found["annotated_micrographs"] == 1
    assert found["unmatched_micrographs"] == 2
    assert found["orientation"] == "agrees"
    assert set(problems(found).values()) == {None}
    truth = entry(root) / "ground_truth"
    assert (truth / f"empiar-{ID}_particles_selected.star").is_file()
    assert len(read_csv(truth / f"empiar-{ID}_particles_selected.csv")) == 1 + len(PLACES)


def test_labels_of_one_name_in_two_folders_go_to_the_micrograph_of_their_folder(root: Path) -> None:
    other = [(y, x + 30) for x, y in PLACES if y < WIDTH]
    put(
        root,
        {
            "data/part1/061.mrc": image(),
            "data/part2/061.mrc": image(other, seed=2),
            "data/part1/061.box": labels(tables.box(PLACES, side=10)),
            "data/part2/061.box": labels(tables.box(other, side=10)),
        },
    )
    finish(root)
    assert coordinates(root) == {
        "part1__061": FLOATS,
        "part2__061": [(float(x), float(y)) for x, y in other],
    }
    assert (entry(root) / "micrographs" / "part2__061.mrc").is_file()
    assert label_set(root)["orientation"] == "agrees"


def test_two_images_that_differ_in_their_suffix_get_no_labels_meant_for_one_of_them(root: Path) -> None:
    files = {
        "data/part1/061.mrc": image(),
        "data/part2/061.tif": (Role.MICROGRAPH, image(seed=2)[1]),
        "data/part1/061.box": labels(tables.box(PLACES, side=10)),
        "data/part1/062.mrc": image(seed=3),
        "data/part1/062.box": labels(tables.box(PLACES[:2], side=10)),
    }
    put(root, files)
    assert finish(root).failed == ()
    assert coordinates(root) == {"062": FLOATS[:2]}, "one table cannot be that of two images"
    found = label_set(root)
    assert found["ambiguous_labels"] == 1


GOOD = {"data/good.star": labels(relion(picks_on("a.mrc")))}
BAD = {
    "cut": ("data/bad.star", relion(picks_on("b c.mrc"))[:-30], "cut"),
    "ragged": ("data/bad.star", relion(picks_on("b c.mrc")) + b"b.mrc 1\n", "bad.star"),
    "words": ("data/b c.csv", b"X-Coordinate,Y-Coordinate,Diameter\n1,2,3\nleft,right,3\n", "b c.csv"),
    "pickled": (
        "data/bad.cs",
        tables.npy_head("'|O'", 1) + pickle.dumps([("location/center_x_frac", "uid", "blob/path")]),
        "",
    ),
    "nothing known": ("data/bad.star", b"data_\nloop_\n_rlnReferenceImage\nx.mrc\n", "no coordinates"),
    "tomogram": (
        "data/bad.star",
        b"data_\nloop_\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\nt 1 2 3\n",
        "tomograms",
    ),
}


@pytest.mark.parametrize("way", BAD)
def test_a_label_file_that_cannot_be_read_is_named_with_the_reason_and_the_others_are_used(
    root: Path, way: str
) -> None:
    path, data, said = BAD[way]
    put(root, {**MICROGRAPHS, **GOOD, path: labels(data)})
    report = finish(root)
    assert report.failed == ()
    assert coordinates(root) == {"a": FLOATS}
    found = problems(label_set(root))
    assert found["data/good.star"] is None
    assert said in str(found[path])
    assert "Traceback" not in str(found[path])
    assert found[path]


def test_a_label_file_that_the_disk_lost_fails_in_one_sentence_until_it_is_back(root: Path) -> None:
    files = {**MICROGRAPHS, **GOOD, "data/lost.star": labels(relion(picks_on("b c.mrc")))}
    put(root, files)
    lost = root / "archive" / str(ID) / "data/lost.star"
    kept = lost.read_bytes()
    lost.unlink()
    [failed] = finish(root).failed
    assert failed.error.startswith(f"cannot use {lost}: No such file or directory; `empiar-mirror verify`")
    lost.write_bytes(kept)
    with opened(root, "", built_in=[makers]) as mirror:
        assert asyncio.run(mirror.make([ID], retry=True)).failed == ()
    finish(root)
    assert coordinates(root) == {"a": FLOATS, "b c": FLOATS}


def test_names_without_a_counterpart_are_on_record_on_both_sides(root: Path) -> None:
    star = relion([*picks_on("a.mrc"), *picks_on("gone.mrc"), *picks_on("lost.mrc")])
    put(root, {**MICROGRAPHS, "data/p.star": labels(star)})
    finish(root)
    found = label_set(root)
    assert (found["unmatched_labels"], found["unmatched_micrographs"]) == (2, 2)
    names = json.loads(Path(str(found["report"])).read_text())["names"]
    assert names["unmatched_labels"] == ["data/gone.mrc", "data/lost.mrc"]
    assert names["unmatched_micrographs"] == ["b c", "d.frames"]
    assert any("gone.mrc" in str(note) for note in found["notes"])  # type: ignore[attr-defined] # a list


def test_labels_that_match_nothing_make_a_report_and_no_table(root: Path) -> None:
    put(root, {**MICROGRAPHS, "data/p.star": labels(relion(picks_on("gone.mrc")))})
    assert finish(root).failed == ()
    assert made(root) == ["labels/report.json"]
    assert (label_set(root)["selected"], label_set(root)["unmatched_micrographs"]) == (0, 3)
    assert coordinates(root) == {}


def test_picks_outside_of_the_image_and_without_a_number_are_left_out_and_counted(root: Path) -> None:
    many = [(x + dx, y) for x, y in PLACES for dx in (0, 3, 6)]
    star = relion([*picks_on("a.mrc", many), ("a.mrc", 500, 20), ("a.mrc", -3, 20)])
    put(root, {**MICROGRAPHS, "data/p.star": labels(star)})
    finish(root)
    assert len(coordinates(root)["a"]) == len(many)
    assert any("outside" in str(note) for note in label_set(root)["notes"])  # type: ignore[attr-defined] # a list


def test_a_table_with_a_position_that_is_no_number_is_refused_as_a_whole(root: Path) -> None:
    star = relion([*picks_on("a.mrc"), ("a.mrc", float("nan"), 20)])
    put(
        root, {**MICROGRAPHS, "data/p.star": labels(star), "data/q.star": labels(relion(picks_on("b c.mrc")))}
    )
    assert finish(root).failed == ()
    assert coordinates(root).get("b c") == FLOATS
    picks = coordinates(root).get("a", [])
    assert all(x == x and y == y for x, y in picks)
    said = [problems(label_set(root))["data/p.star"], *label_set(root)["notes"]]  # type: ignore[misc] # a list
    assert any(said)


def test_the_users_diameter_stands_in_every_row_and_its_source_on_record(root: Path) -> None:
    put(root, {**MICROGRAPHS, **GOOD})
    finish(root)
    table = entry(root) / "ground_truth/particle_coordinates/a.csv"
    assert {row[2] for row in read_csv(table)[1:]} == {""}
    assert label_set(root)["diameter_source"] is None
    report = finish(root, f"[making]\nparticle_diameters = {{ {ID} = 108 }}\n")
    assert report.made == 1
    assert {row[2] for row in read_csv(table)[1:]} == {"108"}
    assert (label_set(root)["diameter_px"], label_set(root)["diameter_source"]) == (108, "user")


def test_picks_that_are_upside_down_are_reported_and_never_turned(root: Path) -> None:
    flipped = [(x, HEIGHT - y) for x, y in PLACES]
    put(root, {**MICROGRAPHS, "data/p.star": labels(relion(picks_on("a.mrc", flipped)))})
    finish(root)
    found = label_set(root)
    assert found["orientation"] == "mirrored"
    assert any("upside down" in str(note) for note in found["notes"])  # type: ignore[attr-defined] # a list
    assert coordinates(root) == {"a": [(float(x), float(y)) for x, y in flipped]}


def test_rejected_picks_stand_apart_with_their_own_tables(root: Path) -> None:
    rejected = relion(picks_on("a.mrc", [(50, 60), (70, 80)]))
    put(root, {**MICROGRAPHS, **GOOD, "data/p_excluded.star": labels(rejected)})
    finish(root)
    truth = entry(root) / "ground_truth"
    rows = read_csv(truth / "false_positives/a_false_positives.csv")[1:]
    assert [(int(row[0]), HEIGHT - int(row[1])) for row in rows] == [(50, 60), (70, 80)]
    assert {path.name for path in truth.iterdir()} >= {
        f"empiar-{ID}_particles_excluded.star",
        f"empiar-{ID}_particles_excluded.csv",
    }
    assert (label_set(root)["selected"], label_set(root)["excluded"]) == (len(PLACES), 2)
    assert coordinates(root) == {"a": FLOATS}


def products(root: Path) -> dict[str, bytes]:
    return everything_below(root / "derived")


def test_nothing_is_made_again_while_nothing_changed(root: Path) -> None:
    put(root, {**MICROGRAPHS, **GOOD})
    assert finish(root).made == 1
    before = queried(root, "SELECT product_id, path, made_at, job_id FROM derived")
    assert finish(root).made == 0
    assert queried(root, "SELECT product_id, path, made_at, job_id FROM derived") == before


def test_a_micrograph_that_arrives_later_gets_its_labels(root: Path) -> None:
    both = {"data/p.star": labels(relion([*picks_on("a.mrc"), *picks_on("late.mrc", PLACES[:3])]))}
    put(root, {**MICROGRAPHS, **both})
    finish(root)
    assert label_set(root)["unmatched_labels"] == 1
    put(root, {**MICROGRAPHS, "data/mics/late.mrc": image(seed=7), **both})
    assert finish(root).made == 1
    assert coordinates(root) == {"a": FLOATS, "late": FLOATS[:3]}
    assert label_set(root)["unmatched_labels"] == 0


def test_a_label_file_that_arrives_later_or_changes_or_goes_is_followed(root: Path) -> None:
    put(root, {**MICROGRAPHS, **GOOD})
    finish(root)
    later = {"data/more.star": labels(relion(picks_on("b c.mrc", PLACES[:4])))}
    put(root, {**MICROGRAPHS, **GOOD, **later})
    assert finish(root).made == 1
    assert set(coordinates(root)) == {"a", "b c"}
    changed = {"data/more.star": labels(relion(picks_on("d.frames.mrc", PLACES[:5])))}
    put(root, {**MICROGRAPHS, **GOOD, **changed})
    assert finish(root).made == 1
    assert coordinates(root) == {"a": FLOATS, "d.frames": FLOATS[:5]}
    assert not [path for path in products(root) if "b c" in path], "what nobody says any more is gone"


def test_a_table_that_moves_to_another_folder_goes_to_the_micrograph_there(root: Path) -> None:
    mics: Files = {"data/part1/061.mrc": image(), "data/part2/061.mrc": image(seed=2)}
    box = labels(tables.box(PLACES, side=10))
    put(root, {**mics, "data/part1/061.box": box})
    finish(root)
    assert set(coordinates(root)) == {"part1__061"}
    put(root, {**mics, "data/part2/061.box": box})
    with Catalogue.open(root / "empiar.db") as catalogue:
        catalogue.write_now(lose_first)
    finish(root)
    assert set(coordinates(root)) == {"part2__061"}


def lose_first(conn: sqlite3.Connection) -> None:
    """The copy in the first folder is no longer here."""
    [(file_id,)] = conn.execute("SELECT file_id FROM copies WHERE path = 'data/part1/061.box'").fetchall()
    record_damaged(conn, file_id, error="it is gone", now=NOW)


def test_an_entry_of_movies_alone_has_its_labels_on_the_movies(root: Path) -> None:
    put(root, {"data/movies/a.mrcs": movie(), "data/p.star": labels(relion(picks_on("a.mrc")))})
    finish(root)
    assert coordinates(root) == {"a": FLOATS}


def test_of_an_entry_with_micrographs_and_movies_the_micrographs_are_labelled(root: Path) -> None:
    files = {
        "data/movies/a.mrcs": movie(),
        "data/mics/a.mrc": image(),
        "data/p.star": labels(relion(picks_on("Movies/a.mrc"))),
    }
    put(root, files)
    finish(root, '[arrange]\nviews = ["cryoppp", "trial"]\n')
    [(parent,)] = set(queried(root, "SELECT parent_file_id FROM derived WHERE kind = 'particle_coordinates'"))
    assert queried(root, f"SELECT path FROM files WHERE file_id = {parent}") == [("data/mics/a.mrc",)]
    assert coordinates(root, "trial") == {"a": FLOATS}
    assert coordinates(root) == {"a": FLOATS}


def test_a_capped_view_shows_the_labels_of_its_micrographs_alone(root: Path) -> None:
    names = [f"m{number:02}.mrc" for number in range(12)]
    files = {f"data/{name}": image(seed=n) for n, name in enumerate(names)}
    star = relion([pick for name in names for pick in picks_on(name, PLACES[:2])])
    put(root, {**files, "data/p.star": labels(star)})
    finish(root, '[arrange]\nviews = ["cryoppp", "trial"]\n')
    assert len(coordinates(root)) == 12
    assert sorted(coordinates(root, "trial")) == [name[:-4] for name in names[:10]]
    assert len(list((entry(root, "trial") / "micrographs").iterdir())) == 10


PATCHED = "000123456789012345678_a_patch_aligned_doseweighted.mrc"


def test_names_are_those_of_cryoppp_or_as_deposited_as_the_view_says(root: Path) -> None:
    put(root, {f"data/{PATCHED}": image(), "data/p.star": labels(relion(picks_on(f"J1/{PATCHED}")))})
    toml = '[arrange]\nviews = ["cryoppp", "deposited"]\n[view.deposited]\npreset = "cryoppp"\ncryoppp_names = false\n'
    finish(root, toml)
    assert coordinates(root) == {"a": FLOATS}
    assert coordinates(root, "deposited") == {PATCHED[:-4]: FLOATS}
    for view, name in (("cryoppp", "a.mrc"), ("deposited", PATCHED)):
        assert (entry(root, view) / "micrographs" / name).is_file()
        table = read_csv(entry(root, view) / "ground_truth" / f"empiar-{ID}_particles_selected.csv")
        assert {row[1] for row in table[1:]} == {name}


def test_relions_view_counts_from_the_top_in_its_star_and_as_cryoppp_in_the_tables(root: Path) -> None:
    put(root, {**MICROGRAPHS, **GOOD})
    finish(root, '[arrange]\nviews = ["cryoppp", "relion"]\n')
    assert coordinates(root, "relion") == {"a": FLOATS}
    ys = {}
    for view in ("cryoppp", "relion"):
        star = (entry(root, view) / "ground_truth" / f"empiar-{ID}_particles_selected.star").read_text()
        rows = [line.split() for line in star.splitlines() if "micrographs/a.mrc" in line]
        ys[view] = [tuple(float(cell) for cell in row[2:4]) for row in rows]
    assert ys["relion"] == FLOATS
    assert ys["cryoppp"] == [(x, HEIGHT - y) for x, y in FLOATS]


def test_names_that_become_too_long_for_a_file_cost_no_other_file(root: Path) -> None:
    long = "m" * 245
    files = {f"data/{long}.mrc": image(), **MICROGRAPHS, **GOOD}
    star = relion([*picks_on(f"{long}.mrc"), *picks_on("a.mrc", PLACES[:2])])
    put(root, {**files, "data/bad_picks.star": labels(star)})
    report = finish(root)
    assert report.failed == ()
    assert set(coordinates(root)) == {"a"}
    assert (label_set(root)["excluded"]) == len(PLACES) + 2
    assert any("255" in str(note) for note in label_set(root)["notes"])  # type: ignore[attr-defined] # a list


def test_an_entry_without_label_files_is_not_even_looked_through(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(conn: sqlite3.Connection, root: Path, empiar_id: int) -> None:
        raise AssertionError("an entry of a million micrographs was read into memory for nothing")

    put(root, MICROGRAPHS)
    monkeypatch.setattr("empiar_mirror.makers.runner.entry_files", look)
    with opened(root, "", built_in=BUILT_IN) as mirror:
        assert asyncio.run(mirror.make(None)).made == 0
    put(root, MICROGRAPHS | {"data/picks.STAR": (Role.PARTICLE_COORDINATES, relion([("a.mrc", 3, 4)]))})
    with opened(root, "", built_in=BUILT_IN) as mirror, pytest.raises(AssertionError, match="for nothing"):
        asyncio.run(mirror.make(None))
