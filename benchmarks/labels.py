"""Reading and writing particle coordinates: ours beside gemmi alone, on one table in one run.

Run by hand: ``python benchmarks/labels.py [--rows N] [--rounds N]``. The readers alternate within each round, processor time counts, and
the medians are compared. "gemmi" is parsing the text, taking every column as a list and the two coordinates as arrays: what a caller of gemmi
needs to have the same in hand. gemmi does not count values line by line; ours does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from gemmi import cif

from empiar_imaging.labels import CoordinateOrigin, LabelFormat, LabelTable, Writing, write_labels
from empiar_imaging.labels.ground_truth import build_ground_truth
from empiar_imaging.labels.matching import LabelledMicrograph
from empiar_imaging.labels.orientation import check_orientation
from empiar_imaging.labels.star import read_star

PER_MICROGRAPH = 300


def relion(rows: int) -> bytes:
    """A table as RELION writes it after extraction: 13 columns, one optics group."""
    rng = np.random.default_rng(1)
    names = [f"MotionCorr/job002/Movies/FoilHole_{n:08d}_Data.mrc" for n in range(rows // PER_MICROGRAPH + 1)]
    images = [
        f"{n % PER_MICROGRAPH + 1:06d}@Extract/job009/Movies/FoilHole_{n // PER_MICROGRAPH:08d}_Data.mrcs"
        for n in range(rows)
    ]
    numbers = (
        "AnglePsi",
        "OriginXAngst",
        "OriginYAngst",
        "DefocusU",
        "DefocusV",
        "DefocusAngle",
        "CtfMaxResolution",
    )
    table = LabelTable(
        micrograph=[names[n // PER_MICROGRAPH] for n in range(rows)],
        x=np.round(rng.uniform(0, 5760, rows), 6),
        y=np.round(rng.uniform(0, 4092, rows), 6),
        origin=CoordinateOrigin.TOP,
        image=images,
        columns={
            **{f"_rln{name}": [f"{v:.6f}" for v in rng.uniform(0, 20_000, rows)] for name in numbers},
            "_rlnOpticsGroup": ["1"] * rows,
            "_rlnClassNumber": ["3"] * rows,
        },
        optics={
            "_rlnOpticsGroup": ["1"],
            "_rlnOpticsGroupName": ["one"],
            "_rlnMicrographPixelSize": ["0.885"],
        },
    )
    return write_labels(table, form=LabelFormat.STAR).files[""]


def by_gemmi(raw: bytes) -> int:
    block = cif.read_string(raw)[1]
    loop = block.find_loop("_rlnCoordinateX").get_loop()
    assert loop is not None
    width, values = loop.width(), loop.values
    columns = {tag: values[place::width] for place, tag in enumerate(loop.tags)}
    arrays = [np.array(list(map(float, columns[f"_rlnCoordinate{axis}"]))) for axis in "XY"]
    return len(arrays[0])


def parsed_by_gemmi(raw: bytes) -> int:
    return len(cif.read_string(raw))


def ours(raw: bytes) -> int:
    return len(read_star(raw, what="particles.star"))


def seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    raw = relion(options.rows)
    print(f"STAR of {options.rows:,} rows and 13 columns, {len(raw) / 1e6:.0f} MB")
    readers = {"ours": ours, "gemmi, columns taken": by_gemmi, "gemmi, parsing only": parsed_by_gemmi}
    taken: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(options.rounds):
        for name, reader in readers.items():
            taken[name].append(seconds(lambda reader=reader: reader(raw)))  # type: ignore[misc] # bound at once
    base = statistics.median(taken["ours"])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"  read, {name:22} {median:6.2f} s   ours is {base / median:5.2f} of it")
    table = read_star(raw, what="particles.star")
    shapes = (4092, 5760)
    for form in LabelFormat:
        writing = Writing(box_px=200, diameter_px=180, shapes=shapes)
        times = [seconds(lambda f=form, w=writing: write_labels(table, form=f, writing=w)) for _ in range(3)]  # type: ignore[misc] # the same
        print(f"  write, {form:21} {statistics.median(times):6.2f} s")
    micrographs = [
        LabelledMicrograph(name.rpartition("/")[2][:-4], name.rpartition("/")[2], *shapes)
        for name in table.micrographs
    ]
    print(
        f"  ground truth of it all     {seconds(lambda: build_ground_truth(1, micrographs, selected=[table])):6.2f} s"
    )
    image = np.random.default_rng(1).normal(size=shapes).astype("float32")
    one = table.rows(np.arange(PER_MICROGRAPH, dtype=np.intp))
    print(
        f"  orientation of one image   {seconds(lambda: check_orientation(image, one, diameter_px=180)):6.2f} s"
    )


if __name__ == "__main__":
    main()
