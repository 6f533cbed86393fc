"""What a file's header says of the image in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts of one file (view `images`). `problems` are finding codes; empty means sound."""

    format: str
    #: Pixels; for a stack, of one frame.
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    mode: str | None = None
    pixel_size_angstrom: float | None = None
    problems: tuple[str, ...] = ()
    #: Type of an MRC file's extended header (``FEI1``, ``SERI``, …), or what stands for it in other formats.
    extended_header: str | None = None
