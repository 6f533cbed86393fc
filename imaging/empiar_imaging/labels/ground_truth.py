"""CryoPPP's ``ground_truth/`` of an entry, made of label tables and the micrographs of a view. Pure: contents, no files.

All of it is in CryoPPP's frame (Y from the bottom edge), the STAR too, as in the released trees; a comment in it says so, which
`empiar_imaging.labels.star` understands. The same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from empiar_imaging.labels.by_hand import HandVersion
from empiar_imaging.labels.cryoppp_csv import ENTRY_FURTHER, further_cells, write_cryoppp, write_cryoppp_entry
from empiar_imaging.labels.fitting import FittedLabels, fit
from empiar_imaging.labels.frames import to_origin
from empiar_imaging.labels.matching import LabelledMicrograph, shown
from empiar_imaging.labels.overlay import overlaid
from empiar_imaging.labels.star import IMAGE, MICROGRAPH, X, Y, write_star
from empiar_imaging.labels.table import OPTICS_GROUP, CoordinateOrigin, Index, LabelTable

#: Columns of the entry's STAR, in order.
STAR_COLUMNS = (IMAGE, MICROGRAPH, X, Y, *ENTRY_FURTHER.values())


@dataclass(frozen=True, slots=True)
class Diameter:
    """The particle's diameter in pixels, and who says so: user, labels, box; None and "" where nobody does."""

    px: float | None
    source: str


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Contents of the files below ``ground_truth/``, and what was found on the way."""

    #: By path, in natural order of writing.
    files: dict[str, bytes]
    #: The rows as written, with the images that the sources name (deposited stacks), Y from the bottom; None without any.
    selected: LabelTable | None
    excluded: LabelTable | None
    diameter: Diameter
    #: Names in the labels that no micrograph of the view has, and names that several have.
    unmatched_labels: tuple[str, ...]
    ambiguous_labels: tuple[str, ...]
    #: Stems of micrographs without labels: not annotated, and without a CSV.
    unmatched_micrographs: tuple[str, ...]
    notes: tuple[str, ...]
    #: Micrographs whose labels are those of a version by hand.
    by_hand: int = 0


def build_ground_truth(
    empiar_id: int,
    micrographs: Sequence[LabelledMicrograph],
    *,
    selected: Sequence[LabelTable],
    excluded: Sequence[LabelTable] = (),
    by_hand: Sequence[HandVersion] = (),
    diameter_px: float | None = None,
    cryoppp: bool = False,
    stacks: bool = True,
    star_origin: CoordinateOrigin = CoordinateOrigin.BOTTOM,
) -> GroundTruth:
    """The ground truth of an entry.

    Args:
        empiar_id: 10017; it stands in the names of the entry's files.
        micrographs: those of the view; only their labels are taken.
        selected: tables of true particles, in any frame, each as its reader gave it.
        excluded: tables of rejected picks.
        by_hand: on their micrographs they alone count; a diameter that one states stands in that micrograph's table.
        diameter_px: what the user says; else the labels' own diameter stands, else the side of their boxes, with a note.
        cryoppp: also match names from which ``_patch_aligned_doseweighted`` was deleted (released CryoPPP trees).
        stacks: whether ``particles_stack/<stem>_particles.mrc`` will stand beside it, slices in the order of the rows.
        star_origin: from where the STAR files count Y; ``top`` for RELION.
    """
    over = overlaid(
        fit(selected, micrographs, cryoppp=cryoppp),
        fit(excluded, micrographs, cryoppp=cryoppp),
        by_hand,
        micrographs,
    )
    fitted, rejected = over.selected, over.excluded
    diameter, notes = _diameter(diameter_px, fitted.table or rejected.table)
    files: dict[str, bytes] = {}
    tables: list[LabelTable | None] = []
    for kind, found in (("selected", fitted), ("excluded", rejected)):
        table = found.table
        tables.append(table)
        if table is None or not (len(table) or (kind == "selected" and found.annotated)):
            continue
        prefix = f"empiar-{empiar_id}_particles_{kind}"
        star, left_out = _entry_star(table, stacks=stacks, origin=star_origin)
        notes += left_out
        files[f"{prefix}.star"] = star
        files[f"{prefix}.csv"] = write_cryoppp_entry(table)
        own = over.diameters if diameter_px is None else {}
        files |= _of_micrographs(table, micrographs, found, diameter, kind, own)
    missing = tuple(m.stem for m in micrographs if m.stem not in fitted.annotated)
    unmatched = tuple(dict.fromkeys(fitted.unmatched_labels + rejected.unmatched_labels))
    ambiguous = tuple(dict.fromkeys(fitted.ambiguous_labels + rejected.ambiguous_labels))
    notes += _about_names(unmatched, ambiguous)
    return GroundTruth(
        files=files,
        selected=tables[0],
        excluded=tables[1],
        diameter=diameter,
        unmatched_labels=unmatched,
        ambiguous_labels=ambiguous,
        unmatched_micrographs=missing,
        notes=tuple(dict.fromkeys((*fitted.notes, *rejected.notes, *notes))),
        by_hand=over.decided,
    )


def _about_names(unmatched: Sequence[str], ambiguous: Sequence[str]) -> list[str]:
    notes = []
    if unmatched:
        names = "1 micrograph" if len(unmatched) == 1 else f"{len(unmatched)} micrographs"
        notes.append(f"labels of {names} belong to none of the view: {shown(unmatched)}")
    if ambiguous:
        names = "1 name" if len(ambiguous) == 1 else f"{len(ambiguous)} names"
        notes.append(f"labels of {names} belong to several micrographs: {shown(ambiguous)}")
    return notes


def _diameter(given: float | None, table: LabelTable | None) -> tuple[Diameter, list[str]]:
    if given is not None:
        return Diameter(given, "user"), []
    if table is not None and table.diameter_px is not None:
        return Diameter(table.diameter_px, "labels"), []
    if table is not None and table.box_px is not None:
        note = f"the side of the boxes, {table.box_px:g} pixels, stands for the diameter, which is smaller"
        return Diameter(table.box_px, "box"), [note]
    return Diameter(None, ""), [] if table is None else [
        "the labels state no diameter, so the column is empty"
    ]


def _of_micrographs(
    table: LabelTable,
    micrographs: Sequence[LabelledMicrograph],
    found: FittedLabels,
    diameter: Diameter,
    kind: str,
    own_diameters: Mapping[str, float],
) -> dict[str, bytes]:
    """A CSV for each annotated micrograph, in the view's order."""
    rows = table.by_micrograph()
    none: Index = np.zeros(0, np.intp)
    files = {}
    for micrograph in micrographs:
        index = rows.get(micrograph.name, none)
        if not len(index) and (kind == "excluded" or micrograph.stem not in found.annotated):
            continue
        px = own_diameters.get(micrograph.name, diameter.px)
        content = write_cryoppp(replace(table.rows(index), diameter_px=px))
        if kind == "selected":
            files[f"particle_coordinates/{micrograph.stem}.csv"] = content
        else:
            files[f"false_positives/{micrograph.stem}_false_positives.csv"] = content
    return files


