"""Where an entry's image sets contradict the headers of its files. Pure.

Depositors type what the files say once more, and err. Compared are: file format, voxel type, pixel size, image size and
frames of images that an image set can mean: those in or below its folder, of its format where there are any, of its
kind where the folder holds several. What a header does not say, or says as its writer's default, contradicts nothing;
neither does what depositors count in several ways (sections of volumes, tilts of a series, electron-event frames).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from empiar_imaging.formats import dm, mrc, tiff
from empiar_imaging.roles import base_suffix, nearest_imagesets, role_of_category, suffixes_of
from empiar_schema.entry import ImageSet
from empiar_schema.image_facts import ImageFacts
from empiar_schema.states import Role

FORMAT: Final = "file format"
VOXEL: Final = "voxel type"
PIXEL: Final = "pixel size"
SIZE: Final = "image size"
FRAMES: Final = "frames per image"
SUFFIX: Final = "suffix"
#: All kinds that a comparison decides anew.
KINDS: Final = (FORMAT, VOXEL, PIXEL, SIZE, FRAMES, SUFFIX)

#: Calibrated and nominal pixel sizes differ by this much without anybody being wrong.
PIXEL_TOLERANCE: Final = 0.02
#: Fewer files than this share may differ from what is stated of all.
TOLERATED_SHARE: Final = 0.1
#: Different values that one contradiction names.
NAMED: Final = 3

#: The micrographs of one image set may have been judged as movies, and the other way round.
_IMAGES: Final = frozenset({Role.MICROGRAPH, Role.MOVIE})
_COMPARED: Final = _IMAGES | {Role.TILT_SERIES, Role.PARTICLE_STACK, Role.CLASS_AVERAGE, Role.VOLUME}
#: Number types of a pixel that an image set's voxel type can mean.
_MODES: Final[dict[str, frozenset[str]]] = {
    "UNSIGNED BYTE": frozenset({"uint8"}),
    "SIGNED BYTE": frozenset({"int8"}),
    "UNSIGNED 16 BIT INTEGER": frozenset({"uint16"}),
    "SIGNED 16 BIT INTEGER": frozenset({"int16"}),
    "UNSIGNED 32 BIT INTEGER": frozenset({"uint32"}),
    "SIGNED 32 BIT INTEGER": frozenset({"int32"}),
    "16 BIT FLOAT": frozenset({"float16"}),
    "32 BIT FLOAT": frozenset({"float32"}),
    # Two pixels share a byte, which the header may call a byte.
    "4 BIT INTEGER": frozenset({"uint4", "uint8", "int8"}),
}
_FORMAT_SUFFIXES: Final = {
    "mrc": mrc.SUFFIXES,
    "tiff": frozenset({".tif", ".tiff", ".gain"}),
    "eer": frozenset({".eer", ".tif", ".tiff"}),
    "dm3": dm.SUFFIXES,
    "dm4": dm.SUFFIXES,
}
_IMAGE_SUFFIXES: Final = mrc.SUFFIXES | tiff.SUFFIXES | dm.SUFFIXES
#: What many programs write where nobody has told them a pixel size.
_DEFAULT_PIXEL_ANGSTROM: Final = 1.0


@dataclass(frozen=True, slots=True)
class Headers:
    """Files of one folder whose headers say the same."""

    directory: str
    role: Role
    facts: ImageFacts
    files: int
    #: Path of one of them below the entry.
    example: str
    #: Only the example was looked at; the others have names like it.
    probed: bool = False

    @property
    def format(self) -> str:
        """The image's format, without its compressor."""
        return self.facts.format.partition(".")[0]

    @property
    def suffix(self) -> str:
        """Of the names, without the compressor's."""
        return base_suffix(self.example.rpartition("/")[2])


class Disagreement(NamedTuple):
    """A statement that headers contradict. `path` is a folder below the entry."""

    what: str
    path: str | None
    stated: str
    found: str
    source: str


class _Answer(NamedTuple):
    """What the headers of one group say to one statement; `agrees` None: nothing."""

    agrees: bool | None
    found: str = ""


def disagreements(imagesets: Sequence[ImageSet], headers: Sequence[Headers]) -> list[Disagreement]:
    """All that contradict each other, in a fixed order; `headers` are those of the whole entry."""
    groups: dict[int, list[Headers]] = {}
    for group in headers:
        if group.role in _COMPARED:
            for imageset in _meant(imagesets, group):
                groups.setdefault(imageset.position, []).append(group)
    by_position = {imageset.position: imageset for imageset in imagesets}
    told = {position: _told(by_position[position], of_set) for position, of_set in groups.items()}
    _keep_best(by_position, told)
    found = [one for position in sorted(told) for one in _of_imageset(by_position[position], told[position])]
    return found + _suffixes(headers)


