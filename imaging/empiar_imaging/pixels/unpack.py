"""Compressed files unpacked into a temporary file that never grows beyond a limit."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
from collections.abc import Callable
from typing import IO, Final, Protocol

from empiar_imaging.formats.mrc import HEADER_BYTES, parse_header
from empiar_imaging.pixels.limits import ReadLimits
from empiar_schema.disk import storage_fault
from empiar_schema.faults import UnreadableImage

_PIECE_BYTES: Final = 1024 * 1024

MAGICS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x1f\x8b\x08", ".gz"),
    (b"BZh", ".bz2"),
    (b"\x28\xb5\x2f\xfd", ".zst"),
    (b"\xfd7zXZ\0", ".xz"),
)


def compression_of(head: bytes) -> str | None:
    """``.gz``, ``.bz2``, ``.zst`` or ``.xz`` by the first bytes of a file; None for anything else."""
    return next((suffix for magic, suffix in MAGICS if head.startswith(magic)), None)


def unpack(file: IO[bytes], kind: str, limits: ReadLimits) -> IO[bytes]:
    """A nameless temporary file with the unpacked bytes, at its beginning; the caller closes it.

    Memory is one mebibyte and the decompressor's window, whatever the file unpacks to.

    Raises:
        UnreadableImage: it is damaged or cut, or unpacks to more than ``limits.unpacked_bytes``.
        StorageFault: the disk refused.
    """
    try:
        out = tempfile.TemporaryFile(dir=limits.scratch)  # noqa: SIM115 - handed to the caller
    except OSError as error:
        raise storage_fault(error, "cannot make a temporary file") from error
    try:
        _copy(_OPENERS[kind](file), out, kind, limits.unpacked_bytes)
    except BaseException:
        out.close()
        raise
    return out


class _Packed(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _copy(packed: _Packed, out: IO[bytes], kind: str, most: int) -> None:
    written = 0
    while True:
        try:
            piece = packed.read(_PIECE_BYTES)
        except (
            Exception
        ) as error:  # each library has classes of its own: zlib.error, LZMAError, OSError, EOFError
            raise UnreadableImage(f"the {kind} file is damaged or cut: {error}") from error
        if not piece:
            break
        # An MRC header says at once what is coming; nothing of it need be written to find out.
        stated = _stated_bytes(piece) if written == 0 else 0
        written += len(piece)
        if max(written, stated) > most:
            raise _too_large(kind, max(written, stated), most)
        try:
            out.write(piece)
        except OSError as error:
            raise storage_fault(error, "cannot write a temporary file") from error
    if written == 0:
        raise UnreadableImage(f"the {kind} file holds nothing")
    out.seek(0)


def _stated_bytes(head: bytes) -> int:
    header = parse_header(head[:HEADER_BYTES])
    return (header and header.vouched_bytes) or 0


def _too_large(kind: str, size: int, most: int) -> UnreadableImage:
    return UnreadableImage(
        f"the {kind} file unpacks to at least {size} bytes; {most} are allowed",
        hint="raise the limit for unpacked files if this file is meant to be so large",
    )


def _zstd(file: IO[bytes]) -> _Packed:
    from empiar_imaging.formats.zstandard import opened

    return opened(file)


_OPENERS: Final[dict[str, Callable[[IO[bytes]], _Packed]]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".zst": _zstd,
    ".xz": lzma.LZMAFile,
}
