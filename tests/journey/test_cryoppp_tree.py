"""The CryoPPP tree of a mirrored archive, by the loader that reads it as training code does, and by other people's programs.

One mirror of the labelled entries is made for all tests here; each looks at the finished folders.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import shutil
import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest

from cryoppp_loader import Floats, annotated, brightness, load, load_lite, table
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.settings import Settings
from mirrors import opened, settings_for
from rehearsal_files import BOXES, BRIGHT, CRYOSPARC, DAMAGED, MOVIES, RELION, paths, places

pytestmark = pytest.mark.slow

VIEWS = """
[arrange]
views = ["cryoppp", "lite", "averages"]
[view.averages]
micrographs = "frame_average"
"""
#: Entry-level CSV of CryoPPP.
COLUMNS = [
    "Particles Filename", "Micrographs Filename", "X-Coordinate", "Y-Coordinate", "Angle-Psi", "Origin X (Ang)",
    "Origin Y (Ang)", "Defocus U", "Defocus V", "Defocus Angle", "Phase Shift", "CTF B Factor", "Optics Group",
    "Class Number",
]  # fmt: skip
#: A micrograph's CSV: the first three of them, then what else there is.
FURTHER = COLUMNS[4:12]
LABELLED = {
    "grid1_0001_DW", "grid1_0002_DW", "grid1_0010_DW", "grid1 pos 4_DW",
    "grid2_0001_Mar03_10.22.41_DW", "grid2_0002_DW", "grid2_0003_DW",
}  # fmt: skip
UNLABELLED = {"grid2_0004_DW", "grid2_0005_DW"}
FOLDERS = {"micrographs", "gain", "ground_truth", "particles_stack"}


@dataclass(frozen=True)
class Synced:
    """A mirror after its first sync."""

    settings: Settings
    root: Path
    failed: tuple[object, ...]

    def entry(self, empiar_id: int, view: str = "cryoppp") -> Path:
        return self.root / "datasets" / view / str(empiar_id)


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Synced:
    folder = tmp_path_factory.mktemp("tree")

    async def sync() -> Synced:
        async with Rehearsal() as rehearsal:
            settings = settings_for(rehearsal, folder, more=VIEWS)
            with opened(settings) as mirror:
                report = await mirror.sync([RELION, CRYOSPARC, BOXES, MOVIES, DAMAGED])
                return Synced(settings, folder / "mirror", report.transfer.failed)

    return asyncio.run(sync())


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def drawn(empiar_id: int, path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in places(empiar_id, path)]


def picked(picks: Floats) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y, _ in picks]


def assert_on_particles(entry: Path, stem: str, empiar_id: int, path: str) -> Floats:
    """The loader's picks are the particles that the micrograph was drawn with, and the image is bright there alone."""
    labelled = load(entry, stem)
    assert sorted(picked(labelled.picks)) == sorted(drawn(empiar_id, path))
    assert brightness(labelled.image, labelled.picks).min() > BRIGHT, stem
    mirrored = labelled.picks.copy()
    mirrored[:, 1] = labelled.image.shape[0] - mirrored[:, 1]
    assert brightness(labelled.image, mirrored).max() < BRIGHT, stem
    return labelled.picks


def test_the_labelled_entry_has_every_folder_of_cryoppp_and_nothing_else_in_them(synced: Synced) -> None:
    assert synced.failed == ()
    entry = synced.entry(RELION)
    found = {path for path in files_below(entry) if path.partition("/")[0] in FOLDERS}
    named = [f"ground_truth/empiar-{RELION}_particles_{kind}" for kind in ("selected", "excluded")]
    assert found == {
        "gain/gain.mrc",
        *(f"micrographs/{stem}.mrc" for stem in LABELLED | UNLABELLED),
        *(f"{name}{suffix}" for name in named for suffix in (".star", ".csv")),
        *(f"ground_truth/particle_coordinates/{stem}.csv" for stem in LABELLED),
        *(f"ground_truth/false_positives/{stem}_false_positives.csv" for stem in LABELLED),
        *(f"particles_stack/{stem}_particles.mrc" for stem in LABELLED),
    }


def test_every_pick_of_relions_table_is_drawn_on_its_particle(synced: Synced) -> None:
    entry = synced.entry(RELION)
    assert set(annotated(entry)) == LABELLED, "a micrograph without labels has no table, which is no error"
    diameters = set()
    for stem in LABELLED:
        picks = assert_on_particles(entry, stem, RELION, f"data/micrographs/{stem}.mrc")
        diameters |= {float(d) for d in picks[:, 2] if not np.isnan(d)}
    assert len(diameters) <= 1, "one diameter for all of an entry"


