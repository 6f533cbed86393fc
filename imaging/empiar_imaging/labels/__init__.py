"""Coordinates of particles: their files, their frames, and ground truth made of them."""

from empiar_imaging.labels.formats import (
    LabelFormat,
    Reading,
    Writing,
    WrittenLabels,
    format_of,
    read_labels,
    write_labels,
)
from empiar_imaging.labels.frames import to_origin
from empiar_imaging.labels.table import CoordinateOrigin, LabelTable, concatenated, scaled

__all__ = [
    "CoordinateOrigin",
    "LabelFormat",
    "LabelTable",
    "Reading",
    "Writing",
    "WrittenLabels",
    "concatenated",
    "format_of",
    "read_labels",
    "scaled",
    "to_origin",
    "write_labels",
]
