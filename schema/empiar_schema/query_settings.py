"""Saved queries of your own: the tables ``[query.NAME]``."""

from __future__ import annotations

from pydantic import Field

from empiar_schema.settings_types import Table


class QuerySettings(Table):
    """A query of your own that `empiar-mirror query NAME` runs; see docs/query.md."""

    sql: str = Field(
        min_length=1, examples=["SELECT empiar_id, title FROM entries WHERE title LIKE '%channel%'"]
    )
    """One SELECT. Comments at its head may declare parameters, as in the queries that come with the program."""
    title: str = ""
    """What it shows, for `query --list`; if empty, what the comments say."""
    description: str = ""
    """More about it; if empty, what the comments say."""
