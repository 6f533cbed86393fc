"""cryoSPARC `.cs`: a NumPy array of records, particles and their passthrough joined by ``uid``.

A centre is a fraction of the micrograph's width and height, counted from the lower left; ``location/micrograph_shape`` is
(ny, nx), and ``blob/idx`` counts slices from 0. Nothing is ever unpickled. Angles and shifts stay under cryoSPARC's names and in
its units: their relation to RELION's frame is not settled, so that no STAR column is made of them.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from empiar_imaging.labels.names import of_name
from empiar_imaging.labels.npy_records import Records, read_records
from empiar_imaging.labels.star import floats
from empiar_imaging.labels.table import (
    CLASS_NUMBER,
    CTF_BFACTOR,
    DEFOCUS_ANGLE,
    DEFOCUS_U,
    DEFOCUS_V,
    FARTHEST_PX,
    OPTICS_GROUP,
    PHASE_SHIFT,
    Column,
    CoordinateOrigin,
    Floats,
    LabelTable,
    coded,
    texts,
)
from empiar_schema.faults import BadLabels
from empiar_schema.paths import bytes_from_text, text_from_bytes

UID: Final = "uid"
X: Final = "location/center_x_frac"
Y: Final = "location/center_y_frac"
PATH: Final = "location/micrograph_path"
SHAPE: Final = "location/micrograph_shape"
PIXEL: Final = "location/micrograph_psize_A"
BLOB_PATH: Final = "blob/path"
BLOB_INDEX: Final = "blob/idx"
SCORE: Final = "pick_stats/ncc_score"
_PROJECT_MARK: Final = re.compile(r"^>(?=J[0-9]+/)")
_READ: Final = frozenset({X, Y, PATH, SHAPE, PIXEL, BLOB_PATH, BLOB_INDEX, SCORE})

#: Fields that mean in RELION's words the same, but for the unit (degrees for radians).
_DEGREES: Final = 180 / np.pi
_SAME: Final[tuple[tuple[str, str, float], ...]] = (
    ("ctf/df1_A", DEFOCUS_U, 1.0),
    ("ctf/df2_A", DEFOCUS_V, 1.0),
    ("ctf/df_angle_rad", DEFOCUS_ANGLE, _DEGREES),
    ("ctf/phase_shift_rad", PHASE_SHIFT, _DEGREES),
    ("ctf/bfactor", CTF_BFACTOR, 1.0),
    ("ctf/exp_group_id", OPTICS_GROUP, 1.0),
    ("alignments2D/class", CLASS_NUMBER, 1.0),
)


def read_cs(
    raw: bytes,
    *,
    what: str,
    passthrough: bytes | None = None,
    shapes: Mapping[str, tuple[int, int]] | tuple[int, int] | None = None,
) -> LabelTable:
    """The particles of a `.cs` file called `what`, with what `passthrough` adds to them.

    `shapes` (rows and columns, for all or by micrograph path) serves where the file has no micrograph shapes.

    Raises:
        BadLabels: it is no such array, holds pickled objects, is cut, has no coordinates, or its passthrough lacks particles.
    """
    records = read_records(raw, what=what)
    fields = {name: records[name] for name in records.dtype.names or ()}
    if passthrough is not None:
        added = _joined(records, read_records(passthrough, what=f"the passthrough of {what}"), what)
        fields = {**added, **fields}
    if not {X, Y, PATH} <= fields.keys():
        missing = ", ".join(name for name in (X, Y, PATH) if name not in fields)
        raise BadLabels(
            f"{what} does not say where the particles lie (it lacks {missing})",
            hint="give the job's passthrough file as well, with --passthrough",
        )
    micrograph = _names(fields[PATH])
    shape = _shapes(fields, micrograph, shapes, what)
    return LabelTable(
        micrograph=micrograph,
        x=_numbers(fields[X], X, what) * shape[:, 1],
        y=_numbers(fields[Y], Y, what) * shape[:, 0],
        origin=CoordinateOrigin.BOTTOM,
        image=_images(fields),
        score=_numbers(fields[SCORE], SCORE, what) if SCORE in fields else None,
        pixel_size_angstrom=_pixel_size(fields),
        shapes=_by_name(micrograph, shape),
        columns=_further(fields),
    ).finite()


def _joined(particles: Records, passthrough: Records, what: str) -> dict[str, NDArray[np.generic]]:
    """The fields of the passthrough in the order of the particles."""
    if not all(UID in (records.dtype.names or ()) for records in (particles, passthrough)):
        raise BadLabels(f"{what} and its passthrough cannot be joined: one of them has no uid")
    uids, order = passthrough[UID], np.argsort(passthrough[UID], kind="stable")
    if uids.dtype != particles[UID].dtype or uids.ndim != 1 or uids.dtype.kind not in "iu":
        raise BadLabels(f"{what} and its passthrough have uids of different kinds")
    if len(np.unique(uids)) != len(uids):
        raise BadLabels(f"the passthrough of {what} has two rows for one particle")
    if not len(uids) and len(particles):
        raise BadLabels(f"the passthrough of {what} is empty")
    place = order[np.minimum(np.searchsorted(uids[order], particles[UID]), max(len(uids) - 1, 0))]
    lost = int(np.count_nonzero(uids[place] != particles[UID]))
    if lost:
        raise BadLabels(
            f"the passthrough lacks {lost} of {len(particles)} particles of {what}",
            hint="take the passthrough file of the same job",
        )
    return {name: passthrough[name][place] for name in passthrough.dtype.names or ()}


def _names(field: NDArray[np.generic]) -> list[str]:
    """Texts of a field of names."""
    names, inverse = np.unique(field, return_inverse=True)
    plain = [
        text_from_bytes(name if isinstance(name, bytes) else str(name).encode("utf-8", "surrogateescape"))
        for name in names.tolist()
    ]
    return [plain[place] for place in inverse.ravel().tolist()]


def _numbers(field: NDArray[np.generic], name: str, what: str) -> Floats:
    if field.ndim != 1 or field.dtype.kind not in "fiu":
        raise BadLabels(f"{what}: the field {name} holds no numbers, or several a particle")
    return field.astype("float64")


def _shapes(
    fields: Mapping[str, NDArray[np.generic]],
    micrograph: list[str],
    given: Mapping[str, tuple[int, int]] | tuple[int, int] | None,
    what: str,
) -> Floats:
    """Rows and columns of each particle's micrograph."""
    if SHAPE in fields:
        stated = fields[SHAPE]
        if stated.shape != (len(micrograph), 2) or stated.dtype.kind not in "fiu":
            raise BadLabels(f"{what}: the field {SHAPE} does not hold two numbers a particle")
        shape = stated.astype("float64")
        if not ((shape >= 1) & (shape < FARTHEST_PX)).all():
            raise BadLabels(f"{what}: the field {SHAPE} states a size that no micrograph has")
        return shape
    if isinstance(given, tuple):
        return np.tile(np.array(given, "float64"), (len(micrograph), 1))
    names, codes = coded(micrograph)
    known = [None if given is None else of_name(given, name) for name in names]
    if any(shape is None for shape in known):
        raise BadLabels(
            f"{what} states no micrograph shapes, without which its fractions are no pixels",
            hint="give --height and --width, or --micrographs FOLDER",
        )
    return np.array(known, "float64").reshape(-1, 2)[codes]


