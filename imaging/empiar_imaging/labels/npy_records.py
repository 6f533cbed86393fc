"""NumPy's `.npy` with records, read without trust: nothing is unpickled, and no header dictates an allocation.

Source of the format: NumPy Enhancement Proposal 1 (magic, version, length, a Python dictionary as text).
"""

from __future__ import annotations

import io
import struct
import warnings
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from empiar_schema.faults import BadLabels

Records: TypeAlias = NDArray[np.void]

MAGIC: Final = b"\x93NUMPY"
#: cryoSPARC's newer files, a compressed stream of columns.
STREAM_MAGIC: Final = b"\x94CSDAT"
#: A header beyond this is none of cryoSPARC's: theirs have some thousand bytes.
_MOST_HEADER_BYTES: Final = 64 * 1024


def read_records(raw: bytes, *, what: str) -> Records:
    """The records of a `.npy` file called `what`, as a view of `raw`.

    Raises:
        BadLabels: it is no such file, holds Python objects, or has not the length that it states.
    """
    if raw.startswith(STREAM_MAGIC):
        raise BadLabels(
            f"{what} is in cryoSPARC's compressed stream format, which is not read here",
            hint="export the particles group from cryoSPARC, which writes plain .cs files",
        )
    if not raw.startswith(MAGIC):
        raise BadLabels(f"{what} is no cryoSPARC file: it does not begin as a NumPy array")
    shape, kind, start = _header(raw, what)
    if kind.hasobject:
        raise BadLabels(
            f"{what} holds pickled Python objects, which could run code when read; it is refused",
            hint="export the particles group from cryoSPARC, which writes plain numbers and names",
        )
    if kind.names is None or len(shape) != 1 or kind.itemsize == 0:
        raise BadLabels(f"{what} is a NumPy array, but no table of records as cryoSPARC writes them")
    expected = shape[0] * kind.itemsize
    if len(raw) - start != expected:
        raise BadLabels(
            f"{what} is {'cut' if len(raw) - start < expected else 'too long'}: {shape[0]} records of {kind.itemsize} bytes"
            f" make {expected} bytes, and {len(raw) - start} are there",
            hint="fetch or export it again",
        )
    return np.frombuffer(raw, kind, count=shape[0], offset=start) if shape[0] else np.zeros(0, kind)


def _header(raw: bytes, what: str) -> tuple[tuple[int, ...], np.dtype[np.void], int]:
    """Shape, kind and where the records begin."""
    damaged = BadLabels(
        f"{what} is no sound NumPy file: its header cannot be read", hint="fetch or export it again"
    )
    version = tuple(raw[6:8])
    length = struct.unpack_from("<H" if version == (1, 0) else "<I", raw.ljust(12, b"\0"), 8)[0]
    if version not in ((1, 0), (2, 0)) or length > _MOST_HEADER_BYTES:
        raise damaged
    stream = io.BytesIO(raw[: 12 + length])
    stream.seek(8)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            shape, _fortran, kind = read(stream, max_header_size=_MOST_HEADER_BYTES)
    except Exception as error:
        # The text goes through Python's parser and numpy.dtype: of a hostile header they raise nearly anything.
        raise damaged from error
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise damaged
    return shape, kind, stream.tell()
