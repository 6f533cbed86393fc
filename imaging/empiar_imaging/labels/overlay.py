"""What was decided by hand goes before all other labels of its micrograph. Pure.

A pick by hand that stands where an imported one does keeps everything that is known of that one: its image, angles, defocus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from empiar_imaging.labels.by_hand import HandVersion, State, table_of
from empiar_imaging.labels.fitting import FittedLabels
from empiar_imaging.labels.frames import to_origin, whole_centres
from empiar_imaging.labels.matching import LabelledMicrograph, shown
from empiar_imaging.labels.table import CoordinateOrigin, LabelTable, concatenated

#: Pictures of which width and height shrink otherwise are no pictures of the micrograph.
_MOST_OBLONG: Final = 0.01


@dataclass(frozen=True, slots=True)
class Overlaid:
    """Labels with what was decided by hand in place of what it replaces."""

    selected: FittedLabels
    excluded: FittedLabels
    #: Pixels, by the micrograph's name in the layout, where the version says.
    diameters: Mapping[str, float] = field(default_factory=dict)
    #: How many micrographs were decided by hand.
    decided: int = 0


def overlaid(
    selected: FittedLabels,
    excluded: FittedLabels,
    versions: Sequence[HandVersion],
    micrographs: Sequence[LabelledMicrograph],
) -> Overlaid:
    """The labels of a view: on micrographs of `versions` what these say, on all others what `selected` and `excluded` say.

    Versions find their micrograph by its path in the entry. Where the picture that was looked at had another size, positions are
    scaled; where it had another shape, or another micrograph has the same stem, the version is left out with a note.
    """
    places, notes = _places(versions, micrographs)
    if not places:
        return Overlaid(replace(selected, notes=(*selected.notes, *notes)), excluded)
    tables = [found.table for found in (selected, excluded) if found.table is not None and len(found.table)]
    pool = concatenated(tables) if tables else None
    known = _positions(pool) if pool is not None else {}
    kept: list[LabelTable] = []
    rejected: list[LabelTable] = []
    for micrograph, version in places:
        kept += _rows(micrograph, version, "kept", pool, known)
        rejected += _rows(micrograph, version, "rejected", pool, known)
    names = {micrograph.name for micrograph, _ in places}
    stems = frozenset(micrograph.stem for micrograph, _ in places)
    diameters = {m.name: v.diameter_px * m.width / v.width for m, v in places if v.diameter_px is not None}
    stated = selected.table.diameter_px if selected.table is not None else None
    agreed = set(diameters.values())
    diameter = stated if stated is not None or len(agreed) != 1 else agreed.pop()
    return Overlaid(
        replace(
            selected,
            table=_joined(selected.table, names, kept, diameter),
            annotated=selected.annotated | stems,
            notes=(*selected.notes, *notes),
        ),
        replace(excluded, table=_joined(excluded.table, names, rejected, diameter)),
        diameters,
        len(places),
    )


def _places(
    versions: Sequence[HandVersion], micrographs: Sequence[LabelledMicrograph]
) -> tuple[list[tuple[LabelledMicrograph, HandVersion]], list[str]]:
    by_path = {micrograph.path: micrograph for micrograph in micrographs}
    stems = Counter(micrograph.stem for micrograph in micrographs)
    found, notes, absent = [], [], []
    for version in versions:
        micrograph = by_path.get(version.micrograph)
        if micrograph is None:
            absent.append(version.micrograph)
        elif stems[micrograph.stem] > 1:
            notes.append(
                f"labels by hand of {version.micrograph} were left out: another image has the same stem"
            )
        elif abs(micrograph.width / version.width * version.height / micrograph.height - 1) > _MOST_OBLONG:
            notes.append(
                f"labels by hand of {version.micrograph} were left out: made on {version.width} × {version.height}"
                f" pixels, the image has {micrograph.width} × {micrograph.height}: another shape"
            )
        else:
            found.append((micrograph, version))
    if absent:
        images = "an image that is" if len(absent) == 1 else f"{len(absent)} images that are"
        notes.append(f"there are labels by hand of {images} not here: {shown(absent)}")
    return found, notes


def _positions(table: LabelTable) -> dict[tuple[str, float, float], int]:
    """The first row at each position, in whole pixels as tables show them."""
    x, y = whole_centres(table)
    found: dict[tuple[str, float, float], int] = {}
    for row, place in enumerate(zip(table.micrograph, x.tolist(), y.tolist(), strict=True)):
        found.setdefault(place, row)
    return found


def _rows(
    micrograph: LabelledMicrograph,
    version: HandVersion,
    state: State,
    pool: LabelTable | None,
    known: Mapping[tuple[str, float, float], int],
) -> list[LabelTable]:
    """The picks in that state: those that are known with all their columns, then the others."""
    table = table_of(version, state, name=micrograph.name)
    table = replace(
        table,
        x=table.x * (micrograph.width / version.width),
        y=table.y * (micrograph.height / version.height),
        diameter_px=None,
        pixel_size_angstrom=None,
        shapes={micrograph.name: (micrograph.height, micrograph.width)},
    )
    table = to_origin(table, micrograph.height, CoordinateOrigin.BOTTOM)
    # A position stands once, as everywhere in ground truth.
    places = _positions(table)
    old = [known[place] for place in places if place in known]
    new = [row for place, row in places.items() if place not in known]
    parts = []
    if pool is not None and old:
        parts.append(replace(pool.rows(np.array(old, np.intp)), diameter_px=None, box_px=None, notes=()))
    # Also of no pick at all: that it was looked at is part of the table.
    parts.append(table.rows(np.array(new, np.intp)))
    return parts


def _joined(
    table: LabelTable | None, decided: set[str], parts: Sequence[LabelTable], diameter: float | None
) -> LabelTable | None:
    rest = []
    if table is not None:
        others = [row for row, name in enumerate(table.micrograph) if name not in decided]
        rest = [
            replace(
                table.rows(np.array(others, np.intp)),
                without_particles=tuple(name for name in table.without_particles if name not in decided),
            )
        ]
    if not rest and not any(len(part) or part.without_particles for part in parts):
        return table
    return replace(concatenated([*rest, *parts]), diameter_px=diameter)
