"""EMPIAR's REST API, the EMDB search over it, EMDB's own entries, and the web site's directory tree."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from empiar_mirror.rehearsal.archive import Entry, Json, Node, RehearsalArchive
from empiar_mirror.rehearsal.faults import HTML_PAGE, Fault, FaultBook, FaultKind, Stage
from empiar_mirror.rehearsal.http import status_and_headers
from empiar_mirror.rehearsal.served import ServedLog

API = "/empiar/api"
SEARCH = "/emdb/api/empiar/search"
EMDB = "/emdb/api"
SITE = "/empiar"

_ENTRY = re.compile(API + r"/entry/(?:EMPIAR-)?(\d+)/?")
_RANGES = re.compile(API + r"/entry/?")
_SEARCH = re.compile(SEARCH + r"/(.+?)/?")
_MAP = re.compile(EMDB + r"/entry/(EMD-\d+)/?")
_TREE = re.compile(SITE + r"/EMPIAR-(\d+)/dirStruct=full&list=(\d+)/(-?\d+)/?")
_HOME = re.compile(SITE + r"/?")
_UPDATED = re.compile(r"update_date:\s*\[\s*(\S+)\s+TO\s+(\S+?)\s*\]")
_MOST_ROWS = 10_000


@dataclass(slots=True)
class ApiServer:
    """Answers metadata requests."""

    archive: RehearsalArchive
    book: FaultBook
    log: ServedLog

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request, recorded in the log however it ends."""
        path = unquote(request.raw_path.partition("?")[0])
        status, sent, target, begun = 0, 0, path, self.log.asked("api")
        try:
            target, payload = await self._payload(request, path)
            fault = self.book.take(Stage.METADATA, "api", target)
            response = await self._answer(request, payload, fault)
            status, sent = response.status, response.content_length or 0
            return response
        finally:
            agent = request.headers.get("User-Agent", "")
            self.log.add(
                "api", request.method, target, status=status, bytes_sent=sent, user_agent=agent, begun=begun
            )

    async def _payload(self, request: web.BaseRequest, path: str) -> tuple[str, Json]:
        """The request's name for faults and log, and what to answer; None: there is no such thing."""
        if found := _ENTRY.fullmatch(path):
            entry = self.archive.entries.get(int(found[1]))
            return f"entry/{int(found[1])}", None if entry is None else {entry.accession: entry.record}
        if _RANGES.fullmatch(path) and request.method == "POST":
            wanted = parse_ranges(await request.text())
            entries = [entry for entry in self._ordered() if any(entry.empiar_id in span for span in wanted)]
            return "ranges", {entry.accession: entry.record for entry in entries}
        if found := _SEARCH.fullmatch(path):
            return "search", self._search(found[1], request)
        if found := _MAP.fullmatch(path):
            return f"emdb/{found[1]}", self.archive.maps.get(found[1])
        if found := _TREE.fullmatch(path):
            listed = self._tree(int(found[1]), node=int(found[2]), imageset=int(found[3]))
            return f"tree/{found[1]}/{found[3]}", listed
        if _HOME.fullmatch(path):
            return (
                "home",
                f'<html><body><span id="num_of_entries">{len(self.archive.entries)}</span></body></html>',
            )
        return path, None

    def _ordered(self) -> list[Entry]:
        return [self.archive.entries[number] for number in sorted(self.archive.entries)]

    def _search(self, query: str, request: web.BaseRequest) -> Json:
        rows = min(int(request.query.get("rows", "10")), _MOST_ROWS)
        page = int(request.query.get("page", "1"))
        hits = [entry for entry in self._ordered() if matches(entry, query)]
        # A search record says what an entry is; its image sets are in the entry itself.
        return {
            entry.accession: {**entry.record, "imagesets": []}
            for entry in hits[(page - 1) * rows : page * rows]
        }

    def _tree(self, number: int, *, node: int, imageset: int) -> Json:
        entry = self.archive.entries.get(number)
        if entry is None or entry.tree is None:
            return [{"id": 1, "name": "The file with the list of directories does not exist", "size": 0}]
        return tree_nodes(entry, _imageset_folder(entry, imageset), node)

    async def _answer(
        self, request: web.BaseRequest, payload: Json, fault: Fault | None
    ) -> web.StreamResponse:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        kind = fault.kind if fault is not None else None
        match kind:
            case FaultKind.STATUS if fault is not None:
                status, body, headers = status_and_headers(fault)
                return web.Response(status=status, body=body, headers=headers)
            case FaultKind.REDIRECT if fault is not None:
                return web.Response(status=302, headers={"Location": fault.value})
            case FaultKind.HTML_PAGE:
                return web.Response(body=HTML_PAGE, content_type="text/html")
            case FaultKind.BROKEN_JSON:
                return web.Response(text=text[: len(text) // 2], content_type="application/json")
            case FaultKind.DEEP_JSON if fault is not None:
                depth = int(fault.number(100_000))
                return web.Response(text="[" * depth + "]" * depth, content_type="application/json")
            case FaultKind.HUGE_JSON if fault is not None:
                return await _huge(request, int(fault.number(200_000_000)))
            case FaultKind.DROP_AT | FaultKind.STALL_AT:
                return await _broken_off(request, text, stall=kind is FaultKind.STALL_AT)
        if payload is None:
            return web.json_response({"code": 404, "message": "Not found", "fields": ""}, status=404)
        content_type = "text/html" if isinstance(payload, str) else "application/json"
        etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'
        if _MAP.fullmatch(request.path):
            if request.headers.get("If-None-Match") == etag:
                return web.Response(status=304, headers={"ETag": etag})
            return web.Response(text=text, content_type=content_type, headers={"ETag": etag})
        return web.Response(text=text, content_type=content_type)


async def _broken_off(request: web.BaseRequest, text: str, *, stall: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(text.encode())
    await response.prepare(request)
    await response.write(text.encode()[: len(text) // 2])
    if stall:
        await asyncio.Event().wait()
    if request.transport is not None:
        request.transport.close()
    return response


async def _huge(request: web.BaseRequest, size: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"EMPIAR-10101": {"title": "')
    piece = b"x" * 1_000_000
    for _ in range(0, size, len(piece)):
        await response.write(piece)
    await response.write(b'"}}')
    return response


def parse_ranges(text: str) -> list[range]:
    """``10000-10499,10600`` as ranges.

    Raises:
        web.HTTPBadRequest: the text is none of these.
    """
    ranges = []
    for part in text.strip().split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise web.HTTPBadRequest(
                text='{"code": 400, "message": "ids and ranges are wanted", "fields": ""}'
            )
        ranges.append(range(int(first), int(last or first) + 1))
    return ranges


def matches(entry: Entry, query: str) -> bool:
    """Whether the entry is a hit for `query`: ``*``, words of the title, ``update_date:[A TO B]``."""
    if found := _UPDATED.search(query):
        updated = str(entry.record.get("update_date"))
        first, last = (
            bound if bound != "*" else edge for bound, edge in zip(found.groups(), ("", "~"), strict=True)
        )
        if not first <= updated <= last:
            return False
        query = query.replace(found[0], "")
    words = [word for word in query.split() if word not in ("*", "*:*", "AND", "database:EMPIAR")]
    return all(word.lower() in str(entry.record.get("title")).lower() for word in words)


def _imageset_folder(entry: Entry, imageset: int) -> bytes:
    """The folder of an image set; the whole entry for -1 and where the folder is not there, as on the web site."""
    imagesets = entry.record.get("imagesets")
    if entry.tree is None or not isinstance(imagesets, list) or not 0 <= imageset < len(imagesets):
        return b""
    found = imagesets[imageset]
    folder = str(found.get("directory", "")).strip("/").encode() if isinstance(found, dict) else b""
    return folder if entry.tree.children(folder) is not None else b""


def tree_nodes(entry: Entry, root: bytes, node: int) -> Json:
    """The node `node` and its siblings; nodes below `root` are numbered depth first from 1."""
    numbered: list[tuple[int, int, bytes, Node, int]] = []

    def number(path: bytes, item: Node, parent: int) -> int:
        place = len(numbered)
        numbered.append((place + 1, parent, path, item, 0))
        size = item.size if item is not None else 0
        children = entry.tree.children(path) if item is None and entry.tree is not None else None
        for name, child in children or ():
            size += number(path + b"/" + name if path else name, child, place + 1)
        numbered[place] = (place + 1, parent, path, item, size)
        return size

    number(root, None, 0)
    if not 1 <= node <= len(numbered):
        return []
    parent = numbered[node - 1][1]
    return [
        {
            "id": place,
            "name": (shown := path.rpartition(b"/")[2].decode("utf-8", "replace") or entry.accession),
            "text": shown,
            "type": "folder" if item is None else "file",
            "size": size,
            "children": item is None,
            "state": {"opened": False},
        }
        for place, above, path, item, size in numbered
        if above == parent
    ]
