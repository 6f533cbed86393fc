"""What SQLite refuses, as a sentence: where in the SQL the mistake is, and which name was probably meant."""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Final

from empiar_schema.faults import ConfigFault

#: The full-text table has no view around it, so that MATCH works.
_FULL_TEXT: Final = "entries_fts"
_SEE: Final = "docs/sql.md lists the views and their columns"
_SHOWN: Final = 100
#: A piece of SQL: what is quoted or commented, a name or number (with its dots), or one other character.
_PIECE: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|[^\W]+(?:\.\w+)*|\S""", re.DOTALL
)
_NAMED: Final = re.compile(
    r"no such (?:table|column|function): (?P<missing>.+)|ambiguous column name: (?P<ambiguous>.+)"
    r"|misuse of (?:aggregate|window function|aliased aggregate)(?: function)?:? (?P<misused>\w+)\(?\)?"
    r"|wrong number of arguments to function (?P<counted>\w+)\(\)"
)


def explained(text: str, sql: str, connection: sqlite3.Connection) -> ConfigFault:
    """The fault that SQLite's message on `sql` means: a sentence, the place, what to do. `connection` is one that may run nothing else by now."""
    if "not authorized" in text or "prohibited" in text or "readonly" in text:
        return ConfigFault(f"only reading is possible here: {text}", hint="write one SELECT")
    if "one statement" in text:
        return ConfigFault("write one statement, without a second one after the semicolon")
    if "supply a value for binding" in text:
        return ConfigFault(f"a parameter is missing: {text}", hint="give it with -p name=value")
    if "too big" in text:
        return ConfigFault(
            "a value of the result is larger than 64 MiB", hint="select less text, or use substr()"
        )
    if text.startswith(("fts5:", "unknown special query")) or text == "unterminated string":
        return ConfigFault(
            f"the words after MATCH are no full-text query: {text}",
            hint="put odd words in double quotes inside, or use `empiar-mirror search`, which takes any words",
        )
    if near := re.fullmatch(r'near "(.*)": syntax error', text, re.DOTALL):
        place = _place(sql, near[1], lambda end: _refuses(connection, sql[:end], text))
        return ConfigFault(f"the SQL does not work: {text}{_caret(sql, place)}", hint=_SEE)
    if text == "incomplete input":
        end = len(sql.rstrip())
        return ConfigFault(
            f"the SQL ends too early{_caret(sql, (end, end + 1))}", hint="something lacks at its end"
        )
    if unread := re.fullmatch(r'unrecognized token: "(.*)"', text, re.DOTALL):
        at = sql.find(unread[1])
        place = (at, at + len(unread[1])) if at >= 0 else None
        return ConfigFault(
            f"the SQL does not work: this is no SQL{_caret(sql, place)}",
            hint="text stands in single quotes, '…', that end",
        )
    named = _NAMED.match(text)
    name = next((group for group in named.groups() if group), "") if named else ""
    place = _place(sql, name) if name else None
    missing = re.fullmatch(r"no such (table|column|function): (.+)", text)
    if missing:
        return _nothing_of_that_name(missing[1], missing[2], sql, place, connection)
    if text.startswith("ambiguous"):
        return ConfigFault(
            f"the column {name} is in more than one of these views{_caret(sql, place)}",
            hint="write the view, or its short name, before it, such as e.empiar_id",
        )
    return ConfigFault(f"the SQL does not work: {text}{_caret(sql, place)}", hint=_SEE)


def _nothing_of_that_name(
    kind: str, name: str, sql: str, place: tuple[int, int] | None, connection: sqlite3.Connection
) -> ConfigFault:
    connection.set_progress_handler(None, 0)
    connection.set_authorizer(None)
    views = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
    views.append(_FULL_TEXT)
    if kind == "function":
        rows = connection.execute("SELECT DISTINCT name FROM pragma_function_list")
        return _no(
            name, "function", [row[0] for row in rows], sql, place, sentence=f"SQLite has no function {name}"
        )
    if kind == "table":
        return _no(name, "view", views, sql, place, sentence=f"there is no view {name}")
    words = {word.lower() for word in re.findall(r"\w+", sql)}
    # What the views in question have comes before what others have.
    asked = [view for view in views if view in words]
    others = [view for view in views if view not in words]
    return _no(
        name,
        "column",
        [column for view in asked for column in _columns(connection, view)],
        sql,
        place,
        sentence=f"there is no column {name}",
        else_known=[column for view in others for column in _columns(connection, view)],
    )


def _no(
    name: str,
    word: str,
    known: list[str],
    sql: str,
    place: tuple[int, int] | None,
    *,
    sentence: str,
    else_known: list[str] | None = None,
) -> ConfigFault:
    wanted = name.rpartition(".")[2].lower()
    meant = difflib.get_close_matches(
        wanted, dict.fromkeys(known), n=1, cutoff=0.6
    ) or difflib.get_close_matches(wanted, dict.fromkeys([*known, *(else_known or ())]), n=1, cutoff=0.5)
    question = f"; did you mean {meant[0]}?" if meant else ""
    hint = _SEE if word != "function" else "https://sqlite.org/lang_corefunc.html lists them"
    return ConfigFault(f"{sentence}{question}{_caret(sql, place)}", hint=hint)


def _columns(connection: sqlite3.Connection, view: str) -> list[str]:
    return [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (view,))]


def _pieces(sql: str) -> Iterator[tuple[int, int]]:
    for piece in _PIECE.finditer(sql):
        if not piece[0].startswith(("'", "--", "/*")):
            yield piece.span()


def _place(sql: str, name: str, wrong_up_to: Callable[[int], bool] | None = None) -> tuple[int, int] | None:
    """Where `name` stands in `sql`: the first place, or, with `wrong_up_to`, the first after which SQLite complains already."""
    wanted = name.lower()
    for start, end in _pieces(sql):
        piece = sql[start:end].lower().strip('"')
        named = piece == wanted or piece.endswith(f".{wanted}")
        if named and (wrong_up_to is None or wrong_up_to(end)):
            return start, end
    at = sql.lower().find(wanted)
    return (at, at + len(wanted)) if at >= 0 and wanted else None


def _refuses(connection: sqlite3.Connection, beginning: str, text: str) -> bool:
    """Whether SQLite says `text` of this beginning of a statement; it is compiled, not run."""
    try:
        connection.execute(f"EXPLAIN {beginning}")
    except (sqlite3.Error, sqlite3.Warning) as error:
        return str(error) == text
    return False


def _caret(sql: str, place: tuple[int, int] | None) -> str:
    """The line of the mistake, and a mark below it; empty where the place is not known."""
    if place is None:
        return ""
    start, end = place
    begin = sql.rfind("\n", 0, start) + 1
    line = sql[begin:].partition("\n")[0]
    left = max(0, start - begin - _SHOWN // 2)
    shown = "".join(c if c.isprintable() else " " for c in line[left : left + _SHOWN])
    column = start - begin - left
    width = max(1, min(end - start, _SHOWN - column))
    return f"\n    {shown}\n    {' ' * column}{'^' * width}"
