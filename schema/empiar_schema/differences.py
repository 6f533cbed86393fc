"""What differs between two records of one entry; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class Difference(NamedTuple):
    """A field that differs: its path, and its values as text (JSON for lists and objects; None for null)."""

    field: str
    old: str | None
    new: str | None


def differences(old: dict[str, Json], new: dict[str, Json], *, prefix: str = "") -> Iterator[Difference]:
    """Every field of `new` that `old` states otherwise.

    A model's field that `old` lacks is one that an earlier version of this program did not know: no change
    of the archive's. Below ``extra``, where keys are the archive's own, coming and going counts.
    """
    within_extra = prefix.endswith("extra.")
    for key in dict.fromkeys((*old, *new)):
        if not within_extra and (key not in old or key not in new):
            continue
        yield from _compare(prefix + key, old.get(key), new.get(key))


def _compare(field: str, old: Json, new: Json) -> Iterator[Difference]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from differences(old, new, prefix=f"{field}.")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and _objects(old + new):
        for n, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _compare(f"{field}[{n}]", before, after)
    else:
        yield Difference(field, _text(old), _text(new))


def _objects(items: list[Json]) -> bool:
    return all(isinstance(item, dict) for item in items)


def _text(value: Json) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
