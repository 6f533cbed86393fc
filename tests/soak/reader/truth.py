"""What the archive served, and when: read from the history that it wrote itself. Standard library only."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: An entry's number and the path below it, in the bytes that the archive serves.
Key = tuple[int, bytes]


@dataclass(frozen=True)
class Version:
    """What stood at a path from `at` on; nothing, where `sha256` is None."""

    at: float
    sha256: str | None
    size: int
    mtime: int


@dataclass
class Truth:
    """All versions of all files, in the order in which they came."""

    versions: dict[Key, list[Version]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def read(cls, file: Path) -> Truth:
        truth = cls()
        for line in file.read_text().splitlines():
            said = json.loads(line)
            key = (said["entry"], os.fsencode(said["path"]))
            truth.versions[key].append(
                Version(said["at"], said["sha256"], said["size"] or 0, said["mtime"] or 0)
            )
        return truth

    def digests(self, key: Key) -> set[str]:
        """Of every version that ever stood there."""
        return {version.sha256 for version in self.versions.get(key, ()) if version.sha256 is not None}

    def at(self, key: Key, moment: float) -> Version | None:
        """The version that stood there at `moment`."""
        versions = self.versions.get(key, [])
        place = bisect_right([version.at for version in versions], moment)
        found = versions[place - 1] if place else None
        return found if found is not None and found.sha256 is not None else None

    def now(self) -> Iterator[tuple[Key, Version]]:
        """Every file that stands there in the end."""
        for key, versions in self.versions.items():
            if versions[-1].sha256 is not None:
                yield key, versions[-1]

    def stood_throughout(self, key: Key, begin: float, end: float) -> bool:
        """Whether something stood there all the time between two moments."""
        if self.at(key, begin) is None:
            return False
        return all(v.sha256 is not None for v in self.versions[key] if begin <= v.at <= end)

    def stood_once(self, key: Key, begin: float, end: float) -> bool:
        """Whether something stood there at any time between two moments."""
        if self.at(key, begin) is not None:
            return True
        return any(v.sha256 is not None for v in self.versions.get(key, ()) if begin <= v.at <= end)
