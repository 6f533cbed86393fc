"""Findings about a file's content, and the bytes on which each rests."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final, Protocol

from empiar_schema.image_facts import ImageFacts

#: Every finding code, with a sentence for people.
MEANING: Final[dict[str, str]] = {
    "file.empty": "the name promises data, but the file has no bytes",
    "body.error_text": "an error message of a web or storage server stands where the file's content should",
    "mrc.bad_header": "the MRC header states sizes that no image has",
    "mrc.truncated": "the file is shorter than its MRC header states",
    "mrc.oversize": "the file is longer than its MRC header states",
    "mrc.unknown_mode": "the MRC header states a data mode that is in no standard, so the length cannot be checked",
    "mrc.no_map_stamp": "the MRC header lacks the MAP or machine stamp (old files); strict readers refuse it",
    "mrc.suffix_but_not_mrc": "the name says MRC, the content is something else",
    "tiff.bad_header": "the TIFF structure is not one that a reader could follow",
    "tiff.truncated": "the TIFF structure points behind the end of the file",
    "tiff.ifd_loop": "the TIFF's list of images leads back into itself",
    "tiff.short_data": "the TIFF states fewer bytes of uncompressed data than its width and height need",
    "tiff.not_fully_checked": "the TIFF lists more images or strips than are looked at",
    "tiff.suffix_but_not_tiff": "the name says TIFF or EER, the content is something else",
    "dm.truncated": "the file is shorter than its DigitalMicrograph header states",
    "dm.suffix_but_not_dm": "the name says DM3 or DM4, the content is something else",
    "image.constant": "all pixels have the same value, in every frame",
    "image.constant_frames": "in some frames all pixels have the same value",
    "image.not_finite": "there are NaN or infinite values among the pixels",
    "gzip.bad_header": "the name says gzip, the content is something else",
    "gzip.damaged": "the gzip data cannot be unpacked: their coding or their checksum is wrong",
    "gzip.truncated": "the end of the gzip file is missing or states an impossible length",
    "bzip2.bad_header": "the name says bzip2, the content is something else",
    "bzip2.damaged": "the bzip2 data cannot be unpacked: their coding or their checksum is wrong",
    "bzip2.truncated": "the end marker of the bzip2 file is missing",
    "zstd.bad_header": "the name says Zstandard, the content is something else",
    "zstd.damaged": "the Zstandard data cannot be unpacked: their coding or their checksum is wrong",
    "zstd.truncated": "the last Zstandard block is missing or incomplete",
    "zstd.not_fully_checked": "the Zstandard file has more blocks than are looked at",
    "packed.not_fully_checked": "the file unpacks to so much more than its size that unpacking was given up",
    "xz.bad_header": "the name says xz, the content is something else",
    "xz.truncated": "the end marker of the xz file is missing",
    "zip.bad_header": "the name says zip, the content is something else",
    "zip.truncated": "the zip file's directory is missing, incomplete or points outside of the file",
}

#: Findings on content that tell nothing of damage: such a file comes again as it came.
HARMLESS: Final = frozenset(
    {
        "image.constant",
        "image.constant_frames",
        "image.not_finite",
        "mrc.no_map_stamp",
        "packed.not_fully_checked",
        "tiff.not_fully_checked",
        "zstd.not_fully_checked",
    }
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One finding, and the stretch of the file on which it rests.

    If the archive sends the same stretch (and the same file size) once more, the finding is a property of
    the file at the source; if it sends other bytes, ours were damaged on the way.
    """

    #: A key of `MEANING`.
    code: str
    #: One sentence with the numbers.
    detail: str
    start: int
    #: 0 for a note about a file that is whole, and for what no bytes could prove: nothing to fetch again.
    length: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one look at a file found. `facts` is None for a sound file of no known image or container format."""

    facts: ImageFacts | None
    evidence: tuple[Evidence, ...] = ()
    #: Start and length of bytes that were not at hand and would tell more; None on a whole file.
    lacking: tuple[int, int] | None = None


class Readable(Protocol):
    """A file whose bytes can be had at any position: all of it, or only some stretches."""

    @property
    def size(self) -> int:
        """Bytes of the whole file; `UNKNOWN_SIZE` where nobody has said."""

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes at `start`; fewer, or none, at the end of the file.

        Raises:
            NotAtHand: the file has such bytes, but they are not at hand.
        """


class NotAtHand(Exception):
    """These bytes were asked for and are not at hand. `stretch` None: fetching could not help."""

    def __init__(self, stretch: tuple[int, int] | None) -> None:
        super().__init__("the bytes are not at hand")
        #: Start and length.
        self.stretch = stretch


#: More than any file has.
UNKNOWN_SIZE: Final = 2**62


@dataclass(slots=True)
class Stretches:
    """A file of `size` bytes of which only some stretches are at hand."""

    size: int
    _held: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, start: int, data: bytes) -> None:
        """`data` stands at `start` of the file."""
        self._held.append((start, data))

    @property
    def held_bytes(self) -> int:
        """Bytes at hand."""
        return sum(len(data) for _, data in self._held)

    def read(self, start: int, length: int) -> bytes:
        """See `Readable`; the bytes must lie in one of the stretches."""
        if start < 0 or start >= self.size:
            return b""
        stop = min(start + length, self.size)
        for begin, data in self._held:
            if begin <= start and stop <= begin + len(data):
                return data[start - begin : stop - begin]
        raise NotAtHand((start, stop - start))


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Positioned reads of an open file of which `size` bytes count."""

    fd: int
    size: int
    #: Its first bytes, where they have been read already.
    head: bytes = b""

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes at `start`; fewer, or none, at the end of the file.

        Raises:
            OSError: the disk could not be read.
        """
        if start < 0 or start >= self.size:
            return b""
        stop = min(start + length, self.size)
        if stop <= len(self.head):
            return self.head[start:stop]
        return os.pread(self.fd, min(length, self.size - start), start)
