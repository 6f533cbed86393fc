"""Findings about a file's content, and the bytes on which each rests."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

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
    "gzip.bad_header": "the name says gzip, the content is something else",
    "gzip.truncated": "the end of the gzip file is missing or states an impossible length",
    "bzip2.bad_header": "the name says bzip2, the content is something else",
    "bzip2.truncated": "the end marker of the bzip2 file is missing",
    "zstd.bad_header": "the name says Zstandard, the content is something else",
    "zstd.truncated": "the last Zstandard block is missing or incomplete",
    "zstd.not_fully_checked": "the Zstandard file has more blocks than are looked at",
    "xz.bad_header": "the name says xz, the content is something else",
    "xz.truncated": "the end marker of the xz file is missing",
    "zip.bad_header": "the name says zip, the content is something else",
    "zip.truncated": "the zip file's directory is missing, incomplete or points outside of the file",
}


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


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Positioned reads of an open file of which `size` bytes count."""

    fd: int
    size: int

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes at `start`; fewer, or none, at the end of the file.

        Raises:
            OSError: the disk could not be read.
        """
        if start < 0 or start >= self.size:
            return b""
        return os.pread(self.fd, min(length, self.size - start), start)
