"""Coordinate files from one format into another: which files are read, which are written, and how. The knowledge is in `empiar_imaging.labels`."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from empiar_imaging.formats.inspect import inspect
from empiar_imaging.labels import (
    CoordinateOrigin,
    LabelFormat,
    LabelTable,
    Reading,
    Writing,
    concatenated,
    format_of,
    read_labels,
    to_origin,
    write_labels,
)
from empiar_imaging.labels.formats import MOST_BYTES
from empiar_imaging.labels.names import of_name
from empiar_imaging.labels.recognise import HEAD_BYTES, counts_from_bottom, recognise
from empiar_imaging.labels.table import coded
from empiar_schema.disk import storage_fault, usual_mode
from empiar_schema.faults import BadLabels, ConfigFault, HostileName
from empiar_schema.paths import bytes_from_text, checked_name, suffix_of, text_from_bytes
from empiar_schema.stems import stem_of

_IMAGES: Final = frozenset({".mrc", ".mrcs", ".tif", ".tiff", ".eer"})
_MOST_FILES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is to become what."""

    source: Path
    target: Path
    source_format: LabelFormat | None = None
    target_format: LabelFormat | None = None
    reading: Reading = field(default_factory=Reading)
    writing: Writing = field(default_factory=Writing)
    #: A folder of images whose headers give heights and widths.
    micrographs: Path | None = None
    replace_files: bool = False


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What was read and written."""

    rows: int
    micrographs: int
    source_format: LabelFormat
    target_format: LabelFormat
    source_origin: CoordinateOrigin
    target_origin: CoordinateOrigin
    files: tuple[str, ...]
    notes: tuple[str, ...]


def convert(wanted: Conversion) -> ConversionReport:
    """The particles of `source` (a file, or a folder of files of single micrographs) stand in `target`.

    `target` is a folder where the format holds one micrograph a file and there are several. No file that exists is replaced
    unless wanted, and each one appears whole, by rename.

    Raises:
        BadLabels: the source is damaged, or the target needs what is not known.
        ConfigFault: a format or a path is wrong, or a file exists.
        StorageFault: the disk refused.
    """
    target_format = wanted.target_format or promised_format(wanted.target, "--to")
    shapes = shapes_in(wanted.micrographs) if wanted.micrographs else wanted.writing.shapes
    reading = replace(wanted.reading, shapes=shapes)
    files = _sources(wanted.source, wanted.source_format)
    source_format = wanted.source_format or _format_of_file(files[0])
    tables = [_read(file, wanted.source_format or _format_of_file(file), reading) for file in files]
    notes = tuple(dict.fromkeys(note for table in tables for note in table.notes))
    table = _joined(tables, shapes)
    if isinstance(shapes, dict):
        origin = wanted.writing.origin or target_format.origin
        if table.origin is not origin or target_format is LabelFormat.CRYOSPARC:
            table, left_out = _of_images(table, shapes)
            notes += left_out
    written = write_out(
        table,
        wanted.target,
        target_format,
        replace(wanted.writing, shapes=shapes),
        replace_files=wanted.replace_files,
    )
    return ConversionReport(
        rows=len(table),
        micrographs=len(table.micrographs),
        source_format=source_format,
        target_format=target_format,
        source_origin=table.origin,
        target_origin=written.origin,
        files=written.files,
        notes=(*notes, *written.notes),
    )


@dataclass(frozen=True, slots=True)
class WrittenOut:
    """The files that a table became."""

    files: tuple[str, ...]
    origin: CoordinateOrigin
    notes: tuple[str, ...]


def write_out(
    table: LabelTable, target: Path, form: LabelFormat, writing: Writing, *, replace_files: bool
) -> WrittenOut:
    """The table stands at `target` in that format; a folder where the format holds one micrograph a file and there are several.

    Raises:
        BadLabels: the format needs what is not known.
        ConfigFault: a path is wrong, or a file exists and is not to be replaced.
        StorageFault: the disk refused.
    """
    written = write_labels(table, form=form, writing=writing)
    places = _places(target, written.files, form)
    _store(places, replace_files=replace_files)
    return WrittenOut(tuple(text_from_bytes(place) for place in places), written.origin, written.notes)


def _of_images(
    table: LabelTable, shapes: Mapping[str, tuple[int, int]]
) -> tuple[LabelTable, tuple[str, ...]]:
    """Labels of micrographs whose sizes are known: a folder often holds a part of the images that a table names.

    All of them, if no size is known: then the folder is another one, and the writer says what it needs.
    """
    names, codes = coded(table.micrograph)
    known = [name in table.shapes or of_name(shapes, name) is not None for name in names]
    if all(known) or not any(known):
        return table, ()
    kept = table.rows(np.flatnonzero(np.array(known)[codes]))
    lacking = [name for name, is_known in zip(names, known, strict=True) if not is_known]
    of_them = lacking[0] if len(lacking) == 1 else f"{len(lacking):,} micrographs, such as {lacking[0]}"
    return kept, (
        f"{len(table) - len(kept):,} particles of {of_them}, left out: no image of that name among --micrographs",
    )


def promised_format(path: Path, option: str) -> LabelFormat:
    """The format that the file's suffix promises.

    Raises:
        ConfigFault: it promises none, so that `option` is needed.
    """
    found = format_of(path.name)
    if found is None:
        words = ", ".join(LabelFormat)
        raise ConfigFault(
            f"the name {path.name} does not say which format it has", hint=f"give {option}: {words}"
        )
    return found


def _format_of_file(file: Path) -> LabelFormat:
    """By content where it is unmistakable, else by suffix."""
    try:
        with file.open("rb") as stream:
            found = recognise(file.name, stream.read(HEAD_BYTES))
    except OSError as error:
        raise _unreadable(file, error) from error
    return found.form if found else promised_format(file, "--from")


def _sources(source: Path, form: LabelFormat | None) -> list[Path]:
    if not source.is_dir():
        return [source]
    names = sorted(entry.name for entry in os.scandir(source) if entry.is_file())
    files = [source / name for name in names if (format_of(name) is form if form else format_of(name))]
    kinds = {format_of(file.name) for file in files}
    if form is LabelFormat.CRYOPPP_ENTRY:
        raise ConfigFault("an entry's CSV is one file, not a folder", hint="name the file")
    if not files or len(kinds) > 1:
        raise ConfigFault(
            f"{source} holds coordinate files of several formats"
            if files
            else f"{source} holds no coordinate files",
            hint="give --from, or name a single file",
        )
    return files


def _read(file: Path, form: LabelFormat, reading: Reading) -> LabelTable:
    if form is LabelFormat.STAR and reading.origin is None and counts_from_bottom(file.name):
        reading = replace(reading, origin=CoordinateOrigin.BOTTOM)
    name = text_from_bytes(os.fsencode(file.name))
    return read_labels(read_bounded(file), name=name, form=form, reading=reading)


def read_bounded(file: Path) -> bytes:
    """The content of a regular file of at most `MOST_BYTES`.

    Raises:
        ConfigFault: there is none, or it cannot be read.
        BadLabels: it is larger.
    """
    try:
        if not file.is_file():
            raise ConfigFault(f"there is no file {file}")
        with file.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, error) from error
    if len(raw) > MOST_BYTES:
        raise BadLabels(f"{file} has more than {MOST_BYTES:,} bytes, more than coordinates are read from")
    return raw


def _unreadable(file: Path, error: OSError) -> ConfigFault:
    return ConfigFault(f"cannot read {file}: {error.strerror}")


def _joined(
    tables: list[LabelTable], shapes: Mapping[str, tuple[int, int]] | tuple[int, int] | None
) -> LabelTable:
    if len({table.origin for table in tables}) > 1:
        heights = shapes[0] if isinstance(shapes, tuple) else {n: h for n, (h, _) in (shapes or {}).items()}
        tables = [to_origin(table, heights, CoordinateOrigin.TOP) for table in tables]
    return concatenated(tables)


def shapes_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Rows and columns of the images in `folder`, by stem, from their headers.

    Raises:
        ConfigFault: there is no such folder, or no image in it.
    """
    shapes: dict[str, tuple[int, int]] = {}
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigFault(f"cannot read the folder {folder}: {error.strerror}") from error
    for entry in entries[:_MOST_FILES]:
        name = text_from_bytes(os.fsencode(entry.name))
        if suffix_of(name) not in _IMAGES or not entry.is_file():
            continue
        # The layout's files may be links, which the look at a header does not follow by itself.
        path = Path(os.path.realpath(entry.path))
        facts = inspect(path, name=name, size=entry.stat().st_size).facts
        if facts and facts.height and facts.width:
            shapes.setdefault(stem_of(name), (facts.height, facts.width))
    if not shapes:
        raise ConfigFault(
            f"{folder} holds no images whose headers state a size", hint="give --height and --width"
        )
    return shapes


