"""Label tables become rows of a view: its micrographs' names, their pixels, one frame, no row twice. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from empiar_imaging.labels.frames import to_origin, whole_centres
from empiar_imaging.labels.matching import LabelledMicrograph, Matching, Scales, match, scales
from empiar_imaging.labels.names import of_name
from empiar_imaging.labels.table import CoordinateOrigin, Index, LabelTable, coded, concatenated

#: More picks than this share outside of their images: they were made on other images.
_MOST_OUTSIDE: Final = 0.1


@dataclass(frozen=True, slots=True)
class FittedLabels:
    """Rows whose `micrograph` is the name in the layout, positions in its pixels, Y from the bottom; and what did not fit."""

    table: LabelTable | None
    unmatched_labels: tuple[str, ...]
    ambiguous_labels: tuple[str, ...]
    #: Stems that some label names, with particles or explicitly without.
    annotated: frozenset[str]
    notes: tuple[str, ...]


def fit(
    tables: Sequence[LabelTable], micrographs: Sequence[LabelledMicrograph], *, cryoppp: bool = False
) -> FittedLabels:
    """All tables on the micrographs of a view.

    Rows of micrographs that the view does not have are left out and named. Where picks refer to another binning they are scaled, if
    sizes or pixel sizes say so (`empiar_imaging.labels.matching.scales`). Rows outside of their image are left out and counted; a table with more than a
    tenth of them outside is set aside as a whole, because then the others are wrong too. A position that occurs again (symmetry
    expansion, the same particles in two files) stands once.
    """
    kept: list[LabelTable] = []
    notes: list[str] = []
    unmatched: dict[str, None] = {}
    ambiguous: dict[str, None] = {}
    annotated: set[str] = set()
    for table in tables:
        matching = match(table.micrographs, micrographs, cryoppp=cryoppp)
        unmatched |= dict.fromkeys(matching.unmatched_labels)
        ambiguous |= dict.fromkeys(matching.ambiguous_labels)
        fitted = _on_view(_matched(table, matching), matching)
        notes += fitted.notes
        if fitted.table is not None:
            kept.append(fitted.table)
            annotated |= {matching.found[name].stem for name in table.micrographs if name in matching.found}
    joined = _once(concatenated(kept)) if kept else None
    if joined is not None:
        notes += joined.notes
    return FittedLabels(
        joined, tuple(unmatched), tuple(ambiguous), frozenset(annotated), tuple(dict.fromkeys(notes))
    )


@dataclass(frozen=True, slots=True)
class _Fitted:
    table: LabelTable | None
    notes: tuple[str, ...]


def _matched(table: LabelTable, matching: Matching) -> LabelTable:
    """The rows whose micrograph was found."""
    names, codes = coded(table.micrograph)
    known = np.array([name in matching.found for name in names], "bool")
    return replace(
        table.rows(np.flatnonzero(known[codes])) if names else table,
        without_particles=tuple(name for name in table.without_particles if name in matching.found),
    )


def _on_view(table: LabelTable, matching: Matching) -> _Fitted:
    names, codes = coded(table.micrograph)
    targets = [matching.found[name] for name in names]
    extent = _extent(table, targets, codes)
    factors = [
        scales(
            target,
            stated=of_name(table.shapes, name),
            pixel_size_angstrom=table.pixel_size_angstrom,
            extent=extent,
        )
        for name, target in zip(names, targets, strict=True)
    ]
    if wrong := next((factor for factor in factors if isinstance(factor, str)), None):
        return _Fitted(None, (f"labels were set aside: {wrong}",))
    right = [factor for factor in factors if isinstance(factor, Scales)]
    notes = list(dict.fromkeys(factor.note for factor in right if factor.note))
    table = _scaled(table, right, codes)
    heights = {name: target.height for name, target in zip(names, targets, strict=True)}
    table = to_origin(table, heights, CoordinateOrigin.BOTTOM)
    inside = _inside(table, targets, codes)
    outside = len(table) - int(np.count_nonzero(inside))
    if outside > _MOST_OUTSIDE * len(table):
        sentence = (
            f"labels were set aside: {outside} of {len(table)} lie outside of their images, "
            "so that they were picked on images of another size"
        )
        return _Fitted(None, (*notes, sentence))
    if outside:
        notes.append(f"{outside} of {len(table)} labels lie outside of their images and were left out")
    table = replace(
        table,
        micrograph=[matching.found[name].name for name in table.micrograph],
        shapes={target.name: (target.height, target.width) for target in targets},
        without_particles=tuple(matching.found[name].name for name in table.without_particles),
        notes=(*table.notes, *notes),
    )
    return _Fitted(table.rows(np.flatnonzero(inside)), ())


def _scaled(table: LabelTable, factors: Sequence[Scales], codes: Index) -> LabelTable:
    pairs = {(factor.x, factor.y) for factor in factors}
    if pairs <= {(1, 1)}:
        return table
    by_name = np.array([(factor.x, factor.y) for factor in factors], "float64")[codes]
    # Of several binnings in one table, one diameter in pixels means nothing.
    same = factors[0].x if len(pairs) == 1 else None
    return replace(
        table,
        x=table.x * by_name[:, 0],
        y=table.y * by_name[:, 1],
        diameter_px=table.diameter_px * same if table.diameter_px and same else None,
        box_px=table.box_px * same if table.box_px and same else None,
        pixel_size_angstrom=table.pixel_size_angstrom / same if table.pixel_size_angstrom and same else None,
    )


def _extent(table: LabelTable, targets: Sequence[LabelledMicrograph], codes: Index) -> float:
    """How far nearly all coordinates reach, as a share of their micrograph's width or height, whichever is more."""
    if not len(table):
        return 0.0
    sizes = np.array([(target.width, target.height) for target in targets], "float64")[codes]
    return float(max(np.quantile(table.x / sizes[:, 0], 0.99), np.quantile(table.y / sizes[:, 1], 0.99)))


def _inside(
    table: LabelTable,
    targets: Sequence[LabelledMicrograph],
    codes: Index,
) -> NDArray[np.bool_]:
    """Which centres lie on their image, edges included."""
    sizes = np.array([(target.height, target.width) for target in targets], "float64").reshape(-1, 2)[codes]
    inside: NDArray[np.bool_] = (
        (table.x >= 0) & (table.y >= 0) & (table.x <= sizes[:, 1]) & (table.y <= sizes[:, 0])
    )
    return inside


def _once(table: LabelTable) -> LabelTable:
    """Without rows at a position (in whole pixels) that an earlier row of the same micrograph has."""
    _, codes = coded(table.micrograph)
    x, y = whole_centres(table)
    positions = np.stack([codes.astype("float64"), x, y], axis=1)
    first = np.sort(np.unique(positions, axis=0, return_index=True)[1])
    again = len(table) - len(first)
    if not again:
        return table
    return table.rows(first).noted(f"{again} labels at positions that occur before were left out")
