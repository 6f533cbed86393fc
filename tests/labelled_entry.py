"""Small micrographs with particles whose places are known, their tables, and what a mirror makes of them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from empiar_mirror.makers.interface import Maker
from empiar_mirror.makers.maker import JobFault, Output, Work
from empiar_mirror.makers.registry import BUILT_IN
from empiar_mirror.makers.worker import Function, _called
from empiar_mirror.makers.workers import Processes, Workers
from empiar_mirror.rehearsal import tables
from empiar_mirror.rehearsal.tables import Loop, Value, star
from empiar_mirror.reports import MakeReport
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.settings import Settings
from empiar_schema.states import Role
from entry_here import ID, opened, rows
from image_files import mrc_bytes

HEIGHT, WIDTH = 160, 120
#: Column and row as stored; not one lies where another's mirror image does.
PLACES = ((20, 15), (60, 30), (100, 50), (30, 65), (80, 100), (50, 120), (104, 76), (24, 138))
Places = Sequence[tuple[float, float]]
Files = dict[str, tuple[Role, bytes]]


def micrograph(places: Places = PLACES, *, seed: int = 1, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> bytes:
    """Noise with bright discs at the places, as an MRC file."""
    height, width = shape
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, shape).astype("<f4")
    row, column = np.mgrid[:height, :width]
    for x, y in places:
        image[(column - x) ** 2 + (row - y) ** 2 <= 16] += 8
    return mrc_bytes(image.tobytes(), shape=(width, height, 1), mode=2)


def stack(sections: np.ndarray) -> bytes:
    """Particle images of any number, as an MRC file."""
    count, height, width = sections.shape
    return mrc_bytes(sections.astype("<f4").tobytes(), shape=(width, height, count), mode=2)


def relion(picks: Iterable[tuple[str, float, float]], images: Sequence[str] = ()) -> bytes:
    """A STAR file of particles: micrograph, column, row; and, if given, each one's image."""
    columns = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", *(["rlnImageName"] if images else [])]
    table: list[list[Value]] = [[name, float(x), float(y)] for name, x, y in picks]
    for row, image_name in zip(table, images, strict=False):
        row.append(image_name)
    return star([Loop("particles", columns, table)])


def picks_on(name: str, places: Places = PLACES) -> list[tuple[str, float, float]]:
    return [(name, x, y) for x, y in places]


def labels(data: bytes) -> tuple[Role, bytes]:
    return Role.PARTICLE_COORDINATES, data


def image(places: Places = PLACES, *, seed: int = 1) -> tuple[Role, bytes]:
    return Role.MICROGRAPH, micrograph(places, seed=seed)


class InThisProcess(Processes):
    """Calls functions as a worker does, without the second that starting one takes."""

    async def call(
        self, function: Function, work: Work, *, job_id: int, timeout_s: float
    ) -> tuple[Output, ...]:
        outputs, error, permanent = await asyncio.to_thread(_called, pickle.dumps((function, work)))
        if outputs is None:
            raise JobFault(error, permanent=permanent)
        return tuple(outputs)


def makers(settings: Settings, recipes: Sequence[ViewRecipe], workers: Workers) -> Iterable[Maker]:
    """All built-in makers."""
    for kind in BUILT_IN:
        yield from kind(settings, recipes, InThisProcess())


def cryosparc() -> Files:
    """Particles with no place of their own; the passthrough file beside them has it."""
    passed = tables.npy(
        (
            ("uid", "u8", 1),
            ("location/micrograph_path", "S64", 1),
            ("location/micrograph_shape", "u4", 2),
            ("location/center_x_frac", "f4", 1),
            ("location/center_y_frac", "f4", 1),
        ),
        [
            {
                "uid": number,
                "location/micrograph_path": b"J3/motioncorrected/000123456789012345678_a.mrc",
                "location/micrograph_shape": (HEIGHT, WIDTH),
                "location/center_x_frac": x / WIDTH,
                "location/center_y_frac": (HEIGHT - y) / HEIGHT,
            }
            for number, (x, y) in enumerate(PLACES)
        ],
    )
    own = tables.npy(
        (("uid", "u8", 1), ("blob/path", "S64", 1), ("blob/idx", "u4", 1)),
        [
            {"uid": number, "blob/path": b"J4/extract/a_particles.mrc", "blob/idx": number}
            for number in range(len(PLACES))
        ],
    )
    return {
        "data/cs/J4_particles_selected.cs": labels(own),
        "data/cs/J4_passthrough_particles_selected.cs": labels(passed),
    }


def movie(places: Places = PLACES, *, frames: int = 12) -> tuple[Role, bytes]:
    """Frames of 16-bit counts, alike but for their noise."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(20, (frames, HEIGHT, WIDTH)).astype("<i2")
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    for x, y in places:
        counts[:, (column - x) ** 2 + (row - y) ** 2 <= 16] += 20
    return Role.MOVIE, mrc_bytes(counts.tobytes(), shape=(WIDTH, HEIGHT, frames), mode=1)


def finish(root: Path, toml: str = "", *, view: str = "cryoppp") -> MakeReport:
    """The makers have run and the layouts stand, as after a transfer."""
    with opened(root, toml, built_in=[makers]) as mirror:
        shown = mirror.settings.recipe(view)
        report, _ = asyncio.run(mirror._finishing.follow([ID], shown))
    return report


def queried(root: Path, sql: str) -> list[tuple[object, ...]]:
    with opened(root, "") as mirror:
        return rows(mirror, sql)


def label_set(root: Path, maker: str = "labels") -> dict[str, object]:
    """The row of `label_sets`."""
    columns = [
        "sources", "selected", "excluded", "annotated_micrographs", "unmatched_labels", "ambiguous_labels",
        "unmatched_micrographs", "diameter_px", "diameter_source", "orientation", "notes", "report",
    ]  # fmt: skip
    [row] = queried(root, f"SELECT {', '.join(columns)} FROM label_sets WHERE maker = '{maker}'")
    found: dict[str, object] = dict(zip(columns, row, strict=True))
    for key in ("sources", "notes"):
        found[key] = json.loads(str(found[key] or "[]"))
    return found


def problems(found: dict[str, object]) -> dict[str, str | None]:
    """What is wrong with each label file, by path."""
    sources = cast("list[dict[str, str]]", found["sources"])
    return {source["path"]: source.get("problem") for source in sources}


def entry(root: Path, view: str = "cryoppp") -> Path:
    return root / "datasets" / view / str(ID)


def coordinates(root: Path, view: str = "cryoppp") -> dict[str, list[tuple[float, float]]]:
    """Column and row (as stored) of every pick in the layout, by micrograph."""
    folder = entry(root, view) / "ground_truth" / "particle_coordinates"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        path.name.removesuffix(".csv"): [
            (float(row[0]), HEIGHT - float(row[1])) for row in read_csv(path)[1:]
        ]
        for path in found
    }


def read_csv(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(), newline="")))


def made(root: Path, *, maker: str = "%") -> list[str]:
    """Paths of products below ``derived/<id>``."""
    found = queried(root, f"SELECT path FROM derived WHERE maker LIKE '{maker}' ORDER BY path")
    return [str(path) for (path,) in found]
