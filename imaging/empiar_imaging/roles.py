"""What each file of a folder is for, judged by its name, suffix, folder, image set and neighbours. Pure.

No rule names an entry. The order of trust: what a name says for certain (``CountRef…``, ``.eer``), then the sum of
weaker voices (words in name and folder, the image set's category, the suffix), then how a file differs from its
neighbours: a lone ``.dm4`` among thousands of TIFF movies is their gain reference.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median_low
from typing import Final

from empiar_imaging import role_words as words
from empiar_schema.entry import ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.paths import suffix_of
from empiar_schema.states import Role

Judgement = tuple[Role, float]

#: Of so many images in a folder, or of this share, a reference's name or format may be held by others.
FEW_FILES: Final = 8
FEW_SHARE: Final = 0.02
#: Fewer images than this make no crowd to stand out from.
CROWD: Final = 5
#: A gain reference is one frame, so it is at most this share of a movie's size.
SMALL_SHARE: Final = 0.4

_IMAGE_ROLES: Final = frozenset({Role.MICROGRAPH, Role.MOVIE, Role.TILT_SERIES})
_DIGITS: Final = re.compile(r"\d+")
_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the name alone says; names that differ in digits only share it."""

    #: Without the suffix of a compressor.
    suffix: str
    words: str
    gain: bool
    maybe_gain: bool


@dataclass(frozen=True, slots=True)
class _Folder:
    """What holds for all files of the folder."""

    role: Role | None
    #: 1 where the nearest folder says it, less further up.
    role_weight: float
    holds_gains: bool
    imagesets: tuple[ImageSet, ...]
    #: Whether the image sets name this very folder.
    exact: bool
    #: Image files by suffix, references by name left out.
    crowd: Counter[str]
    few: int
    gain_names: int
    maybe_gain_names: int


def readable(text: str) -> str:
    """The text as `role_words` compares it."""
    return _DIGITS.sub("0", _CAPITAL.sub("_", text)).lower()


def classify(
    imagesets: Sequence[ImageSet], directory: str, files: Sequence[ListedFile]
) -> list[tuple[Role, float]]:
    """The role of each file of `directory`, in their order, with a confidence between 0 and 1.

    `files` are all files of the folder, or a large part of it: neighbours count.
    """
    shapes = [_shape_of(file.name) for file in files]
    folder = _folder(imagesets, directory, shapes)
    judged = {shape: _judge(shape, folder) for shape in set(shapes)}
    result = [judged[shape] for shape in shapes]
    if folder.crowd.total() > CROWD:
        _find_references(files, shapes, folder, result)
    return result


def _shape_of(name: str) -> _Shape:
    suffix = suffix_of(name)
    stem = name[: len(name) - len(suffix)] if suffix else name
    return _shape(_DIGITS.sub("0", stem), _uncompressed(suffix))


@lru_cache(maxsize=65_536)
def _shape(stem: str, suffix: str) -> _Shape:
    stem = readable(stem)
    applied = words.GAIN_APPLIED.search(stem) is not None
    return _Shape(
        suffix=suffix,
        words=stem,
        gain=not applied and words.GAIN.search(stem) is not None,
        maybe_gain=not applied and words.MAYBE_GAIN.search(stem) is not None,
    )


def base_suffix(name: str) -> str:
    """The suffix in lower case, less the suffix of a compressor: ``.tiff`` for ``a.tiff.bz2``."""
    return _uncompressed(suffix_of(name))


def _uncompressed(suffix: str) -> str:
    head, dot, _ = suffix[1:].partition(".")
    return f".{head}" if dot else suffix


def is_image(suffix: str) -> bool:
    """Whether files of this suffix hold image data."""
    return suffix in words.IMAGES or suffix in {".eer", ".st", ".ali", ".rec", ".map", ".ccp4"}


# --- the folder -------------------------------------------------------------------------------------------


