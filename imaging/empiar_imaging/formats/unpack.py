"""What is inside a compressed file: its first bytes at arrival, and once through all of it at a later proof.

Neither costs what the content would like to cost: the first look unpacks at most 1 MiB, whatever the file
promises, and the long one keeps nothing and gives up on a file that unpacks to more than any image does.
"""

from __future__ import annotations

import bz2
import zlib
from dataclasses import dataclass, field
from typing import Final, Protocol

from empiar_imaging.formats.evidence import UNKNOWN_SIZE, Evidence, NotAtHand, Readable

#: Most that a first look unpacks.
HEAD_BYTES: Final = 2**20
#: Most of the compressed file that a first look reads: a bzip2 block of 900 kB with all its tables.
_HEAD_INPUT_BYTES: Final = 2**20
_HEAD_PIECE_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 2**20
#: Deflate cannot make more than 1,032 bytes of one; where others do, it is a bomb or an image of one value.
_MOST_RATIO: Final = 1100
_MOST_FREE_BYTES: Final = 256 * 2**20

#: Suffix of a compressor → the name by which findings and formats call it.
KINDS: Final = {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}


class PackedDamage(Exception):
    """The compressed data are wrong: their coding, or their checksum."""


class _Decoder(Protocol):
    """What `bz2` and `zstd` agree on."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Inflate:
    """`zlib` with the manners of the others."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self._full = False

    @property
    def eof(self) -> bool:
        """The stream has ended, and its checksum was right."""
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        """Nothing more comes out of what was put in."""
        return not (self._inflate.eof or self._inflate.unconsumed_tail or self._full)

    @property
    def unused_data(self) -> bytes:
        """What follows the stream."""
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Up to `max_length` bytes of what `data`, after what was left of earlier pieces, unpacks to."""
        out = self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)
        self._full = len(out) == max_length  # then more may be waiting, though all input is taken
        return out


def _decoder(kind: str) -> _Decoder:
    match kind:
        case "gzip":
            return _Inflate()
        case "bzip2":
            return bz2.BZ2Decompressor()
    from empiar_imaging.formats.zstandard import decompressor

    return decompressor()


def _faults(kind: str) -> tuple[type[Exception], ...]:
    """What a decoder of this kind raises about wrong data."""
    if kind == "gzip":
        return (zlib.error,)
    if kind == "bzip2":
        return (OSError, ValueError)
    from empiar_imaging.formats.zstandard import ZstdError

    return (ZstdError,)


def _decoded(kind: str, decoder: _Decoder, data: bytes, most: int) -> bytes:
    """Up to `most` bytes more.

    Raises:
        PackedDamage: the data are wrong.
    """
    try:
        return decoder.decompress(data, most)
    except _faults(kind) as error:
        raise PackedDamage(str(error)) from error


@dataclass(slots=True)
class Unpacked:
    """The first MiB of what a compressed file holds, unpacked as far as it is asked for. A `Readable`."""

    packed: Readable
    kind: str
    size: int = UNKNOWN_SIZE
    _out: bytearray = field(default_factory=bytearray)
    _read: int = 0
    _decoder: _Decoder | None = None

    @property
    def packed_bytes(self) -> int:
        """How much of the compressed file was read."""
        return self._read

    @property
    def ended(self) -> bool:
        """The first stream, which need not be the last, was unpacked to its end."""
        return self._decoder is not None and self._decoder.eof

    def read(self, start: int, length: int) -> bytes:
        """See `Readable`; beyond the first MiB nothing is at hand.

        Raises:
            PackedDamage: the data are wrong.
        """
        stop = start + length
        if start < 0 or stop > HEAD_BYTES:
            raise NotAtHand(None)
        while len(self._out) < stop and self._more(stop - len(self._out)):
            pass
        return bytes(self._out[start:stop])

    def _more(self, wanted: int) -> bool:
        """Whether there may be still more."""
        if self._decoder is None:
            self._decoder = _decoder(self.kind)
        decoder = self._decoder
        if decoder.eof:
            # Of several streams in a row the first is enough, or the rest is out of reach.
            self.size = len(self._out) if self._at_end() else UNKNOWN_SIZE
            if self.size == UNKNOWN_SIZE:
                raise NotAtHand(None)
            return False
        data = b""
        if decoder.needs_input:
            if self._read >= _HEAD_INPUT_BYTES:
                raise NotAtHand(None)
            data = self.packed.read(self._read, min(_HEAD_PIECE_BYTES, _HEAD_INPUT_BYTES - self._read))
            if not data:
                return False  # cut: the marks at the end of the file say so
            self._read += len(data)
        self._out += _decoded(self.kind, decoder, data, max(wanted, 4096))
        return True

    def _at_end(self) -> bool:
        decoder = self._decoder
        return decoder is not None and not decoder.unused_data and self._read >= self.packed.size


class UnpackScan:
    """Unpacks a file that passes by in pieces, and keeps nothing but what is wrong with it."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._decoder = _decoder(kind)
        self._begun = False
        self._in = 0
        self._out = 0
        self._found: Evidence | None = None

    def feed(self, data: bytes | memoryview) -> None:
        """`data` follows what came before; the buffer may be reused afterwards."""
        if self._found is not None:
            return
        start, self._in = self._in, self._in + len(data)
        try:
            self._unpack(bytes(data))
        except PackedDamage as damage:
            detail = f"between bytes {start} and {self._in}: {damage}"
            self._found = Evidence(f"{self._kind}.damaged", detail, start, len(data))

    def _unpack(self, data: bytes) -> None:
        while data or not self._decoder.needs_input:
            if self._decoder.eof:
                data = self._next_stream(data)
                if not data:
                    return
            out = _decoded(self._kind, self._decoder, data, _PIECE_BYTES)
            self._begun, data = True, b""
            self._out += len(out)
            if self._out > _MOST_FREE_BYTES + _MOST_RATIO * self._in:
                detail = f"{self._in} bytes unpack to more than {self._out}"
                self._found = Evidence("packed.not_fully_checked", detail, 0, 0)
                return
            if self._decoder.eof:
                data = self._decoder.unused_data

    def _next_stream(self, data: bytes) -> bytes:
        """The beginning of the next stream; nothing where only padding follows."""
        if self._kind != "zstd":
            data = data.lstrip(b"\0")
        if data:
            self._decoder, self._begun = _decoder(self._kind), False
        return data

    def end(self) -> tuple[Evidence, ...]:
        """The file is over: what was found, a stream that has not ended included."""
        if self._found is None and self._begun and not self._decoder.eof:
            detail = f"the stream has not ended with the file, at byte {self._in}"
            self._found = Evidence(
                f"{self._kind}.truncated", detail, max(0, self._in - 64), min(64, self._in)
            )
        return () if self._found is None else (self._found,)
