"""Which gain reference or defect file belongs to which movie (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from empiar_mirror.makers.maker import Facts, Source


class Ambiguous(Exception):
    """Several files fit equally well; a person has to say which."""

    def __init__(self, candidates: Sequence[Source]) -> None:
        super().__init__(f"{len(candidates)} fit equally well: {', '.join(c.path for c in candidates[:3])}")


def nearest(candidates: Sequence[Source], movie: Source, *, named: str | None = None) -> Source | None:
    """The one of `candidates` that belongs to `movie`; None if there is none, or none at the path `named`.

    By the sides of the images first, where headers tell them (a reference may be turned by 90°), then by how few folders
    lie between: a reference beside the movies belongs to them rather than one further off.

    Raises:
        Ambiguous: several are equally near.
    """
    if named is not None:
        return next((candidate for candidate in candidates if candidate.path == named), None)
    alike = [c for c in candidates if _same_sides(c.facts, movie.facts)] or list(candidates)
    if not alike:
        return None
    closest = min(_distance(c, movie) for c in alike)
    near = [c for c in alike if _distance(c, movie) == closest]
    if len(near) > 1:
        raise Ambiguous(near)
    return near[0]


def _same_sides(one: Facts, other: Facts) -> bool:
    sides = (one.width, one.height, other.width, other.height)
    return None not in sides and {one.width, one.height} == {other.width, other.height}


def _distance(candidate: Source, movie: Source) -> tuple[int, int]:
    """Folders up from the movie to the common one, then down to the candidate."""
    theirs = candidate.directory.split("/") if candidate.directory else []
    ours = movie.directory.split("/") if movie.directory else []
    common = 0
    for one, other in zip(theirs, ours, strict=False):
        if one != other:
            break
        common += 1
    return len(ours) - common, len(theirs) - common
