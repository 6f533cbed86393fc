"""Which files of an entry a layout view takes. Pure: the same listing gives the same choice, whatever has arrived.

Nothing here depends on the order in which files are listed, on numbers that a catalogue gave them, or on a random
generator's state: a sample is drawn from the natural order of the paths, or by a hash of path and seed. So two
machines agree, and the choice can be made before anything is fetched.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_mirror.layout import LaidFile, natural_order
from empiar_schema.layout_views import Choice, ImagesRole, ViewRecipe
from empiar_schema.paths import suffix_of
from empiar_schema.states import Role
from empiar_schema.stems import cryoppp_name, stem_of

#: Formats of particle coordinates that may pass for metadata (`empiar_imaging.labels` reads them).
LABEL_SUFFIXES: Final = frozenset({".star", ".cs", ".csv", ".box", ".cbox"})
#: Metadata beyond this is no table of particles: a million rows of RELION's take about 300 MB.
LABEL_MAX_BYTES: Final = 512 * 10**6

#: Roles of files that can be chosen; the rest of a listing need not be given.
ROLES: Final = frozenset(
    {
        Role.MICROGRAPH,
        Role.MOVIE,
        Role.GAIN,
        Role.PARTICLE_COORDINATES,
        Role.PARTICLE_STACK,
        Role.METADATA,
        Role.OTHER,
    }
)

#: A square of the grid, as EPU names folders, and as Leginon and SerialEM name images:
#: ``…_00018gr_00046sq_v02_00015hl…``, ``<label>-<shot>_0005_Apr13_19.10.22``, ``FoilHole_<hole>_Data_…``.
_SQUARE_FOLDER: Final = re.compile(r"(?:^|/)(GridSquare_[0-9]+)(?:/|$)")
_LEGINON: Final = re.compile(r".*?[0-9]sq(?![a-z])", re.IGNORECASE)
_SERIAL_EM: Final = re.compile(r"(.+?)(?:-[0-9]+)?_[0-9]+_[A-Z][a-z]{2}[0-9]{2}_[0-9]{2}\.[0-9]{2}\.[0-9]{2}")
_EPU: Final = re.compile(r"FoilHole_[0-9]+")


@dataclass(frozen=True, slots=True)
class Selection:
    """What a view takes of one entry."""

    images: tuple[LaidFile, ...]
    gains: tuple[LaidFile, ...]
    #: Files that hold, or may hold, particle coordinates.
    labels: tuple[LaidFile, ...]
    #: Deposited particle stacks, where the view has them fetched.
    stacks: tuple[LaidFile, ...]
    #: Images that the view does not take, whatever the reason.
    other_images: tuple[LaidFile, ...]
    #: How images and gains were chosen: ``all``, ``first 10 of 300``.
    image_choice: str
    gain_choice: str

    @property
    def needed(self) -> tuple[LaidFile, ...]:
        """Every file that has to be here for the view."""
        return (*self.images, *self.gains, *self.labels, *self.stacks)

    @property
    def in_words(self) -> str:
        """``10 images (first 10 of 300), 1 gain reference (all), 3 label files, no particle stack``."""
        return (
            f"{_number(self.images, 'image')} ({self.image_choice}), "
            f"{_number(self.gains, 'gain reference')} ({self.gain_choice}), "
            f"{_number(self.labels, 'label file')}, {_number(self.stacks, 'particle stack')}"
        )


def select(files: Iterable[LaidFile], recipe: ViewRecipe) -> Selection:
    """What the view takes of an entry that has `files`; their order does not matter."""
    by_role: dict[Role, list[LaidFile]] = defaultdict(list)
    for file in files:
        by_role[file.role].append(file)
    candidates = _candidates(by_role, recipe.images_role)
    images = choose(candidates, recipe.images, how=recipe.choose, seed=recipe.seed, stratify=recipe.stratify)
    gains = choose(by_role[Role.GAIN], recipe.gains, how="first")
    others = _rest((*by_role[Role.MICROGRAPH], *by_role[Role.MOVIE]), images)
    labels = list(_labels(by_role)) if recipe.labels else []
    if recipe.images is not None and labels:
        labels = _without_those_of_others(labels, images, others)
    return Selection(
        images=tuple(images),
        gains=tuple(gains),
        labels=tuple(labels),
        stacks=tuple(by_role[Role.PARTICLE_STACK]) if recipe.fetch_stacks else (),
        other_images=tuple(others),
        image_choice=_in_words(recipe, len(images), len(candidates)),
        gain_choice=_counted("first", len(gains), len(by_role[Role.GAIN])),
    )


def choose(
    files: Sequence[LaidFile], count: int | None, *, how: Choice, seed: int = 0, stratify: bool = False
) -> list[LaidFile]:
    """`count` of `files` in natural order of their paths; all of them, as they come, if there are no more.

    ``first`` and ``random`` grow: what they choose for a count is among what they choose for a larger one.
    """
    if count is None or len(files) <= count:
        return list(files)
    ordered = sorted(files, key=natural_order)
    if not stratify:
        return _sample(ordered, count, how, seed)
    strata: dict[str, list[LaidFile]] = defaultdict(list)
    for file in ordered:
        strata[stratum_of(file.path)].append(file)
    chosen: list[LaidFile] = []
    for name, share in _shares(strata, count, how, seed).items():
        chosen += _sample(strata[name], share, how, seed)
    return sorted(chosen, key=natural_order)


def stratum_of(path: str) -> str:
    """What images near each other share: the folder, and the grid square or session that the name shows."""
    folder, _, name = path.rpartition("/")
    if found := _SQUARE_FOLDER.search(folder):
        return folder[: found.end(1)]
    for pattern, group in ((_LEGINON, 0), (_SERIAL_EM, 1), (_EPU, 0)):
        if place := pattern.match(name):
            return f"{folder}/{place[group]}"
    return folder


def _candidates(by_role: dict[Role, list[LaidFile]], role: ImagesRole) -> list[LaidFile]:
    micrographs, movies = by_role[Role.MICROGRAPH], by_role[Role.MOVIE]
    match role:
        case "micrograph":
            return micrographs
        case "movie":
            return movies
        case "both":
            return micrographs + movies if micrographs and movies else micrographs or movies
        case "auto":
            return micrographs or movies


def _sample(ordered: Sequence[LaidFile], count: int, how: Choice, seed: int) -> list[LaidFile]:
    match how:
        case "first":
            return list(ordered[:count])
        case "spread":
            return [ordered[index] for index in _spread(count, len(ordered))]
        case "random":
            drawn = sorted(range(len(ordered)), key=lambda index: _lot(ordered[index].path, seed))[:count]
            return [ordered[index] for index in sorted(drawn)]


def _spread(count: int, among: int) -> list[int]:
    """Indices in the middles of `count` equal stretches."""
    return [(2 * index + 1) * among // (2 * count) for index in range(min(count, among))]


def _lot(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{text}".encode()).digest()


def _shares(strata: dict[str, list[LaidFile]], count: int, how: Choice, seed: int) -> dict[str, int]:
    """How many each stratum gives: one each in turn, until `count` are found or a stratum has no more."""
    order = list(strata)
    if how == "random":
        order.sort(key=lambda name: _lot(name, seed))
    elif how == "spread" and count < len(order):
        order = [order[index] for index in _spread(count, len(order))]
    shares = dict.fromkeys(order, 0)
    while count:
        order = [name for name in order if shares[name] < len(strata[name])][:count]
        for name in order:
            shares[name] += 1
        count -= len(order)
    return shares


def _rest(images: Sequence[LaidFile], chosen: Sequence[LaidFile]) -> list[LaidFile]:
    if len(chosen) == len(images):
        return []
    ids = {file.file_id for file in chosen}
    return [file for file in images if file.file_id not in ids]


def _labels(by_role: dict[Role, list[LaidFile]]) -> Iterable[LaidFile]:
    yield from by_role[Role.PARTICLE_COORDINATES]
    for file in (*by_role[Role.METADATA], *by_role[Role.OTHER]):
        suffix = suffix_of(file.name)
        format_suffix = suffix[: suffix.find(".", 1)] if suffix.count(".") > 1 else suffix
        if format_suffix in LABEL_SUFFIXES and (file.size or 0) <= LABEL_MAX_BYTES:
            yield file


def _without_those_of_others(
    labels: Sequence[LaidFile], chosen: Sequence[LaidFile], others: Sequence[LaidFile]
) -> list[LaidFile]:
    """`labels` without files that are named after one image which is not among the chosen."""
    ours = {stem for image in chosen for stem in _stems(image.name)}
    theirs = {stem for image in others for stem in _stems(image.name)} - ours
    return [file for file in labels if _named_after(file.name, ours, theirs) not in theirs]


def _stems(name: str) -> tuple[str, str]:
    stem = stem_of(name)
    return stem, cryoppp_name(stem)


def _named_after(name: str, *stems: set[str]) -> str | None:
    """The longest of `stems` with which `name` begins, up to one of ``. _ -`` or its end."""
    for text in _stems(name):
        ends = [len(text), *(at for at in range(len(text) - 1, 0, -1) if text[at] in "._-")]
        for end in ends:
            if any(text[:end] in known for known in stems):
                return text[:end]
    return None


def _in_words(recipe: ViewRecipe, chosen: int, among: int) -> str:
    words = _counted(recipe.choose, chosen, among)
    if chosen == among:
        return words
    seed = f", seed {recipe.seed}" if recipe.choose == "random" else ""
    return f"{words}{seed}{', over folders and grid squares' if recipe.stratify else ''}"


def _counted(how: str, chosen: int, among: int) -> str:
    return "all" if chosen == among else f"{how} {chosen} of {among}"


def _number(files: Sequence[LaidFile], word: str) -> str:
    return f"{len(files) or 'no'} {word}{'' if len(files) < 2 else 's'}"