def _places(target: Path, files: Mapping[str, bytes], form: LabelFormat) -> dict[bytes, bytes]:
    """Contents by path."""
    many = form.one_micrograph and (len(files) != 1 or target.is_dir())
    if not many:
        if target.is_dir():
            raise ConfigFault(f"{target} is a folder, but {form} is one file", hint="name a file")
        return {os.fsencode(target): content for content in files.values()}
    if target.exists() and not target.is_dir():
        raise ConfigFault(
            f"{target} is a file, but {form} is one file for each of {len(files)} micrographs",
            hint="name a folder",
        )
    places = {}
    for stem, content in files.items():
        try:
            name = bytes_from_text(checked_name(bytes_from_text(f"{stem}{form.suffix}")))
        except HostileName as error:
            raise BadLabels(f"no file can be named after the micrograph {stem!r}") from error
        places[os.path.join(os.fsencode(target), name)] = content  # noqa: PTH118 # a name that is bytes has no Path
    return places


def _store(places: Mapping[bytes, bytes], *, replace_files: bool) -> None:
    """Every content stands at its place, whole."""
    there = [place for place in places if os.path.lexists(place)]
    if there and not replace_files:
        more = f" and {len(there) - 1} more files" if len(there) > 1 else ""
        raise ConfigFault(
            f"{text_from_bytes(there[0])}{more} exist" + ("" if more else "s"),
            hint="choose another name, or replace with --force",
        )
    for place, content in places.items():
        try:
            _write_whole(place, content, replace_file=replace_files)
        except FileExistsError:
            raise ConfigFault(
                f"{text_from_bytes(place)} has appeared meanwhile and is not replaced"
            ) from None
        except OSError as error:
            raise storage_fault(error, f"cannot write {text_from_bytes(place)}") from error


def _write_whole(place: bytes, content: bytes, *, replace_file: bool) -> None:
    folder = os.path.dirname(place) or b"."  # noqa: PTH120 # a name that is bytes has no Path
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103 # the same
    descriptor, draft = tempfile.mkstemp(prefix=b".convert.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.chmod(draft, usual_mode())  # noqa: PTH101 # the same
        if replace_file or not _linked(draft, place):
            os.replace(draft, place)  # noqa: PTH105 # the same
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)  # noqa: PTH108 # the same


def _linked(draft: bytes, place: bytes) -> bool:
    """Whether the file stands at its place by a link, which fails if the name exists; False where links are not possible."""
    try:
        os.link(draft, place)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return False
    return True