def _by_name(micrograph: list[str], shape: Floats) -> dict[str, tuple[int, int]]:
    names, codes = coded(micrograph)
    first = np.unique(codes, return_index=True)[1]
    return {name: (int(h), int(w)) for name, (h, w) in zip(names, shape[first].tolist(), strict=True)}


def _images(fields: Mapping[str, NDArray[np.generic]]) -> list[str] | None:
    if not {BLOB_PATH, BLOB_INDEX} <= fields.keys() or fields[BLOB_INDEX].dtype.kind not in "iu":
        return None
    index = fields[BLOB_INDEX]
    if index.ndim != 1:
        return None
    # cryoSPARC marks paths below its project with ">".
    stacks = [_PROJECT_MARK.sub("", stack) for stack in _names(fields[BLOB_PATH])]
    return [f"{place + 1:06d}@{stack}" for place, stack in zip(index.tolist(), stacks, strict=True)]


def _pixel_size(fields: Mapping[str, NDArray[np.generic]]) -> float | None:
    if PIXEL not in fields or fields[PIXEL].dtype.kind != "f":
        return None
    stated = np.unique(fields[PIXEL])
    size = float(stated[0]) if len(stated) == 1 else 0.0
    return float(f"{size:.7g}") if np.isfinite(size) and size > 0 else None


