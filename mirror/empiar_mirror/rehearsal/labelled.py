"""Entries whose particles are labelled: by RELION, by cryoSPARC, and by three pickers' box files.

The labels are right: whatever draws them elsewhere than on the bright discs has turned something round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from empiar_mirror.rehearsal import tables
from empiar_mirror.rehearsal.archive import Files
from empiar_mirror.rehearsal.content import PIXEL_ANGSTROM, stem_of
from empiar_mirror.rehearsal.drawings import Gain, Micrograph, ParticleStack, Place, number_of
from empiar_mirror.rehearsal.records import PARTICLES, SINGLE_FRAME, ImageSet, Study
from empiar_mirror.rehearsal.tables import Column, Loop, Value

RELION, CRYOSPARC, BOXES = 10110, 10111, 10112

#: Side of the deposited particles' boxes in pixels, by entry.
BOX = {RELION: 48, CRYOSPARC: 40, BOXES: 56}
#: Names of the micrographs that have labels, by optics group.
_RELION_NAMES = {
    1: (b"grid1_0001_DW.mrc", b"grid1_0002_DW.mrc", b"grid1_0010_DW.mrc", b"grid1 pos 4_DW.mrc"),
    2: (b"grid2_0001_Mar03_10.22.41_DW.mrc", b"grid2_0002_DW.mrc", b"grid2_0003_DW.mrc"),
}
_UNLABELLED = (b"grid2_0004_DW.mrc", b"grid2_0005_DW.mrc")
_NO_SUCH_MICROGRAPH = b"grid9_9999_DW.mrc"
#: The job's name is in RELION's references, and not in what was deposited.
_RELION_JOB = "MotionCorr/job002/frames/"
_RELION_STACK = "Extract/job012/grid%d_particles.mrcs"
_RELION_COLUMNS = (
    "rlnOpticsGroup",
    "rlnCoordinateY",
    "rlnAnglePsi",
    "rlnImageName",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnCoordinateX",
    "rlnMicrographName",
    "rlnGroupNumber",
    "rlnOriginXAngst",
    "rlnOriginYAngst",
    "rlnClassNumber",
    "rlnPhaseShift",
    "rlnCtfBfactor",
    "rlnAutopickFigureOfMerit",
)


@dataclass(frozen=True, slots=True)
class _Pick:
    """A particle: its micrograph's path (with the entry's number), its centre, its running number there."""

    path: bytes
    centre: Place
    number: int
    group: int = 1

    @property
    def name(self) -> bytes:
        """The micrograph's name without folders."""
        return self.path.rpartition(b"/")[2]


def _in_turn(micrograph: Micrograph, paths: Mapping[int, Iterable[bytes]]) -> list[_Pick]:
    """All first particles, then all second ones, …: rows of one micrograph do not stand together."""
    picks = [
        _Pick(path, centre, number, group)
        for group, members in paths.items()
        for path in members
        for number, centre in enumerate(micrograph.places(path))
    ]
    return sorted(picks, key=lambda pick: pick.number)


def _rejected(micrograph: Micrograph, path: bytes) -> list[Place]:
    """Two places without a particle, where a reader who counts Y from the wrong edge finds one."""
    return [(x, micrograph.ny - y) for x, y in micrograph.places(path)[:2]]


def _psi(pick: _Pick) -> float:
    return float(number_of(b"%b %d" % (pick.path, pick.number)) % 36_000) / 100 - 180


