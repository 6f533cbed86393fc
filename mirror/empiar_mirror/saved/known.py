"""The saved queries that there are: those of the program, and those of the configuration, which win."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

from empiar_mirror.saved.header import SavedQuery, parse_query
from empiar_schema.faults import ConfigFault
from empiar_schema.query_settings import QuerySettings

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def is_name(text: str) -> bool:
    """Whether `text` can be the name of a query; no SQL is a single word."""
    return _NAME.fullmatch(text) is not None


def library(own: Mapping[str, QuerySettings]) -> dict[str, SavedQuery]:
    """All saved queries by name, in alphabetical order; one of the configuration takes the place of the program's.

    Raises:
        ConfigFault: the head of one of the configuration cannot be read.
    """
    folder = resources.files("empiar_mirror.saved") / "queries"
    files = {file.name: file for file in folder.iterdir() if file.name.endswith(".sql")}
    found = {
        name.removesuffix(".sql"): parse_query(name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for name, file in files.items()
    }
    for name, query in own.items():
        found[name] = parse_query(name, query.sql, title=query.title, description=query.description)
    return dict(sorted(found.items()))


def saved_query(name: str, own: Mapping[str, QuerySettings]) -> SavedQuery:
    """The query of this name.

    Raises:
        ConfigFault: there is none.
    """
    known = library(own)
    if name in known:
        return known[name]
    meant = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    question = f"; did you mean {meant[0]}?" if meant else ""
    raise ConfigFault(
        f"there is no saved query {name}{question}", hint="`empiar-mirror query --list` shows them all"
    )
