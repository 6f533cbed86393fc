"""The built-in makers `split_stacks` and `extracted_stacks`: one particle stack a micrograph, its images in the order of the micrograph's rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from empiar_mirror.makers.choice import chosen_images
from empiar_mirror.makers.function import FunctionMaker
from empiar_mirror.makers.labels import has_labels
from empiar_mirror.makers.maker import EntryFiles, JobFault, Output, Source, Task, Work
from empiar_mirror.makers.stack_references import reference_rows
from empiar_mirror.makers.workers import Workers
from empiar_schema.layout_views import EXTRACTED_STACKS, SPLIT_STACKS, ViewRecipe
from empiar_schema.products import Kind
from empiar_schema.settings import MakingSettings, Settings
from empiar_schema.states import Role

PROGRAM: Final = "particle stacks 1"
#: A box is so many diameters wide where nobody says otherwise.
_BOX_DIAMETERS: Final = 1.5
_NAMED: Final = 20


# --- split from deposited stacks ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """A task for each micrograph whose particles stand in deposited stacks that are all here."""

    label_maker: str
    #: What was read of reference files, by their sha256.
    _read: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __call__(self, files: EntryFiles) -> Iterable[Task]:
        """The tasks."""
        stacks = {stack.path: stack for stack in files.of_role(Role.PARTICLE_STACK)}
        if not stacks:
            return
        for product in files.products:
            if product.maker == self.label_maker and product.role == Kind.PARTICLE_REFERENCES:
                paths = self._stacks_of(product)
                if paths and all(path in stacks for path in paths):
                    inputs = [stacks[path] for path in sorted(paths)]
                    yield Task.on(product, *inputs).with_parameters({"stacks": sorted(paths)})

    def _stacks_of(self, product: Source) -> tuple[str, ...]:
        if product.sha256 not in self._read:
            try:
                rows = reference_rows(product.local.read_bytes())
            except OSError:
                rows = ()
            self._read[product.sha256] = tuple(dict.fromkeys(path for _, path in rows if path))
        return self._read[product.sha256]


def split_particles(work: Work) -> Sequence[Output]:
    """The micrograph's particles, taken from the deposited stacks as they are; rows without an image are named in the record."""
    from empiar_imaging.pixels.render import SplitRequest, make_split_stack
    from empiar_imaging.pixels.stacks import StackSlice

    references, *stacks = work.inputs
    local = {stack.path: stack.local for stack in stacks}
    rows = reference_rows(references.local.read_bytes())
    # Rows of the labels, which are not those of the slices where some have no image.
    numbers = [row for row, (_, path) in enumerate(rows, 1) if path]
    slices = tuple(StackSlice(number, local[path]) for number, path in rows if path)
    target = work.folder / "stack.mrc"
    pixel = references.facts.pixel_size_angstrom
    report = make_split_stack(SplitRequest(slices=slices, target=target, pixel_size_angstrom=pixel))
    unnamed = len(rows) - len(slices)
    return _stack(
        work,
        report.path,
        images=report.images,
        rows=len(rows),
        notes=(
            *report.notes,
            *([f"{unnamed} rows name no image"] if unnamed else []),
            *(f"row {numbers[left.row]}: {left.reason}" for left in report.left_out[:_NAMED]),
        ),
    )


# --- cut out of micrographs ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExtractChoice:
    """A task for each labelled micrograph of the views that want it; frames of movies are not aligned, so none for them."""

    label_maker: str
    recipes: tuple[ViewRecipe, ...]

    def __call__(self, files: EntryFiles) -> Iterable[Task]:
        """The tasks."""
        chosen = chosen_images(files, self.recipes)
        images = {source.file_id: source for source in chosen if source.role == Role.MICROGRAPH.value}
        for product in files.products:
            image = images.get(product.file_id)
            if (product.maker, product.role) == (self.label_maker, Kind.PARTICLE_COORDINATES) and image:
                yield Task.on(image, product)


