"""What the catalogue says of a micrograph that somebody wants to look at, and of the labels that there are without any by hand."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from empiar_imaging.labels.by_hand import MOST_PICKS, Pick, State
from empiar_mirror.web.pictures import read_below
from empiar_schema.faults import HostileName
from empiar_schema.paths import RemotePath
from empiar_schema.products import Kind
from empiar_schema.states import HERE, Role

_STATES: Final = {Kind.PARTICLE_COORDINATES: "kept", Kind.FALSE_POSITIVES: "rejected"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A file with the pixels that are shown."""

    tree: Literal["archive", "derived"]
    place: RemotePath
    size: int
    sha256: str

    @property
    def shown(self) -> str:
        """Below the mirror's root, as a stored text."""
        return f"{self.tree}/{self.place}"


@dataclass(frozen=True, slots=True)
class Micrograph:
    """A micrograph, or a movie with its average, that is here."""

    file_id: int
    remote: RemotePath
    sha256: str
    picture: Picture
    pixel_size_angstrom: float | None
    #: By the header on record, rows and columns.
    shape: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class NotShown:
    """Why there is nothing to look at, and what to do."""

    said: str


def find_micrograph(connection: sqlite3.Connection, empiar_id: int, file_id: int) -> Micrograph | NotShown:
    """The micrograph of that number in that entry."""
    file = connection.execute(
        "SELECT path, role FROM files WHERE file_id = ? AND empiar_id = ?", (file_id, empiar_id)
    ).fetchone()
    if file is None:
        return NotShown("The entry has no file of this number.")
    if file["role"] not in (Role.MICROGRAPH, Role.MOVIE):
        role = "a file of no known role" if file["role"] is None else f"of the role {file['role']}"
        return NotShown(
            f"{file['path']} is {role}, and no micrograph. docs/roles.md says how to state otherwise."
        )
    copy = connection.execute(
        "SELECT state, sha256, bytes FROM copies WHERE file_id = ?", (file_id,)
    ).fetchone()
    if copy is None or copy["state"] not in HERE or copy["sha256"] is None:
        return NotShown(_absent(empiar_id, file["path"], None if copy is None else copy["state"]))
    try:
        remote = RemotePath.parse(empiar_id, file["path"])
        picture = (
            Picture("archive", remote, copy["bytes"], copy["sha256"])
            if file["role"] == Role.MICROGRAPH
            else _average(connection, empiar_id, file_id)
        )
    except HostileName:
        return NotShown("No file can have this name.")
    if picture is None:
        return NotShown(
            f"{file['path']} is a movie, and labels are made on the average of its frames, of which there is none yet. Set"
            ' micrographs = "frame_average" in a [view.NAME] that is built, or name a hook for motion correction there'
            " (docs/pictures.md), and `empiar-mirror make` makes it."
        )
    facts = connection.execute(
        "SELECT width, height, nullif(pixel_size_angstrom, 0) AS pixel FROM images WHERE file_id = ?",
        (file_id,),
    ).fetchone()
    stated = connection.execute(
        "SELECT nullif(pixel_width_angstrom, 0) FROM micrographs WHERE file_id = ?", (file_id,)
    ).fetchone()
    pixel = facts["pixel"] if facts is not None else None
    shape = (
        (facts["height"], facts["width"])
        if facts is not None and facts["height"] and facts["width"]
        else None
    )
    return Micrograph(
        file_id, remote, copy["sha256"], picture, pixel or (stated[0] if stated is not None else None), shape
    )


def _absent(empiar_id: int, path: str, state: str | None) -> str:
    match state:
        case None:
            return f"{path} is not wanted here: `empiar-mirror sync {empiar_id}` fetches the entry."
        case "evicted":
            return f"{path} was removed to make room: `empiar-mirror recall` brings it back. Its labels are kept."
        case "damaged" | "quarantined":
            return f"{path} is {state}: `empiar-mirror repair {empiar_id}` fetches it again."
    return f"{path} has not arrived: `empiar-mirror why {empiar_id}/{path}` says why."


def _average(connection: sqlite3.Connection, empiar_id: int, file_id: int) -> Picture | None:
    row = connection.execute(
        "SELECT p.path, p.bytes, lower(hex(p.sha256)) AS sha256 FROM product p WHERE p.job_id IN"
        " (SELECT job_id FROM job WHERE file_id = ?) AND p.kind = ? ORDER BY p.path LIMIT 1",
        (file_id, Kind.MICROGRAPH),
    ).fetchone()
    if row is None:
        return None
    return Picture("derived", RemotePath.parse(empiar_id, row["path"]), row["bytes"], row["sha256"])


@dataclass(frozen=True, slots=True)
class LabelsBefore:
    """What was there before anybody worked by hand: picks in rows as stored, and where they come from."""

    picks: Sequence[Pick] = ()
    diameter_px: float | None = None
    naming: str = ""


def labels_before(
    connection: sqlite3.Connection, root: Path, micrograph: Micrograph, *, height: int, width: int
) -> LabelsBefore:
    """Labels of the entry, imported or its own, as its ground truth has them, on a picture of that size."""
    rows = connection.execute(
        "SELECT p.path, p.kind, j.maker, p.job_id FROM product p JOIN job j ON j.job_id = p.job_id"
        " WHERE p.empiar_id = ? AND p.parent_file_id = ? AND p.kind IN (?, ?) ORDER BY j.maker, p.kind DESC",
        (micrograph.remote.empiar_id, micrograph.file_id, *_STATES),
    ).fetchall()
    picks: list[Pick] = []
    diameter: float | None = None
    stored = micrograph.shape or (height, width)
    for row in rows:
        if row["maker"] != rows[0]["maker"]:
            break
        content = None
        with suppress(OSError, HostileName):
            place = RemotePath.parse(micrograph.remote.empiar_id, row["path"])
            content = read_below(root, "derived", place)
        if content is not None:
            state: State = "kept" if row["kind"] == Kind.PARTICLE_COORDINATES else "rejected"
            found, stated = _picks(content, state, stored=stored, shown=(height, width))
            picks += found
            diameter = diameter or stated
    naming = _naming(connection, rows[0]["job_id"]) if rows else ""
    return LabelsBefore(tuple(picks[:MOST_PICKS]), diameter, naming)


def _picks(
    content: bytes, state: State, *, stored: tuple[int, int], shown: tuple[int, int]
) -> tuple[list[Pick], float | None]:
    """The picks of one of our own tables, whose Y counts from the bottom: ``row = H − Y``."""
    down, across = shown[0] / stored[0], shown[1] / stored[1]
    picks, diameter = [], None
    for row in list(csv.reader(io.StringIO(content.decode("latin-1"), newline="")))[1:]:
        x, y = float(row[0]) * across, (stored[0] - float(row[1])) * down
        if 0 <= x <= shown[1] and 0 <= y <= shown[0]:
            picks.append(Pick(x=round(x, 2), y=round(y, 2), state=state, source="imported"))
        diameter = diameter or (float(row[2]) * across if row[2] else None)
    return picks, diameter


def _naming(connection: sqlite3.Connection, job_id: int) -> str:
    row = connection.execute(
        "SELECT json_extract(details, '$.sources') FROM product WHERE job_id = ? AND kind = 'label_report'",
        (job_id,),
    ).fetchone()
    sources = json.loads(row[0]) if row is not None and row[0] else []
    names = [str(source.get("path")) for source in sources if source.get("particles")]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more files" if len(names) > 3 else "")
