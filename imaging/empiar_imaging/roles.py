"""What each file of a folder is for, judged by its name, suffix, folder, image set and neighbours. Pure.

No rule names an entry. The order of trust: what a name says for certain (``CountRef…``, ``.eer``), then the sum of
weaker voices (words in name and folder, the image set's category, the suffix), then how a file differs from its
neighbours: a lone ``.dm4`` among thousands of TIFF movies is their gain reference. What headers add: `role_headers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median_low
from typing import Final

from empiar_imaging import role_words as words
from empiar_imaging.name_families import (
    Family,
    Shape,
    base_suffix,
    common_stem,
    families_of,
    is_image,
    readable,
)
from empiar_schema.entry import ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.role_reasons import Judgement, RoleReason
from empiar_schema.states import Role

__all__ = [
    "base_suffix",
    "classify",
    "is_image",
    "nearest_imagesets",
    "readable",
    "role_of_category",
    "suffixes_of",
]

_Voice = tuple[Role, float, RoleReason]
_Why = RoleReason

#: Of so many images in a folder, or of this share, a reference's name or format may be held by others.
FEW_FILES: Final = 8
FEW_SHARE: Final = 0.02
#: Unmistakable references of one folder, at most, unless it has as many other images.
MANY_REFERENCES: Final = 50
#: Fewer images than this make no crowd to stand out from.
CROWD: Final = 5
#: A gain reference is one frame, so it is at most this share of a movie's size.
SMALL_SHARE: Final = 0.4
#: No detector's single frame is larger, bytes: K3 in super-resolution has 11,520 × 8,184 pixels of at most four bytes.
LARGEST_FRAME: Final = 450_000_000
#: Voices alone never make a role certain.
LOUDEST: Final = 0.94

_FRAMES: Final = frozenset({Role.MICROGRAPH, Role.MOVIE, Role.TILT_SERIES})


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
    references: int
    gains: int
    maybe_gains: int
    defects: int


def classify(imagesets: Sequence[ImageSet], directory: str, files: Sequence[ListedFile]) -> list[Judgement]:
    """The role of each file of `directory`, in their order, with a confidence between 0 and 1 and the rule that decided.

    `files` are all files of the folder, or a large part of it: neighbours count.
    """
    families = families_of(files)
    folder = _folder(imagesets, directory, families)
    crowd = _crowd(files, families, folder)
    judged = [_judge(family, folder, files, crowd) for family in families]
    result: list[Judgement] = [judged[0]] * len(files) if files else []
    for family, judgement in zip(families, judged, strict=True):
        for place in family.members:
            result[place] = judgement
    _find_tilt_series(files, families, folder, result)
    if folder.crowd.total() > CROWD:
        _find_references(files, families, folder, result)
    return result


# --- the folder -------------------------------------------------------------------------------------------


def _folder(imagesets: Sequence[ImageSet], directory: str, families: Sequence[Family]) -> _Folder:
    role, weight, holds_gains = _folder_words(directory)
    nearest, exact = nearest_imagesets(imagesets, directory)
    crowd: Counter[str] = Counter()
    references = gains = maybe_gains = images = defects = 0
    for shape, count in ((f.shape, len(f.members)) for f in families if f.shape.image):
        images += count
        references += shape.reference and count
        gains += (shape.gain or shape.reference) and count
        maybe_gains += shape.maybe_gain and count
        defects += count if words.DEFECTS.search(shape.words) else 0
        if not (shape.gain or shape.reference):
            crowd[shape.suffix] += count
    few = max(FEW_FILES, int(images * FEW_SHARE))
    return _Folder(
        role=role, role_weight=weight, holds_gains=holds_gains, imagesets=nearest, exact=exact, crowd=crowd,
        few=few, references=references, gains=gains, maybe_gains=maybe_gains, defects=defects,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _folder_words(directory: str) -> tuple[Role | None, float, bool]:
    holds_gains, weight = False, 1.0
    for part in reversed(directory.split("/")):
        text = readable(part)
        if not words.NO_REFERENCE.search(text) and (words.GAIN.search(text) or words.REFERENCE.search(text)):
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


def _crowd(files: Sequence[ListedFile], families: Sequence[Family], folder: _Folder) -> Judgement | None:
    """What the folder's largest family of images is, those that may be references left out."""
    plain = [
        f for f in families if f.shape.image and not (f.shape.gain or f.shape.reference or f.shape.maybe_gain)
    ]
    if not plain:
        return None
    largest = max(plain, key=lambda family: len(family.members))
    if largest.shape.suffix in words.SETTLED:
        return Judgement(*words.SETTLED[largest.shape.suffix], _Why.SUFFIX)
    return _image(largest, folder, files)


# --- one family of names ----------------------------------------------------------------------------------


