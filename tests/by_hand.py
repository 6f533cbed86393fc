"""Versions of labels by hand for tests, as the web page saves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from empiar_imaging.labels.by_hand import HandVersion, Pick
from empiar_mirror.by_hand.versions import remote_of, save
from entry_here import ID

Picked = tuple[float, float] | tuple[float, float, Literal["kept", "rejected"]]


def picks(*places: Picked, source: Literal["imported", "hand"] = "hand") -> tuple[Pick, ...]:
    """Picks at these columns and rows as stored; kept unless it says otherwise."""
    return tuple(
        Pick(x=float(p[0]), y=float(p[1]), state=p[2] if len(p) == 3 else "kept", source=source)
        for p in places
    )


def version(
    path: str,
    chosen: Sequence[Pick],
    *,
    number: int = 1,
    base: int = 0,
    aside: bool = False,
    author: str = "Ann",
    shape: tuple[int, int] = (160, 120),
    diameter: float | None = None,
) -> HandVersion:
    """A version of the picks of one micrograph of `shape` rows and columns."""
    return HandVersion(
        version=number,
        base=base,
        aside=aside,
        author=author,
        saved_at="2026-01-02T03:04:05Z",
        empiar_id=ID,
        micrograph=path,
        micrograph_sha256="0" * 64,
        picture=f"archive/{ID}/{path}",
        picture_sha256="0" * 64,
        height=shape[0],
        width=shape[1],
        pixel_size_angstrom=1.5,
        diameter_px=diameter,
        picks=tuple(chosen),
    )


def saved(
    root: Path,
    path: str,
    chosen: Sequence[Pick],
    *,
    base: int = 0,
    author: str = "Ann",
    diameter: float | None = None,
) -> HandVersion:
    """The next version of that micrograph stands on disk."""
    return save(
        root,
        remote_of(ID, path),
        base=base,
        make=lambda number, aside: version(
            path, chosen, number=number, base=base, aside=aside, author=author, diameter=diameter
        ),
    )