# --- which files an image set means -----------------------------------------------------------------------


def _meant(imagesets: Sequence[ImageSet], group: Headers) -> tuple[ImageSet, ...]:
    nearest, _ = nearest_imagesets(imagesets, group.directory)
    if not nearest:
        # A folder that is written otherwise is a contradiction of its own; its files are meant all the same.
        folded = [
            s.model_copy(update={"directory": s.directory.casefold()}) for s in imagesets if s.directory
        ]
        nearest, _ = nearest_imagesets(folded, group.directory.casefold())
    return tuple(s for s in nearest if _kind_fits(s, group))


def _kind_fits(imageset: ImageSet, group: Headers) -> bool:
    stated, role = role_of_category(imageset.category), group.role
    if stated is None:
        return role in _IMAGES
    if stated is Role.TILT_SERIES and role in _IMAGES:
        # Deposited may be the frames of each tilt; stacks beside them are then not what is stated.
        return group.suffix in suffixes_of(imageset)
    return stated is role or (stated in _IMAGES and role in _IMAGES)


def _told(imageset: ImageSet, groups: Sequence[Headers]) -> list[Headers]:
    """The groups that the image set can mean: of its format if there are any, then of its very kind if there are any."""
    suffixes = suffixes_of(imageset)
    of_format = [group for group in groups if group.suffix in suffixes]
    chosen = of_format or list(groups)
    of_kind = [group for group in chosen if group.role is role_of_category(imageset.category)]
    return of_kind or chosen


def _keep_best(imagesets: dict[int, ImageSet], told: dict[int, list[Headers]]) -> None:
    """A group that several image sets can mean is left to the one that it contradicts least."""
    claimed: dict[int, tuple[int, int]] = {}
    for position in sorted(told):
        for group in told[position]:
            count = sum(
                answer.agrees is False
                for _, _, answer in _answers(imagesets[position], group, told[position])
            )
            claimed[id(group)] = min(claimed.get(id(group), (count, position)), (count, position))
    for position, groups in told.items():
        told[position] = [group for group in groups if claimed[id(group)][1] == position]


# --- comparing --------------------------------------------------------------------------------------------


def _of_imageset(imageset: ImageSet, groups: Sequence[Headers]) -> list[Disagreement]:
    answers: dict[str, list[tuple[Headers, str, _Answer]]] = {}
    for group in groups:
        for what, stated, answer in _answers(imageset, group, groups):
            if answer.agrees is not None:
                answers.setdefault(what, []).append((group, stated, answer))
    found = []
    for what, said in answers.items():
        against = [(group, answer.found) for group, _, answer in said if not answer.agrees]
        files = sum(group.files for group, _, _ in said)
        if sum(group.files for group, _ in against) > TOLERATED_SHARE * files:
            found.append(_disagreement(what, imageset.directory or None, said[0][1], against, files))
    return found


def _disagreement(
    what: str, path: str | None, stated: str, against: Sequence[tuple[Headers, str]], files: int
) -> Disagreement:
    values: Counter[str] = Counter()
    for group, text in against:
        values[text] += group.files
    ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    texts = [
        text if count == files else f"{text} (in {count} of {files} files)" for text, count in ranked[:NAMED]
    ]
    if len(ranked) > NAMED:
        texts.append(f"{len(ranked) - NAMED} other values")
    return Disagreement(what, path, stated, "; ".join(texts), _source([group for group, _ in against]))


def _source(groups: Sequence[Headers]) -> str:
    largest = min(groups, key=lambda group: (-group.files, group.example))
    count = sum(group.files for group in groups)
    if count == 1:
        return f"header of {largest.example}"
    alike = "named alike" if all(group.probed for group in groups) else "alike"
    return f"header of {largest.example}, {count} files {alike}"


def _answers(
    imageset: ImageSet, group: Headers, groups: Sequence[Headers]
) -> Iterable[tuple[str, str, _Answer]]:
    """Every statement of the image set in words, and what the group's headers say to it."""
    if imageset.data_format:
        yield FORMAT, imageset.data_format, _format(imageset, group)
    if imageset.voxel_type:
        yield VOXEL, imageset.voxel_type, _voxel(imageset.voxel_type, group)
    pixel = imageset.pixel_width_angstrom or imageset.pixel_height_angstrom
    if pixel:
        yield PIXEL, f"{pixel:g} Å", _pixel(pixel, group)
    if imageset.image_width or imageset.image_height:
        sides = (imageset.image_width, imageset.image_height)
        yield SIZE, f"{_side(sides[0])} × {_side(sides[1])} pixels", _size(sides, group)
    if imageset.frames_per_image is not None:
        yield FRAMES, str(imageset.frames_per_image), _frames(imageset, group, groups)


