"""Looks at a mirror again and again while it works: what has arrived must stay what it is. Standard library only."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from soak.reader.mirror_seen import Seen, Violation, sha256, shown
from soak.reader.truth import Key, Truth


@dataclass(frozen=True)
class Look:
    """A file as it was seen: which inode, of which size and time, and its digest."""

    inode: int
    size: int
    mtime_ns: int
    sha256: str


@dataclass
class Journal:
    """What was seen so far. `damaged` are files that somebody spoiled on purpose, which may be replaced."""

    seen: Seen
    damaged: set[Key] = field(default_factory=set)
    looks: dict[Key, Look] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    samples: int = 0

    def sample(self, truth: Truth) -> None:
        """One look at everything below ``archive/``. `truth` must be read after it, or be complete: see `Journal.look`."""
        found = self.look()
        self.judge(found, truth)

    def look(self) -> dict[Key, Look]:
        """What stands there now; only what is new or other is read."""
        found: dict[Key, Look] = {}
        for key, status in self.seen.files():
            before = self.looks.get(key)
            identity = (status.st_ino, status.st_size, status.st_mtime_ns)
            if before is not None and (before.inode, before.size, before.mtime_ns) == identity:
                found[key] = before
                continue
            try:
                found[key] = Look(*identity, sha256(self.seen.path(key)) if key[0] >= 0 else "")
            except FileNotFoundError:
                continue
        return found

    def judge(self, found: dict[Key, Look], truth: Truth) -> None:
        """`found` follows the looks before. `truth` is what the archive had said by then, or later."""
        self.samples += 1
        for key, look in found.items():
            before = self.looks.get(key)
            if key in self.damaged:
                continue
            if look.sha256 not in truth.digests(key):
                self._add("nothing unverified at a final path", f"{shown(key)} is no version ever served")
            if before is not None and before != look:
                self._add("never overwritten", f"{shown(key)} was {before}, and is {look}")
        for key in self.looks.keys() - found.keys() - self.damaged:
            self._add("never deleted", f"{shown(key)} was there, and is not")
            del self.looks[key]
        self.looks.update(found)

    def _add(self, promise: str, what: str) -> None:
        violation = Violation(promise, what)
        if violation not in self.violations:
            self.violations.append(violation)


def link_count(seen: Seen, key: Key) -> int:
    """How many names a file has."""
    return os.lstat(seen.path(key)).st_nlink
