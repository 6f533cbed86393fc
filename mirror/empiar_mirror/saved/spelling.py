"""A saved query with its parameters' values written into it, as somebody would have typed it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from empiar_mirror.saved.header import Value

#: What is quoted or commented, in which nothing is a parameter, or a parameter.
_PIECE: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|[:@$](?P<name>\w+)""", re.DOTALL
)
_DECLARATION: Final = re.compile(r"--\s*parameter\b.*", re.IGNORECASE)


def spelled(sql: str, values: Mapping[str, Value]) -> str:
    """`sql` with these values in the place of its parameters, and without the comments that declared them."""
    lines = (line for line in sql.splitlines() if not _DECLARATION.match(line.strip()))

    def place(found: re.Match[str]) -> str:
        name = found["name"]
        return found[0] if name is None or name not in values else _literal(values[name])

    return _PIECE.sub(place, "\n".join(lines))


def _literal(value: Value) -> str:
    match value:
        case None:
            return "NULL"
        case bytes():
            return f"x'{value.hex()}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            # Two minus signs in a row would begin a comment.
            return f"({value!r})" if value < 0 else repr(value)
