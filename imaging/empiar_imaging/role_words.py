"""The words by which depositors say what a file is for. Data only; `empiar_imaging.roles` judges by it.

Texts are compared in lower case, with ``_`` put between a small and a capital letter and runs of digits
written as one ``0``, so that ``CountRef_20210209_133-1_000`` reads ``count_ref_0_0-0_0``.
"""

from __future__ import annotations

import re
from typing import Final

from empiar_schema.states import Role


def _word(pattern: str) -> re.Pattern[str]:
    """The pattern, not inside a longer word."""
    return re.compile(rf"(?<![a-z])(?:{pattern})(?![a-z])")


#: What only detector references are called: SerialEM (CountRef, CountCDSRef, SuperRef), EPU (GainReference), Leginon and Appion (norm after the camera's size or host).
REFERENCE: Final = _word(
    r"gain[ _.-]?(?:refs?|references?)|(?:count|super)[ _]?(?:cds)?[ _]?ref|cds[ _]?ref|norm[ _-]amibox|0x0[ _-]norm"
)
#: Words of references that a sample may bear as well.
GAIN: Final = _word(r"gains?|gain[ _.-]?(?:images?|maps?|files?)|flat[ _-]?fields?")
#: Words that mean a reference only where few files bear them.
MAYBE_GAIN: Final = _word(r"norms?|darks?|dark[ _]?ref(?:erence)?|flats?|bright|refs?|references?")
#: Images to which a reference was applied, or was not: images all the same. And what gain means in biology.
NO_REFERENCE: Final = re.compile(
    r"(?:gain|flat|dark)(?:[ _-]?ref(?:erence)?)?[ _-]?(?:corr(?:ected)?(?![a-z])|normali|appl|mult)|(?:un|no|non|without|wo)[ _-]?gain"
    r"|gain[ _-]?of[ _-]?func|gain[ _-]?domain|weight[ _-]?gain"
)
DEFECTS: Final = _word(
    r"defects?|defect[ _-]?(?:maps?|files?|list)|dead[ _-]?pixels?|bad[ _-]?pixels?|hot[ _-]?pixels?"
)

#: What programs that align and sum the frames of a movie put into names; stronger than "frames" or "Fractions" before it.
SUMMED: Final = re.compile(
    r"(?<![a-z])(?:dw|ali|sums?|summed|averaged?|avg|mic|mics|micrographs?|dfpt|mc|mco|mcor|aligned)(?![a-z])"
    r"|(?<![a-z])x?aligned|sum[ _]?corr|motion[ _-]?corr|mot[ _-]?corr|dose[ _-]?weight|patch[ _-]?aligned|drift[ _-]?corr"
)
NOT_SUMMED: Final = re.compile(r"(?:un|non|not)[ _-]?(?:aligned|summed|corrected)")
MOVIE: Final = _word(r"movies?|frames?|sub[ _-]?frames?|fractions?|unaligned|multi[ _-]?frames?|eer|stack")

PARTICLE: Final = _word(r"particles?|ptcls?|extract(?:ed)?|sub[ _-]?tomo(?:gram)?s?|sub[ _-]?volumes?")
CLASS: Final = _word(r"class[ _-]?(?:averages?|avgs?|sums?)|classes|classums?|0d[ _-]?class\w*|class[ _-]?0d")
VOLUME: Final = _word(
    r"tomograms?|tomos?[ _-]?rec|rec|recs|reconstructions?|volumes?|vols?|maps?|masks?|labels?|segmentations?|segs?|half[ _-]?maps?"
)
TILT: Final = _word(r"tilt[ _-]?(?:series|stacks?|images?)|tiltseries|ts")
COORDINATES: Final = _word(
    r"coord(?:inate)?s?|picks?|picked|picking|box(?:es|files)?|auto[ _-]?pick|manual[ _-]?pick|particles?|ptcls?"
    r"|particle[ _-]?(?:lists?|coordinates?|positions?)|run_data"
)
OVERVIEW: Final = _word(
    r"atlas(?:es)?|search[ _-]?maps?|overviews?|survey[ _-]?images?|thumb(?:nail)?s?|previews?|snapshots?|screen[ _-]?shots?"
)

#: Slices of a volume cut and imaged in a scanning microscope: single images, though often TIFF.
SLICE: Final = _word(r"slices?|slice[ _-]?images?|(?:sbf?|fib)[ _-]?sem|fib|sbf|sem")

#: Folder words, strongest first; the folder nearest to the file that says something decides.
FOLDERS: Final = (
    (OVERVIEW, Role.PREVIEW),
    (DEFECTS, Role.DEFECTS),
    (CLASS, Role.CLASS_AVERAGE),
    (PARTICLE, Role.PARTICLE_STACK),
    (VOLUME, Role.VOLUME),
    (re.compile(r"(?<![a-z])(?:micrographs?|mics?)(?![a-z])"), Role.MICROGRAPH),
    (SLICE, Role.MICROGRAPH),
    (MOVIE, Role.MOVIE),
    (TILT, Role.TILT_SERIES),
)

