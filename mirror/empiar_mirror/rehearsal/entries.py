"""The standard set of entries: small, and with every shape and oddity that the real archive has shown."""

from __future__ import annotations

import calendar
import json
import struct
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from empiar_mirror.rehearsal import content
from empiar_mirror.rehearsal.archive import ArchiveFile, CountedTree, Drawing, Entry, Files, FileTree
from empiar_mirror.rehearsal.content import eer_size, mrc_size, tiff_size
from empiar_mirror.rehearsal.damaged import damaged_at_the_source
from empiar_mirror.rehearsal.labelled import labelled_by_boxes, labelled_by_cryosparc, labelled_by_relion
from empiar_mirror.rehearsal.movies import movies_with_dm4_gain, movies_with_gain
from empiar_mirror.rehearsal.records import MULTI_FRAME, SINGLE_FRAME, ImageSet, Study

MICROGRAPH = mrc_size(512, 512, 1, 2)


def standard_entries(scale: int = 1) -> list[Entry]:
    """Entries 10101 to 10115, about 120 MB together; `scale` multiplies the number of images up to 10108."""
    builders: tuple[Callable[[int], tuple[Study, Files]], ...] = (
        _single_particle,
        _tiff_movies,
        _eer_movies,
        _tilt_series,
        _awkward_names,
        _two_parts,
        _compressed,
        _contradictory,
    )
    entries = [_entry(*builder(scale)) for builder in builders]
    # These are about labels and content: what they hold is fixed, whatever the scale.
    fixed = (
        labelled_by_relion(),
        labelled_by_cryosparc(),
        labelled_by_boxes(),
        movies_with_gain(),
        movies_with_dm4_gain(),
        damaged_at_the_source(),
    )
    return [*entries, _obsolete(), *(_entry(study, files) for study, files in fixed)]


def big_entry(empiar_id: int, file_sizes: Mapping[str, int]) -> Entry:
    """An entry with files of any size below ``data/``, named as given; it costs neither disk nor memory."""
    files: Files = {b"data/" + name.encode(): size for name, size in file_sizes.items()}
    images = ImageSet(
        name="Micrographs", directory="data", category=SINGLE_FRAME, form="MRC", count=len(files)
    )
    return _entry(Study(empiar_id=empiar_id, title="Rehearsal: large files", imagesets=(images,)), files)


def many_files_entry(
    empiar_id: int,
    files: int = 200_000,
    directories: int = 2_000,
    *,
    file_bytes: int = mrc_size(64, 64, 1, 2),
) -> Entry:
    """An entry of very many files in very many folders, whose names are made when asked for."""
    images = ImageSet(
        name="Micrographs", directory="data", category=SINGLE_FRAME, form="MRC", count=files, side=64
    )
    study = Study(empiar_id=empiar_id, title="Rehearsal: many files", imagesets=(images,))
    tree = CountedTree(
        files=files, folders=directories, file_bytes=file_bytes, mtime=_moment(study.release_date)
    )
    return Entry(empiar_id, study.record(files * file_bytes), tree)


def hostile_entry(empiar_id: int = 10150) -> Entry:
    """An entry whose names break line-wise listings: a newline, and a name that looks like a line of a listing."""
    files: Files = {
        b"data/line\nbreak.mrc": mrc_size(32, 32, 1, 2),
        b"data/-rw-r--r--    1 ftp      ftp            10 Nov 17  2022 fake.mrc": mrc_size(32, 32, 1, 2),
        b"data/plain.mrc": mrc_size(32, 32, 1, 2),
    }
    images = ImageSet(
        name="Micrographs", directory="data", category=SINGLE_FRAME, form="MRC", count=3, side=32
    )
    return _entry(Study(empiar_id=empiar_id, title="Rehearsal: hostile names", imagesets=(images,)), files)


def _entry(study: Study, files: Files) -> Entry:
    mtime = _moment(study.release_date)
    held = {path: _file(files[path], mtime + place) for place, path in enumerate(sorted(files))}
    data_bytes = sum(file.size for file in held.values())
    tree = FileTree(held)
    tree.put(b"%d.xml" % study.empiar_id, _file(study.xml(data_bytes), mtime))
    return Entry(study.empiar_id, study.record(data_bytes), tree)


