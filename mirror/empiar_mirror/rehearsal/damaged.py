"""An entry that is damaged at the source: each file is mirrored as it is, and each damage is to be found."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from typing import Final

from empiar_mirror.rehearsal import tables
from empiar_mirror.rehearsal.archive import Files
from empiar_mirror.rehearsal.content import PIXEL_ANGSTROM
from empiar_mirror.rehearsal.drawings import Cut, Even, Gain, Micrograph, Movie
from empiar_mirror.rehearsal.faults import ERROR_TEXT
from empiar_mirror.rehearsal.records import MULTI_FRAME, SINGLE_FRAME, ImageSet, Study
from empiar_mirror.rehearsal.tables import Loop

DAMAGED: Final = 10115
BOMB_BYTES: Final = 64_000_000


class Damage(StrEnum):
    """What is wrong with a file."""

    CUT = "the file ends before its content does"
    CONSTANT = "every pixel has the same value"
    NOT_A_NUMBER = "every pixel is not a number"
    ERROR_TEXT = "an error message stands in place of the image"
    EXPANDS = "it unpacks to a thousand times its size, and to nothing but zeros"
    CUT_ROW = "the table ends in the middle of a row"
    RAGGED = "rows of the table have too few and too many values"
    PICKLED = "the array holds pickled objects, and running them ends the program"
    OUTSIDE = "coordinates are infinite, NaN or outside of the image"
    WORDS = "coordinates are missing, or words"
    RIVAL = "two gain references of one shape, one of them upside down"


_IMAGES: Final = b"data/micrographs/"
_PICKS: Final = b"data/particle_coordinates/"
_MOVIES: Final = b"data/movies/"

#: Every damaged file of the entry, by its path below it.
DAMAGE: Final = {
    _IMAGES + b"mic_0004_DW.mrc": Damage.CUT,
    _IMAGES + b"mic_0005_DW.mrc": Damage.CONSTANT,
    _IMAGES + b"mic_0006_DW.mrc": Damage.NOT_A_NUMBER,
    _IMAGES + b"mic_0007_DW.mrc": Damage.ERROR_TEXT,
    _IMAGES + b"mic_0008_DW.mrc.gz": Damage.EXPANDS,
    _PICKS + b"cut_particles.star": Damage.CUT_ROW,
    _PICKS + b"ragged_particles.star": Damage.RAGGED,
    _PICKS + b"pickled_particles.cs": Damage.PICKLED,
    _PICKS + b"mic_0002_DW.csv": Damage.WORDS,
    _PICKS + b"mic_0003_DW.csv": Damage.OUTSIDE,
    _MOVIES + b"mov_0002_frames.tif": Damage.CUT,
    _MOVIES + b"gain_1.mrc": Damage.RIVAL,
    _MOVIES + b"gain_2.mrc": Damage.RIVAL,
}


def damaged_at_the_source() -> tuple[Study, Files]:
    """10115: three sound micrographs with sound labels for one of them, and one file for each `Damage`.

    The pixel size that is stated is half of that in the headers: the one of super-resolution.
    """
    micrograph, movie = Micrograph(), Movie("tiff", 4)
    files: Files = {_IMAGES + b"mic_%04d_DW.mrc" % n: micrograph for n in (1, 2, 3)}
    files |= {
        _IMAGES + b"mic_0004_DW.mrc": Cut(micrograph, micrograph.size * 3 // 5),
        _IMAGES + b"mic_0005_DW.mrc": Even(3.0),
        _IMAGES + b"mic_0006_DW.mrc": Even(float("nan")),
        _IMAGES + b"mic_0007_DW.mrc": ERROR_TEXT,
        _IMAGES + b"mic_0008_DW.mrc.gz": _zeros_packed(),
        _MOVIES + b"mov_0001_frames.tif": movie,
        _MOVIES + b"mov_0002_frames.tif": Cut(movie, movie.size - 100_000),
        _MOVIES + b"gain_1.mrc": Gain(),
        _MOVIES + b"gain_2.mrc": Gain(upside_down=True),
    }
    sound = _star(micrograph, b"mic_0001_DW.mrc")
    files |= {
        _PICKS + b"sound_particles.star": sound,
        _PICKS + b"cut_particles.star": _star(micrograph, b"mic_0002_DW.mrc")[:-40],
        _PICKS + b"ragged_particles.star": _ragged(_star(micrograph, b"mic_0002_DW.mrc")),
        _PICKS + b"pickled_particles.cs": _pickled(),
        _PICKS + b"mic_0002_DW.csv": _csv(micrograph, b"mic_0002_DW.mrc", [("", 90), ("middle", 90)]),
        _PICKS + b"mic_0003_DW.csv": _csv(micrograph, b"mic_0003_DW.mrc", _OUTSIDE),
    }
    study = Study(
        empiar_id=DAMAGED,
        title="Rehearsal: images and labels that are damaged at the source",
        imagesets=_stated(),
        cross_references=("EMD-0115",),
    )
    return study, files


def _stated() -> tuple[ImageSet, ImageSet]:
    sums = ImageSet(
        name="Aligned micrographs",
        directory="data/micrographs",
        category=SINGLE_FRAME,
        form="MRC",
        count=8,
        shape=(509, 431),
        pixel=PIXEL_ANGSTROM / 2,
        pixel_height=PIXEL_ANGSTROM / 2,
    )
    raw = replace(
        sums, name="Movies", directory="data/movies", category=MULTI_FRAME, form="TIFF", count=2, frames=4,
        voxel="UNSIGNED BYTE", pixel=PIXEL_ANGSTROM, pixel_height=PIXEL_ANGSTROM,
    )  # fmt: skip
    return sums, raw


@lru_cache(maxsize=1)
def _zeros_packed() -> bytes:
    return gzip.compress(bytes(BOMB_BYTES), mtime=0)


def _star(micrograph: Micrograph, name: bytes) -> bytes:
    columns = ("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit")
    centres = micrograph.places(b"%d/%b%b" % (DAMAGED, _IMAGES, name))
    rows = [(f"micrographs/{name.decode()}", float(x), float(y), 0.9) for x, y in centres]
    return tables.star([Loop("particles", columns, rows)]).rstrip(b"\n") + b"\n"


def _ragged(star: bytes) -> bytes:
    lines = star.splitlines(keepends=True)
    lines[-1] = lines[-1].rstrip() + b" 17\n"
    lines[-2] = lines[-2].rpartition(b" ")[0].rstrip() + b"\n"
    lines[-3] = lines[-3].rpartition(b" ")[0].rstrip() + b"\n"
    return b"".join(lines)


def _pickled() -> bytes:
    """An array of objects whose pickle, if anybody runs it, is ``sys.exit("a pickle was run")``."""
    run = b"csys\nexit\n(S'a pickle was run'\ntR."
    return tables.npy_head("[('uid', '<u8'), ('location/micrograph_path', '|O')]", 3) + run


#: Of ten right picks and these, one alone lies outside where a picker could have put it.
_OUTSIDE: Final = [("nan", 120), (200, "nan"), ("inf", 40), (-70, 100), ("1e300", 90)]


def _csv(micrograph: Micrograph, name: bytes, wrong: Iterable[tuple[object, object]]) -> bytes:
    """CryoPPP's table of a micrograph, with wrong rows among the right ones."""
    sound = micrograph.places(b"%d/%b%b" % (DAMAGED, _IMAGES, name))
    return tables.cryoppp_csv([*sound[:3], *wrong, *sound[3:]], height=micrograph.ny, diameter=25)
