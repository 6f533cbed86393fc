"""The built-in makers of pictures: `jpeg` (as in CryoPPP_Lite), `thumbnails`, and `frame_average` of movies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from empiar_mirror.makers.choice import chosen_images
from empiar_mirror.makers.function import FunctionMaker
from empiar_mirror.makers.maker import EntryFiles, Output, Source, Task, Work
from empiar_mirror.makers.pairing import Ambiguous, nearest
from empiar_mirror.makers.stacks import picks_from_top
from empiar_mirror.makers.workers import Workers
from empiar_schema.layout_views import FRAME_AVERAGE, JPEG, PRESETS, THUMBNAILS, JpegMethod, ViewRecipe
from empiar_schema.products import Kind
from empiar_schema.settings import Settings
from empiar_schema.states import Role

PROGRAM: Final = "pictures 1"


# --- renditions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """A task for each image that one of the views takes."""

    recipes: tuple[ViewRecipe, ...]

    def __call__(self, files: EntryFiles) -> Iterable[Task]:
        """The tasks."""
        return map(Task.on, chosen_images(files, self.recipes))


def render(work: Work) -> Sequence[Output]:
    """The image as an 8-bit JPEG of its own size, upside down as in CryoPPP_Lite; its record says how grey became 8 bits."""
    from empiar_imaging.pixels.render import JpegRequest, make_jpeg

    method = _method(work.parameters)
    quality = int(str(work.parameters["quality"]))
    target = work.folder / "picture.jpg"
    result = make_jpeg(
        JpegRequest(source=work.inputs[0].local, target=target, method=method, quality=quality)
    )
    details = asdict(result.rendition) | {"frames": result.frames}
    return [Output(_below(work, target), f"{work.stem}.jpg", Kind.RENDITION.value, work.stem, details)]


def _method(parameters: Mapping[str, object]) -> JpegMethod:
    method = parameters["method"]
    return "minmax" if method == "minmax" else "sigma" if method == "sigma" else "percentile"


# --- thumbnails ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ThumbnailChoice:
    """A task for each image, with its coordinates if there are any."""

    label_maker: str | None

    def __call__(self, files: EntryFiles) -> Iterable[Task]:
        """The tasks."""
        coordinates: dict[int | None, Source] = {
            product.file_id: product
            for product in files.products
            if (product.maker, product.role) == (self.label_maker, Kind.PARTICLE_COORDINATES)
        }
        # The images of that view are those worth a look: micrographs if there are any, else movies.
        for image in chosen_images(files, (PRESETS["lite"],)):
            own = coordinates.get(image.file_id)
            yield Task.on(image) if own is None else Task.on(image, own)


def draw_thumbnail(work: Work) -> Sequence[Output]:
    """A small picture of the image with its picks, and one of its power spectrum."""
    from empiar_imaging.pixels.render import ThumbnailRequest, make_thumbnail
    from empiar_imaging.pixels.thumbnail import PickLayer

    image, *coordinates = work.inputs
    layers: tuple[PickLayer, ...] = ()
    if coordinates and image.facts.height is not None:
        x, y, diameter = picks_from_top(coordinates[0].local, image.facts.height)
        layers = (PickLayer(x, y, diameter),)
    request = ThumbnailRequest(
        source=image.local,
        target=work.folder / "thumbnail.jpg",
        spectrum_target=work.folder / "spectrum.jpg",
        layers=layers,
        pixel_size_angstrom=image.facts.pixel_size_angstrom,
    )
    made = make_thumbnail(request)
    details: dict[str, object] = {
        "width": made.width,
        "height": made.height,
        "reduction": made.reduction,
        "picks": made.drawn,
        "notes": list(made.notes),
    }
    name = f"{work.stem}.jpg"
    outputs = [Output(_below(work, made.path), name, Kind.THUMBNAIL.value, work.stem, details)]
    if made.spectrum_path is not None:
        spectrum: dict[str, object] = {"nyquist_angstrom": made.nyquist_angstrom}
        path, name = _below(work, made.spectrum_path), f"{work.stem}_spectrum.jpg"
        outputs.append(Output(path, name, Kind.POWER_SPECTRUM.value, work.stem, spectrum))
    return outputs


# --- averages -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AverageChoice:
    """A task for each movie that a view takes (each there is, where a hook works on averages), with the gain that belongs to it."""

    recipes: tuple[ViewRecipe, ...]
    all_movies: bool

    def __call__(self, files: EntryFiles) -> Iterable[Task]:
        """The tasks. With several gains that fit equally well none is taken, and the average says so."""
        gains = files.of_role(Role.GAIN)
        movies = files.of_role(Role.MOVIE) if self.all_movies else chosen_images(files, self.recipes)
        for movie in movies:
            if movie.role != Role.MOVIE.value:
                continue
            try:
                gain = nearest(gains, movie)
            except Ambiguous as error:
                yield Task.on(movie).with_parameters({"note": f"gain not applied: {error}"})
            else:
                yield Task.on(movie) if gain is None else Task.on(movie, gain)


def average(work: Work) -> Sequence[Output]:
    """The unaligned mean of the movie's frames, gain-corrected where that is certain."""
    from empiar_imaging.pixels.render import AverageRequest, make_frame_average

    movie, *gains = work.inputs
    request = AverageRequest(
        movie=movie.local,
        target=work.folder / "average.mrc",
        gain=gains[0].local if gains else None,
        pixel_size_angstrom=movie.facts.pixel_size_angstrom,
    )
    made = make_frame_average(request)
    given = work.parameters.get("note")
    details: dict[str, object] = {
        "label": made.label,
        "frames": made.frames,
        "gain_orientation": None if made.orientation is None else str(made.orientation),
        "gain_operation": made.operation,
        "dead_pixels": made.dead_pixels,
        "notes": [*made.notes, *([str(given)] if given else [])],
    }
    return [Output(_below(work, made.path), f"{work.stem}.mrc", Kind.MICROGRAPH.value, work.stem, details)]


def _below(work: Work, path: Path) -> Path:
    return path.relative_to(work.folder)


# --- which ---------------------------------------------------------------------------------------------------


def picture_makers(
    settings: Settings, recipes: Sequence[ViewRecipe], workers: Workers
) -> Iterator[FunctionMaker]:
    """The makers of the pictures that views, hooks and the configuration want."""
    renditions: dict[str, list[ViewRecipe]] = {}
    for recipe in recipes:
        if recipe.micrographs == JPEG:
            renditions.setdefault(recipe.image_maker, []).append(recipe)
    for name, wanting in renditions.items():
        parameters = {"method": wanting[0].jpeg_method, "quality": wanting[0].jpeg_quality}
        choose = ImageChoice(tuple(wanting))
        yield FunctionMaker(name, render, choose, PROGRAM, workers, parameters=parameters)
    averaged = tuple(recipe for recipe in recipes if recipe.micrographs == FRAME_AVERAGE)
    hooked = any(hook.enabled and hook.source == FRAME_AVERAGE for hook in settings.hook.values())
    if averaged or hooked:
        movies = AverageChoice(averaged, all_movies=hooked)
        yield FunctionMaker(FRAME_AVERAGE, average, movies, PROGRAM, workers)
    if settings.making.thumbnails:
        labels = min((recipe.label_maker for recipe in recipes if recipe.labels), default=None)
        pictures = ThumbnailChoice(labels)
        source = labels or "deposited"
        yield FunctionMaker(THUMBNAILS, draw_thumbnail, pictures, PROGRAM, workers, source=source)
