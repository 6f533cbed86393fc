"""Whatever EMDB answers: facts that can be stored, or a clear refusal."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from empiar_crawler.parse.emdb import parse_emdb
from empiar_mirror.rehearsal.maps import standard_maps
from empiar_schema.crawl_store import CachedAnswer
from empiar_schema.emdb_store import record_emdb
from empiar_schema.faults import BadAnswer
from empiar_schema.migrations import migrate

MAPS = standard_maps()
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(["3.2", "1e30", "-1", "0", "kDa/nm", "EMD-0001", "2021-13-45", "\ud800", "\x00", "GO"]),
)
JSON = st.recursive(
    LEAVES, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(["valueOf_", "units", "entry"]), part), max_leaves=6
)  # fmt: skip


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        migrate(conn)
        yield conn


def places(value: JsonValue, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every part of the document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from places(part, (*path, key))


def replaced(value: JsonValue, path: tuple[str | int, ...], by: JsonValue) -> JsonValue:
    if not path:
        return by
    if isinstance(value, dict):
        return {k: replaced(v, path[1:], by) if k == path[0] else v for k, v in value.items()}
    assert isinstance(value, list)
    return [replaced(v, path[1:], by) if n == path[0] else v for n, v in enumerate(value)]


@given(emdb_id=st.sampled_from(sorted(MAPS)), data=st.data())
def test_anything_may_stand_anywhere(
    connection: sqlite3.Connection, emdb_id: str, data: st.DataObject
) -> None:
    document = MAPS[emdb_id]
    for _ in range(data.draw(st.integers(1, 3))):
        ways = sorted(places(document), key=repr)
        if ways:
            document = replaced(document, data.draw(st.sampled_from(ways)), data.draw(JSON))
    try:
        entry = parse_emdb(json.dumps(document).encode(), emdb_id)
    except BadAnswer:
        return
    if entry is not None:
        none = CachedAnswer(None, None)
        record_emdb(connection, entry, none, now=1)
        assert not record_emdb(connection, entry, none, now=2)  # the same again is no change