def _folder(imagesets: Sequence[ImageSet], directory: str, shapes: Sequence[_Shape]) -> _Folder:
    role, weight, holds_gains = _folder_words(directory)
    nearest, exact = nearest_imagesets(imagesets, directory)
    images = [shape for shape in shapes if is_image(shape.suffix)]
    crowd = Counter(shape.suffix for shape in images if not shape.gain)
    return _Folder(
        role=role,
        role_weight=weight,
        holds_gains=holds_gains,
        imagesets=nearest,
        exact=exact,
        crowd=crowd,
        few=max(FEW_FILES, int(len(images) * FEW_SHARE)),
        gain_names=sum(shape.gain for shape in images),
        maybe_gain_names=sum(shape.maybe_gain for shape in images),
    )


def _folder_words(directory: str) -> tuple[Role | None, float, bool]:
    holds_gains, weight = False, 1.0
    for part in reversed(directory.split("/")):
        text = readable(part)
        if not words.GAIN_APPLIED.search(text) and words.GAIN.search(text):
            holds_gains = weight == 1.0
        for pattern, role in words.FOLDERS:
            if pattern.search(text):
                return role, weight, holds_gains
        if words.SUMMED.search(text) and not words.NOT_SUMMED.search(text):
            return Role.MICROGRAPH, weight, holds_gains
        weight *= 0.7
    return None, 0.0, holds_gains


def nearest_imagesets(imagesets: Sequence[ImageSet], directory: str) -> tuple[tuple[ImageSet, ...], bool]:
    """The image sets whose folder is `directory` or lies closest above it, and whether it is this very folder."""
    covering = [s for s in imagesets if s.directory is not None and _is_below(directory, s.directory)]
    if not covering:
        return (), False
    longest = max(len(s.directory or "") for s in covering)
    nearest = tuple(s for s in covering if len(s.directory or "") == longest)
    return nearest, nearest[0].directory == directory


def _is_below(directory: str, above: str) -> bool:
    return above in ("", directory) or directory.startswith(f"{above}/")


# --- one shape of name ------------------------------------------------------------------------------------


def _judge(shape: _Shape, folder: _Folder) -> Judgement:
    if f"{shape.words}{shape.suffix}" in words.LEFTOVERS or shape.words in words.LEFTOVERS:
        return Role.OTHER, 0.95
    if shape.suffix == ".gain":
        return Role.GAIN, 0.99
    if words.DEFECTS.search(shape.words):
        return Role.DEFECTS, 0.9
    if is_image(shape.suffix) and (reference := _reference_by_name(shape, folder)):
        return reference
    if shape.suffix in words.SETTLED:
        return words.SETTLED[shape.suffix]
    if shape.suffix in words.PICTURES or shape.suffix in words.FILMS:
        return _picture(shape, folder)
    if shape.suffix in words.IMAGES and not (shape.suffix in words.TABLES and not _covered(shape, folder)):
        return _image(shape, folder)
    if shape.suffix in words.TABLES:
        return _table(shape, folder)
    if shape.suffix in words.METADATA or words.README.search(shape.words):
        return Role.METADATA, 0.9
    return Role.OTHER, 0.5


def _reference_by_name(shape: _Shape, folder: _Folder) -> Judgement | None:
    if shape.gain and (folder.holds_gains or folder.gain_names <= folder.few):
        return Role.GAIN, 0.97
    if shape.maybe_gain and (folder.holds_gains or folder.maybe_gain_names <= folder.few):
        crowded = folder.crowd.total() > 3 * folder.maybe_gain_names
        return (Role.GAIN, 0.9 if folder.holds_gains else 0.7) if crowded or folder.holds_gains else None
    if folder.holds_gains and folder.crowd.total() <= FEW_FILES:
        return Role.GAIN, 0.9
    return None


def _picture(shape: _Shape, folder: _Folder) -> Judgement:
    if shape.suffix in words.PICTURES and _covered(shape, folder):
        return _image(shape, folder)
    return Role.PREVIEW, 0.9


def _covered(shape: _Shape, folder: _Folder) -> bool:
    """Whether an image set of this folder states this file's format."""
    return any(shape.suffix in suffixes_of(s) for s in folder.imagesets)


def suffixes_of(imageset: ImageSet) -> frozenset[str]:
    """The suffixes that files of the image set's stated format bear; none where it states no known one."""
    return words.FORMAT_SUFFIXES.get((imageset.data_format or "").strip().upper(), frozenset())


