"""Which images built-in makers work on (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from empiar_mirror.makers.maker import EntryFiles, Source
from empiar_mirror.selection import select
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.states import Role


def chosen_images(files: EntryFiles, recipes: Sequence[ViewRecipe]) -> Iterator[Source]:
    """The micrographs and movies that are here and that one of the views takes, in natural order."""
    chosen = {image.file_id for recipe in recipes for image in select(files.listed, recipe).images}
    for source in files.of_role(Role.MICROGRAPH, Role.MOVIE):
        if source.file_id in chosen:
            yield source
