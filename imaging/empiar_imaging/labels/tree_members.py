"""The files of a tree, be it a folder or a tar archive, one after the other, without trust in either.

Nothing is unpacked: names are only compared, contents only handed on when asked for, up to a limit. Links are not followed. The tar format: POSIX
ustar with pax headers, and GNU's long names. Python's own reader loads extension headers whole, however
long they claim to be; this one does not.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from empiar_schema.faults import BadLabels
from empiar_schema.paths import text_from_bytes

_BLOCK: Final = 512
#: Longest name, in an extension header or deep in a folder.
_MOST_NAME_BYTES: Final = 64 * 1024
_MOST_DEPTH: Final = 8
#: Images and texts shrink by 20 at most; beyond this an archive was made to fill memory or time.
_MOST_RATIO: Final = 200
_PIECE: Final = 1024 * 1024


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class TreeMember:
    """One regular file, or a link to one, of which only the name is known."""

    #: Below the tree, stored text; never absolute, never with "..".
    path: str
    size: int
    #: The content, unless it is longer than the limit given or no regular file; to be called before the next member is asked for.
    read: Callable[[int], bytes]


def tree_members(source: Path) -> Iterator[TreeMember]:
    """All files of the folder or archive (``.tar``, ``.tar.gz``, ``.tgz``) `source`.

    Raises:
        BadLabels: the archive is cut, damaged, or expands beyond what any real one does.
        OSError: it could not be read.
    """
    if source.is_dir():
        yield from _folder_members(source)
        return
    with source.open("rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if zipped:
            stream = _Unzipped(gzip.GzipFile(fileobj=raw), source.name)
            yield from _tar_members(stream, source.name, most_bytes=size * _MOST_RATIO + _PIECE)
        else:
            yield from _tar_members(raw, source.name, most_bytes=size)


class _Unzipped:
    """A gzip stream whose damage is a fault of ours."""

    def __init__(self, stream: gzip.GzipFile, what: str) -> None:
        self._stream = stream
        self._what = what

    def read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BadLabels(f"{self._what} is cut or damaged: {error}", hint="fetch it again") from error


# --- folders ------------------------------------------------------------------------------------------------


def _folder_members(source: Path) -> Iterator[TreeMember]:
    waiting = [(os.fsencode(source), b"", 0)]
    while waiting:
        folder, below, depth = waiting.pop()
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            path = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                if depth < _MOST_DEPTH:
                    waiting.append((entry.path, path + b"/", depth + 1))
            elif entry.is_file(follow_symlinks=False):
                size = entry.stat(follow_symlinks=False).st_size
                yield TreeMember(text_from_bytes(path), size, _file_reader(entry.path, text_from_bytes(path)))
            elif entry.is_symlink():
                yield TreeMember(text_from_bytes(path), 0, _no_content(text_from_bytes(path)))


def _file_reader(file: bytes, path: str) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as stream:
            raw = stream.read(limit + 1)
        return _within(raw, limit, path)

    return read


def _no_content(path: str) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        raise BadLabels(f"{path} is a link, which is not followed")

    return read


def _within(raw: bytes, limit: int, path: str) -> bytes:
    if len(raw) > limit:
        raise BadLabels(f"{path} has more than {limit:,} bytes, more than such a file is read from")
    return raw


# --- tar ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Announced:
    """What extension headers say of the file behind them."""

    name: bytes = b""
    size: int | None = None


def _tar_members(stream: _Stream, what: str, *, most_bytes: int) -> Iterator[TreeMember]:
    at, announced = 0, _Announced()
    while (header := stream.read(_BLOCK)).strip(b"\0"):
        info = _header(header, what)
        at += _BLOCK
        if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            _announce(announced, info.type, _extension(stream, info, what), what)
            at += _padded(info.size)
            continue
        size = _size(info, announced, what)
        if at + size > most_bytes:
            raise BadLabels(
                f"{what} claims to expand to more than {_MOST_RATIO} times its size, as no archive of images does",
                hint="it is damaged, or was made to do harm; nothing of it was used",
            )
        content = _Content(stream, size)
        path = _safe_path(announced.name or info.name.encode("latin-1"))
        if path is not None and info.isreg():
            yield TreeMember(path, size, content.reader(path))
        elif path is not None and info.issym():
            yield TreeMember(path, 0, _no_content(path))
        content.skip(what)
        at += _padded(size)
        if info.type != tarfile.GNUTYPE_LONGLINK:
            announced = _Announced()


def _size(info: tarfile.TarInfo, announced: _Announced, what: str) -> int:
    """How many bytes follow the header. Folders, links and devices have none, whatever their headers claim."""
    size = info.size if announced.size is None else announced.size
    if info.type == tarfile.GNUTYPE_SPARSE or size < 0:
        raise BadLabels(f"{what} holds a file in a form that is not read here (sparse, or of no length)")
    extension = info.type in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)
    return size if info.isreg() or extension or info.type not in tarfile.SUPPORTED_TYPES else 0


def _announce(announced: _Announced, kind: bytes, raw: bytes, what: str) -> None:
    if kind == tarfile.GNUTYPE_LONGNAME:
        announced.name = raw.rstrip(b"\0")
        return
    at = 0
    while at < len(raw):  # records "length key=value" and a line end
        digits, blank, _ = raw[at : at + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = raw[at + len(digits) + 1 : at + length - 1].partition(b"=")
        if not blank or not equals or length <= len(digits) or key.startswith(b"GNU.sparse"):
            raise BadLabels(f"{what} holds a header that cannot be read", hint="fetch it again")
        if key == b"path":
            announced.name = value
        elif key == b"size":
            announced.size = int(value) if value.isdigit() and len(value) < 20 else -1
        at += length


def _header(raw: bytes, what: str) -> tarfile.TarInfo:
    try:
        # Latin-1: every byte is a character, so that names stay the bytes they are.
        return tarfile.TarInfo.frombuf(raw, "latin-1", "strict")
    except (tarfile.TarError, ValueError) as error:
        raise BadLabels(
            f"{what} is cut or damaged, or no tar archive ({error})", hint="fetch it again"
        ) from error


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _extension(stream: _Stream, info: tarfile.TarInfo, what: str) -> bytes:
    if not 0 <= info.size <= _MOST_NAME_BYTES:
        raise BadLabels(f"{what} holds a name of {info.size:,} bytes, which no file has")
    return stream.read(_padded(info.size))[: info.size]


def _safe_path(raw: bytes) -> str | None:
    """The path below the archive as stored text; None where it would lead out of it."""
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    if raw.startswith(b"/") or b".." in parts or not parts or b"\0" in raw or len(parts) > 4 * _MOST_DEPTH:
        return None
    return text_from_bytes(b"/".join(parts))


class _Content:
    """The bytes of one archived file, which end before the next header."""

    def __init__(self, stream: _Stream, size: int) -> None:
        self._stream = stream
        self._left = _padded(size)
        self._size = size

    def reader(self, path: str) -> Callable[[int], bytes]:
        def read(limit: int) -> bytes:
            if self._size > limit:
                raise BadLabels(f"{path} has {self._size:,} bytes, more than such a file is read from")
            raw = self._stream.read(self._left)
            self._left -= len(raw)
            if len(raw) < self._size:
                raise BadLabels(f"the archive is cut: it ends within {path}", hint="fetch it again")
            return raw[: self._size]

        return read

    def skip(self, what: str) -> None:
        while self._left > 0:
            raw = self._stream.read(min(self._left, _PIECE))
            if not raw:
                raise BadLabels(f"{what} is cut: it ends within a file", hint="fetch it again")
            self._left -= len(raw)
