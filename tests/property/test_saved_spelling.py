"""A saved query with its values written in is the query with its values bound."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.saved.header import Value
from empiar_mirror.saved.spelling import spelled

#: Every place in which something looks like a parameter, and is one or is none.
SQL = """-- title: :a is no parameter here
-- parameter a text: what it is
SELECT :a AS a, 5-:b AS b, ':a' AS c, "x" AS ":b", /* :a
 :b */ :ab AS ab, 'it''s :a' AS d, [:a], @a AS e -- :b
FROM (SELECT 1 AS x, 2 AS ":a")"""
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)


@given(VALUES, st.integers(-(2**40), 2**40), VALUES)
def test_written_and_bound_values_bring_the_same(a: Value, b: int, ab: Value) -> None:
    values: dict[str, Value] = {"a": a, "b": b, "ab": ab}
    with closing(sqlite3.connect(":memory:")) as connection:
        bound = connection.execute(SQL, values).fetchone()
        written = connection.execute(spelled(SQL, values)).fetchone()
    for one, other in zip(bound, written, strict=True):
        same = math.isclose(one, other) if isinstance(one, float) else one == other
        assert same, (one, other)
        assert type(one) is type(other)


def test_only_declarations_go_from_the_comments() -> None:
    assert spelled(SQL, {}).splitlines()[0] == "-- title: :a is no parameter here"
    assert "parameter a text" not in spelled(SQL, {})