def _format(imageset: ImageSet, group: Headers) -> _Answer:
    suffixes = suffixes_of(imageset)
    # A format that this package cannot read contradicts nothing: it was not recognised either.
    if not suffixes & _IMAGE_SUFFIXES:
        return _Answer(None)
    agrees = bool(suffixes & _FORMAT_SUFFIXES.get(group.format, frozenset()))
    if (imageset.data_format or "").strip().upper() in ("DM3", "DM4"):
        agrees = group.format == (imageset.data_format or "").strip().lower()
    return _Answer(agrees, group.facts.format)


def _voxel(stated: str, group: Headers) -> _Answer:
    modes = _MODES.get(stated.strip().upper())
    mode = group.facts.mode
    if modes is None or mode is None or group.format == "eer":
        return _Answer(None)
    return _Answer(mode in modes, mode)


def _pixel(stated: float, group: Headers) -> _Answer:
    found = group.facts.pixel_size_angstrom
    if found is None or found == _DEFAULT_PIXEL_ANGSTROM:
        return _Answer(None)
    if _near(found, stated):
        return _Answer(True)
    text = f"{found:g} Å"
    for ratio, meaning in (
        (2.0, "twice as much: the stated one is that of super-resolution (factor 2)"),
        (0.5, "half as much: the files are in super-resolution (factor 2)"),
        (10.0, "ten times as much: stated in nm?"),
    ):
        if _near(found, stated * ratio):
            return _Answer(False, f"{text}, {meaning}")
    return _Answer(False, text)


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= PIXEL_TOLERANCE * max(one, other)


def _size(stated: tuple[int | None, int | None], group: Headers) -> _Answer:
    found = (group.facts.width, group.facts.height)
    if None in found:
        return _Answer(None)
    if group.format == "eer":
        # Electron events are rendered at any multiple of the sensor's pixels.
        factors: tuple[int, ...] = (1, 2, 4)
    else:
        factors = (1,)
    if any(_same(stated, found, multiply=factor) for factor in factors):
        return _Answer(True)
    text = f"{found[0]} × {found[1]} pixels"
    tests: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: _same(stated[::-1], found), "width and height are exchanged"),
        (
            lambda: _same(stated, found, multiply=2) or _same(stated[::-1], found, multiply=2),
            "half as much: stated is super-resolution (factor 2)",
        ),
        (
            lambda: _same(stated, found, divide=2) or _same(stated[::-1], found, divide=2),
            "twice as much: the files are in super-resolution (factor 2)",
        ),
    )
    meaning = next((words for test, words in tests if test()), None)
    return _Answer(False, f"{text}, {meaning}" if meaning else text)


def _same(
    stated: tuple[int | None, ...], found: tuple[int | None, ...], *, multiply: int = 1, divide: int = 1
) -> bool:
    """Whether what is stated is what was found, times `multiply` or over `divide`; an unstated side fits."""
    return all(
        s is None or f is None or s * divide == f * multiply for s, f in zip(stated, found, strict=True)
    )


def _side(pixels: int | None) -> str:
    return "?" if pixels is None else str(pixels)


def _frames(imageset: ImageSet, group: Headers, groups: Sequence[Headers]) -> _Answer:
    stated, found = imageset.frames_per_image, group.facts.frames
    if stated is None or found is None or role_of_category(imageset.category) not in {*_IMAGES, None}:
        return _Answer(None)
    if found == stated:
        return _Answer(True)
    if group.format == "eer" and stated < found:
        return _Answer(None)  # stated are the fractions into which events are to be summed
    if stated <= 1 < found and _counts_sections(imageset, groups):
        return _Answer(None)
    return _Answer(False, str(found))


def _counts_sections(imageset: ImageSet, groups: Sequence[Headers]) -> bool:
    """Whether the image set counts the sections of its files as images, as is done with volumes cut into slices."""
    sections = sum(group.files * (group.facts.frames or 0) for group in groups)
    one_file = {group.facts.frames for group in groups}
    return imageset.image_count is not None and (
        imageset.image_count == sections or imageset.image_count in one_file
    )


def _suffixes(headers: Sequence[Headers]) -> list[Disagreement]:
    """Names that promise one format, and contents of another; one for each folder, suffix and format."""
    by_kind: dict[tuple[str, str, str], list[Headers]] = {}
    for group in headers:
        expected = _FORMAT_SUFFIXES.get(group.format)
        if expected is not None and group.suffix in _IMAGE_SUFFIXES and group.suffix not in expected:
            by_kind.setdefault((group.directory, group.suffix, group.facts.format), []).append(group)
    return [
        Disagreement(SUFFIX, directory or None, suffix, found, _source(groups))
        for (directory, suffix, found), groups in sorted(by_kind.items())
    ]