def _table(shape: _Shape, folder: _Folder) -> Judgement:
    if words.COORDINATES.search(shape.words):
        return Role.PARTICLE_COORDINATES, 0.85
    if folder.role is Role.PARTICLE_STACK:
        return Role.PARTICLE_COORDINATES, 0.7
    return Role.METADATA, 0.8


def _image(shape: _Shape, folder: _Folder) -> Judgement:
    scores = dict.fromkeys(Role, 0.0)
    for role, weight in words.IMAGES.get(shape.suffix, ((Role.MICROGRAPH, 0.3),)):
        scores[role] += weight
    for role, weight in _name_voices(shape):
        scores[role] += weight
    if 0 < folder.gain_names <= folder.few and not folder.holds_gains:
        # A reference is kept beside what it is to be applied to: frames.
        scores[Role.MOVIE] += 2.0
    if folder.role is not None:
        scores[folder.role] += 2.0 * folder.role_weight
    for role, weight in _imageset_voices(shape, folder):
        scores[role] += weight
    best = max(scores, key=lambda role: scores[role])
    total = sum(scores.values())
    return best, round(min(0.97, 0.4 + 0.6 * scores[best] / (total + 0.5)), 2)


def _name_voices(shape: _Shape) -> list[tuple[Role, float]]:
    text = shape.words
    voices: list[tuple[Role, float]] = []
    summed = words.SUMMED.search(text) is not None and words.NOT_SUMMED.search(text) is None
    if summed:
        voices.append((Role.MICROGRAPH, 3.0))
    elif words.MOVIE.search(text):
        voices.append((Role.MOVIE, 1.5))
    for pattern, role, weight in (
        (words.PARTICLE, Role.PARTICLE_STACK, 2.0),
        (words.CLASS, Role.CLASS_AVERAGE, 2.5),
        (words.VOLUME, Role.VOLUME, 2.0),
        (words.OVERVIEW, Role.PREVIEW, 2.5),
        (words.SLICE, Role.MICROGRAPH, 1.5),
    ):
        if pattern.search(text):
            voices.append((role, weight))
    return voices


def _imageset_voices(shape: _Shape, folder: _Folder) -> list[tuple[Role, float]]:
    sets = [s for s in folder.imagesets if shape.suffix in suffixes_of(s)] or list(folder.imagesets)
    roles = {role for s in sets if (role := role_of_category(s.category))}
    weight = (2.5 if folder.exact else 1.5) / max(1, len(roles))
    return [(role, weight) for role in sorted(roles)]


def role_of_category(category: str | None) -> Role | None:
    """What the images of an image set of this category are; None for a category that says nothing."""
    text = (category or "").lower()
    return next((role for phrase, role in words.CATEGORIES if phrase in text), None)


# --- the odd one out --------------------------------------------------------------------------------------


def _find_references(
    files: Sequence[ListedFile], shapes: Sequence[_Shape], folder: _Folder, result: list[Judgement]
) -> None:
    """Where the crowd is movies, a few images of another format, or one much smaller, become their gain reference."""
    suffix, count = folder.crowd.most_common(1)[0]
    crowd = [i for i, shape in enumerate(shapes) if shape.suffix == suffix and result[i][0] is not Role.GAIN]
    if not crowd or Counter(result[i][0] for i in crowd).most_common(1)[0][0] is not Role.MOVIE:
        return
    typical = _typical_bytes([files[i] for i in crowd])
    stems = {files[i].name.partition(".")[0] for i in crowd}
    alike = Counter(shapes)
    for i, shape in enumerate(shapes):
        if result[i][0] not in _IMAGE_ROLES or files[i].bytes == 0:
            continue
        small = typical is not None and (files[i].bytes or typical) <= SMALL_SHARE * typical
        lonely = shape.suffix != suffix and folder.crowd[shape.suffix] <= min(FEW_FILES, count // 4)
        if lonely and files[i].name.partition(".")[0] not in stems:
            result[i] = (Role.GAIN, 0.75)
        elif small and shape.suffix == suffix and alike[shape] <= FEW_FILES and count > 4 * FEW_FILES:
            result[i] = (Role.GAIN, 0.6)


def _typical_bytes(files: Sequence[ListedFile]) -> int | None:
    sizes = [file.bytes for file in files if file.bytes is not None]
    return median_low(sizes) if sizes else None