def _judge(
    family: Family, folder: _Folder, files: Sequence[ListedFile], crowd: Judgement | None
) -> Judgement:
    shape = family.shape
    if f"{shape.words}{shape.suffix}" in words.LEFTOVERS or shape.words in words.LEFTOVERS:
        return Judgement(Role.OTHER, 0.95, _Why.LEFTOVER)
    if shape.suffix == ".gain":
        return Judgement(Role.GAIN, 0.99, _Why.SUFFIX)
    if words.DEFECTS.search(shape.words) and not (shape.image and folder.defects > folder.few):
        return Judgement(Role.DEFECTS, 0.9, _Why.DEFECTS_NAME)
    if shape.image and (reference := _reference_by_name(shape, folder, crowd)):
        return reference
    if shape.suffix in words.SETTLED:
        return Judgement(*words.SETTLED[shape.suffix], _Why.SUFFIX)
    if shape.suffix in words.PICTURES or shape.suffix in words.FILMS:
        if shape.suffix in words.PICTURES and _covered(shape, folder):
            return _image(family, folder, files)
        return Judgement(Role.PREVIEW, 0.9, _Why.SUFFIX)
    if shape.suffix in words.IMAGES and not (shape.suffix in words.TABLES and not _covered(shape, folder)):
        return _image(family, folder, files)
    if shape.suffix in words.TABLES:
        return _table(shape, folder)
    if shape.suffix in words.METADATA:
        return Judgement(Role.METADATA, 0.9, _Why.SUFFIX)
    if words.README.search(shape.words):
        return Judgement(Role.METADATA, 0.9, _Why.NAME)
    return Judgement(Role.OTHER, 0.5, _Why.NOTHING_KNOWN)