def _entry_star(table: LabelTable, *, stacks: bool, origin: CoordinateOrigin) -> tuple[bytes, list[str]]:
    """The entry's STAR, and a sentence about columns that not all rows have: STAR has no empty number."""
    cells = dict(zip(ENTRY_FURTHER.values(), further_cells(table, ENTRY_FURTHER), strict=True))
    columns = {name: column for name, column in cells.items() if all(column) and len(table)}
    partial = [name for name, column in cells.items() if any(column) and not all(column)]
    notes = [f"columns that not all labels have are not in the STAR: {', '.join(partial)}"] if partial else []
    star = replace(
        table,
        micrograph=[f"micrographs/{name}" for name in table.micrograph],
        shapes={f"micrographs/{name}": shape for name, shape in table.shapes.items()},
        image=stack_images(table) if stacks else None,
        score=None,
        columns=columns,
        optics=table.optics if OPTICS_GROUP in columns else {},
    )
    return write_star(to_origin(star, None, origin), order=STAR_COLUMNS), notes


def stack_images(table: LabelTable) -> list[str]:
    """``000001@particles_stack/<stem>_particles.mrc`` for each row: slices count in the order of a micrograph's rows."""
    images = [""] * len(table)
    for name, index in table.by_micrograph().items():
        stack = f"particles_stack/{name.rpartition('.')[0] or name}_particles.mrc"
        for place, row in enumerate(index.tolist(), 1):
            images[row] = f"{place:06d}@{stack}"
    return images
