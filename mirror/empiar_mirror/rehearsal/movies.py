"""Entries of raw movies with a gain reference that is not its own mirror image."""

from __future__ import annotations

from empiar_mirror.rehearsal.archive import Files
from empiar_mirror.rehearsal.drawings import Gain, Movie
from empiar_mirror.rehearsal.records import MULTI_FRAME, ImageSet, Study

FITTING, UPSIDE_DOWN = 10113, 10114
FRAMES = 5

#: What SerialEM writes beside its movies; the coordinates are the detector's.
_DEFECTS = b"""CameraSizeX 509
CameraSizeY 431
RotationFlip 0
UsableArea 0 0 430 508
BadColumns 217
PartialBadColumn 388 100 180
BadPixels 12 33 250 401
"""


def _movies(directory: str, form: str, count: int, voxel: str, details: str) -> ImageSet:
    return ImageSet(
        name=f"Movies ({form})",
        directory=directory,
        category=MULTI_FRAME,
        form=form,
        count=count,
        frames=FRAMES,
        voxel=voxel,
        shape=(509, 431),
        details=details,
    )


def movies_with_gain() -> tuple[Study, Files]:
    """10113: TIFF and MRC movies of raw counts, and an MRC reference that fits as it is."""
    folder = b"data/movies/"
    files: Files = {
        folder + b"grid3_%04d_Mar04_11.0%d.09.tif" % (n, n): Movie("tiff", FRAMES) for n in range(1, 4)
    }
    files[b"data/movies_mrc/grid3_0101_Mar04_12.00.31.mrcs"] = Movie("mrc", FRAMES)
    files[folder + b"CountRef_grid3_0000_Mar04_10.59.10.mrc"] = Gain()
    files[folder + b"defects_grid3_Mar04.txt"] = _DEFECTS
    details = "Raw counts; multiply by the reference, which needs no rotation and no flip."
    study = Study(
        empiar_id=FITTING,
        title="Rehearsal: movies of raw counts with a gain reference that fits",
        imagesets=(
            _movies("data/movies", "TIFF", 3, "UNSIGNED BYTE", details),
            _movies("data/movies_mrc", "MRCS", 1, "SIGNED 16 BIT INTEGER", details),
        ),
        cross_references=("EMD-0113",),
    )
    return study, files


def movies_with_dm4_gain() -> tuple[Study, Files]:
    """10114: TIFF movies and a DM4 reference that is upside down, as most of these are."""
    folder = b"data/frames/"
    files: Files = {folder + b"JP_grid4_%04d.tif" % n: Movie("tiff", FRAMES) for n in range(1, 3)}
    files[folder + b"CountRef_JP_grid4.dm4"] = Gain("dm4", upside_down=True)
    details = "Raw counts; the reference is to be flipped upside down first."
    study = Study(
        empiar_id=UPSIDE_DOWN,
        title="Rehearsal: movies of raw counts with a DM4 gain reference upside down",
        imagesets=(_movies("data/frames", "TIFF", 2, "UNSIGNED BYTE", details),),
        cross_references=("EMD-0114",),
    )
    return study, files