def labelled_by_relion() -> tuple[Study, Files]:
    """10110: STAR with two optics groups and columns in an unusual order, deposited stacks, a gain among the images."""
    micrograph = Micrograph()
    folder = b"%d/data/micrographs/" % RELION
    labelled = {group: [folder + name for name in names] for group, names in _RELION_NAMES.items()}
    paths = [path for members in labelled.values() for path in members]
    paths += [folder + name for name in _UNLABELLED]
    files: Files = {_below(path): micrograph for path in paths}
    files[_below(folder) + b"gain.mrc"] = Gain()
    picks = _in_turn(micrograph, labelled)
    # One row of the second group is of a micrograph that nobody deposited.
    absent = folder + _NO_SUCH_MICROGRAPH
    picks.insert(len(picks) // 2, _Pick(absent, micrograph.places(absent)[0], 0, 2))
    stacks, sections = _relion_stacks(micrograph, picks)
    files |= stacks
    rejected = [(path, place) for path in paths[: -len(_UNLABELLED)] for place in _rejected(micrograph, path)]
    files[b"data/labels/particles_selected.star"] = _relion_star(picks, sections)
    files[b"data/labels/particles_excluded.star"] = _relion_excluded(rejected)
    images = _micrographs("data/micrographs", len(paths), micrograph, "Sums of 40 frames, dose-weighted.")
    particles = ImageSet(
        name="Selected particles",
        directory="data/particles",
        category=PARTICLES,
        form="MRCS",
        count=len(picks),
        side=BOX[RELION],
    )
    study = Study(
        empiar_id=RELION,
        title="Rehearsal: micrographs with particles labelled by RELION, and their stacks",
        imagesets=(images, particles),
        cross_references=("EMD-0110",),
    )
    return study, files


def _relion_stacks(micrograph: Micrograph, picks: list[_Pick]) -> tuple[Files, dict[_Pick, int]]:
    """A stack for each optics group, and the section of each pick, counted from 1."""
    files: Files = {}
    sections: dict[_Pick, int] = {}
    for group in _RELION_NAMES:
        members = [pick for pick in picks if pick.group == group]
        # The second stack is written from the last particle to the first: a row's number is not its section's.
        stacked = members[::-1] if group == 2 else members
        boxes = tuple((pick.path, pick.centre) for pick in stacked)
        files[b"data/particles/grid%d_particles.mrcs" % group] = ParticleStack(micrograph, boxes, BOX[RELION])
        sections |= {pick: section for section, pick in enumerate(stacked, start=1)}
    return files, sections


def _below(path: bytes) -> bytes:
    """The path below the entry."""
    return path.partition(b"/")[2]


def _micrographs(directory: str, count: int, micrograph: Micrograph, details: str) -> ImageSet:
    return ImageSet(
        name="Aligned micrographs",
        directory=directory,
        category=SINGLE_FRAME,
        form="MRC",
        count=count,
        shape=(micrograph.nx, micrograph.ny),
        pixel=micrograph.pixel,
        pixel_height=micrograph.pixel,
        details=details,
    )


def _relion_star(picks: list[_Pick], sections: Mapping[_Pick, int]) -> bytes:
    """RELION 3.1: a table of optics groups, then one of particles."""
    optics = Loop(
        "optics",
        (
            "rlnOpticsGroupName",
            "rlnOpticsGroup",
            "rlnMicrographOriginalPixelSize",
            "rlnVoltage",
            "rlnSphericalAberration",
            "rlnAmplitudeContrast",
            "rlnImagePixelSize",
            "rlnImageSize",
            "rlnImageDimensionality",
        ),
        [
            (f"grid {group}", group, PIXEL_ANGSTROM, 300.0, 2.7, 0.1, PIXEL_ANGSTROM, BOX[RELION], 2)
            for group in _RELION_NAMES
        ],
    )
    rows = [_relion_row(pick, sections[pick]) for pick in picks]
    return tables.star(
        [
            optics,
            Loop("particles", _RELION_COLUMNS, [[row[name] for name in _RELION_COLUMNS] for row in rows]),
        ]
    )


def _relion_row(pick: _Pick, section: int) -> dict[str, Value]:
    x, y = pick.centre
    return {
        "rlnOpticsGroup": pick.group,
        "rlnMicrographName": _RELION_JOB + pick.name.decode(),
        "rlnImageName": f"{section:06d}@{_RELION_STACK % pick.group}",
        "rlnCoordinateX": float(x),
        "rlnCoordinateY": float(y),
        "rlnAnglePsi": _psi(pick),
        "rlnOriginXAngst": 0.25 * (pick.number % 3),
        "rlnOriginYAngst": 0.5 - 0.25 * (pick.number % 2),
        "rlnDefocusU": 12_000.0 + 250 * pick.group,
        "rlnDefocusV": 11_500.0 + 250 * pick.group,
        "rlnDefocusAngle": 41.5,
        "rlnPhaseShift": 0.0,
        "rlnCtfBfactor": 0.0,
        "rlnClassNumber": 1 + pick.number % 3,
        "rlnGroupNumber": pick.group,
        "rlnAutopickFigureOfMerit": 1.0,
    }


def _relion_excluded(rejected: Iterable[tuple[bytes, Place]]) -> bytes:
    """RELION 3.0: one table without a name and no optics groups."""
    columns = (
        "rlnMicrographName",
        "rlnCoordinateX",
        "rlnCoordinateY",
        "rlnClassNumber",
        "rlnAutopickFigureOfMerit",
    )
    rows = [
        (_RELION_JOB + path.rpartition(b"/")[2].decode(), float(x), float(y), 9, 0.1)
        for path, (x, y) in rejected
    ]
    return tables.star([Loop("", columns, rows)], comment="RELION; version 3.0.8")


#: cryoSPARC puts a number of 21 digits before each name, and this behind it.
_UIDS = tuple(b"%021d" % (104_729 * 10**12 + 7_919 * n) for n in range(1, 6))
_ALIGNED = b"_patch_aligned_doseweighted"
_SPARC_PIXEL = 1.34
_SPARC_JOB = b"data/J45/"


def _sparc_path(number: int) -> bytes:
    stem = b"%b_FoilHole_%d_Data_9871_fractions%b" % (_UIDS[number], 7_664_700 + number, _ALIGNED)
    return b"%d/data/motioncorrected/%b.mrc" % (CRYOSPARC, stem)


def labelled_by_cryosparc() -> tuple[Study, Files]:
    """10111: particles in .cs files with a passthrough, cryoSPARC's names, a stack for each micrograph."""
    micrograph = Micrograph(nx=431, ny=509, pixel=_SPARC_PIXEL)
    paths = [_sparc_path(number) for number in range(len(_UIDS))]
    labelled = paths[:-1]
    files: Files = {_below(path): micrograph for path in paths}
    for path in labelled:
        boxes = tuple((path, centre) for centre in micrograph.places(path))
        stack = ParticleStack(micrograph, boxes, BOX[CRYOSPARC])
        files[b"%bextract/%b_particles.mrc" % (_SPARC_JOB, stem_of(path))] = stack
    selected = _in_turn(micrograph, {1: labelled})
    files |= _sparc_tables(micrograph, selected, labelled)
    images = _micrographs("data/motioncorrected", len(paths), micrograph, "From cryoSPARC Patch Motion.")
    particles = ImageSet(
        name="Extracted particles",
        directory="data/J45/extract",
        category=PARTICLES,
        form="MRC",
        count=len(selected),
        side=BOX[CRYOSPARC],
        pixel=_SPARC_PIXEL,
        pixel_height=_SPARC_PIXEL,
    )
    study = Study(
        empiar_id=CRYOSPARC,
        title="Rehearsal: micrographs with particles labelled by cryoSPARC",
        imagesets=(images, particles),
        cross_references=("EMD-0111",),
    )
    return study, files


def _sparc_tables(micrograph: Micrograph, selected: list[_Pick], labelled: Iterable[bytes]) -> Files:
    files: Files = {}
    excluded = [
        _Pick(path, centre, 100 + number)
        for path in labelled
        for number, centre in enumerate(_rejected(micrograph, path))
    ]
    for kind, picks, others in (("selected", selected, excluded), ("excluded", excluded, [])):
        files[_SPARC_JOB + b"particles_%b.cs" % kind.encode()] = _sparc_particles(picks)
        # Other rows, in another order: what belongs together has the same uid.
        passed = _sparc_passthrough(micrograph, [*others[:2], *reversed(picks)])
        files[_SPARC_JOB + b"J45_passthrough_particles_%b.cs" % kind.encode()] = passed
    return files


_SPARC_COLUMNS: tuple[Column, ...] = (
    ("uid", "u8", 1),
    ("blob/path", "S128", 1),
    ("blob/idx", "u4", 1),
    ("blob/shape", "u4", 2),
    ("blob/psize_A", "f4", 1),
    ("blob/sign", "f4", 1),
    ("alignments2D/class", "u4", 1),
    ("alignments2D/pose", "f4", 1),
    ("alignments2D/shift", "f4", 2),
)
_PASSED_COLUMNS: tuple[Column, ...] = (
    ("uid", "u8", 1),
    ("ctf/df1_A", "f4", 1),
    ("ctf/df2_A", "f4", 1),
    ("ctf/df_angle_rad", "f4", 1),
    ("ctf/phase_shift_rad", "f4", 1),
    ("ctf/bfactor", "f4", 1),
    ("location/micrograph_uid", "u8", 1),
    ("location/exp_group_id", "u4", 1),
    ("location/micrograph_path", "S128", 1),
    ("location/micrograph_shape", "u4", 2),
    ("location/micrograph_psize_A", "f4", 1),
    ("location/center_x_frac", "f4", 1),
    ("location/center_y_frac", "f4", 1),
)


def _uid(pick: _Pick) -> int:
    return number_of(pick.path) * 1000 + pick.number


def _sparc_particles(picks: Iterable[_Pick]) -> bytes:
    return tables.npy(
        _SPARC_COLUMNS,
        (
            {
                "uid": _uid(pick),
                "blob/path": b"J45/extract/" + stem_of(pick.name) + b"_particles.mrc",
                "blob/idx": pick.number,
                "blob/shape": (BOX[CRYOSPARC], BOX[CRYOSPARC]),
                "blob/psize_A": _SPARC_PIXEL,
                "blob/sign": 1.0,
                "alignments2D/class": pick.number % 3,
                "alignments2D/pose": _psi(pick) / 57.29578,
                "alignments2D/shift": (0.0, 0.0),
            }
            for pick in picks
        ),
    )


def _sparc_passthrough(micrograph: Micrograph, picks: Iterable[_Pick]) -> bytes:
    """Where the particles are, in shares of width and height, Y from the edge opposite to the first row."""
    return tables.npy(
        _PASSED_COLUMNS,
        (
            {
                "uid": _uid(pick),
                "ctf/df1_A": 13_000.0,
                "ctf/df2_A": 12_600.0,
                "ctf/df_angle_rad": 0.7,
                "ctf/phase_shift_rad": 0.0,
                "ctf/bfactor": 0.0,
                "location/micrograph_uid": number_of(pick.path),
                "location/exp_group_id": 1,
                "location/micrograph_path": b"J3/motioncorrected/" + pick.name,
                "location/micrograph_shape": (micrograph.ny, micrograph.nx),
                "location/micrograph_psize_A": _SPARC_PIXEL,
                "location/center_x_frac": pick.centre[0] / micrograph.nx,
                "location/center_y_frac": (micrograph.ny - pick.centre[1]) / micrograph.ny,
            }
            for pick in picks
        ),
    )


_PARTS = {b"Micrographs_part1": (61, 62, 63), b"Micrographs_part2": (61, 62, 70)}


def labelled_by_boxes() -> tuple[Study, Files]:
    """10112: the same picks by EMAN, crYOLO and Topaz; two folders whose micrographs share base names."""
    # Particles stand near the edges too: some boxes reach beyond the image.
    micrograph = Micrograph(nx=401, ny=367, margin=13)
    files: Files = {}
    for part, numbers in _PARTS.items():
        picked: list[tuple[str, int, int]] = []
        for name in (b"%03d" % number for number in numbers):
            # Twins have different particles: only the folders tell whose they are.
            path = b"data/%b/%b.mrc" % (part, name)
            centres = micrograph.places(b"%d/%b" % (BOXES, path))
            eman = tables.box(centres, side=BOX[BOXES])
            cryolo = tables.cbox(centres, side=BOX[BOXES], confidence=0.75)
            files |= {
                path: micrograph,
                b"data/picks/EMAN/%b/%b.box" % (part, name): eman,
                b"data/picks/crYOLO/%b/%b.cbox" % (part, name): cryolo,
            }
            picked += [(name.decode(), x, y) for x, y in centres]
        files[b"data/picks/Topaz/%b/particles.txt" % part] = tables.topaz(picked, score=2.5)
    images = tuple(
        _micrographs(f"data/{part.decode()}", len(numbers), micrograph, "Sums of frames.")
        for part, numbers in _PARTS.items()
    )
    study = Study(
        empiar_id=BOXES,
        title="Rehearsal: micrographs in two folders with picks of EMAN, crYOLO and Topaz",
        imagesets=images,
        cross_references=("EMD-0112",),
    )
    return study, files
