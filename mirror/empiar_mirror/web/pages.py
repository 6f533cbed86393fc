"""The pages of our own: which address shows what. Each reads one snapshot, on one connection, in a thread."""

from __future__ import annotations

import functools
import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import jinja2

from empiar_mirror.saved.header import SavedQuery
from empiar_mirror.threads import in_thread
from empiar_mirror.web import of_entry
from empiar_mirror.web.annotating import Annotating
from empiar_mirror.web.answers import Answer, App, Receive, Scope, Send, headers_of, query_of, see_other
from empiar_mirror.web.asked import SavedQueries
from empiar_mirror.web.overview import Summary
from empiar_mirror.web.pictures import find_picture, read_picture
from empiar_mirror.web.searching import Question, entry_meant, search
from empiar_mirror.web.snapshots import Snapshot, Snapshots
from empiar_mirror.web.wording import FILTERS, address, archive_url, is_emdb, share
from empiar_schema.codes import STATES
from empiar_schema.settings import Settings
from empiar_schema.view_definitions import FULL_TEXT, VIEWS

HERE: Final = Path(__file__).parent
#: A page that needs longer is not shown.
_PAGE_S: Final = 15.0
_STATIC_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Readers at once; queries of visitors have threads of their own (`browsing`).
THREADS: Final = 3

Reader = Callable[[Snapshot[Summary], sqlite3.Connection], Answer]


