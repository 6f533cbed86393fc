"""Answers over ASGI, and what a request asks for: as little of HTTP as the pages need."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

# ASGI's own documents: mappings from names to values of many types.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HTML: Final = "text/html; charset=utf-8"
#: A form has one short field.
_LONGEST_FORM: Final = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole."""

    body: bytes
    status: int = 200
    media_type: str = HTML
    headers: Sequence[tuple[str, str]] = ()

    async def send(self, send: Send, *, head: bool = False) -> None:
        """The answer has been sent; without its body where only the head was asked for."""
        headers = [("content-type", self.media_type), ("content-length", str(len(self.body))), *self.headers]
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if head else self.body})


def as_json(document: object, *, status: int = 200) -> Answer:
    """`document` as JSON."""
    return Answer(json.dumps(document).encode(), status, "application/json")


def plain(status: int, text: str, *, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """A sentence."""
    return Answer(f"{text}\n".encode(), status, "text/plain; charset=utf-8", headers)


def see_other(place: str, *, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """Sends the visitor on to `place`."""
    return Answer(b"", 303, headers=(("location", place), *headers))


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers, names in lower case; of several of one name the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def query_of(scope: Scope) -> Mapping[str, str]:
    """The address's query; of several values of one name the first."""
    return _first(scope["query_string"])


async def form_of(receive: Receive) -> Mapping[str, str]:
    """The fields of a form that was sent; none where it is too long."""
    body = await body_of(receive, most=_LONGEST_FORM)
    return {} if body is None else _first(body)


async def body_of(receive: Receive, *, most: int) -> bytes | None:
    """What was sent; None where that is more than so many bytes, or whoever sent it has gone."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > most or message["type"] == "http.disconnect":
            return None
        if not message.get("more_body"):
            return bytes(body)


def _first(raw: bytes) -> Mapping[str, str]:
    try:
        values = parse_qs(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=50, errors="replace")
    except ValueError:
        return {}
    # NUL ends a text in places where SQLite is C.
    return {name: found[0].replace("\0", "") for name, found in values.items()}
