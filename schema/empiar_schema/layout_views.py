"""Layout views as data: what a view takes of an entry, and how it names what it takes. Pure.

A *recipe* is a view with every question answered. The presets are CryoPPP's own sizes (`refined`: 1000 images, 5
gains; `labelled`: about 300; `small`: 20; a trial download: 10) and two other readers' needs (`lite`: JPEGs as in
CryoPPP_Lite; `relion`). Tables ``[view.NAME]`` of the configuration start from one of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

#: How a capped sample is drawn from the natural order of the paths.
Choice = Literal["first", "spread", "random"]
ImagesRole = Literal["auto", "micrograph", "movie", "both"]
Stacks = Literal["deposited", "extracted", "none"]
JpegMethod = Literal["minmax", "percentile", "sigma"]
Style = Literal["cryoppp", "relion"]
Link = Literal["auto", "hardlink", "reflink", "symlink", "copy"]
PresetName = Literal["cryoppp", "refined", "labelled", "small", "trial", "lite", "relion"]

#: Values of `ViewRecipe.micrographs` that are no hook.
DEPOSITED: Final = "deposited"
JPEG: Final = "jpeg"
#: The built-in maker of unaligned averages of movie frames.
FRAME_AVERAGE: Final = "frame_average"
#: The built-in makers of ground truth, one for each naming of images; and of particle stacks.
LABEL_MAKERS: Final = frozenset({"labels", "labels_deposited", "labels_relion", "labels_relion_cryoppp"})
SPLIT_STACKS: Final = "split_stacks"
EXTRACTED_STACKS: Final = "extracted_stacks"
THUMBNAILS: Final = "thumbnails"
#: Who keeps labels of a released CryoPPP tree.
IMPORTED_LABELS: Final = "imported_labels"
#: Who gathers the current versions of labels by hand.
HAND_LABELS: Final = "hand_labels"
_MAKERS: Final = LABEL_MAKERS | {
    SPLIT_STACKS, EXTRACTED_STACKS, THUMBNAILS, IMPORTED_LABELS, HAND_LABELS, FRAME_AVERAGE,
}  # fmt: skip


def is_built_in(maker: str) -> bool:
    """Whether a maker of this product has the name, in force or not: no hook may take it."""
    return maker in _MAKERS or maker == JPEG or maker.startswith(f"{JPEG}_")


@dataclass(frozen=True, slots=True)
class ViewRecipe:
    """One layout view, resolved: presets and own keys are one."""

    name: str
    #: At most so many images and gain references of an entry; None means all.
    images: int | None = None
    gains: int | None = None
    choose: Choice = "first"
    #: Decides which images `random` takes.
    seed: int = 0
    #: Whether the sample is spread over folders, grid squares and sessions, as paths and names show them.
    stratify: bool = False
    #: Which files are the images: ``auto`` takes micrographs if the entry has any, else movies.
    images_role: ImagesRole = "auto"
    #: What stands in ``micrographs/``: the deposited files, JPEG renditions, or what the maker of this name made.
    micrographs: str = DEPOSITED
    #: Whether the deposited files stand beside the made ones.
    keep_deposited: bool = False
    #: Whether ``ground_truth/`` is there, and files that may hold labels are fetched.
    labels: bool = True
    #: Particles split from the deposited stacks, cut out of the micrographs, or none.
    stacks: Stacks = "deposited"
    #: Whether deposited particle stacks are fetched; they cost terabytes.
    fetch_stacks: bool = False
    jpeg_method: JpegMethod = "percentile"
    jpeg_quality: int = 90
    #: ``relion``: movies in a folder of their own, stacks with RELION's suffix ``.mrcs``.
    style: Style = "cryoppp"
    #: Whether names lose what cryoSPARC added, as in CryoPPP (`empiar_schema.stems`).
    cryoppp_names: bool = True
    #: None: as `arrange.link` says.
    link: Link | None = None

    @property
    def image_maker(self) -> str:
        """The maker of what stands in ``micrographs/``; `DEPOSITED` where nothing has to be made."""
        if self.micrographs == JPEG and (self.jpeg_method, self.jpeg_quality) != ("percentile", 90):
            return f"{JPEG}_{self.jpeg_method}_{self.jpeg_quality}"
        return self.micrographs

    @property
    def label_maker(self) -> str:
        """The maker of the ground truth whose names of images are those of this view."""
        if self.style == "relion":
            return "labels_relion_cryoppp" if self.cryoppp_names else "labels_relion"
        return "labels" if self.cryoppp_names else "labels_deposited"

    def named_like(self, other: ViewRecipe) -> ViewRecipe:
        """This view with the names of `other`."""
        return replace(self, style=other.style, cryoppp_names=other.cryoppp_names)

    @property
    def shows_deposited(self) -> bool:
        """Whether deposited images stand in the layout, wherever a made one could replace them."""
        return self.micrographs == DEPOSITED or self.keep_deposited

    @property
    def shows_gains(self) -> bool:
        """Whether there is a ``gain/``: of no use beside JPEGs alone."""
        return self.micrographs != JPEG or self.keep_deposited


_WHOLE: Final = ViewRecipe("cryoppp", images_role="both", fetch_stacks=True)

PRESETS: Final[Mapping[str, ViewRecipe]] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            _WHOLE,
            ViewRecipe("refined", images=1000, gains=5),
            ViewRecipe("labelled", images=300, gains=5),
            ViewRecipe("small", images=20, gains=5),
            ViewRecipe("trial", images=10, gains=5),
            ViewRecipe("lite", gains=5, micrographs=JPEG, stacks="none"),
            replace(_WHOLE, name="relion", style="relion", cryoppp_names=False),
        )
    }
)


def preset_of(name: str, preset: str | None) -> ViewRecipe:
    """What a table ``[view.NAME]`` starts from: the preset it names, the one it is called after, or `cryoppp`."""
    return PRESETS[preset or (name if name in PRESETS else _WHOLE.name)]


def unknown_view(name: str, declared: Collection[str]) -> str:
    """The sentence for a view that is neither a preset nor declared."""
    known = sorted({*PRESETS, *declared})
    meant = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    question = f"; did you mean {meant[0]}?" if meant else f"; there are {', '.join(known)}"
    return f"there is no view {name!r}{question}"