def template_environment() -> jinja2.Environment:
    """The templates: whatever is put into them is text, unless a template of ours says otherwise."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    equip(environment)
    return environment


def equip(environment: jinja2.Environment) -> None:
    """The words that our templates use are there."""
    environment.filters.update(FILTERS)
    environment.tests["emdb"] = is_emdb
    environment.globals.update(address=address, share=share, archive_url=archive_url)


def page_facts(snapshots: Snapshots[Summary], now: Callable[[], float]) -> dict[str, object]:
    """What the foot of each page says of the snapshot."""
    made_at = snapshots.current.made_at
    return {"made_at": made_at, "age_s": now() - made_at, "trouble": snapshots.trouble}


class Pages:
    """An ASGI application: our own pages, and what is browsed inside of it."""

    def __init__(
        self,
        settings: Settings,
        snapshots: Snapshots[Summary],
        browsing: App,
        library: Mapping[str, SavedQuery],
        threads: ThreadPoolExecutor,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._browsing = browsing
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pages")
        self._templates = template_environment()
        self._templates.globals["page_facts"] = functools.partial(page_facts, snapshots, now)
        self._annotating = Annotating(settings.root, snapshots, self._render, now=now)
        self._queries = SavedQueries(library, settings, snapshots, threads, self._render)

    async def aclose(self) -> None:
        """No more pages are read."""
        await self._annotating.aclose()
        self._threads.shutdown(cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request that the door let in."""
        path = scope["raw_path"].partition(b"?")[0].decode("ascii")
        # Datasette would look at each table of the database first, which takes a hundred times as long.
        if path.startswith("/catalogue") and not (path == "/catalogue" and not query_of(scope).get("sql")):
            await self._browsing(scope, receive, send)
            return
        answer = await self._answer(path, scope, receive)
        await answer.send(send, head=scope["method"] == "HEAD")

    async def _answer(self, path: str, scope: Scope, receive: Receive) -> Answer:
        query = query_of(scope)
        first, *rest = path.strip("/").split("/")
        reader: Reader
        match first, rest:
            case "static", [name]:
                return _static(name)
            case "catalogue", []:
                reader = self._catalogue
            case "queries", []:
                return self._queries.listed()
            case "query", [name]:
                return await self._queries.answer(name, query)
            case "picture", [number]:
                return await self._picture(int(number), headers_of(scope))
            case "", []:
                reader = self._front
            case "charts", []:
                reader = self._charts
            case "entries", []:
                meant = entry_meant(query.get("q", ""))
                reader = self._search(query, meant)
            case "entry", [number]:
                reader = self._entry(int(number))
            case "entry", [number, "micrograph", file, *asked]:
                return await self._annotating.answer(int(number), int(file), asked, scope, receive)
            case "entry", [number, "files"]:
                reader = self._folder(int(number), query)
            case "entry", [number, "pictures"]:
                reader = self._pictures(int(number), query)
            case "file", [number]:
                reader = self._file(int(number))
            case "subscriptions", []:
                reader = self._subscriptions
            case "subscription", [name]:
                reader = self._subscription(unquote(name, errors="replace"), query)
            case _:
                reader = self._missing("There is no such page.")
        return await self._read(reader)

    async def _read(self, reader: Reader) -> Answer:
        def work() -> Answer:
            with self._snapshots.lease(seconds=_PAGE_S) as (snapshot, connection):
                return reader(snapshot, connection)

        try:
            return await in_thread(self._threads, work)
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            said = f"This page took longer than {_PAGE_S:g} seconds and was given up. Narrow it, or ask the catalogue in SQL."
            return Answer(self._render("error.html", title="Too much at once", error=said, status=503), 503)

    def _render(self, template: str, **facts: object) -> bytes:
        return self._templates.get_template(template).render(facts).encode("utf-8", "replace")

    def _missing(self, said: str) -> Reader:
        def read(snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
            return Answer(self._render("error.html", title="Not here", error=said, status=404), 404)

        return read

    # --- readers --------------------------------------------------------------------------------------------

    def _front(self, snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
        facts = {"summary": snapshot.summary, "queries": self._queries.usual()}
        return Answer(self._render("front.html", root=str(self._settings.root), **facts))

    def _catalogue(self, snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
        return Answer(self._render("catalogue.html", limits=self._settings.serve, views=_VIEWS))

    def _charts(self, snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
        return Answer(self._render("charts.html", charts=snapshot.summary.charts))

    def _search(self, query: Mapping[str, str], meant: int | None) -> Reader:
        def read(snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
            known = "SELECT 1 FROM web_entry WHERE empiar_id = ?"
            if meant is not None and connection.execute(known, (meant,)).fetchone():
                return see_other(f"/entry/{meant}")
            found = search(connection, Question.of(query))
            return Answer(self._render("entries.html", found=found))

        return read

    def _entry(self, empiar_id: int) -> Reader:
        def read(snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
            page = of_entry.read_entry(connection, empiar_id)
            if page is None:
                return self._unknown_entry(empiar_id)(snapshot, connection)
            count, pictures = of_entry.read_pictures(connection, empiar_id, rows=12)
            folder = of_entry.read_folder(connection, empiar_id, "")
            facts: dict[str, object] = {
                "page": page,
                "pictures": pictures,
                "picture_count": count,
                "folder": folder,
            }
            facts |= {"site": self._settings.archive.site_url, "queries": self._queries.of_entries()}
            return Answer(self._render("entry.html", states=STATES, empiar_id=empiar_id, **facts))

        return read

    def _unknown_entry(self, empiar_id: int) -> Reader:
        return self._missing(
            f"The catalogue has no entry EMPIAR-{empiar_id}. If the archive has it, `empiar-mirror crawl {empiar_id}` reads it."
        )

    def _folder(self, empiar_id: int, query: Mapping[str, str]) -> Reader:
        def read(snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
            path = query.get("folder", "").strip("/")
            folder = of_entry.read_folder(connection, empiar_id, path, page=_page(query))
            if folder is None:
                return self._missing("The listing of this entry has no such folder.")(snapshot, connection)
            return Answer(self._render("files.html", folder=folder, empiar_id=empiar_id, states=STATES))

        return read

    def _pictures(self, empiar_id: int, query: Mapping[str, str]) -> Reader:
        def read(snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
            page = _page(query)
            count, pictures = of_entry.read_pictures(connection, empiar_id, page=page)
            pages = max(1, -(-count // of_entry.PICTURES))
            facts = {"pictures": pictures, "picture_count": count, "page": page, "pages": pages}
            return Answer(self._render("pictures.html", empiar_id=empiar_id, **facts))

        return read

    def _file(self, file_id: int) -> Reader:
        def read(snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
            page = of_entry.read_file(connection, file_id)
            if page is None:
                return self._missing("The catalogue has no file of this number.")(snapshot, connection)
            return Answer(self._render("file.html", page=page))

        return read

    def _subscriptions(self, snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
        return Answer(self._render("subscriptions.html", subscriptions=snapshot.summary.subscriptions))

    def _subscription(self, name: str, query: Mapping[str, str]) -> Reader:
        def read(snapshot: Snapshot[Summary], connection: sqlite3.Connection) -> Answer:
            page = _page(query)
            found = of_entry.read_matches(connection, name, page=page)
            if found is None:
                return self._missing("There is no subscription of this name.")(snapshot, connection)
            subscription, count, matches = found
            pages = max(1, -(-count // of_entry.FILES))
            facts = {
                "subscription": subscription,
                "count": count,
                "matches": matches,
                "page": page,
                "pages": pages,
            }
            return Answer(self._render("subscription.html", **facts))

        return read

    async def _picture(self, product_id: int, headers: Mapping[str, str]) -> Answer:
        def work() -> Answer:
            with self._snapshots.lease(seconds=_PAGE_S) as (_, connection):
                place = find_picture(connection, product_id) if product_id < 2**63 else None
            if place is None:
                return _NO_PICTURE
            tag = f'"{place[1]}"'
            if headers.get("if-none-match") == tag:
                return Answer(b"", 304, headers=(("etag", tag),))
            picture = read_picture(self._settings.root, *place)
            if picture is None:
                return _NO_PICTURE
            return Answer(picture.content, media_type=picture.media_type, headers=(("etag", tag),))

        return await in_thread(self._threads, work)


_VIEWS: Final = tuple(sorted([(view.name, view.description) for view in VIEWS] + [FULL_TEXT[:2]]))
_NO_PICTURE: Final = Answer(b"there is no such picture\n", 404, "text/plain; charset=utf-8")


def _static(name: str) -> Answer:
    # The door lets names of letters pass; the folder is the package's own.
    path = HERE / "static" / name
    if not path.is_file():
        return Answer(b"there is no such file\n", 404, "text/plain; charset=utf-8")
    kept = (("cache-control", "max-age=3600"),)
    return Answer(path.read_bytes(), media_type=_STATIC_TYPES[path.suffix], headers=kept)


def _page(query: Mapping[str, str]) -> int:
    text = query.get("page", "")
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,5}", text) else 1
