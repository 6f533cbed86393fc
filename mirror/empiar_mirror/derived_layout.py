"""The whole layout of one view of one entry, derived files included. Pure.

Whatever was made of a micrograph is called after that micrograph's *place*: where a clash made it
``Micrographs_part1__061.mrc``, its coordinates are ``Micrographs_part1__061.csv``, because programs join the two by stem.
So a product is joined to its micrograph first: by the file that it was made of, or, where that is not an image
(a STAR file of all particles), by stem, and only if one image alone can be meant. A product that could belong to two
micrographs has no place, which is better than labels on the wrong image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from empiar_mirror.layout import IMAGES, LaidFile, LayoutPlan, Place, Rule, plan_layout, why_no_place
from empiar_mirror.selection import Selection, select
from empiar_schema.layout_views import (
    DEPOSITED,
    EXTRACTED_STACKS,
    JPEG,
    LABEL_MAKERS,
    SPLIT_STACKS,
    Stacks,
    ViewRecipe,
)
from empiar_schema.paths import suffix_of
from empiar_schema.products import Kind, Product
from empiar_schema.states import Role
from empiar_schema.stems import cryoppp_name, stem_of

GROUND_TRUTH: Final = "ground_truth"
#: Where a deposited image stands whose place in ``micrographs/`` a made one has.
DEPOSITED_FOLDER: Final = "deposited"

#: Kinds that an entry has once, and the ends of their names after ``empiar-<id>_particles_``.
_OF_ENTRY: Final = {
    Kind.SELECTED_STAR: "selected.star",
    Kind.SELECTED_CSV: "selected.csv",
    Kind.EXCLUDED_STAR: "excluded.star",
    Kind.EXCLUDED_CSV: "excluded.csv",
}
#: Kinds that a micrograph has, their folders, and the ends of their names after its stem.
_OF_MICROGRAPH: Final = {
    Kind.PARTICLE_COORDINATES: (f"{GROUND_TRUTH}/particle_coordinates", ".csv"),
    Kind.FALSE_POSITIVES: (f"{GROUND_TRUTH}/false_positives", "_false_positives.csv"),
    Kind.PARTICLE_STACK: ("particles_stack", "_particles.mrc"),
}
_LABELS: Final = frozenset({*_OF_ENTRY, Kind.PARTICLE_COORDINATES, Kind.FALSE_POSITIVES})
_IMAGES: Final = frozenset({Kind.MICROGRAPH, Kind.RENDITION})


class _Micrographs:
    """The stems under which images are laid out, by image and by the stems that a product may know them by."""

    def __init__(self, places: Iterable[Place], others: Sequence[LaidFile]) -> None:
        self._stem_of_id: dict[int, str] = {}
        #: Stem → that of the place, and the role of its image; None where several may be meant.
        self._by_stem: dict[str, tuple[str, Role] | None] = {}
        self._others = {file.file_id for file in others}
        known_elsewhere: set[str] = set()
        for place in places:
            if isinstance(place.file, LaidFile) and place.file.role in IMAGES:
                self._stem_of_id[place.file.file_id] = place.stem
                for stem in {place.stem, *_stems(place.file.name)}:
                    before = self._by_stem.setdefault(stem, (place.stem, place.file.role))
                    if before is not None and before[0] != place.stem:
                        self._by_stem[stem] = None
        for file in others:
            for stem in _stems(file.name):
                meant = self._by_stem.get(stem)
                if meant is not None and meant[1] is file.role:
                    self._by_stem[stem] = None
                known_elsewhere.add(stem)
        self._known_elsewhere = known_elsewhere

    def is_image(self, file_id: int | None) -> bool:
        """Whether it is an image of the entry, chosen or not."""
        return file_id in self._stem_of_id or file_id in self._others

    def stem_for(self, product: Product) -> str | None:
        """The stem that `product` takes in the layout; None where the view has no image for it.

        Raises:
            LookupError: its image cannot be told; the text says why.
        """
        if self.is_image(product.parent_file_id):
            return self._stem_of_id.get(product.parent_file_id or 0)
        if product.stem is None:
            raise LookupError("it does not say to which micrograph it belongs")
        if product.stem in self._by_stem:
            meant = self._by_stem[product.stem]
            if meant is None:
                raise LookupError("several micrographs of the entry have its stem")
            return meant[0]
        if product.stem in self._known_elsewhere:
            return None
        raise LookupError("no micrograph of the entry has its stem")


def plan_view(
    files: Sequence[LaidFile],
    products: Sequence[Product],
    recipe: ViewRecipe,
    *,
    empiar_id: int,
    worked_on: Collection[Role] = (),
) -> LayoutPlan:
    """Every place of the view, for the files that are here; the order of `files` and `products` does not matter.

    `files` are those that the entry lists, here or not: names and choice follow the listing, so that they do not
    change while an entry arrives. `worked_on` are the roles of files that the maker of the view's images works on.
    """
    selection = select(files, recipe)
    gains = selection.gains if recipe.shows_gains else ()
    deposited = plan_layout(
        (*selection.images, *gains), style=recipe.style, cryoppp_names=recipe.cryoppp_names
    )
    places = list(deposited.places)
    unplaced = list(deposited.unplaced)
    waiting = 0
    derived: list[Place] = []
    if products or recipe.micrographs != DEPOSITED:
        micrographs = _Micrographs(places, selection.other_images)
        wanted = sorted(_wanted(products, recipe, micrographs), key=_made_first)
        made, homeless = _places_of(wanted, recipe, micrographs, empiar_id)
        derived, doubles = _each_once(made)
        unplaced += [*homeless, *doubles]
        places, waiting = _beside_or_instead(places, derived, recipe, worked_on)
    here = [place for place in places if not isinstance(place.file, LaidFile) or place.file.here]
    return replace(
        deposited,
        places=(*here, *derived),
        alike=deposited.alike if recipe.shows_deposited else (),
        unplaced=tuple(unplaced),
        image_choice=selection.image_choice,
        gain_choice=selection.gain_choice,
        notes=tuple(_lacks(selection, gains, waiting, recipe)),
    )


def _wanted(products: Sequence[Product], recipe: ViewRecipe, images: _Micrographs) -> Iterator[Product]:
    labelled = {product.parent_file_id for product in products if product.kind == Kind.PARTICLE_COORDINATES}
    for product in products:
        if product.kind in _LABELS:
            others = product.maker in LABEL_MAKERS and product.maker != recipe.label_maker
            wanted = recipe.labels and not others
        elif product.kind == Kind.PARTICLE_STACK:
            # Sections are joined to the rows of a table: where labels no longer name the micrograph, they are of nothing.
            orphan = (
                product.maker in (SPLIT_STACKS, EXTRACTED_STACKS) and product.parent_file_id not in labelled
            )
            wanted = recipe.stacks == _way_of(product, images) and not orphan
        else:
            wanted = product.kind in _IMAGES and product.maker == recipe.image_maker
        if wanted:
            yield product


def _way_of(product: Product, images: _Micrographs) -> Stacks:
    """How a particle stack came about; a hook's, by what it was made of."""
    if product.maker in (SPLIT_STACKS, EXTRACTED_STACKS):
        return "deposited" if product.maker == SPLIT_STACKS else "extracted"
    return "extracted" if images.is_image(product.parent_file_id) else "deposited"


