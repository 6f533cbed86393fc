"""Derived files: what was made here of deposited ones, and the kinds that layouts know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a product of a built-in maker is for. Hooks may have kinds of their own."""

    SELECTED_STAR = "selected_star"
    SELECTED_CSV = "selected_csv"
    EXCLUDED_STAR = "excluded_star"
    EXCLUDED_CSV = "excluded_csv"
    PARTICLE_COORDINATES = "particle_coordinates"
    FALSE_POSITIVES = "false_positives"
    PARTICLE_STACK = "particle_stack"
    MICROGRAPH = "micrograph"
    RENDITION = "rendition"
    #: No layout has a place for these.
    PARTICLE_REFERENCES = "particle_references"
    LABEL_REPORT = "label_report"
    THUMBNAIL = "thumbnail"
    POWER_SPECTRUM = "power_spectrum"


@dataclass(frozen=True, slots=True)
class Product:
    """One derived file, and what it was made of."""

    product_id: int
    #: Stored text below ``derived/<empiar_id>``.
    path: str
    #: ``micrograph``, ``rendition``, ``particle_coordinates``, ``particle_stack``, ``selected_star`` …
    kind: str
    maker: str
    #: Of the micrograph that it belongs to; None where it belongs to the entry.
    stem: str | None
    #: The deposited file that it was made of; None where of several.
    parent_file_id: int | None
    size: int
    sha256: bytes
