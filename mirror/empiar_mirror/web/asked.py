"""The pages of saved queries: a list of them, a form for each, and what it brings as a page, as CSV and as JSON."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from empiar_mirror.query_formats import plain, write_csv, write_json
from empiar_mirror.saved.header import SavedQuery
from empiar_mirror.saved.known import is_name
from empiar_mirror.saved.spelling import spelled
from empiar_mirror.sql_errors import explained
from empiar_mirror.threads import in_thread
from empiar_mirror.web.answers import Answer
from empiar_mirror.web.form import Form, form_of, mistakes_of
from empiar_mirror.web.limited import Result, result_of, too_long
from empiar_mirror.web.overview import Summary
from empiar_mirror.web.quicker import sql_on_sums
from empiar_mirror.web.snapshots import Snapshots
from empiar_mirror.web.wording import address
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings

#: Questions of visitors at once, saved ones and their own together.
THREADS: Final = 2
#: An address that is longer than this does not come in (`door`).
_LONGEST_ADDRESS: Final = 15_000
#: Queries that the front page names.
_USUAL: Final = 6
_SUFFIXES: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json"}

Render = Callable[..., bytes]


class SavedQueries:
    """Answers for ``/queries`` and ``/query/NAME``."""

    def __init__(
        self,
        library: Mapping[str, SavedQuery],
        settings: Settings,
        snapshots: Snapshots[Summary],
        threads: ThreadPoolExecutor,
        render: Render,
    ) -> None:
        self._library = {name: query for name, query in library.items() if is_name(name)}
        self._own = frozenset(settings.query)
        self._settings = settings.serve
        self._snapshots = snapshots
        self._threads = threads
        self._render = render

    def of_entries(self) -> Sequence[SavedQuery]:
        """Those that can be asked of one entry, by ``id``."""
        return [query for query in self._library.values() if _takes_entry(query)]

    def usual(self) -> Sequence[SavedQuery]:
        """Those that the front page names: they need nothing, and the configuration's come before the program's."""
        ready = [q for q in self._library.values() if all(p.default is not None for p in q.parameters)]
        return sorted(ready, key=lambda query: query.name not in self._own)[:_USUAL]

    def listed(self) -> Answer:
        """All of them."""
        return Answer(self._render("queries.html", queries=list(self._library.values())))

    async def answer(self, name: str, given: Mapping[str, str]) -> Answer:
        """The query ``NAME``, ``NAME.csv`` or ``NAME.json``, asked with what the address gives."""
        name, _, suffix = name.partition(".")
        query = self._library.get(name)
        if query is None:
            return self._refuse(suffix, 404, "There is no saved query of this name.")
        form = form_of(query, given)
        if not form.is_complete:
            if suffix:
                return self._refuse(suffix, 400, mistakes_of(form))
            asked_nothing = not given and not form.strange
            return self._page(form, None, None, status=200 if asked_nothing else 400)
        try:
            found = await in_thread(self._threads, lambda: self._ask(form))
        except ConfigFault as fault:
            said = f"{fault}{f' ({fault.hint})' if fault.hint else ''}"
            return self._refuse(suffix, 400, said) if suffix else self._page(form, None, said, status=400)
        return _file(name, suffix, found) if suffix else self._page(form, found, None)

    def _ask(self, form: Form) -> Result:
        seconds, most = self._settings.sql_time, self._settings.sql_rows
        with self._snapshots.lease(seconds=seconds) as (_, connection):
            try:
                sql = sql_on_sums(form.query, own=form.query.name in self._own)
                return result_of(connection, sql, form.values, most=most)
            except sqlite3.OperationalError as error:
                if str(error) == "interrupted":
                    raise ConfigFault(too_long(seconds)) from error
                raise explained(str(error), form.query.sql, connection) from error

    def _page(self, form: Form, found: Result | None, error: str | None, *, status: int = 200) -> Answer:
        edit = address("/catalogue", {"sql": spelled(form.query.sql, form.values)})
        facts = {
            "form": form,
            "error": error,
            "found": found,
            "columns": () if found is None else _columns(found),
            "edit": edit if form.is_complete and len(edit) <= _LONGEST_ADDRESS else None,
            "limits": self._settings,
            "plain": plain,
        }
        return Answer(self._render("saved.html", **facts), status)

    def _refuse(self, suffix: str, status: int, said: str) -> Answer:
        if suffix == "json":
            return Answer(json.dumps({"error": said}).encode(), status, _SUFFIXES["json"])
        if suffix == "csv":
            return Answer(f"{said}\n".encode("utf-8", "replace"), status, "text/plain; charset=utf-8")
        return Answer(self._render("error.html", title="Not here", error=said, status=status), status)


def _takes_entry(query: SavedQuery) -> bool:
    others = [parameter for parameter in query.parameters if parameter.name != "id"]
    takes = any(parameter.name == "id" and parameter.kind == "id" for parameter in query.parameters)
    return takes and all(parameter.default is not None for parameter in others)


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is shown: ``entry`` and ``file`` lead there, ``size`` is bytes, ``number`` stands to the right."""

    name: str
    kind: str


def _columns(found: Result) -> tuple[Column, ...]:
    kinds = []
    for position, name in enumerate(found.columns):
        values = [row[position] for row in found.rows if row[position] is not None]
        numbers = bool(values) and all(isinstance(value, int | float) for value in values)
        if name == "empiar_id" and numbers:
            kind = "entry"
        elif name == "file_id" and numbers:
            kind = "file"
        elif name.endswith("bytes") and numbers:
            kind = "size"
        else:
            kind = "number" if numbers else "text"
        kinds.append(Column(name, kind))
    return tuple(kinds)


def _file(name: str, suffix: str, found: Result) -> Answer:
    text = io.StringIO()
    (write_csv if suffix == "csv" else write_json)(found, text)
    headers = [("content-disposition", f'attachment; filename="{name}.{suffix}"')] if suffix == "csv" else []
    # A file cannot say of itself that it is not all.
    headers.append(("x-cut", str(len(found.rows)) if found.cut else "no"))
    return Answer(text.getvalue().encode("utf-8", "replace"), 200, _SUFFIXES[suffix], tuple(headers))