def _made_first(product: Product) -> tuple[str, str, int]:
    # Of two for one place the later in this order loses: any order does, if it is the same everywhere.
    return product.kind, product.path, product.product_id


def _places_of(
    products: Iterable[Product], recipe: ViewRecipe, images: _Micrographs, empiar_id: int
) -> tuple[list[Place], list[tuple[LaidFile | Product, str]]]:
    places: list[Place] = []
    homeless: list[tuple[LaidFile | Product, str]] = []
    for product in products:
        if product.kind in _OF_ENTRY:
            name = f"empiar-{empiar_id}_particles_{_OF_ENTRY[Kind(product.kind)]}"
            places.append(Place(product, GROUND_TRUTH, name, Rule.ENTRY))
            continue
        try:
            stem = images.stem_for(product)
        except LookupError as error:
            homeless.append((product, str(error)))
            continue
        if stem is None:
            continue
        folder, end = _folder_and_end(product, recipe)
        place = Place(product, folder, f"{stem}{end}", Rule.MICROGRAPH)
        reason = why_no_place(place)
        if reason is None:
            places.append(place)
        else:
            homeless.append((product, reason))
    return places, homeless


def _folder_and_end(product: Product, recipe: ViewRecipe) -> tuple[str, str]:
    if product.kind in _IMAGES:
        return "micrographs", suffix_of(product.path.rpartition("/")[2])
    folder, end = _OF_MICROGRAPH[Kind(product.kind)]
    relion_stack = recipe.style == "relion" and product.kind == Kind.PARTICLE_STACK
    return folder, f"{end}s" if relion_stack else end