def _further(fields: Mapping[str, NDArray[np.generic]]) -> dict[str, Column]:
    """All other fields as they are, and beside them RELION's names for those that mean the same."""
    columns: dict[str, Column] = {name: field for name, field in fields.items() if name not in _READ}
    for name, tag, factor in _SAME:
        field = fields.get(name)
        if field is not None and field.ndim == 1 and field.dtype.kind in "fiu":
            with np.errstate(over="ignore"):
                columns[tag] = field.astype("float64") * factor if field.dtype.kind == "f" else field
    return columns


def write_cs(table: LabelTable, shapes: Mapping[str, tuple[int, int]]) -> bytes:
    """A `.cs` file with the particles' places, images and defocus, and the fields of cryoSPARC that came along.

    `shapes` gives rows and columns by micrograph name as in the table. Positions are 32-bit fractions, as cryoSPARC's own: within
    0.001 pixels. The uids are the source's, or else row numbers from 1.
    """
    assert table.origin is CoordinateOrigin.BOTTOM
    names, codes = coded(table.micrograph)
    shape = np.array([shapes[name] for name in names], "uint32").reshape(-1, 2)[codes]
    raw_names = [bytes_from_text(name) for name in names]
    fields: dict[str, NDArray[np.generic]] = {
        UID: np.arange(1, len(table) + 1, dtype="uint64"),
        "location/micrograph_uid": np.array([_uid(name) for name in raw_names], "uint64")[codes],
        PATH: np.array(raw_names, "S")[codes] if names else np.zeros(0, "S1"),
        SHAPE: shape,
        X: (table.x / shape[:, 1]).astype("float32"),
        Y: (table.y / shape[:, 0]).astype("float32"),
    }
    if table.pixel_size_angstrom is not None:
        fields[PIXEL] = np.full(len(table), table.pixel_size_angstrom, "float32")
    if table.score is not None:
        fields[SCORE] = table.score.astype("float32")
    fields |= _blobs(table.image)
    # Fields that came from a `.cs` file stand as they were, and before those made of RELION's columns.
    fields |= _from_relion(table) | {
        name: column
        for name, column in table.columns.items()
        if isinstance(column, np.ndarray) and name[:1] != "_"
    }
    return _npy(fields, len(table))


def _uid(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def _blobs(image: list[str] | None) -> dict[str, NDArray[np.generic]]:
    if not image or not all(image):
        return {}
    parts = [name.partition("@") for name in image]
    if not all(at and number.isdecimal() and int(number) > 0 for number, at, _ in parts):
        return {}
    return {
        BLOB_PATH: np.array([bytes_from_text(stack) for _, _, stack in parts], "S"),
        BLOB_INDEX: np.array([int(number) - 1 for number, _, _ in parts], "uint32"),
    }


def _from_relion(table: LabelTable) -> dict[str, NDArray[np.generic]]:
    fields: dict[str, NDArray[np.generic]] = {}
    for name, tag, factor in _SAME:
        column = table.columns.get(tag)
        if column is None:
            continue
        values = floats(texts(column), tag, "the table") / factor
        whole = tag in (OPTICS_GROUP, CLASS_NUMBER)
        if not whole:
            with np.errstate(over="ignore"):
                fields[name] = values.astype("float32")
        elif np.isfinite(values).all() and (values >= 0).all() and (values < 2**32).all():
            fields[name] = values.astype("uint32")
    return fields


def _npy(fields: Mapping[str, NDArray[np.generic]], rows: int) -> bytes:
    kinds = [
        (name, field.dtype.str, field.shape[1:]) if field.ndim > 1 else (name, field.dtype.str)
        for name, field in fields.items()
    ]
    records = np.zeros(rows, np.dtype(kinds))
    for name, field in fields.items():
        records[name] = field
    stream = io.BytesIO()
    np.lib.format.write_array(stream, records, allow_pickle=False)
    return stream.getvalue()


def left_out_of_cs(table: LabelTable) -> list[str]:
    """Names of the columns that `write_cs` has no place for."""
    kept = {tag for _, tag, _ in _SAME}
    return [
        name
        for name, column in table.columns.items()
        if name not in kept and not isinstance(column, np.ndarray)
    ]
