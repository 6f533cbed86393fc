"""What files' headers add to the roles that their names have: how many frames, how large, of which number type. Pure.

A header settles what a name leaves open, movie or micrograph before all. It never overturns an override or a role
that is certain by name. Files that are not here yet follow those of their family that are, if these agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_imaging import role_words as words
from empiar_imaging.name_families import Family, common_stem, families_of
from empiar_imaging.roles import CROWD, FEW_FILES, FEW_SHARE
from empiar_schema.files import ListedFile
from empiar_schema.image_facts import ImageFacts
from empiar_schema.role_reasons import Judgement, RoleReason
from empiar_schema.states import Role

_Why = RoleReason
#: Width, height, number type.
_Frame = tuple[int, int, str | None]

#: Boxes around particles have at most so many pixels a side; larger ones count where there are many.
SMALL_BOX: Final = 512
LARGE_BOX: Final = 1024
#: No box around a particle, and hardly a tomogram, is as large a side as this; frames of detectors are.
DETECTOR_SIDE: Final = 1500
#: More sections than frames of a movie: in a small image, and in any.
TOMOGRAM_SIDE: Final = 2048
TOMOGRAM_SECTIONS: Final = 100
VOLUME_SECTIONS: Final = 256
#: A file of fewer frames is one tilt's movie, not a tilt series.
FEWEST_TILTS: Final = 12
#: Of so many sections, a cube is no stack of boxes by chance.
CUBE_SECTIONS: Final = 16
#: What a family's other files tell of one that nobody looked into is a little less than certain.
BORROWED: Final = 0.9

_OPEN: Final = frozenset(
    {Role.MICROGRAPH, Role.MOVIE, Role.TILT_SERIES, Role.GAIN, Role.PARTICLE_STACK, Role.VOLUME}
)
#: Nobody said what these are.
_UNNAMED: Final = frozenset({_Why.SUFFIX_ALONE, _Why.LARGE, _Why.NOTHING_KNOWN})
#: Somebody may have said so of the folder, but not of the file.
_NAMELESS: Final = _UNNAMED | {_Why.FOLDER, _Why.IMAGE_SET, _Why.BESIDE_GAIN}
_GUESSED_REFERENCE: Final = frozenset({_Why.GAIN_WORD, _Why.OTHER_FORMAT, _Why.SMALLER})


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """What the headers of the folder's images have in common."""

    #: Images of several large frames, and of one.
    movies: int
    singles: int
    #: The most common frame of the movies, and of the single frames.
    movie_frame: _Frame | None
    single_frame: _Frame | None
    #: Names of the movies without suffixes, where single frames are the exception.
    movie_stems: frozenset[str]
    #: Whether single frames are the exception here.
    among_movies: bool


@dataclass(frozen=True, slots=True)
class _Look:
    """What one header says of files of one family, and whether it is their own or lent by others of the family."""

    facts: ImageFacts
    width: int
    height: int
    frames: int
    family: Family
    own: bool
    places: Sequence[int]

    @property
    def frame(self) -> _Frame:
        return self.width, self.height, self.facts.mode

    @property
    def large(self) -> bool:
        return min(self.width, self.height) >= DETECTOR_SIDE

    @property
    def boxes(self) -> bool:
        """Whether the frames are of the size of boxes around particles."""
        side = self.width
        many = self.frames > TOMOGRAM_SECTIONS
        return side == self.height and (side <= SMALL_BOX or (side <= LARGE_BOX and many))

    @property
    def cube(self) -> bool:
        return self.width == self.height == self.frames >= CUBE_SECTIONS


def refine(
    files: Sequence[ListedFile], judged: Sequence[Judgement], facts: Mapping[int, ImageFacts]
) -> list[Judgement]:
    """The judgements of a folder's files, in their order, settled by headers where those say more.

    `judged` is what `roles.classify` gave for the same `files`; `facts` are of the files at these places: arrived
    ones, or probed ones.
    """
    result = list(judged)
    looks = _looks(files, facts) if facts else []
    if not looks:
        return result
    neighbours = _neighbours(files, judged, looks)
    for look in looks:
        # Thousands of files have a few headers and a few judgements: each pair is settled once.
        settled: dict[tuple[Judgement, bool], Judgement] = {}
        for place in look.places:
            before = judged[place]
            is_sum = bool(neighbours.movie_stems) and common_stem(files[place].name) in neighbours.movie_stems
            after = settled.get((before, is_sum))
            if after is None:
                after = settled[before, is_sum] = _settled(before, look, neighbours, is_sum=is_sum)
            result[place] = after
    return result


