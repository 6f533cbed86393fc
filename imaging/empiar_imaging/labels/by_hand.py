"""Labels by hand: one version of the picks of one micrograph, as it stands on disk. Contents, no files.

Positions count as stored: x is the column, y the row, row 0 is the first in the file, and the middle of a pixel is a whole number.
CryoPPP's Y is `height` − y. A version holds every pick that somebody looked at, the rejected ones too, and who saved it when.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from empiar_imaging.labels.table import CoordinateOrigin, LabelTable
from empiar_schema.faults import BadLabels

FORMAT: Final = "empiar-mirror labels by hand"
#: More picks of one micrograph are no work of hands.
MOST_PICKS: Final = 20_000
#: A file beyond this is no version: the most picks with the longest texts take a fifth of it.
LARGEST_BYTES: Final = 16 * 2**20
_CONVENTION: Final = (
    "x is the column and y the row as stored, row 0 first in the file; the middle of a pixel is a whole number;"
    " Y of CryoPPP and cryoSPARC is height - y"
)
_STRICT: Final = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

State = Literal["kept", "rejected"]
#: Where a pick comes from: labels that were there before, or this hand.
Origin = Literal["imported", "hand"]
Position = Annotated[float, Field(ge=0, le=1e7)]
Author = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")]
Note = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Side = Annotated[int, Field(ge=1, le=10_000_000)]


class Pick(BaseModel):
    """One pick: its centre in pixels, rows as stored."""

    model_config = _STRICT

    x: Position
    y: Position
    state: State = "kept"
    source: Origin = "hand"


class HandVersion(BaseModel):
    """All picks of one micrograph as one person left them."""

    model_config = _STRICT

    format: Literal["empiar-mirror labels by hand"] = FORMAT
    format_version: Literal[1] = 1
    version: Annotated[int, Field(ge=1)]
    #: The version that was changed; 0 for labels that nobody had changed by hand.
    base: Annotated[int, Field(ge=0)]
    #: Another version was saved while this one was made: it is kept, and counts for nothing until somebody says so.
    aside: bool = False
    author: Author
    #: UTC, ISO 8601.
    saved_at: Annotated[str, Field(max_length=40)]
    note: Note | None = None
    empiar_id: Annotated[int, Field(ge=1)]
    #: Below the entry, a stored text.
    micrograph: Annotated[str, Field(min_length=1, max_length=20_000)]
    micrograph_sha256: Sha256
    #: What was looked at, below the mirror's root: the micrograph, or the average of the movie.
    picture: Annotated[str, Field(min_length=1, max_length=20_000)]
    picture_sha256: Sha256
    width: Side
    height: Side
    pixel_size_angstrom: Annotated[float, Field(gt=0)] | None = None
    origin: Literal["top"] = "top"
    convention: str = _CONVENTION
    #: Of a particle, pixels of the picture; None where nobody says.
    diameter_px: Annotated[float, Field(gt=0, le=1e6)] | None = None
    picks: Annotated[tuple[Pick, ...], Field(max_length=MOST_PICKS, strict=False)]

    @model_validator(mode="after")
    def _on_the_picture(self) -> Self:
        for pick in self.picks:
            if pick.x > self.width or pick.y > self.height:
                raise ValueError(
                    f"the pick at column {pick.x:g}, row {pick.y:g} lies outside of {self.width} × {self.height} pixels"
                )
        return self

    def of_state(self, state: State) -> tuple[Pick, ...]:
        """The picks in that state, in their order."""
        return tuple(pick for pick in self.picks if pick.state == state)

    @property
    def added(self) -> int:
        """Picks that were not among the labels before."""
        return sum(pick.source == "hand" for pick in self.picks)


_MANY: Final = TypeAdapter(tuple[HandVersion, ...])


def write_version(version: HandVersion) -> bytes:
    """The version as a JSON text, a pick a line; the same version gives the same bytes."""
    head = version.model_dump(exclude={"picks"})
    lines = [json.dumps(pick.model_dump(), ensure_ascii=True) for pick in version.picks]
    picks = "[\n  " + ",\n  ".join(lines) + "\n ]" if lines else "[]"
    text = json.dumps(head, indent=1, ensure_ascii=True).removesuffix("\n}")
    return f'{text},\n "picks": {picks}\n}}\n'.encode("ascii")


def read_version(raw: bytes, *, what: str) -> HandVersion:
    """The version in a file called `what`.

    Raises:
        BadLabels: it is cut, no such file, or one of a newer program.
    """
    if len(raw) > LARGEST_BYTES:
        raise BadLabels(f"{what} has {len(raw):,} bytes, more than a version of labels can have")
    try:
        return HandVersion.model_validate_json(raw)
    except ValidationError as error:
        raise BadLabels(f"{what} is no version of labels by hand: {first_mistake(error)}") from error


def write_versions(versions: Sequence[HandVersion]) -> bytes:
    """Several versions in one file, one a line."""
    return b"[\n" + b",\n".join(one.model_dump_json().encode() for one in versions) + b"\n]\n"


def read_versions(raw: bytes) -> tuple[HandVersion, ...]:
    """What `write_versions` wrote."""
    return _MANY.validate_json(raw)


def first_mistake(error: ValidationError) -> str:
    """Where the first mistake is, and what; without what was given there, which may be anything."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def table_of(version: HandVersion, state: State, *, name: str | None = None) -> LabelTable:
    """The picks in that state as a table of one micrograph, called `name` (by default the path that it has in the entry)."""
    picks = version.of_state(state)
    micrograph = name or version.micrograph
    return LabelTable(
        micrograph=[micrograph] * len(picks),
        x=np.array([pick.x for pick in picks], "float64"),
        y=np.array([pick.y for pick in picks], "float64"),
        origin=CoordinateOrigin.TOP,
        diameter_px=version.diameter_px,
        pixel_size_angstrom=version.pixel_size_angstrom,
        shapes={micrograph: (version.height, version.width)},
        without_particles=() if picks or state == "rejected" else (micrograph,),
    )