#: Suffixes that settle the matter; the figure is how often they do, by judgement.
SETTLED: Final[dict[str, tuple[Role, float]]] = {
    ".eer": (Role.MOVIE, 0.99),
    ".gain": (Role.GAIN, 0.99),
    ".st": (Role.TILT_SERIES, 0.95),
    ".ali": (Role.TILT_SERIES, 0.9),
    ".rec": (Role.VOLUME, 0.95),
    ".map": (Role.VOLUME, 0.9),
    ".ccp4": (Role.VOLUME, 0.9),
    ".box": (Role.PARTICLE_COORDINATES, 0.97),
    ".cbox": (Role.PARTICLE_COORDINATES, 0.97),
    ".coord": (Role.PARTICLE_COORDINATES, 0.97),
    ".coords": (Role.PARTICLE_COORDINATES, 0.97),
}
_TABLES: Final = (".star", ".csv", ".txt", ".cs", ".tsv", ".dat", ".json", ".tbl", ".em_list", ".mod")
#: Suffixes of texts and tables that may hold coordinates.
TABLES: Final = frozenset(_TABLES)
METADATA: Final = frozenset(
    {
        ".xml", ".mdoc", ".log", ".pdf", ".md", ".tlt", ".rawtlt", ".xf", ".xtilt", ".fid", ".com", ".adoc", ".yaml", ".yml",
        ".ini", ".nav", ".html", ".htm", ".xls", ".xlsx", ".doc", ".docx", ".rtf", ".prexg", ".prexf", ".tltxf", ".edf",
        ".path", ".ctf", ".defocus", ".par", ".pcf", ".mtf", ".sh", ".py", ".toml", ".cfg", ".hdr", ".md5", ".sha256", ".resmap",
    }
)  # fmt: skip
PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".svg"})
FILMS: Final = frozenset({".avi", ".mp4", ".mov", ".mpg", ".mpeg", ".mkv", ".webm", ".wmv"})
README: Final = _word(r"readme|licen[cs]e|manifest|checksums?|md0sums?|notes?")
LEFTOVERS: Final = frozenset({"thumbs.db", ".ds_store", "desktop.ini"})

#: Suffixes of tilt angles and of SerialEM's notes on a tilt series, which bear the series' name.
TILT_ANGLES: Final = (".rawtlt", ".tlt", ".mrc.mdoc", ".st.mdoc", ".mrcs.mdoc")
#: One image of a larger whole, numbered: a frame written to a file of its own.
NUMBERED_FRAME: Final = re.compile(r"frames?[ _-]?0$")

#: Image suffixes: what such a file is when nothing else speaks, and how loudly.
IMAGES: Final[dict[str, tuple[tuple[Role, float], ...]]] = {
    ".mrc": ((Role.MICROGRAPH, 0.6),),
    ".tif": ((Role.MOVIE, 0.5), (Role.MICROGRAPH, 0.2)),
    ".tiff": ((Role.MOVIE, 0.5), (Role.MICROGRAPH, 0.2)),
    ".mrcs": ((Role.PARTICLE_STACK, 0.4), (Role.MOVIE, 0.3)),
    ".dm4": ((Role.MICROGRAPH, 0.5),),
    ".dm3": ((Role.MICROGRAPH, 0.5),),
    ".dm": ((Role.MICROGRAPH, 0.5),),
    ".hdf": ((Role.PARTICLE_STACK, 0.3), (Role.VOLUME, 0.2)),
    ".h5": ((Role.VOLUME, 0.3),),
    ".hdf5": ((Role.VOLUME, 0.3),),
    ".img": ((Role.PARTICLE_STACK, 0.4),),
    ".hed": ((Role.PARTICLE_STACK, 0.4),),
    ".spi": ((Role.PARTICLE_STACK, 0.3),),
    ".dat": ((Role.MICROGRAPH, 0.2),),
    ".em": ((Role.VOLUME, 0.3),),
    ".raw": ((Role.MICROGRAPH, 0.2),),
    ".am": ((Role.VOLUME, 0.6),),
    ".tpx3": ((Role.MOVIE, 0.6),),
    ".smv": ((Role.OTHER, 0.3),),
}

#: Words of an image set's category, in the order in which they are tried.
CATEGORIES: Final = (
    ("picked particles", Role.PARTICLE_STACK),
    ("tilt series", Role.TILT_SERIES),
    ("class averages", Role.CLASS_AVERAGE),
    ("reconstructed volumes", Role.VOLUME),
    ("subtomograms", Role.PARTICLE_STACK),
    ("diffraction", Role.OTHER),
    ("multiframe", Role.MOVIE),
    ("single frame", Role.MICROGRAPH),
    ("focal pairs", Role.MICROGRAPH),
    ("stitched maps", Role.MICROGRAPH),
    ("micrographs", Role.MICROGRAPH),
)

#: Image suffixes of a data format, as EMPIAR's deposition schema names it.
FORMAT_SUFFIXES: Final[dict[str, frozenset[str]]] = {
    "MRC": frozenset({".mrc", ".map", ".st", ".rec", ".ali", ".ccp4"}),
    "MRCS": frozenset({".mrcs", ".mrc", ".st"}),
    "TIFF": frozenset({".tif", ".tiff"}),
    "EER": frozenset({".eer"}),
    "DM3": frozenset({".dm3", ".dm"}),
    "DM4": frozenset({".dm4", ".dm"}),
    "IMAGIC": frozenset({".img", ".hed"}),
    "SPIDER": frozenset({".spi", ".dat"}),
    "PNG": frozenset({".png"}),
    "JPEG": frozenset({".jpg", ".jpeg"}),
    "SMV": frozenset({".img", ".smv"}),
    "EM": frozenset({".em"}),
    "TPX3": frozenset({".tpx3"}),
    "BIG DATA VIEWER HDF5": frozenset({".h5", ".hdf5", ".hdf"}),
}
