"""Versions of labels by hand as the page of a micrograph is told of them: plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from empiar_imaging.labels.by_hand import HandVersion, Pick
from empiar_mirror.by_hand.versions import VersionFile, current
from empiar_schema.faults import BadLabels

#: Versions that the page names, the newest.
_NAMED: Final = 20


def latest(files: Sequence[VersionFile]) -> int:
    """The number on which the next version is to be based: also one that cannot be read is somebody's work."""
    return max((file.number for file in files if not file.aside), default=0)


def labels_of(files: tuple[VersionFile, ...]) -> dict[str, object] | None:
    """The picks that count, and what is said of them; None where there is no version by hand."""
    one = current(files)
    if one is None:
        return None
    return {
        "version": latest(files),
        "picks": shown(one.version.picks),
        "diameter_px": one.version.diameter_px,
        "naming": f"version {one.version.version} by {one.version.author}",
        "problems": list(one.problems),
    }


def problems(files: Sequence[VersionFile]) -> list[str]:
    """Why versions cannot be read."""
    return [str(one["problem"]) for one in named([f for f in files if not f.aside]) if "problem" in one]


def shown(picks: Sequence[Pick]) -> list[list[object]]:
    """Column, row, state and source of each pick."""
    return [[pick.x, pick.y, pick.state, pick.source] for pick in picks]


def named(files: Sequence[VersionFile]) -> list[dict[str, object]]:
    """The newest versions, the newest first."""
    found: list[dict[str, object]] = []
    for file in list(reversed(files))[:_NAMED]:
        try:
            found.append(facts(file.read()))
        except BadLabels as fault:
            found.append({"version": file.number, "aside": file.aside, "problem": str(fault)})
    return found


def facts(version: HandVersion) -> dict[str, object]:
    """What is said of a version beside its picks."""
    return {
        "version": version.version,
        "aside": version.aside,
        "author": version.author,
        "saved_at": version.saved_at,
        "note": version.note,
        "diameter_px": version.diameter_px,
        "kept": len(version.of_state("kept")),
        "rejected": len(version.of_state("rejected")),
    }