def test_every_pick_of_cryosparcs_table_is_drawn_on_its_particle_under_the_names_of_cryoppp(
    synced: Synced,
) -> None:
    entry = synced.entry(CRYOSPARC)
    deposited = paths(CRYOSPARC, under="data/motioncorrected/")
    clean = {
        path.rpartition("/")[2][22:].replace("_patch_aligned_doseweighted", "").removesuffix(".mrc"): path
        for path in deposited
    }
    assert {path.name for path in (entry / "micrographs").iterdir()} == {f"{stem}.mrc" for stem in clean}
    stems = annotated(entry)
    assert len(stems) == len(deposited) - 1
    for stem in stems:
        assert_on_particles(entry, stem, CRYOSPARC, clean[stem])


def test_every_pick_of_box_files_is_drawn_once_on_its_particle_where_names_clash_too(synced: Synced) -> None:
    entry = synced.entry(BOXES)
    stems = {
        "Micrographs_part1__061": "data/Micrographs_part1/061.mrc",
        "Micrographs_part1__062": "data/Micrographs_part1/062.mrc",
        "Micrographs_part2__061": "data/Micrographs_part2/061.mrc",
        "Micrographs_part2__062": "data/Micrographs_part2/062.mrc",
        "063": "data/Micrographs_part1/063.mrc",
        "070": "data/Micrographs_part2/070.mrc",
    }
    assert set(annotated(entry)) == stems.keys()
    for stem, path in stems.items():
        assert_on_particles(entry, stem, BOXES, path)


def test_rejected_picks_lie_beside_the_particles(synced: Synced) -> None:
    entry = synced.entry(RELION)
    for stem in LABELLED:
        image = load(entry, stem).image
        rejected = table(entry / "ground_truth" / "false_positives" / f"{stem}_false_positives.csv")
        rejected[:, 1] = image.shape[0] - rejected[:, 1]
        assert len(rejected) == 2
        assert brightness(image, rejected).max() < BRIGHT


def test_tables_of_a_micrograph_have_cryoppps_columns_and_whole_pixels(synced: Synced) -> None:
    for path in (synced.entry(RELION) / "ground_truth" / "particle_coordinates").iterdir():
        with path.open(newline="") as stream:
            header, *rows = csv.reader(stream)
        assert header == ["X-Coordinate", "Y-Coordinate", "Diameter", *FURTHER]
        assert {len(row) for row in rows} == {11}
        assert all(row[0].isdigit() and row[1].isdigit() for row in rows)


@pytest.mark.parametrize(("empiar_id", "side", "pixel"), [(RELION, 48, 1.77), (CRYOSPARC, 40, 1.34)])
def test_sections_of_stacks_are_the_boxes_of_the_tables_rows_in_their_order(
    synced: Synced, empiar_id: int, side: int, pixel: float
) -> None:
    entry = synced.entry(empiar_id)
    for stem in annotated(entry):
        labelled = load(entry, stem)
        path = entry / "particles_stack" / f"{stem}_particles.mrc"
        assert mrcfile.validate(path, print_file=io.StringIO())
        with mrcfile.open(path) as stack:
            assert stack.data.shape == (len(labelled.picks), side, side)
            assert stack.voxel_size.x == pytest.approx(pixel, rel=1e-4)
            for section, (x, y) in zip(stack.data, picked(labelled.picks), strict=True):
                top, left = round(y) - side // 2, round(x) - side // 2
                box = labelled.image[top : top + side, left : left + side]
                assert np.array_equal(section, box.astype(np.float32)), stem


