"""Files of the rehearsal archive's entries from 10110 on, read without a server."""

from __future__ import annotations

import io

import numpy as np
from mrcfile.mrcinterpreter import MrcInterpreter

from cryoppp_loader import Floats
from empiar_mirror.rehearsal.archive import RehearsalArchive
from empiar_mirror.rehearsal.drawings import Micrograph, Movie
from empiar_mirror.rehearsal.entries import standard_entries

RELION, CRYOSPARC, BOXES, MOVIES, DM4, DAMAGED = range(10110, 10116)
ARCHIVE = RehearsalArchive(entry for entry in standard_entries() if entry.empiar_id >= RELION)
#: In deviations of random places: a pick on a particle is far above this, a pick beside it below.
BRIGHT = 12.0


def bytes_of(empiar_id: int, path: str) -> bytes:
    file = ARCHIVE.file(empiar_id, path.encode())
    assert file is not None, path
    return ARCHIVE.read(empiar_id, path.encode(), file, 0, file.size)


def paths(empiar_id: int, *, under: str = "", suffix: str = "") -> list[str]:
    every = (path.decode() for path, _ in ARCHIVE.entries[empiar_id].walk())
    return sorted(path for path in every if path.startswith(under) and path.endswith(suffix))


def pixels(empiar_id: int, path: str) -> Floats:
    """An MRC file's pixels, by mrcfile."""
    with MrcInterpreter(io.BytesIO(bytes_of(empiar_id, path))) as mrc:
        return np.asarray(mrc.data, dtype=np.float64)


def places(empiar_id: int, path: str) -> list[tuple[int, int]]:
    """Centres (column, row) of the particles that are drawn in a micrograph or movie."""
    file = ARCHIVE.file(empiar_id, path.encode())
    assert file is not None, path
    assert isinstance(file.drawing, Micrograph | Movie)
    return file.drawing.places(f"{empiar_id}/{path}".encode())
