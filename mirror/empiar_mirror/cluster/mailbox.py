"""What the mirror and a worker that fetches a file tell each other meanwhile: two small files in the lease's folder.

Each is written in place, opened, and closed: network file systems show a file that was closed to whoever opens it then, but
may go on showing a name that was replaced as it was.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Written by the mirror, in the lease's folder.
_RULE: Final = "rule"
#: Written by the worker, in its own folder.
_MOVED: Final = "moved"


@dataclass(frozen=True, slots=True)
class Rule:
    """How the worker is to go on from now on."""

    #: Rises while the mirror lives.
    beat: int
    #: None means as fast as it goes.
    bytes_per_s: float | None = None
    #: To end where it stands, and to answer with that.
    rest: bool = False


def tell(lease: Path, rule: Rule) -> None:
    """The rule stands in the lease's folder, as far as the disk allows: a worker that hears nothing ends by itself."""
    rate = "-" if rule.bytes_per_s is None else f"{rule.bytes_per_s:.0f}"
    with contextlib.suppress(OSError):
        (lease / _RULE).write_text(f"{rule.beat} {rate} {'rest' if rule.rest else 'go'} .\n")


def heard(lease: Path) -> Rule | None:
    """The rule that stands in the lease's folder; None while there is none, or it is being written."""
    try:
        beat, rate, rest, end = (lease / _RULE).read_text().split()
        if end != ".":
            return None
        return Rule(int(beat), None if rate == "-" else max(1.0, float(rate)), rest == "rest")
    except (OSError, ValueError):
        return None


def note_moved(folder: Path, count: int) -> None:
    """The worker has received so many bytes."""
    with contextlib.suppress(OSError):
        (folder / _MOVED).write_text(f"{count} .\n")


def moved(folder: Path) -> int:
    """How many bytes the worker says that it has received."""
    try:
        count, end = (folder / _MOVED).read_text().split()
        return max(0, int(count)) if end == "." else 0
    except (OSError, ValueError):
        return 0