def _settled(before: Judgement, look: _Look, neighbours: _Neighbours, *, is_sum: bool) -> Judgement:
    if before.certain or not _is_open(before, look.facts):
        return before
    after = _settle(before, look, neighbours, is_sum=is_sum)
    if not look.own and after.confidence > BORROWED:
        return after._replace(confidence=max(BORROWED, before.confidence))
    return after


def _is_open(judged: Judgement, facts: ImageFacts) -> bool:
    nothing_known = judged.reason is _Why.NOTHING_KNOWN and facts.width is not None
    return judged.role in _OPEN or nothing_known


def _looks(files: Sequence[ListedFile], facts: Mapping[int, ImageFacts]) -> list[_Look]:
    """All files with a header, and those to which others of their family lend one, by header."""
    looks: list[_Look] = []
    for family in families_of(files):
        own: dict[ImageFacts, list[int]] = {}
        without: list[int] = []
        for place in family.members:
            if (known := facts.get(place)) is not None and _is_whole(known):
                own.setdefault(known, []).append(place)
            else:
                without.append(place)
        looks += [_look(known, family, places, own=True) for known, places in own.items()]
        if family.shape.image and without and len({(known.frames or 1) > 1 for known in own}) == 1:
            lent = max(own, key=lambda known: len(own[known]))
            looks.append(_look(lent, family, without, own=False))
    return looks


def _look(facts: ImageFacts, family: Family, places: Sequence[int], *, own: bool) -> _Look:
    return _Look(facts, facts.width or 0, facts.height or 0, facts.frames or 1, family, own, places)


def _is_whole(facts: ImageFacts) -> bool:
    return (
        bool(facts.width and facts.height and facts.frames)
        and min(facts.width or 0, facts.height or 0, facts.frames or 0) > 0
    )


def _neighbours(
    files: Sequence[ListedFile], judged: Sequence[Judgement], looks: Sequence[_Look]
) -> _Neighbours:
    movies: Counter[_Frame] = Counter()
    singles: Counter[_Frame] = Counter()
    stems: list[_Look] = []
    for look in looks:
        if look.large and judged[look.places[0]].role is not Role.VOLUME:
            (movies if look.frames > 1 else singles)[look.frame] += len(look.places)
            stems += [look] if look.frames > 1 else []
    among_movies = movies.total() >= CROWD and singles.total() <= max(FEW_FILES, movies.total() * FEW_SHARE)
    named = (files[place].name for look in stems for place in look.places)
    return _Neighbours(
        movies=movies.total(),
        singles=singles.total(),
        among_movies=among_movies,
        movie_frame=_most_common(movies),
        single_frame=_most_common(singles),
        movie_stems=frozenset(common_stem(name) for name in named)
        if among_movies and singles
        else frozenset(),
    )


def _most_common(frames: Counter[_Frame]) -> _Frame | None:
    """The frame that nearly all of a crowd share; None where there is no crowd, or no such frame."""
    total = frames.total()
    if total < CROWD:
        return None
    ((frame, count),) = frames.most_common(1)
    exceptions = max(FEW_FILES, total * FEW_SHARE)
    return frame if count >= total - exceptions and count * 2 > total else None


def _settle(judged: Judgement, look: _Look, neighbours: _Neighbours, *, is_sum: bool) -> Judgement:
    if look.frames > 1:
        return _several(judged, look)
    match judged.role:
        case Role.GAIN:
            return _single_reference(judged, look, neighbours)
        case Role.MICROGRAPH | Role.MOVIE | Role.OTHER if is_sum:
            return Judgement(Role.MICROGRAPH, 0.95, _Why.SUM_OF_MOVIE)
        case Role.MICROGRAPH | Role.MOVIE | Role.OTHER:
            return _single_image(judged, look, neighbours)
        case Role.PARTICLE_STACK if look.large:
            return Judgement(Role.MICROGRAPH, 0.9, _Why.ONE_FRAME)
        case Role.VOLUME if look.large:
            return Judgement(Role.MICROGRAPH, 0.75, _Why.ONE_FRAME)
        case Role.VOLUME:
            return judged._replace(confidence=min(judged.confidence, 0.6))
    return judged


