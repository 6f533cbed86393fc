"""How much of a foreign file may be believed: bounds on what a header can make us allocate, write or repeat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from empiar_schema.faults import ConfigFault


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Bounds that a caller gives for one file. Beyond them the file is refused with a sentence."""

    #: Bytes of one frame in memory. The largest detectors in use make frames of 400 MB in float32.
    frame_bytes: int = 1024**3
    #: Bytes that a compressed file may unpack to, in a temporary file; also of a stack that is made.
    unpacked_bytes: int = 64 * 1024**3
    frames: int = 200_000
    #: Where temporary files stand; None: the system's place for them. They have no name and vanish with the process.
    scratch: Path | None = None


@contextmanager
def images_extra() -> Iterator[None]:
    """Libraries imported inside are there, or one sentence says how to get them.

    Raises:
        ConfigFault: one of them is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigFault(
            f"reading and drawing images needs a library that is not installed: {error.name}",
            hint="pip install 'empiar-mirror[images]'",
        ) from error
