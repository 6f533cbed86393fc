"""The file tree over HTTP, as Apache shows it: index pages, files, ranges, validators."""

from __future__ import annotations

import asyncio
import html
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import quote_from_bytes, unquote_to_bytes

from aiohttp import web

from empiar_mirror.rehearsal.archive import ArchiveFile, Node, RehearsalArchive
from empiar_mirror.rehearsal.faults import (
    ENTITY_BOMB,
    ERROR_TEXT,
    HTML_PAGE,
    Fault,
    FaultBook,
    FaultKind,
    Span,
    Stage,
)
from empiar_mirror.rehearsal.link import Hangs
from empiar_mirror.rehearsal.listing import FOLDER_MTIME, as_text, distorted, find_file, find_folder
from empiar_mirror.rehearsal.served import ServedLog

TREE = b"/empiar/world_availability"

_CHUNK = 1024 * 1024
_ROWS_PER_WRITE = 500
_HEX = re.compile("%[0-9A-F]{2}")
#: What Apache's ap_os_escape_path leaves as it is; the rest it writes in lower-case hex.
_PLAIN_IN_HREF = "$-_.+!*'(),:;@&=/~"

_PAGE_HEAD = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
<html>
 <head><title>Index of {folder}</title></head>
 <body>
<h1>Index of {folder}</h1>
  <table>
   <tr><th valign="top"><img src="/icons/blank.gif" alt="[ICO]"></th><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th><th><a href="?C=S;O=A">Size</a></th><th><a href="?C=D;O=A">Description</a></th></tr>
   <tr><th colspan="5"><hr></th></tr>
