"""Which deposited stack a label's image is in: ``000012@Extract/job010/a.mrcs`` of somebody's project, as a path of the entry. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from empiar_schema.paths import text_from_bytes

_REFERENCE: Final = re.compile(r"\s*([0-9]{1,12})@(.+)", re.DOTALL)


class DepositedStacks:
    """The particle stacks that an entry lists, here or not, by the names that labels may give them."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_name: dict[str, list[list[str]]] = defaultdict(list)
        self._paths: dict[tuple[str, ...], str] = {}
        for path in paths:
            parts = _parts(path)
            self._by_name[parts[0]].append(parts)
            self._paths[tuple(parts)] = path

    def named(self, name: str) -> str | None:
        """The path of the stack that `name` means; None if none can be meant, or several.

        Paths in labels are those of the project in which they were written, so they are compared from their ends.
        """
        wanted = _parts(text_from_bytes(name.encode("utf-8", "surrogateescape")))
        alike = self._by_name.get(wanted[0], [])
        shared = [_shared(wanted, parts) for parts in alike]
        best = [parts for parts, count in zip(alike, shared, strict=True) if count == max(shared)]
        return self._paths[tuple(best[0])] if len(best) == 1 else None


def resolved(images: Sequence[str], stacks: DepositedStacks) -> list[str] | str:
    """A reference with the entry's own path for each row, ``""`` for a row without an image; or, as a text, a name that means no stack of the entry for certain."""
    rows = []
    for image in images:
        reference = _REFERENCE.fullmatch(image)
        if reference is None:
            rows.append("")
            continue
        path = stacks.named(reference[2])
        if path is None:
            return reference[2]
        rows.append(f"{int(reference[1]):06d}@{path}")
    return rows


def reference_rows(data: bytes) -> tuple[tuple[int, str], ...]:
    """Number of the image and path of its stack for each row of a file that `make_labels` wrote; ``(0, "")`` for a row without one."""
    rows = []
    # A path may hold anything that `str.splitlines` takes for the end of a line, but no newline.
    for line in data.decode("utf-8").split("\n")[:-1]:
        number, _, path = line.partition("@")
        rows.append((int(number), path) if path else (0, ""))
    return tuple(rows)


def _parts(path: str) -> list[str]:
    """From the file upwards; RELION's ``.mrcs`` and CryoPPP's ``.mrc`` are one name."""
    parts = path.split("/")
    parts[-1] = parts[-1].removesuffix("s") if parts[-1].endswith(".mrcs") else parts[-1]
    return parts[::-1]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