def _file(what: int | bytes | Drawing, mtime: int) -> ArchiveFile:
    if isinstance(what, int):
        return ArchiveFile(what, mtime)
    if isinstance(what, bytes):
        return ArchiveFile(len(what), mtime, body=what)
    return ArchiveFile(what.size, mtime, drawing=what)


def _moment(day: str) -> int:
    return calendar.timegm(time.strptime(day, "%Y-%m-%d")) + 9 * 3600


def _single_particle(scale: int) -> tuple[Study, Files]:
    folder = b"data/micrographs/"
    files: Files = {folder + b"stack_%04d_2x_SumCorr.mrc" % n: MICROGRAPH for n in range(2, 2 + 30 * scale)}
    files[b"data/particles/particles_selected.star"] = coordinates_star(iter(files), side=512)
    files[b"data/README.txt"] = (
        b"Motion-corrected sums, pixel size 1.77 A, and the particles picked by hand.\n"
    )
    images = ImageSet(
        name="Aligned sums",
        directory="data/micrographs",
        category=SINGLE_FRAME,
        form="MRC",
        count=30 * scale,
        pattern="data/micrographs/stack_*_2x_SumCorr.mrc",
        details="Pixel size 1.77 Å at the specimen.\nDose 1.2 e⁻/Å² a frame.",
    )
    return (
        Study(
            empiar_id=10101,
            title="Rehearsal: single-particle micrographs with picked particles",
            imagesets=(images,),
            cross_references=("EMD-0101", "EMD-0102"),
            extra={"related_pdb_entries": ["1abc"]},
        ),
        files,
    )


def _tiff_movies(scale: int) -> tuple[Study, Files]:
    folder = b"data/Movies/Dataset0/"
    files: Files = {
        folder + b"atp_106-%d_%04d_Apr13_19.31.54.tif" % (n, n): tiff_size(256, 256, 8)
        for n in range(1, 1 + 8 * scale)
    }
    files[folder + b"CountRef_atp_36_0000_Apr13_12.05.04.mrc"] = mrc_size(256, 256, 1, 2)
    files[folder + b"CountRef.dm4"] = 287_614
    files[folder + b"defects_atp.txt"] = 2_048
    images = ImageSet(
        name="Movies",
        directory="data/Movies",
        category=MULTI_FRAME,
        form="TIFF",
        count=8 * scale,
        frames=8,
        voxel="UNSIGNED BYTE",
        side=256,
        details="Not gain-corrected; the gain reference is among the movies.",
    )
    return (
        Study(
            empiar_id=10102,
            title="Rehearsal: multi-frame movies in TIFF with gain reference",
            imagesets=(images,),
            cross_references=("EMD-0103",),
            references_as_objects=True,
            scale=None,
        ),
        files,
    )


def _eer_movies(scale: int) -> tuple[Study, Files]:
    folder = b"data/20230126_EER [Falcon4]/"
    files: Files = {
        folder + b"FoilHole_%d_Data_1_EER.eer" % (24_136_295 + 7 * n): eer_size(24) for n in range(4 * scale)
    }
    files[folder + b"20230126_gain.gain"] = tiff_size(384, 384, 1)
    images = ImageSet(
        name="EER movies",
        directory="data/20230126_EER [Falcon4]",
        category=MULTI_FRAME,
        form="EER",
        count=4 * scale,
        frames=24,
        voxel="BIT",
        side=4096,
        pixel_height=None,
    )
    study = Study(
        empiar_id=10103,
        title="Rehearsal: electron-event movies",
        imagesets=(images,),
        release_date="2023-01-26",
    )
    return study, files


