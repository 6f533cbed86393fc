"""The configuration of layout views: each a table ``[view.NAME]``."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, PositiveInt

from empiar_schema.layout_views import (
    Choice,
    ImagesRole,
    JpegMethod,
    Link,
    PresetName,
    Stacks,
    Style,
    ViewRecipe,
    preset_of,
)
from empiar_schema.settings_types import FolderName, Table


class ViewSettings(Table):
    """A layout view of your own: what is not set here is as in its preset. Name it in arrange.views, or with --view, to have it built."""

    preset: PresetName | None = Field(default=None, examples=["labelled"])
    """What the view starts from; if not set, the preset that it is called after, else cryoppp."""
    images: PositiveInt | None = Field(default=None, examples=[300])
    """At most so many images of an entry."""
    gains: int | None = Field(default=None, ge=0, examples=[5])
    """At most so many gain references, the first in natural order."""
    choose: Choice | None = Field(default=None, examples=["spread"])
    """Which images, if there are more: the first in natural order, evenly spread over it, or random ones."""
    seed: int | None = Field(default=None, examples=[1])
    """Another number draws other random images; the same one the same, everywhere."""
    stratify: bool | None = Field(default=None, examples=[True])
    """Spread the sample over folders, grid squares and sessions, as paths and names show them."""
    images_role: ImagesRole | None = Field(default=None, examples=["movie"])
    """Which files are the images: micrograph, movie, both, or auto: micrographs if the entry has any, else movies."""
    micrographs: FolderName | None = Field(default=None, examples=["jpeg"])
    """What stands in micrographs/: deposited, jpeg (renditions), frame_average (of movies, not aligned), or the name of the hook whose products stand there."""
    keep_deposited: bool | None = Field(default=None, examples=[True])
    """Deposited images stand beside the made ones."""
    labels: bool | None = Field(default=None, examples=[False])
    """Whether there is a ground_truth/, and files that may hold particle coordinates are fetched."""
    stacks: Stacks | None = Field(default=None, examples=["extracted"])
    """Particles split from the deposited stacks, extracted from the micrographs, or none. Saying deposited here has the stacks fetched, too, which costs terabytes; presets with a cap do not."""
    jpeg_method: JpegMethod | None = Field(default=None, examples=["sigma"])
    """How grey values become 8 bits in JPEG renditions: minmax, percentile (0.5 to 99.5) or sigma (3 each way)."""
    jpeg_quality: int | None = Field(default=None, ge=1, le=100, examples=[95])
    """Quality of JPEG renditions, 1 to 100."""
    style: Style | None = Field(default=None, examples=["relion"])
    """cryoppp, or relion: movies in movies/ and particle stacks that end in .mrcs, as RELION wants them."""
    cryoppp_names: bool | None = Field(default=None, examples=[False])
    """Names of images lose _patch_aligned_doseweighted and a leading 21-digit number, as in CryoPPP."""
    link: Link | None = Field(default=None, examples=["symlink"])
    """How this view refers to files; if not set, as arrange.link says."""

    def recipe(self, name: str) -> ViewRecipe:
        """The view `name` with every question answered."""
        start = preset_of(name, self.preset)
        own = self.model_dump(exclude_none=True, exclude={"preset"})
        recipe = replace(start, **own, name=name)
        whole = start.fetch_stacks and recipe.images is None and recipe.stacks == "deposited"
        return replace(recipe, fetch_stacks=whole or self.stacks == "deposited")
