"""Why a file has its role: the rules by name, and a judgement with the rule that decided it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from empiar_schema.states import Role

#: From this confidence on a role counts as certain: no header overturns it.
CERTAIN: Final = 0.95
#: Below this confidence a person should look.
UNSURE: Final = 0.7


class RoleReason(StrEnum):
    """The rule that decided a file's role (view `files`, column `role_reason`)."""

    OVERRIDE = "override"
    GAIN_NAME = "name says gain reference"
    GAIN_WORD = "word for references in the name"
    GAIN_FOLDER = "folder of gain references"
    DEFECTS_NAME = "name says defects"
    NAME = "name"
    FOLDER = "folder"
    IMAGE_SET = "image set category"
    SUFFIX = "suffix"
    SUFFIX_ALONE = "suffix alone"
    LEFTOVER = "leftover of an operating system"
    BESIDE_GAIN = "beside a gain reference"
    LARGE = "too large for a single frame"
    TILT_ANGLES = "tilt angles of its name beside it"
    OTHER_FORMAT = "another format than its neighbours"
    SMALLER = "smaller than its neighbours"
    SEVERAL_FRAMES = "header: several frames"
    ONE_FRAME = "header: one frame"
    SINGLE_AMONG_MOVIES = "single frame among movies"
    SUM_OF_MOVIE = "single frame named like a movie"
    ODD_FRAME = "another frame than its neighbours"
    SMALL_BOXES = "header: many small square frames"
    CUBE = "header: a cube"
    MANY_SECTIONS = "header: many sections"
    NOTHING_KNOWN = "nothing says what it is"


class Judgement(NamedTuple):
    """What a file is for, how sure that is (0 to 1), and why. A tuple, because an entry can have a million files."""

    role: Role
    confidence: float
    reason: RoleReason

    @property
    def certain(self) -> bool:
        """Whether no header may overturn it."""
        return self.confidence >= CERTAIN


_R = RoleReason
#: Sentences for people, one a rule.
RULES: Final[dict[RoleReason, str]] = {
    _R.OVERRIDE: "A table `[[role]]` of your configuration says so. Nothing overturns it.",
    _R.GAIN_NAME: "The name holds what detectors and their programs call a gain reference: `CountRef`, `SuperRef`, `GainRef`, or `gain` where few files of a folder bear it. Images that were gain-corrected, and words such as `gain_of_function`, do not count.",
    _R.GAIN_WORD: "The name holds `norm`, `dark`, `flat` or `ref`, few files of the folder do, and the others are movies, or nothing says that they are not, or it is of another format.",
    _R.GAIN_FOLDER: "The folder is called after gain references.",
    _R.DEFECTS_NAME: "The name speaks of defects, or of dead, bad or hot pixels.",
    _R.NAME: "Words in the file's name, such as `SumCorr`, `fractions`, `particles`, `segmentation`.",
    _R.FOLDER: "Words in the name of the folder, or of one above it.",
    _R.IMAGE_SET: "The depositor's image set names this folder, or one above it, with a category such as `micrographs - multiframe`.",
    _R.SUFFIX: "Files of this suffix are hardly ever anything else: `.eer`, `.gain`, `.st`, `.rec`, `.box`, `.xml`.",
    _R.SUFFIX_ALONE: "Nothing but the suffix speaks, and files of this suffix can be several things.",
    _R.LEFTOVER: "A file that an operating system leaves behind, such as `Thumbs.db`.",
    _R.BESIDE_GAIN: "A gain reference lies in the same folder, and is kept beside what it is to be applied to.",
    _R.LARGE: "Larger than a single frame of any detector.",
    _R.TILT_ANGLES: "A file of tilt angles bears its name: `.rawtlt`, `.tlt`, `.mrc.mdoc`.",
    _R.OTHER_FORMAT: "One of few images of another format in a folder of movies, and none of them bears its name.",
    _R.SMALLER: "Much smaller than the movies of its folder, and called otherwise.",
    _R.SEVERAL_FRAMES: "The header counts more than one frame.",
    _R.ONE_FRAME: "The header counts one frame.",
    _R.SINGLE_AMONG_MOVIES: "One frame, of another size or number type than the frames of the movies around it; a movie with a single frame where both agree, and then unsure.",
    _R.SUM_OF_MOVIE: "One frame, among movies of which one has the same name but for the suffix.",
    _R.ODD_FRAME: "One frame, of another size or number type than nearly all images of its folder.",
    _R.SMALL_BOXES: "Many square frames no larger than boxes around particles.",
    _R.CUBE: "As many sections as rows and columns.",
    _R.MANY_SECTIONS: "More sections than movies have frames.",
    _R.NOTHING_KNOWN: "No rule knows such a file.",
}