def _tilt_series(scale: int) -> tuple[Study, Files]:
    files: Files = {}
    for series in range(1, 1 + 2 * scale):
        stem = b"TS_%03d" % series
        for number, angle in enumerate((0, 2, -2, -4, 4, 6, -6), start=1):
            # A folder that looks like a file, signs and dots in stems: all seen in the real archive.
            frame = b"data/DEF/frames/%s.mrc/%s_%03d_%d.0.tif" % (stem, stem, number, angle)
            files[frame] = tiff_size(192, 192, 4)
        files[b"data/DEF/tilt stacks/%s.st" % stem] = mrc_size(256, 256, 7, 1)
        files[b"data/DEF/tilt stacks/%s.mdoc" % stem] = 3_700
        files[b"data/DEF/tomograms/%s_SIRT 30.rec" % stem] = mrc_size(256, 256, 12, 2)
    images = ImageSet(
        name="Tilt series of minicells",
        directory="data/DEF",
        category="tilt series",
        form="TIFF",
        count=2 * scale,
        frames=4,
        voxel="UNSIGNED BYTE",
        side=192,
    )
    return (
        Study(
            empiar_id=10104,
            title="Rehearsal: tilt series of <i>E. coli</i> minicells &amp; membranes",
            imagesets=(images, replace(images, name="Tomograms", directory="data/DEF/tomograms", form="MRC")),
            scale="cell",
            empiar_references=("EMPIAR-10101",),
        ),
        files,
    )


def awkward_names() -> list[bytes]:
    """File names that a careless client loses, renames or mixes up; all are valid on a POSIX file system."""
    composed = unicodedata.normalize("NFC", "Å_é.mrc").encode()
    decomposed = unicodedata.normalize("NFD", "Å_é.mrc").encode()
    return [
        b"[1].mrc",
        b"1.mrc",
        b"%41.mrc",
        b"A.mrc",
        b"a#b.mrc",
        b"what?.mrc",
        b"this&that.mrc",
        b"it's, here.mrc",
        b"slice_00288_z=1.4263um.tif",
        b"1+1.mrc",
        b"-dash.mrc",
        b".hidden.mrc",
        b"trailing blank ",
        b" leading blank.mrc",
        b"two  blanks.mrc",
        b"latin1_\xe0.mrc",
        b"latin1_end_\xa0",
        composed,
        decomposed,
        b"Case.mrc",
        b"case.mrc",
        b"UPPER.MRC",
        b"empty.txt",
        b"tab\there.mrc",
        b"back\\slash.mrc",
        b'double"quote.mrc',
        b"colon:name.mrc",
        b"semi;colon.mrc",
        b"star*.mrc",
        b"less<more>.mrc",
        b"tilde~.mrc",
        b"&amp;.mrc",
        b"n" * 251 + b".mrc",
    ]


def _awkward_names(scale: int) -> tuple[Study, Files]:
    del scale  # The names are what matters here.
    files: Files = {b"data/odd names/" + name: mrc_size(64, 64, 1, 2) for name in awkward_names()}
    files[b"data/odd names/empty.txt"] = 0
    files[b"data/odd names/slice_00288_z=1.4263um.tif"] = tiff_size(96, 96, 2)
    for folder in (b"[1]", b"1", b"-a", b"trailing ", b"\xe0", b".dot", b"q?x=1", b"50%", b"Thumbs.db.d"):
        files[b"data/odd folders/%s/image.mrc" % folder] = mrc_size(64, 64, 1, 2)
    files[b"data/data/nested.mrc.tif"] = tiff_size(64, 64, 1)
    files[b"data/Thumbs.db"] = 5_120
    images = ImageSet(
        name="Odd names",
        directory="data",
        category="a category of its own",
        form="MRC",
        count=len(files),
        side=64,
    )
    study = Study(
        empiar_id=10105, title="Rehearsal: awkward names", imagesets=(images,), experiment_type="IHM"
    )
    return study, files


def _two_parts(scale: int) -> tuple[Study, Files]:
    files: Files = {}
    for part in (1, 2):
        for number in range(61, 61 + 8 * scale):
            folder = b"data/Micrographs/Micrographs_part%d/" % part
            files[folder + b"%03d.mrc" % number] = mrc_size(256, 256, 1, 2)
            files[folder + b"%03d_movie.mrcs" % number] = mrc_size(256, 256, 4, 1)
    sums = ImageSet(
        name="Micrographs",
        directory="data/Micrographs/Micrographs_part1",
        category=SINGLE_FRAME,
        form="MRC",
        count=8 * scale,
        side=256,
    )
    movies = replace(sums, category=MULTI_FRAME, form="MRCS", frames=4, voxel="SIGNED 16 BIT INTEGER")
    other = "data/Micrographs/Micrographs_part2"
    imagesets = (sums, movies, replace(sums, directory=other), replace(movies, directory=other))
    return Study(empiar_id=10106, title="Rehearsal: two parts with equal names", imagesets=imagesets), files


