"""What the catalogue knows of a query's matches: their files and bytes, and whether they are new."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_mirror.subscriptions.choices import Choices
from empiar_mirror.subscriptions.judging import Item
from empiar_mirror.subscriptions.matching import Matches
from empiar_schema.faults import ConfigFault
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.subscriptions import Recorded

#: Mark of a file: once it is wanted, nothing about it can become more.
_FILE_MARK: Final = "file"
#: Unknown numbers that are named; the rest is counted.
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """What of an entry decides what is wanted of it."""

    empiar_id: int
    current_listing: int | None
    inspected_listing: int | None
    role_overrides: str | None
    files: int
    bytes: int
    discovered_at: int


Facts = Mapping[int, EntryFacts]


def entry_facts(conn: sqlite3.Connection) -> Facts:
    """The facts of all entries, by number."""
    rows = conn.execute(
        "SELECT empiar_id, current_listing, inspected_listing, role_overrides, file_count, file_bytes, discovered_at"
        " FROM entry"
    )
    return {row[0]: EntryFacts(*tuple(row)) for row in rows}


def items_of(
    conn: sqlite3.Connection,
    matches: Matches,
    facts: Facts,
    recorded: Mapping[int, Recorded],
    *,
    recipe: ViewRecipe | None,
    choices: Choices,
    new_since: int | None,
) -> list[Item]:
    """The matches with their files and bytes, in the order of the query.

    What is on record is taken from there as long as nothing has changed. With `new_since` None everything counts as new.

    Raises:
        ConfigFault: the catalogue does not know one of them, or a view is to be taken of single files.
    """
    if matches.selects == "files":
        if recipe is not None:
            raise ConfigFault(
                "a view takes part of entries, and the SQL returns file_id",
                hint="return empiar_id, or leave the view out",
            )
        return _files(conn, matches.numbers, facts, recorded, new_since)
    _refuse([number for number in matches.numbers if number not in facts], "entry", "empiar_id")
    chosen = (facts[number] for number in matches.numbers)
    return list(_entries(choices, chosen, recorded, recipe, new_since))


def _refuse(unknown: Sequence[int], word: str, column: str) -> None:
    if unknown:
        named = ", ".join(map(str, unknown[:_NAMED]))
        more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
        raise ConfigFault(
            f"the SQL returns {named}{more} as {column}, and the catalogue knows no such {word}",
            hint="select from the catalogue's views, or crawl the entry first",
        )


def _entries(
    choices: Choices,
    chosen: Iterable[EntryFacts],
    recorded: Mapping[int, Recorded],
    recipe: ViewRecipe | None,
    new_since: int | None,
) -> Iterator[Item]:
    digest = _digest(recipe) if recipe is not None else ""
    for entry in chosen:
        number = entry.empiar_id
        new = new_since is None or entry.discovered_at > new_since
        if recipe is None:
            listing = entry.current_listing
            mark = None if listing is None else str(listing)
            yield Item(number, 0, entry.files, entry.bytes, mark, new)
            continue
        # A view chooses by roles, so it waits for them, and chooses anew when they are judged anew.
        if entry.current_listing is None or entry.inspected_listing != entry.current_listing:
            yield Item(number, 0, 0, 0, None, new)
            continue
        mark = f"{entry.current_listing}/{entry.role_overrides or ''}/{digest}"
        known = recorded.get(number)
        if known is not None and known.mark == mark:
            yield Item(number, 0, known.files, known.bytes, mark, new)
            continue
        taken = choices.taken(number, recipe)
        yield Item(number, 0, taken.files, taken.bytes, mark, new)


def _digest(recipe: ViewRecipe) -> str:
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]


def _files(
    conn: sqlite3.Connection,
    numbers: Sequence[int],
    facts: Facts,
    recorded: Mapping[int, Recorded],
    new_since: int | None,
) -> list[Item]:
    mark = _FILE_MARK
    taken = {number: match for number, match in recorded.items() if match.wanted}
    looked_up = {
        file_id: Item(
            empiar_id,
            file_id,
            1,
            size or 0,
            None if gone else mark,
            new_since is None or facts[empiar_id].discovered_at > new_since or listed_at > new_since,
        )
        for file_id, empiar_id, size, gone, listed_at in _file_rows(
            conn, [number for number in numbers if number not in taken]
        )
    }
    _refuse([n for n in numbers if n not in taken and n not in looked_up], "file", "file_id")
    items = []
    for number in numbers:
        match = taken.get(number)
        if match is None:
            items.append(looked_up[number])
        else:
            items.append(Item(match.empiar_id, number, match.files, match.bytes, mark))
    return items


def _file_rows(
    conn: sqlite3.Connection, numbers: Sequence[int]
) -> Iterator[tuple[int, int, int | None, bool, int]]:
    """File, entry, bytes, whether it is gone, and when it was added to an entry that had been listed before: 0 if it was not."""
    if not numbers:
        return
    first_of: dict[int, int] = {}
    rows = conn.execute(
        "SELECT f.file_id, d.empiar_id, f.bytes, a.gone_at IS NOT NULL, f.first_listing"
        " FROM json_each(?) j JOIN file f ON f.file_id = j.value JOIN directory d ON d.directory_id = f.directory_id"
        " LEFT JOIN file_absence a ON a.file_id = f.file_id",
        (json.dumps(numbers),),
    ).fetchall()
    when: dict[int, int] = {}
    for file_id, empiar_id, size, gone, listing in rows:
        if empiar_id not in first_of:
            query = "SELECT min(listing_id) FROM listing WHERE empiar_id = ?"
            first_of[empiar_id] = conn.execute(query, (empiar_id,)).fetchone()[0]
        if listing not in when:
            found = conn.execute("SELECT completed_at FROM listing WHERE listing_id = ?", (listing,))
            when[listing] = found.fetchone()[0]
        yield file_id, empiar_id, size, bool(gone), 0 if listing == first_of[empiar_id] else when[listing]
