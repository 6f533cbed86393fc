"""Zstandard within bounds, by the standard library or, before Python 3.14, its backport. Import it where it is needed."""

from __future__ import annotations

import sys
from typing import IO, Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["ZstdError", "decompressor", "opened"]

ZstdError = zstd.ZstdError

#: A frame may ask for 2 GiB of memory; Zstandard's own command line refuses more than this unless told otherwise.
_WINDOW_LOG: Final = 27
_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}


def decompressor() -> zstd.ZstdDecompressor:
    """One for a single frame."""
    return zstd.ZstdDecompressor(options=_OPTIONS)


def opened(file: IO[bytes]) -> zstd.ZstdFile:
    """What the compressed `file` holds, as a file."""
    return zstd.ZstdFile(file, options=_OPTIONS)
