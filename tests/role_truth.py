"""What files of the sampled entries are for, as a reader of their listings sees it: the truth that rules are measured by.

Written by hand from folders and names, without asking the rules. Where a listing does not tell (one large TIFF without
a word about it), the truth is None: such files are counted, and neither right nor wrong.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from empiar_schema.states import Role

_R = Role

#: Entry, glob of paths below it (``*`` crosses folders), role. The first that fits counts.
TRUTH: Final[tuple[tuple[int, str, Role | None], ...]] = (
    # Movies of which the gain-corrected frames are one stack each; the entry's own header.
    (10002, "10002.xml", _R.METADATA),
    (10002, "data/*_movie_gc.mrcs", _R.MOVIE),
    # Sums, aligned or dose-weighted, as the folder or the tail of the name says.
    (10005, "data/micrographs/summed_frames/*_SumCorr.mrc", _R.MICROGRAPH),
    (10017, "data/Falcon_*.mrc", _R.MICROGRAPH),
    (10059, "data/micrographs/*_dfpt.mrc", _R.MICROGRAPH),
    (10061, "data/Micrographs/*.mrc", _R.MICROGRAPH),
    (10075, "data/MS2_summed_images/*_frames_SumCorr.mrc", _R.MICROGRAPH),
    (10081, "data/micrographs/*_2xaligned.mrc", _R.MICROGRAPH),
    (10093, "data/NOMPC/*_SumCorr_DW.mrc", _R.MICROGRAPH),
    (10096, "data/Dose-Weighted-Micrographs/*-DW.mrc", _R.MICROGRAPH),
    (10184, "data/*-a-DW.mrc", _R.MICROGRAPH),
    (10240, "data/ceramide_micrographs/*.mrc", _R.MICROGRAPH),
    (10289, "data/*.mrc", _R.MICROGRAPH),
    (10291, "data/*.mrc", _R.MICROGRAPH),
    (10345, "data/Micrographs_18jam15a/*_ali_DW.mrc", _R.MICROGRAPH),
    (10387, "data/Sums/*-DW.mrc", _R.MICROGRAPH),
    (10406, "data/*/micrographs/*.mrc", _R.MICROGRAPH),
    (10532, "data/02_Aligned_Micrographs/motioncorrected/*_patch_aligned.mrc", _R.MICROGRAPH),
    (10590, "data/micrographs/*_DW.mrc", _R.MICROGRAPH),
    (10669, "data/micrographs1/*_DW.mrc", _R.MICROGRAPH),
    (10760, "data/*.mrc", _R.MICROGRAPH),
    (11183, "data/*_patch_aligned_doseweighted.mrc", _R.MICROGRAPH),
    # TIFF movies with the detector's reference in the same folder, or beside it.
    (10444, "data/Movies/Dataset0/CountRef_*.mrc", _R.GAIN),
    (10444, "data/Movies/Dataset0/*.tif", _R.MOVIE),
    (10526, "data/*/SuperRef_*.dm4", _R.GAIN),
    (10526, "data/*/*.tif", _R.MOVIE),
    (10737, "data/gain_ref/*.mrc", _R.GAIN),
    (10737, "data/*.frames.tif", _R.MOVIE),
    (10852, "data/CountRef_*.mrc", _R.GAIN),
    (10852, "data/*.tif", _R.MOVIE),
    (11056, "data/*/CountCDSRef_*.mrc", _R.GAIN),
    (11056, "data/*/Micrographs/*.tif", _R.MOVIE),
    (11057, "data/Movie5/CountCDSRef_*.mrc", _R.GAIN),
    (11057, "data/Movie5/*.tif", _R.MOVIE),
    # Microcrystal diffraction, zipped.
    (10318, "data/*.zip", _R.OTHER),
    # Slices of blocks cut and imaged in a scanning microscope, an image each; surveys, exported films, notes.
    (10326, "data/EM04226_01/slice_*.tif", _R.MICROGRAPH),
    (10461, "*/Survey_image/*", _R.PREVIEW),
    (10461, "data/P400_SBF_SEM_*/*_slice_*.dm4", _R.MICROGRAPH),
    (11415, "*/param.pdf", _R.METADATA),
    (11415, "*/Raw SEM Image/*.tif", _R.MICROGRAPH),
    (11415, "*/movie, aligned*/*.avi", _R.PREVIEW),
    (11415, "*/segmentation/*.mrc", _R.VOLUME),
    (11421, "*/param.pdf", _R.METADATA),
    (11421, "*/raw SEM images/*.tif", _R.MICROGRAPH),
    (11421, "*/movie aligned*/*.avi", _R.PREVIEW),
    (11421, "*/Search Map/*.xml", _R.METADATA),
    (11421, "*/Search Map/*.txt", _R.METADATA),
    (11421, "*/Search Map/SearchMap.dm", None),
    (11421, "*/Search Map/*", _R.PREVIEW),
    (11449, "data/FIB-SEM_deta/*/*SliceImage*.tif", _R.MICROGRAPH),
    # Tomography: movies of tilts, series, tomograms, what was found in them.
    (10416, "data/*_Reconstruction.rec", _R.VOLUME),
    (10988, "*/frames/CountRef*.dm4", _R.GAIN),
    (10988, "*/frames/*.tif", _R.MOVIE),
    (10988, "*/metadata/*.st", _R.TILT_SERIES),
    (10988, "*/tomograms/*.rec", _R.VOLUME),
    (10988, "*/labels/*.mrc", _R.VOLUME),
    (10988, "*/particle_lists/*.csv", _R.PARTICLE_COORDINATES),
    (10988, "*/particle_lists/*.txt", None),
    (10988, "*.mdoc", _R.METADATA),
    (10988, "*/metadata/*.rawtlt", _R.METADATA),
    (10988, "*/metadata/*.xf", _R.METADATA),
    (10988, "*.txt", _R.METADATA),
    (11392, "*.rec", _R.VOLUME),
    (11392, "*.st", _R.TILT_SERIES),
    (11392, "*.log", _R.METADATA),
    (11658, "data/*/bin4_cryocare/*.rec", _R.VOLUME),
    (12104, "data/Control/frames/*.tif", _R.MOVIE),
    (12104, "data/Control/metadata/*.st", _R.TILT_SERIES),
    (12104, "data/Control/tomograms/*.mrc", _R.VOLUME),
    # One file each, without a word whether it is an image, a montage or a whole volume.
    (10392, "data/*", None),
    (10460, "data/P400_TEM/*.tif", None),
    (10479, "data/*", None),
    (10553, "data/*", None),
    (10738, "data/*", None),
    (10903, "data/*", None),
    (11314, "*/Thumbs.db", _R.OTHER),
    (11314, "data/*/*_COPB1.tif", None),
)  # fmt: skip


def truth_of(empiar_id: int, path: str) -> Role | None:
    """What the file is for; None where its listing does not tell.

    Raises:
        LookupError: the table does not speak of it.
    """
    for entry, glob, role in TRUTH:
        if entry == empiar_id and fnmatchcase(path, glob):
            return role
    raise LookupError(f"no truth is stated for {empiar_id}/{path}")