def _several(judged: Judgement, look: _Look) -> Judgement:
    """What holds for a file of several frames."""
    role = judged.role
    if role is Role.PARTICLE_STACK:
        if look.large:
            return Judgement(Role.MOVIE, 0.9, _Why.SEVERAL_FRAMES)
        return Judgement(role, max(judged.confidence, 0.95), _Why.SMALL_BOXES) if look.boxes else judged
    if role is Role.VOLUME:
        if look.cube:
            return Judgement(role, max(judged.confidence, 0.95), _Why.CUBE)
        thin = look.large and look.frames < TOMOGRAM_SECTIONS and judged.reason is _Why.SUFFIX_ALONE
        return Judgement(Role.MOVIE, 0.75, _Why.SEVERAL_FRAMES) if thin else judged
    if role is Role.GAIN and judged.reason in (_Why.GAIN_NAME, _Why.GAIN_FOLDER):
        # References are one frame, but the name is a strong word: somebody should look.
        return judged._replace(confidence=0.6)
    if role is Role.TILT_SERIES:
        tilts = look.frames >= FEWEST_TILTS or judged.reason is _Why.TILT_ANGLES
        return judged if tilts else Judgement(Role.MOVIE, 0.8, _Why.SEVERAL_FRAMES)
    if look.cube:
        return Judgement(Role.VOLUME, 0.95, _Why.CUBE)
    if look.boxes and (
        judged.reason in _UNNAMED or (role is not Role.MOVIE and look.frames > TOMOGRAM_SECTIONS)
    ):
        return Judgement(Role.PARTICLE_STACK, 0.9, _Why.SMALL_BOXES)
    if _is_volume(look) and (role is not Role.MOVIE or judged.reason in _UNNAMED):
        return Judgement(Role.VOLUME, 0.75, _Why.MANY_SECTIONS)
    return Judgement(Role.MOVIE, 0.97, _Why.SEVERAL_FRAMES)


def _is_volume(look: _Look) -> bool:
    small = max(look.width, look.height) <= TOMOGRAM_SIDE
    sections = TOMOGRAM_SECTIONS if small else VOLUME_SECTIONS
    return look.frames >= sections and look.facts.format != "eer"


def _single_reference(judged: Judgement, look: _Look, neighbours: _Neighbours) -> Judgement:
    """What holds for one frame that was taken for a reference."""
    if judged.reason not in _GUESSED_REFERENCE:
        return judged._replace(confidence=max(judged.confidence, 0.95))
    if neighbours.among_movies:
        fits = neighbours.movie_frame is None or _same_detector(look.frame, neighbours.movie_frame)
        return judged._replace(confidence=0.95 if fits else max(judged.confidence, 0.8))
    if judged.reason is _Why.GAIN_WORD:
        if neighbours.movies < CROWD and neighbours.single_frame == look.frame:
            return Judgement(Role.MICROGRAPH, 0.75, _Why.ONE_FRAME)
        return judged
    # It stood out from movies, and these are none.
    return Judgement(Role.MICROGRAPH, 0.8, _Why.ONE_FRAME) if neighbours.singles > FEW_FILES else judged


def _same_detector(frame: _Frame, other: _Frame) -> bool:
    """Whether the pixels of one are those of the other, turned or not, or super-resolved by two."""
    sides, others = sorted(frame[:2]), sorted(other[:2])
    return any(
        all(abs(a * scale - b) <= 2 for a, b in zip(sides, others, strict=True)) for scale in (0.5, 1, 2)
    )


def _single_image(judged: Judgement, look: _Look, neighbours: _Neighbours) -> Judgement:
    """What holds for one frame whose name says image, or nothing."""
    if neighbours.among_movies:
        nameless = judged.reason in _NAMELESS or judged.role is Role.MOVIE
        if nameless and look.large:
            differs = neighbours.movie_frame is not None and look.frame != neighbours.movie_frame
            if differs:
                return Judgement(Role.GAIN, 0.9, _Why.SINGLE_AMONG_MOVIES)
            return Judgement(judged.role, 0.5, _Why.SINGLE_AMONG_MOVIES)
    if judged.role is Role.MOVIE and words.NUMBERED_FRAME.search(look.family.shape.words):
        return judged
    rare = len(look.family.members) <= FEW_FILES and neighbours.singles > 4 * FEW_FILES
    if rare and neighbours.single_frame not in (None, look.frame):
        return Judgement(Role.MICROGRAPH, 0.6, _Why.ODD_FRAME)
    return Judgement(Role.MICROGRAPH, 0.97, _Why.ONE_FRAME)