def test_the_entrys_tables_name_every_particle_with_its_image_and_agree_with_each_other(
    synced: Synced,
) -> None:
    entry = synced.entry(RELION)
    truth = entry / "ground_truth" / f"empiar-{RELION}_particles_selected"
    with truth.with_suffix(".csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == COLUMNS
    sizes = {stem: len(load(entry, stem).picks) for stem in LABELLED}
    assert Counter(row[1] for row in rows) == {f"{stem}.mrc": count for stem, count in sizes.items()}
    assert all(row[0] == row[1].removesuffix(".mrc") + "_particles.mrc" for row in rows)

    document = gemmi.cif.read(str(truth.with_suffix(".star")))
    [block] = [block for block in document if block.find_loop("_rlnCoordinateX")]
    tags = ["_rlnImageName", "_rlnMicrographName", "_rlnCoordinateX", "_rlnCoordinateY", "_rlnOpticsGroup"]
    stars = [[gemmi.cif.as_string(value) for value in row] for row in block.find(tags)]
    assert [(float(x), float(y)) for _, _, x, y, _ in stars] == [(float(r[2]), float(r[3])) for r in rows]
    assert {group for *_, group in stars} == {"1", "2"}
    sections = Counter[str]()
    for image, micrograph, *_ in stars:
        number, _, stack = image.partition("@")
        stem = micrograph.rpartition("/")[2].removesuffix(".mrc")
        assert stack.rpartition("/")[2] == f"{stem}_particles.mrc"
        sections[stem] += 1
        assert int(number) == sections[stem], "sections are counted in the order of the rows"
    assert sections == sizes


def test_lites_pictures_show_every_pick_without_a_flip(synced: Synced) -> None:
    entry = synced.entry(RELION, "lite")
    assert {path.suffix for path in (entry / "micrographs").iterdir()} == {".jpg"}
    assert not (entry / "particles_stack").exists()
    stems = annotated(entry, suffix=".jpg")
    assert set(stems) == LABELLED
    for stem in stems:
        labelled = load_lite(entry, stem)
        assert labelled.image.shape == (431, 509)
        assert brightness(labelled.image, labelled.picks).min() > BRIGHT / 2, stem


def test_averages_of_movies_show_the_particles_on_an_even_ground(synced: Synced) -> None:
    entry = synced.entry(MOVIES, "averages")
    movies = [path for path in paths(MOVIES) if "/movies" in path and path.endswith((".tif", ".mrcs"))]
    assert len(movies) == 4
    for path in movies:
        stem = path.rpartition("/")[2].rpartition(".")[0]
        image = np.asarray(mrcfile.read(entry / "micrographs" / f"{stem}.mrc"), dtype=np.float64)
        assert brightness(image, np.array(drawn(MOVIES, path))).min() > BRIGHT, stem


def test_damage_in_some_files_costs_no_other_file_its_place(synced: Synced) -> None:
    entry = synced.entry(DAMAGED)
    assert {path.name for path in (entry / "micrographs").iterdir()} >= {
        f"mic_000{number}_DW.mrc" for number in (1, 2, 3)
    }
    stems = annotated(entry)
    assert "mic_0001_DW" in stems
    assert "mic_0002_DW" not in stems, "its tables are cut, ragged, or hold words"
    for stem in stems:
        assert_on_particles(entry, stem, DAMAGED, f"data/micrographs/{stem}.mrc")


@pytest.mark.parametrize("empiar_id", [RELION, CRYOSPARC, BOXES])
def test_the_mapping_says_of_every_file_where_it_comes_from(synced: Synced, empiar_id: int) -> None:
    entry = synced.entry(empiar_id)
    with (entry / "mapping.tsv").open(newline="") as stream:
        rows = {row["place"]: row for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)}
    assert {path for path in rows if path.partition("/")[0] in FOLDERS} == {
        path for path in files_below(entry) if path.partition("/")[0] in FOLDERS
    }
    with sqlite3.connect(f"file:{synced.root / 'empiar.db'}?mode=ro", uri=True) as conn:
        made = conn.execute("SELECT path, parents FROM derived WHERE empiar_id = ?", (empiar_id,)).fetchall()
    conn.close()
    parents = {path: json.loads(files) for path, files in made}
    for place, row in rows.items():
        folder = {"deposited": "archive", "derived": "derived"}[row["origin"]]
        source = synced.root / folder / str(empiar_id) / row["path"]
        assert hashlib.sha256(source.read_bytes()).hexdigest() == row["sha256"]
        assert source.read_bytes() == (entry / place).read_bytes()
        if row["origin"] == "derived":
            assert parents[row["path"]], place
            assert all((synced.root / parent).is_file() for parent in parents[row["path"]]), place
        else:
            assert place.partition("/")[0] in ("micrographs", "gain")


def test_a_deleted_tree_comes_back_identical_from_the_catalogue_alone(synced: Synced) -> None:
    def snapshot() -> dict[str, str]:
        return {
            path.relative_to(synced.root).as_posix(): "folder"
            if path.is_dir()
            else hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (synced.root / "datasets").rglob("*")
        }

    before = snapshot()
    assert any("particles_stack" in path for path in before)
    shutil.rmtree(synced.root / "datasets")
    (synced.root / "datasets").mkdir()

    async def rebuild() -> None:
        with opened(synced.settings) as mirror:
            await mirror.arrange(None, rebuild=True)

    # No server runs any more: whatever is asked of the archive fails.
    asyncio.run(rebuild())
    assert snapshot() == before
