"""Promises on manners: towards the archive's servers, and towards the machine. Standard library only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from soak.reader.mirror_seen import Violation, walk

#: So much of an open file may be fetched again after a kill.
BLOCK = 4 * 2**20


@dataclass(frozen=True)
class Death:
    """The process was killed at `at`, when part files were so long, by the path at the server; the one after it lived `until` then."""

    at: float
    parts: Mapping[str, int]
    until: float = float("inf")


@dataclass(frozen=True)
class Asked:
    """A request as a server recorded it."""

    channel: str
    path: str
    method: str
    start: int
    begun: float
    user_agent: str


def served(log: Path) -> list[Asked]:
    """What the archive's servers recorded, in the order in which it began."""
    asked = []
    for line in log.read_text().splitlines():
        said = json.loads(line)
        fields = ("channel", "path", "method", "start_offset", "begun", "user_agent")
        asked.append(Asked(*(said[name] for name in fields)))
    return sorted(asked, key=lambda one: one.begun)


def everybody_says_who_they_are(requests: Iterable[Asked], contact: str) -> Iterator[Violation]:
    for one in requests:
        if one.channel != "ftp" and contact not in one.user_agent:
            yield Violation("polite: a User-Agent with contact", f"{one.path} came from {one.user_agent!r}")
            return


def ceilings_are_kept(
    peaks: Mapping[str, int], ceilings: Mapping[str, int], what: str
) -> Iterator[Violation]:
    """The most that a server saw at once is not above what the configuration allows."""
    for channel, most in ceilings.items():
        if peaks.get(channel, 0) > most:
            yield Violation(f"polite: {what}", f"{channel} saw {peaks[channel]}, allowed are {most}")


def little_is_fetched_again(requests: Iterable[Asked], deaths: Iterable[Death]) -> Iterator[Violation]:
    """After a kill each begun file goes on at most one block before its end. One that changed meanwhile may begin anew:
    its part is named by whoever saw the death only if it had not.
    """
    everything = [one for one in requests if one.method in ("GET", "RETR")]
    for death in deaths:
        first: dict[str, int] = {}
        for one in everything:
            if death.at < one.begun < death.until and one.path in death.parts:
                first.setdefault(one.path, one.start)
        for path, start in first.items():
            again = death.parts[path] - start
            if again > BLOCK:
                yield Violation("one block per open file", f"{path}: {again} bytes are fetched again")


def nothing_outside(root: Path, allowed: Iterable[Path], around: Path) -> Iterator[Violation]:
    """Nothing stands below `around` that is neither below `root` nor among the `allowed` files and folders."""
    known = [os.fsencode(path) for path in (root, *allowed)]
    for path in walk(os.fsencode(around)):
        if not any(path == one or path.startswith(one + b"/") for one in known):
            yield Violation("nothing outside of root", os.fsdecode(path))


def no_secret(secrets: Iterable[str], places: Iterable[Path]) -> Iterator[Violation]:
    """None of `secrets` stands in any file at or below `places`."""
    words = [secret.encode() for secret in secrets]
    for place in places:
        files = [os.fsencode(place)] if place.is_file() else walk(os.fsencode(place))
        for path in files:
            try:
                with open(path, "rb") as file:
                    text = file.read()
            except OSError:
                continue
            if any(word in text for word in words):
                yield Violation("no secret", f"{os.fsdecode(path)} holds one")