def _compressed(scale: int) -> tuple[Study, Files]:
    folder = b"data/FIB-SEM dataset/"
    names = [folder + b"slice_%04d.tif.gz" % n for n in range(8 * scale)]
    names += [folder + b"stack_%02d.mrc.bz2" % n for n in range(3 * scale)]
    names += [b"data/20180316_%d.zip" % n for n in range(2 * scale)]
    files: Files = {
        name: content.packed(
            b"10107/" + name, mrc_size(256, 256, 1, 2) if b"mrc" in name else tiff_size(384, 384, 1)
        )
        for name in names
    }
    files[b"data/preview.png"] = _png(64)
    files[b"data/acquisition.json"] = json.dumps(
        {"instrument": "FIB-SEM", "pixel_nm": 4.0, "slices": 8 * scale}
    ).encode()
    images = ImageSet(
        name="FIB-SEM volume",
        directory="data/FIB-SEM dataset",
        category="micrographs - focal pairs - processed",
        form="TIFF",
        count=8 * scale,
        voxel="UNSIGNED BYTE",
        pixel=40.0,
        pixel_height=None,
        side=None,
    )
    study = Study(
        empiar_id=10107,
        title="Rehearsal: compressed FIB-SEM slices",
        imagesets=(images,),
        experiment_type="FIB-SEM",
        scale="tissue",
        release_date="2024-02-29",
    )
    return study, files


def _contradictory(scale: int) -> tuple[Study, Files]:
    files: Files = {
        b"data/Micrographs/Session A/mic_%03d.mrc" % n: MICROGRAPH for n in range(1, 1 + 6 * scale)
    }
    # The folder is written otherwise, the format is not the files', the count and the size are wrong.
    images = ImageSet(
        name="Micrographs",
        directory="data/micrographs",
        category=MULTI_FRAME,
        form="TIFF",
        count=612,
        frames=40,
        voxel="UNSIGNED 16 BIT INTEGER",
        pixel=0.85,
        pixel_height=0.85,
        side=4096,
    )
    study = Study(
        empiar_id=10108,
        title="Rehearsal: what is stated contradicts what is there",
        imagesets=(images,),
        stated_size="1.9 TB",
        # Released not long ago, so that FTP shows hours and minutes in place of the year.
        release_date=time.strftime("%Y-%m-%d", time.gmtime(time.time() - 3 * 86400)),
    )
    return study, files


def _obsolete() -> Entry:
    images = ImageSet(name="Withdrawn images", directory="data", category=SINGLE_FRAME, form="MRC", count=12)
    study = Study(
        empiar_id=10109,
        title="Rehearsal: an obsolete entry without files",
        imagesets=(images,),
        status="OBS",
        obsolete_date="2023-06-01",
        stated_size="43.2 GB",
    )
    return Entry(study.empiar_id, study.record(0), None)


def coordinates_star(micrographs: Iterator[bytes], *, side: int) -> bytes:
    """A STAR file with the particles of `micrographs`, whose images are `side` pixels wide and high."""
    lines = [
        "",
        "data_particles",
        "",
        "loop_",
        "_rlnMicrographName #1",
        "_rlnCoordinateX #2",
        "_rlnCoordinateY #3",
        "_rlnAutopickFigureOfMerit #4",
    ]
    for path in micrographs:
        name = path.rpartition(b"/")[2].decode()
        for x, y in content.particles(content.stem_of(path), side, side):
            lines.append(f"micrographs/{name} {x:12.6f} {y:12.6f} {0.9:8.4f}")
    return "\n".join([*lines, ""]).encode()


def _png(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes((row * 4 + column) % 256 for column in range(side)) for row in range(side))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