def _reference_by_name(shape: Shape, folder: _Folder, crowd: Judgement | None) -> Judgement | None:
    others = folder.crowd.total()
    if shape.reference and (folder.holds_gains or folder.references <= max(MANY_REFERENCES, others)):
        return Judgement(Role.GAIN, 0.97, _Why.GAIN_NAME)
    if shape.gain and (folder.holds_gains or folder.gains <= folder.few):
        if folder.holds_gains or others >= folder.gains:
            return Judgement(Role.GAIN, 0.93, _Why.GAIN_NAME)
        # Nothing here to apply it to: a few may belong to movies in other folders, or gain means something else.
        return Judgement(Role.GAIN, 0.8 if folder.gains <= 2 else 0.65, _Why.GAIN_NAME)
    if shape.maybe_gain and (folder.holds_gains or folder.maybe_gains <= folder.few):
        crowded = others > 3 * folder.maybe_gains
        movies = crowd is not None and (crowd.role is Role.MOVIE or crowd.reason is _Why.SUFFIX_ALONE)
        stranger = folder.crowd[shape.suffix] <= min(FEW_FILES, others // 4)
        if folder.holds_gains or (crowded and (movies or stranger)):
            return Judgement(Role.GAIN, 0.9 if folder.holds_gains else 0.7, _Why.GAIN_WORD)
    if folder.holds_gains and others <= FEW_FILES:
        return Judgement(Role.GAIN, 0.9, _Why.GAIN_FOLDER)
    return None


def _covered(shape: Shape, folder: _Folder) -> bool:
    """Whether an image set of this folder states this file's format."""
    return any(shape.suffix in suffixes_of(s) for s in folder.imagesets)


def suffixes_of(imageset: ImageSet) -> frozenset[str]:
    """The suffixes that files of the image set's stated format bear; none where it states no known one."""
    return words.FORMAT_SUFFIXES.get((imageset.data_format or "").strip().upper(), frozenset())


def _table(shape: Shape, folder: _Folder) -> Judgement:
    if words.COORDINATES.search(shape.words):
        return Judgement(Role.PARTICLE_COORDINATES, 0.85, _Why.NAME)
    if folder.role is Role.PARTICLE_STACK:
        return Judgement(Role.PARTICLE_COORDINATES, 0.7, _Why.FOLDER)
    return Judgement(Role.METADATA, 0.8, _Why.SUFFIX_ALONE)


def _image(family: Family, folder: _Folder, files: Sequence[ListedFile]) -> Judgement:
    shape = family.shape
    voices = _name_voices(shape)
    alone = words.IMAGES.get(shape.suffix, ((Role.MICROGRAPH, 0.3),))
    voices += [(role, weight, _Why.SUFFIX_ALONE) for role, weight in alone]
    if 0 < folder.gains <= folder.few and not folder.holds_gains:
        # A reference is kept beside what it is to be applied to: frames.
        voices.append((Role.MOVIE, 2.0, _Why.BESIDE_GAIN))
    if folder.role is not None:
        voices.append((folder.role, 2.0 * folder.role_weight, _Why.FOLDER))
    voices += _imageset_voices(shape, folder)
    if shape.suffix == ".mrc" and (_typical_bytes(files, family.members) or 0) > LARGEST_FRAME:
        voices.append((Role.MOVIE, 1.0, _Why.LARGE))
    return _elected(voices)


def _elected(voices: Sequence[_Voice]) -> Judgement:
    """The role with most weight behind it; its reason is the loudest voice for it."""
    scores = dict.fromkeys(Role, 0.0)
    for role, weight, _ in voices:
        scores[role] += weight
    best = max(scores, key=lambda role: scores[role])
    share = scores[best] / (sum(scores.values()) + 0.5)
    _, _, reason = max((voice for voice in voices if voice[0] is best), key=lambda voice: voice[1])
    return Judgement(best, round(min(LOUDEST, 0.4 + 0.6 * share), 2), reason)


def _name_voices(shape: Shape) -> list[_Voice]:
    text = shape.words
    voices: list[_Voice] = []
    summed = words.SUMMED.search(text) is not None and words.NOT_SUMMED.search(text) is None
    if summed:
        voices.append((Role.MICROGRAPH, 3.0, _Why.NAME))
    elif words.MOVIE.search(text):
        voices.append((Role.MOVIE, 1.5, _Why.NAME))
    for pattern, role, weight in (
        (words.PARTICLE, Role.PARTICLE_STACK, 2.0),
        (words.CLASS, Role.CLASS_AVERAGE, 2.5),
        (words.VOLUME, Role.VOLUME, 2.0),
        (words.OVERVIEW, Role.PREVIEW, 2.5),
        (words.SLICE, Role.MICROGRAPH, 1.5),
    ):
        if pattern.search(text):
            voices.append((role, weight, _Why.NAME))
    return voices


def _imageset_voices(shape: Shape, folder: _Folder) -> list[_Voice]:
    sets = [s for s in folder.imagesets if shape.suffix in suffixes_of(s)] or list(folder.imagesets)
    roles = {role for s in sets if (role := role_of_category(s.category))}
    weight = (2.5 if folder.exact else 1.5) / max(1, len(roles))
    return [(role, weight, _Why.IMAGE_SET) for role in sorted(roles)]


def role_of_category(category: str | None) -> Role | None:
    """What the images of an image set of this category are; None for a category that says nothing."""
    text = (category or "").lower()
    return next((role for phrase, role in words.CATEGORIES if phrase in text), None)


# --- single files that stand out --------------------------------------------------------------------------


def _find_tilt_series(
    files: Sequence[ListedFile], families: Sequence[Family], folder: _Folder, result: list[Judgement]
) -> None:
    """Images whose name a file of tilt angles bears become tilt series."""
    notes = [f for f in families if f.shape.suffix in (".rawtlt", ".tlt", ".mdoc")]
    names = {
        name[: -len(suffix)] + suffix.removesuffix(".mdoc") * (suffix.endswith(".mdoc"))
        for family in notes
        for name in (files[place].name for place in family.members)
        for suffix in words.TILT_ANGLES
        if name.lower().endswith(suffix)
    }
    if not names:
        return
    for family in families:
        tilted = folder.role is Role.TILT_SERIES or words.TILT.search(family.shape.words) is not None
        if not family.shape.image or result[family.members[0]].certain:
            continue
        for place in family.members:
            name = files[place].name
            # SerialEM writes a .mdoc for single movies too; the name or the folder has to speak of tilts then.
            if name.rpartition(".")[0] in names or (tilted and name in names):
                result[place] = Judgement(Role.TILT_SERIES, 0.93, _Why.TILT_ANGLES)


def _find_references(
    files: Sequence[ListedFile], families: Sequence[Family], folder: _Folder, result: list[Judgement]
) -> None:
    """Where the crowd is movies, a few images of another format, or one much smaller, become their gain reference."""
    suffix, count = folder.crowd.most_common(1)[0]
    crowd = [f for f in families if f.shape.suffix == suffix and result[f.members[0]].role is not Role.GAIN]
    movies = sum(len(f.members) for f in crowd if result[f.members[0]].role is Role.MOVIE)
    if movies * 2 <= sum(len(f.members) for f in crowd):
        return
    movie_places = [place for family in crowd for place in family.members]
    stems: frozenset[str] | None = None
    typical: int | None = None
    for family in families:
        known = result[family.members[0]]
        sums = known.role is Role.MICROGRAPH and known.reason is _Why.NAME
        if known.role not in _FRAMES or known.certain or sums:
            continue
        if family.shape.suffix != suffix and folder.crowd[family.shape.suffix] <= min(FEW_FILES, count // 4):
            stems = stems or frozenset(common_stem(files[place].name) for place in movie_places)
            for place in family.members:
                if files[place].bytes != 0 and common_stem(files[place].name) not in stems:
                    result[place] = Judgement(Role.GAIN, 0.75, _Why.OTHER_FORMAT)
        elif family.shape.suffix == suffix and len(family.members) <= FEW_FILES and count > 4 * FEW_FILES:
            typical = typical or _typical_bytes(files, movie_places) or 1
            for place in family.members:
                if 0 < (files[place].bytes or 0) <= SMALL_SHARE * typical:
                    result[place] = Judgement(Role.GAIN, 0.6, _Why.SMALLER)


def _typical_bytes(files: Sequence[ListedFile], places: Sequence[int]) -> int | None:
    """The median size of these files, of a hundred or two at most."""
    sizes = [size for place in places[:: -(-len(places) // 200)] if (size := files[place].bytes) is not None]
    return median_low(sizes) if sizes else None
