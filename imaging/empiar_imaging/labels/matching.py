"""Labels find their micrographs by stem. Pure; what finds nothing is listed on both sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from empiar_imaging.labels.names import base_name, base_stem, stem_candidates
from empiar_schema.stems import PATCH_MOTION

#: Binnings by which picks and micrographs of one entry are apart in practice.
_BINNINGS: Final = (1, 2, 3, 4, 6, 8)


@dataclass(frozen=True, slots=True)
class LabelledMicrograph:
    """A micrograph of a view, to which labels can belong."""

    #: Of its name in the layout: what all ground truth is joined by.
    stem: str
    #: Its name in the layout, with suffix.
    name: str
    height: int
    width: int
    pixel_size_angstrom: float | None = None
    #: As deposited, below the entry: its folders tell micrographs of one name apart.
    path: str = ""


@dataclass(frozen=True, slots=True)
class Matching:
    """Which micrograph each name of the labels means."""

    #: By name as in the labels.
    found: dict[str, LabelledMicrograph]
    #: Names of labels without a micrograph, and names that several micrographs have.
    unmatched_labels: tuple[str, ...]
    ambiguous_labels: tuple[str, ...]
    #: Stems of micrographs that no label names: not annotated.
    unmatched_micrographs: tuple[str, ...]


class _Places:
    """Micrographs by every stem under which a label can name them."""

    def __init__(self, micrographs: Sequence[LabelledMicrograph], *, cryoppp: bool) -> None:
        self._by_stem: dict[str, list[LabelledMicrograph]] = defaultdict(list)
        self._of_stem = Counter(micrograph.stem for micrograph in micrographs)
        for micrograph in micrographs:
            deposited = base_stem(micrograph.path) if micrograph.path else micrograph.stem
            stems = {micrograph.stem, deposited}
            if cryoppp:
                stems |= {stem.replace(PATCH_MOTION, "") for stem in stems}
            for stem in stems:
                self._by_stem[stem].append(micrograph)

    def shares_its_stem(self, micrograph: LabelledMicrograph) -> bool:
        """Whether another one differs in its suffix only: a table of either would pass for the other's."""
        return self._of_stem[micrograph.stem] > 1

    def find(self, name: str, *, cryoppp: bool) -> list[LabelledMicrograph]:
        for stem in stem_candidates(name, cryoppp=cryoppp):
            found = self._by_stem.get(stem, [])
            # The layout's own name is the most exact: only where it differs from the deposited one do folders count.
            exact = [micrograph for micrograph in found if micrograph.stem == stem]
            if found:
                return exact if len(exact) == 1 else _nearest(name, found)
        return []


def _nearest(name: str, found: list[LabelledMicrograph]) -> list[LabelledMicrograph]:
    """Those whose deposited folders share most, from the file upwards, with the folders in the label's name."""
    if len(found) == 1:
        return found
    shared = [_shared_folders(name, micrograph.path) for micrograph in found]
    return [micrograph for micrograph, count in zip(found, shared, strict=True) if count == max(shared)]


def _shared_folders(one: str, other: str) -> int:
    count = 0
    for a, b in zip(reversed(one.split("/")[:-1]), reversed(other.split("/")[:-1]), strict=False):
        if a != b:
            break
        count += 1
    return count


def match(
    names: Sequence[str], micrographs: Sequence[LabelledMicrograph], *, cryoppp: bool = False
) -> Matching:
    """The micrograph of each of `names` (distinct names of labels as written).

    Names are compared by stem: folders, the last suffix and cryoSPARC's UID do not count; with `cryoppp` neither does
    ``_patch_aligned_doseweighted``, on both sides. Where micrographs of several folders share a name, the folders in
    the label's name decide, and if they cannot, the label is ambiguous and belongs to none. So is one of a micrograph whose
    stem in the view another has as well.
    """
    places = _Places(micrographs, cryoppp=cryoppp)
    found, unmatched, ambiguous = {}, [], []
    for name in names:
        match places.find(name, cryoppp=cryoppp):
            case []:
                unmatched.append(name)
            case [micrograph] if not places.shares_its_stem(micrograph):
                found[name] = micrograph
            case _:
                ambiguous.append(name)
    named = {micrograph.stem for micrograph in found.values()}
    missing = tuple(micrograph.stem for micrograph in micrographs if micrograph.stem not in named)
    return Matching(found, tuple(unmatched), tuple(ambiguous), missing)


@dataclass(frozen=True, slots=True)
class Scales:
    """Factors from a label's coordinates to pixels of the micrograph, and the sentence that explains them."""

    x: float
    y: float
    note: str = ""


def scales(
    micrograph: LabelledMicrograph,
    *,
    stated: tuple[int, int] | None,
    pixel_size_angstrom: float | None,
    extent: float,
) -> Scales | str:
    """How coordinates that refer to an image of `stated` rows and columns, or of this pixel size, become pixels of `micrograph`.

    A text says why they cannot. Sizes count before pixel sizes, which are often those of another binning (the one
    stated with EMPIAR-10345 is half that of its micrographs). So of pixel sizes only whole binnings are believed, and only if the
    coordinates agree: `extent` is how far they reach, as a share of width or height.
    """
    if stated is not None:
        return _by_shape(micrograph, *stated)
    if pixel_size_angstrom is None or micrograph.pixel_size_angstrom is None:
        return Scales(1, 1)
    sizes = f"the labels state {pixel_size_angstrom:g} Å a pixel, the micrographs {micrograph.pixel_size_angstrom:g} Å"
    ratio = pixel_size_angstrom / micrograph.pixel_size_angstrom
    factor = next((f for n in _BINNINGS for f in (n, 1 / n) if abs(ratio / f - 1) < 0.02), None)
    if factor == 1:
        return Scales(1, 1)
    if factor is None:
        return Scales(1, 1, f"{sizes}, which is no whole binning: coordinates were taken as they are")
    agrees = extent > 1 if factor < 1 else extent * factor <= 1
    if not agrees:
        return Scales(1, 1, f"{sizes}, but the coordinates fit as they are: they were taken so")
    return Scales(factor, factor, f"{sizes}: coordinates were multiplied by {factor:g}")


def _by_shape(micrograph: LabelledMicrograph, height: int, width: int) -> Scales | str:
    if (height, width) == (micrograph.height, micrograph.width):
        return Scales(1, 1)
    x, y = micrograph.width / width, micrograph.height / height
    sizes = (
        f"picked on {width} × {height} pixels, the micrographs have {micrograph.width} × {micrograph.height}"
    )
    if abs(x / y - 1) < 0.01:
        return Scales(x, y, f"{sizes}: coordinates were multiplied by {x:.6g} and {y:.6g}")
    if (width, height) == (micrograph.height, micrograph.width):
        return f"{sizes}: rows and columns are exchanged"
    return f"{sizes}: another shape"


def shown(names: Sequence[str], *, most: int = 3) -> str:
    """The first names, and how many more."""
    first = ", ".join(base_name(name) for name in names[:most])
    return f"{first} and {len(names) - most} more" if len(names) > most else first