def extract_particles(work: Work) -> Sequence[Output]:
    """The micrograph's particles, cut out at the coordinates; no file where it holds none.

    Raises:
        JobFault: nobody says how large a particle is.
    """
    from empiar_imaging.pixels.render import ExtractRequest, make_extracted_stack
    from empiar_imaging.pixels.stacks import BoxOptions

    image, coordinates = work.inputs
    if image.facts.height is None:
        raise JobFault("the image's header does not tell its height", permanent=True)
    x, y, diameter = picks_from_top(coordinates.local, image.facts.height)
    if not x:
        return []
    box = _box(work.parameters, diameter)
    options = BoxOptions(
        box=box,
        edge=_edge(work.parameters),
        invert=bool(work.parameters["invert"]),
        normalise=bool(work.parameters["normalise"]),
    )
    request = ExtractRequest(
        micrograph=image.local,
        target=work.folder / "stack.mrc",
        x=x,
        y=y,
        options=options,
        pixel_size_angstrom=image.facts.pixel_size_angstrom,
    )
    report = make_extracted_stack(request)
    notes = (*report.notes, *(f"row {left.row + 1}: {left.reason}" for left in report.left_out[:_NAMED]))
    return _stack(work, report.path, images=report.images, rows=len(x), notes=notes)


def picks_from_top(path: Path, height: int) -> tuple[tuple[float, ...], tuple[float, ...], float | None]:
    """Centres in rows as stored, and the diameter, of one of our own coordinate files: ``row = H − Y``."""
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    x = tuple(float(row[0]) for row in rows)
    y = tuple(height - float(row[1]) for row in rows)
    diameters = {row[2] for row in rows if row[2]}
    return x, y, float(diameters.pop()) if len(diameters) == 1 else None


def _box(parameters: Mapping[str, object], diameter: float | None) -> int:
    box = parameters["box"]
    if isinstance(box, int):
        return box
    if diameter is None:
        raise JobFault(
            "nobody says how large a particle is",
            hint="set making.box, or the entry's diameter in making.particle_diameters",
            permanent=True,
        )
    return max(2, 2 * round(_BOX_DIAMETERS * diameter / 2))


def _edge(parameters: Mapping[str, object]) -> Literal["skip", "fill", "clamp"]:
    edge = parameters["edge"]
    return "skip" if edge == "skip" else "clamp" if edge == "clamp" else "fill"


def _stack(
    work: Work, path: Path | None, *, images: int, rows: int, notes: Sequence[str]
) -> Sequence[Output]:
    if path is None:
        raise JobFault(f"none of its {rows} particles has an image: {'; '.join(notes[:3])}", permanent=True)
    details: dict[str, object] = {"images": images, "rows": rows}
    if notes:
        details["notes"] = list(notes)
    name = f"{work.stem}_particles.mrc"
    return [Output(path.relative_to(work.folder), name, Kind.PARTICLE_STACK.value, work.stem, details)]


# --- which ---------------------------------------------------------------------------------------------------


def stack_makers(
    settings: Settings, recipes: Sequence[ViewRecipe], workers: Workers
) -> Iterator[FunctionMaker]:
    """The makers of the stacks that views want."""
    for way, name in (("deposited", SPLIT_STACKS), ("extracted", EXTRACTED_STACKS)):
        wanting = tuple(recipe for recipe in recipes if recipe.stacks == way)
        if not wanting:
            continue
        labels = min(recipe.label_maker for recipe in wanting)
        if way == "deposited":
            choose, function = SplitChoice(labels), split_particles
            yield FunctionMaker(name, function, choose, PROGRAM, workers, source=labels, concerned=has_labels)
        else:
            yield FunctionMaker(
                name,
                extract_particles,
                ExtractChoice(labels, wanting),
                PROGRAM,
                workers,
                parameters=_options(settings.making),
                source=labels,
                may_make_nothing=True,
                concerned=has_labels,
            )


def _options(making: MakingSettings) -> dict[str, object]:
    return {
        "box": making.box,
        "edge": making.edge,
        "invert": making.invert,
        "normalise": making.normalise,
    }
