"""The built-in maker `labels`: CryoPPP's ground truth of an entry, from labels by hand, and from the entry's own coordinate files or imported ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from empiar_mirror.layout import LaidFile, Place, plan_layout
from empiar_mirror.makers.function import FunctionMaker
from empiar_mirror.makers.label_function import make_labels
from empiar_mirror.makers.maker import EntryFiles, Source, Task
from empiar_mirror.makers.workers import Workers
from empiar_mirror.selection import LABEL_MAX_BYTES, LABEL_SUFFIXES, select
from empiar_schema.layout_views import HAND_LABELS, IMPORTED_LABELS, PRESETS, ViewRecipe
from empiar_schema.listing_reads import any_here
from empiar_schema.paths import suffix_of
from empiar_schema.product_reads import products_of
from empiar_schema.settings import Settings
from empiar_schema.states import Role

#: Version of what is written; another one makes all labels again.
PROGRAM: Final = "labels 1"
#: Suffixes that only a file judged to hold coordinates may have: texts of any kind have them, too.
_COORDINATES_ONLY: Final = frozenset({".txt", ".tsv"})
_SUFFIXES: Final = {
    Role.PARTICLE_COORDINATES: LABEL_SUFFIXES | _COORDINATES_ONLY,
    Role.METADATA: LABEL_SUFFIXES,
    Role.OTHER: LABEL_SUFFIXES,
}
_OTHER_ROLES: Final = (Role.METADATA.value, Role.OTHER.value)


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """One task an entry: all its coordinate files, and the micrographs to which they can belong, by their names in layouts of one naming."""

    recipe: ViewRecipe
    diameters_px: Mapping[int, float] = field(default_factory=dict)

    def __call__(self, files: EntryFiles) -> Iterable[Task]:
        """The task; none where there is nothing to read, or no micrograph."""
        labels = label_sources(files)
        micrographs = self.micrographs(files)
        if not labels or not micrographs:
            return
        yield Task(
            None,
            labels,
            parameters={
                "empiar_id": files.empiar_id,
                # Folders tell micrographs of one name apart, and inputs count by their names alone.
                "label_files": [source.path for source in labels],
                "micrographs": micrographs,
                "stacks": [file.path for file in files.listed if file.role is Role.PARTICLE_STACK],
                "diameter_px": self.diameters_px.get(files.empiar_id),
                "cryoppp_names": self.recipe.cryoppp_names,
                "star_origin": "top" if self.recipe.style == "relion" else "bottom",
            },
        )

    def micrographs(self, files: EntryFiles) -> list[list[object]]:
        """Number, path, name in the layout, rows, columns and Å a pixel of each image that labels can belong to.

        Images that are here and whose header tells their size; of an entry with micrographs and movies, the micrographs.
        """
        here = {source.file_id: source for source in files.deposited}
        role = _labelled_role(files.listed)
        found: list[list[object]] = []
        for place in named_images(files.listed, self.recipe):
            assert isinstance(place.file, LaidFile)
            source = here.get(place.file.file_id)
            if source is None or source.role != role or not source.facts.height or not source.facts.width:
                continue
            facts = source.facts
            found.append(
                [
                    source.file_id,
                    source.path,
                    place.name,
                    facts.height,
                    facts.width,
                    facts.pixel_size_angstrom,
                ]
            )
        return found


def named_images(listed: Iterable[LaidFile], recipe: ViewRecipe) -> tuple[Place, ...]:
    """Every image of the entry under the name that it has in the view, wherever it is."""
    images = select(listed, recipe).images
    return plan_layout(images, style=recipe.style, cryoppp_names=recipe.cryoppp_names).places


def label_sources(files: EntryFiles) -> tuple[Source, ...]:
    """The files that may hold coordinates: imported ones, and only where there are none the entry's own; and what was decided by hand."""
    imported = tuple(product for product in files.products if product.maker == IMPORTED_LABELS)
    by_hand = tuple(product for product in files.products if product.maker == HAND_LABELS)
    own = tuple(source for source in files.deposited if _may_hold_coordinates(source))
    return (*(imported or own), *by_hand)


def has_labels(conn: sqlite3.Connection, empiar_id: int) -> bool:
    """Whether files are here that may hold coordinates of the entry, imported ones and those by hand included."""
    return any_here(conn, empiar_id, _SUFFIXES) or any(
        product.maker in (IMPORTED_LABELS, HAND_LABELS) for product in products_of(conn, empiar_id)
    )


def _may_hold_coordinates(source: Source) -> bool:
    suffix = suffix_of(source.name)
    if source.size > LABEL_MAX_BYTES:
        return False
    if source.role == Role.PARTICLE_COORDINATES.value:
        return suffix in LABEL_SUFFIXES | _COORDINATES_ONLY
    return source.role in _OTHER_ROLES and suffix in LABEL_SUFFIXES


def _labelled_role(listed: Iterable[LaidFile]) -> str:
    return (Role.MICROGRAPH if any(file.role is Role.MICROGRAPH for file in listed) else Role.MOVIE).value


def label_makers(
    settings: Settings, recipes: Iterable[ViewRecipe], workers: Workers
) -> Iterable[FunctionMaker]:
    """A maker for each naming of images that a view with labels has."""
    seen: dict[str, ViewRecipe] = {}
    for recipe in recipes:
        if recipe.labels or recipe.stacks != "none":
            seen.setdefault(recipe.label_maker, recipe)
    for name, recipe in sorted(seen.items()):
        whole = PRESETS["relion" if recipe.style == "relion" else "cryoppp"]
        yield FunctionMaker(
            name=name,
            function=make_labels,
            choose=LabelChoice(whole.named_like(recipe), settings.making.particle_diameters),
            program=PROGRAM,
            workers=workers,
            timeout_s=6 * 3600.0,
            concerned=has_labels,
        )