<tr><td valign="top"><img src="/icons/back.gif" alt="[PARENTDIR]"></td><td><a href="{parent}">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td><td>&nbsp;</td></tr>
"""
_ROW = (
    '<tr><td valign="top"><img src="/icons/{icon}.gif" alt="[{alt}]"></td><td><a href="{href}">{text}</a></td>'
    '<td align="right">{when}  </td><td align="right">{size}</td><td>&nbsp;</td></tr>\n'
)
_PAGE_FOOT = '   <tr><th colspan="5"><hr></th></tr>\n</table>\n</body></html>\n'
_ICONS = {
    "tif": ("image2", "IMG"),
    "tiff": ("image2", "IMG"),
    "jpg": ("image2", "IMG"),
    "png": ("image2", "IMG"),
    "gif": ("image2", "IMG"),
    "txt": ("text", "TXT"),
    "csv": ("text", "TXT"),
    "gz": ("compressed", "   "),
    "zip": ("compressed", "   "),
    "tar": ("tar", "   "),
}


@dataclass(slots=True)
class _Answer:
    """One request being answered."""

    request: web.BaseRequest
    path: bytes
    begun: float
    start: int = 0
    sent: int = 0
    status: int = 0


@dataclass(slots=True)
class TreeServer:
    """Answers requests below `TREE`."""

    archive: RehearsalArchive
    book: FaultBook
    log: ServedLog
    hangs: Hangs = field(default_factory=lambda: Hangs(0))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request, recorded in the log however it ends."""
        path = unquote_to_bytes(request.raw_path.partition("?")[0])
        answer = _Answer(request, path[len(TREE) :].strip(b"/"), self.log.asked("https"))
        folder = path.endswith(b"/")
        try:
            if not path.startswith(TREE) or b".." in path.split(b"/") or b"\0" in path:
                return self._plain(answer, 404)
            if request.method not in ("GET", "HEAD"):
                return self._plain(answer, 405)
            found = None if folder else find_file(self.archive, answer.path)
            if found is not None:
                return await self._file(answer, *found)
            return await self._folder(answer, asked_as_folder=folder)
        finally:
            shown = as_text(answer.path) + ("/" if folder else "")
            self.log.add(
                "https",
                request.method,
                shown,
                status=answer.status,
                start_offset=answer.start,
                bytes_sent=answer.sent,
                user_agent=request.headers.get("User-Agent", ""),
                begun=answer.begun,
            )

    async def _file(self, answer: _Answer, entry: int, path: bytes, file: ArchiveFile) -> web.StreamResponse:
        request, target = answer.request, as_text(answer.path)
        if self.hangs.next():
            await asyncio.Event().wait()
        span = requested_span(request, file)
        if request.method == "HEAD":
            fault = self.book.take(Stage.FACTS, "https", target)
        else:
            fault = self.book.take(
                Stage.FILE, "https", target, span=span or (0, file.size), ranged=span is not None
            )
        if fault is not None and fault.kind in (FaultKind.CHANGED_FILE, FaultKind.CHANGED_SILENTLY):
            file = self.archive.change_file(entry, path, keep_mtime=fault.kind is FaultKind.CHANGED_SILENTLY)
            fault, span = None, requested_span(request, file)
        replaced = self._replacement(answer, fault)
        if replaced is not None:
            return replaced
        if not_modified(request, file):
            return self._plain(answer, 304, headers=_validators(file))
        if fault is not None and fault.kind is FaultKind.REFUSE_RANGES:
            span = None
        if span is not None and span[0] >= span[1]:
            return self._plain(answer, 416)
        return await self._send(answer, entry, path, file, span, fault)

    def _replacement(self, answer: _Answer, fault: Fault | None) -> web.StreamResponse | None:
        """A whole answer in place of the right one, where `fault` demands it."""
        match fault.kind if fault is not None else None:
            case FaultKind.STATUS if fault is not None:
                return self._plain(answer, *status_and_headers(fault))
            case FaultKind.REDIRECT if fault is not None:
                return self._plain(answer, 302, headers={"Location": fault.value})
            case FaultKind.HTML_PAGE:
                return self._plain(answer, 200, body=HTML_PAGE, headers={"Content-Type": "text/html"})
            case FaultKind.ERROR_BODY:
                return self._plain(answer, 200, body=ERROR_TEXT, headers={"Content-Type": "application/xml"})
            case FaultKind.ENTITY_BOMB:
                return self._plain(answer, 200, body=ENTITY_BOMB, headers={"Content-Type": "application/xml"})
            case _:
                return None

    async def _send(
        self,
        answer: _Answer,
        entry: int,
        path: bytes,
        file: ArchiveFile,
        span: Span | None,
        fault: Fault | None,
    ) -> web.StreamResponse:
        start, stop = span or (0, file.size)
        kind = fault.kind if fault is not None else None
        if kind is FaultKind.SHORT_BODY and fault is not None:
            stop = max(start, stop - int(fault.number(1000)))
        stated = stop - start + (int(fault.number(1000)) if fault and kind is FaultKind.LONG_STATED else 0)
        answer.start, answer.status = start, 200 if span is None else 206
        response = web.StreamResponse(status=answer.status, headers=_validators(file))
        response.headers["Accept-Ranges"] = "bytes"
        response.content_type = "application/octet-stream"
        if kind is not FaultKind.OVERSIZE_BODY:
            response.content_length = stated
        if span is not None:
            shift = int(fault.number(4096)) if fault and kind is FaultKind.WRONG_CONTENT_RANGE else 0
            response.headers["Content-Range"] = f"bytes {start + shift}-{span[1] - 1}/{file.size}"
        await response.prepare(answer.request)
        if answer.request.method == "HEAD":
            return response
        async for piece in faulty_pieces(self.archive, entry, path, file, (start, stop), fault):
            await response.write(piece)
            answer.sent += len(piece)
        if kind in (FaultKind.DROP_AT, FaultKind.LONG_STATED):
            _hang_up(answer.request)
        else:
            await response.write_eof()
        return response

    async def _folder(self, answer: _Answer, *, asked_as_folder: bool) -> web.StreamResponse:
        children = find_folder(self.archive, self.book, answer.path)
        if children is None:
            return self._plain(answer, 404)
        if not asked_as_folder:
            return self._plain(answer, 301, headers={"Location": answer.request.raw_path + "/"})
        fault = self.book.take(Stage.LISTING, "https", as_text(answer.path) + "/")
        replaced = self._replacement(answer, fault)
        if replaced is not None:
            return replaced
        answer.status = 200
        response = web.StreamResponse(headers={"Content-Type": "text/html;charset=UTF-8"})
        await response.prepare(answer.request)
        if answer.request.method == "HEAD":
            return response
        for piece in index_page(
            TREE + b"/" + answer.path, distorted(children, fault), cut=_is(fault, FaultKind.CUT_PAGE)
        ):
            await response.write(piece)
            answer.sent += len(piece)
        if _is(fault, FaultKind.STALL_AT):
            await asyncio.Event().wait()
        if _is(fault, FaultKind.CUT_PAGE):
            _hang_up(answer.request)
        return response

    @staticmethod
    def _plain(
        answer: _Answer, status: int, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> web.Response:
        answer.status = status
        if body is None:
            body = b"" if status == 304 else b"<html><head><title>%d</title></head></html>\n" % status
        answer.sent = len(body) if status == 200 else 0
        return web.Response(
            status=status, body=body, headers={"Content-Type": "text/html", **(headers or {})}
        )


async def faulty_pieces(
    archive: RehearsalArchive, entry: int, path: bytes, file: ArchiveFile, span: Span, fault: Fault | None
) -> AsyncIterator[bytes]:
    """The bytes of `span` as `fault` lets them through; where it ends them early, so does this. Used by FTP as well."""
    offset, stop = span
    kind = fault.kind if fault is not None else None
    at = max(span[0], fault.at_byte) if fault is not None else 0
    if kind in (FaultKind.DROP_AT, FaultKind.FTP_426, FaultKind.EARLY_226):
        stop = min(stop, at)
    while offset < stop:
        count = min(_CHUNK, stop - offset)
        if kind in (FaultKind.STALL_AT, FaultKind.SLOW_DRIP) and offset <= at < offset + count:
            count = at - offset
        if count == 0 and kind is FaultKind.STALL_AT:
            await asyncio.Event().wait()
        if kind is FaultKind.SLOW_DRIP and fault is not None and offset >= at:
            count = 1
            await asyncio.sleep(fault.number(0.05))
        data = archive.read(entry, path, file, offset, count)
        if kind is FaultKind.FLIP_BIT:
            data = _overlay(data, offset, at, bytes([archive.read(entry, path, file, at, 1)[0] ^ 1]))
        elif kind is FaultKind.ERROR_INSIDE:
            data = _overlay(data, offset, at, ERROR_TEXT[: file.size - at])
        yield data
        offset += count
        # Pieces come from memory: without this one fast client would keep the loop from all others.
        await asyncio.sleep(0)
    if kind is FaultKind.OVERSIZE_BODY and fault is not None:
        yield b"\0" * int(fault.number(1000))


def _overlay(data: bytes, offset: int, at: int, patch: bytes) -> bytes:
    low, high = max(at, offset), min(at + len(patch), offset + len(data))
    if low >= high:
        return data
    return data[: low - offset] + patch[low - at : high - at] + data[high - offset :]


def requested_span(request: web.BaseRequest, file: ArchiveFile) -> Span | None:
    """The single byte range asked for, empty where it lies beyond the end; None: the whole file is due.

    Like Apache: a range that cannot be read, several ranges, or an If-Range that does not hold give the whole.
    """
    unit, _, text = request.headers.get("Range", "").partition("=")
    first, dash, last = text.strip().partition("-")
    if unit != "bytes" or not dash or "," in text or not (first + last).isdigit():
        return None
    condition = request.headers.get("If-Range")
    if condition is not None and condition not in (file.etag, formatdate(file.mtime, usegmt=True)):
        return None
    if not first:
        return max(0, file.size - int(last)), file.size
    if last and int(last) < int(first):
        return None
    return int(first), min(file.size, int(last) + 1 if last else file.size)


def not_modified(request: web.BaseRequest, file: ArchiveFile) -> bool:
    """Whether the client says that it has this version already."""
    known = request.headers.get("If-None-Match")
    if known is not None:
        return file.etag in known or known.strip() == "*"
    since = request.headers.get("If-Modified-Since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(since).timestamp() >= file.mtime
    except ValueError:
        return False


def status_and_headers(fault: Fault) -> tuple[int, bytes | None, dict[str, str]]:
    """Status, body and Retry-After of a STATUS fault; ``429 30`` and ``503 Wed, 21 Oct 2026 07:28:00 GMT`` state one."""
    status, _, retry_after = fault.value.partition(" ")
    return int(status or 503), None, {"Retry-After": retry_after} if retry_after else {}


def index_page(
    folder: bytes, children: Iterator[tuple[bytes, Node]], *, cut: bool = False
) -> Iterator[bytes]:
    """Apache's page for `folder`, in pieces; without its end where it is `cut`."""
    folder = folder.rstrip(b"/")
    shown = _html(as_text(folder))
    parent = _href(folder.rpartition(b"/")[0] + b"/")
    yield _encoded(_PAGE_HEAD.format(folder=shown, parent=parent))
    rows: list[str] = []
    for name, node in children:
        rows.append(_row(name, node))
        if len(rows) >= _ROWS_PER_WRITE:
            yield _encoded("".join(rows))
            rows.clear()
    yield _encoded("".join(rows))
    if not cut:
        yield _encoded(_PAGE_FOOT)


def _row(name: bytes, node: Node) -> str:
    if node is None:
        name, icon, alt, size, mtime = name + b"/", "folder", "DIR", "  - ", FOLDER_MTIME
    else:
        suffix = as_text(name.rpartition(b".")[2]).lower()
        icon, alt = _ICONS.get(suffix, ("unknown", "   "))
        size, mtime = apache_size(node.size), node.mtime
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(mtime))
    text = _html(as_text(name))
    return _ROW.format(icon=icon, alt=alt, href=_href(name), text=text, when=when, size=size)


def _href(path: bytes) -> str:
    escaped = _HEX.sub(lambda found: found[0].lower(), quote_from_bytes(path, safe=_PLAIN_IN_HREF))
    # ap_os_escape_path writes a name whose colon could be taken for a scheme as ./name.
    if ":" in escaped.partition("/")[0]:
        escaped = "./" + escaped
    return _html(escaped)


def _html(text: str) -> str:
    # Apache leaves the apostrophe alone, so html.escape(quote=True) would say too much.
    return html.escape(text, quote=False).replace('"', "&quot;")


def apache_size(size: int) -> str:
    """`size` as apr_strfsize writes it: below 973 bytes exact, one decimal under 10 of a unit, else whole."""
    if size < 973:
        return f"{size:3d} "
    for unit in "KMGTPE":
        rest, size = size & 1023, size >> 10
        if size >= 973:
            continue
        if size < 9 or (size == 9 and rest < 973):
            tenths = (rest * 5 + 256) // 512
            return f"{size + tenths // 10}.{tenths % 10}{unit}"
        return f"{size + (rest >= 512):3d}{unit}"
    return "****"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _validators(file: ArchiveFile) -> dict[str, str]:
    return {"ETag": file.etag, "Last-Modified": formatdate(file.mtime, usegmt=True)}


def _is(fault: Fault | None, kind: FaultKind) -> bool:
    return fault is not None and fault.kind is kind


def _hang_up(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()