def _each_once(places: Iterable[Place]) -> tuple[list[Place], list[tuple[LaidFile | Product, str]]]:
    first: dict[str, Place] = {}
    later = [place for place in places if first.setdefault(place.path, place) is not place]
    doubles = [(place.file, f"another file has the same place, {place.path}") for place in later]
    return list(first.values()), doubles


def _beside_or_instead(
    deposited: Sequence[Place], derived: Sequence[Place], recipe: ViewRecipe, worked_on: Collection[Role]
) -> tuple[list[Place], int]:
    """The deposited places that are left beside the made images; and how many images are not made yet."""
    if recipe.micrographs == DEPOSITED:
        return list(deposited), 0
    taken = {place.path for place in derived}
    made = [place for place in derived if isinstance(place.file, Product) and place.file.kind in _IMAGES]
    parents = {place.file.parent_file_id for place in made if isinstance(place.file, Product)}
    stems = {
        place.stem for place in made if isinstance(place.file, Product) and not place.file.parent_file_id
    }
    # A micrograph is one already, unless the maker works on micrographs, too.
    needs_making = {Role.MOVIE, *worked_on} if recipe.micrographs != JPEG else IMAGES
    left: list[Place] = []
    waiting = 0
    for place in deposited:
        assert isinstance(place.file, LaidFile)
        image = place.file.role in IMAGES
        replaced = image and (place.file.file_id in parents or place.stem in stems)
        due = image and not replaced and place.file.role in needs_making
        waiting += due
        if recipe.keep_deposited or not (replaced or due):
            left.append(replace(place, folder=DEPOSITED_FOLDER) if place.path in taken else place)
    return left, waiting


def _lacks(
    selection: Selection, gains: Sequence[LaidFile], waiting: int, recipe: ViewRecipe
) -> Iterator[str]:
    for files, word, choice in (
        (selection.images, "images", selection.image_choice),
        (gains, "gain references", selection.gain_choice),
    ):
        absent = sum(not file.here for file in files)
        if absent:
            chosen = "" if choice == "all" else f" (the {choice})"
            yield f"{absent:,} of the {len(files):,} {word} that the view takes{chosen} are not here"
    if waiting:
        yield f"{waiting:,} images are not made yet by {recipe.image_maker}"
    if recipe.stacks == "extracted":
        movies = sum(image.role is Role.MOVIE for image in selection.images)
        if movies:
            yield f"no particles are cut out of {movies:,} movies, whose frames are not aligned"
        if movies < len(selection.images) and recipe.micrographs not in (DEPOSITED, JPEG):
            yield f"particles are cut out of the deposited micrographs, not of what {recipe.image_maker} made"


def _stems(name: str) -> frozenset[str]:
    """The stems by which a product may know the image `name`: with and without what cryoSPARC added."""
    last_only = name.rpartition(".")[0] or name
    return frozenset(cleaned for stem in (stem_of(name), last_only) for cleaned in (stem, cryoppp_name(stem)))
