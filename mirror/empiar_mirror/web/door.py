"""The door of the web page: who comes in, what is asked for at all, and what every answer says to browsers."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from typing import Final
from urllib.parse import parse_qs

from empiar_mirror.web.answers import (
    Answer,
    App,
    Message,
    Receive,
    Scope,
    Send,
    form_of,
    headers_of,
    see_other,
)

_COOKIE: Final = "empiar-mirror"
_LOGIN: Final = "/-/login"
#: What there is. Datasette has many more pages; what is not named here does not exist.
_KNOWN: Final = re.compile(
    rb"/|/entries|/entry/[0-9]{1,8}(?:/files|/pictures)?|/file/[0-9]{1,18}|/picture/[0-9]{1,18}|/subscriptions"
    rb"|/subscription/[A-Za-z0-9._~%-]{1,400}|/charts|/static/[a-z-]{1,40}\.(?:css|svg)|/-/login|/-/logout|/-/healthz"
    rb"|/catalogue(?:/[a-z_]{1,60})?(?:\.(?:json|csv))?"
)
#: Longest query of an address; a longer statement has no place in one.
_LONGEST_QUERY: Final = 16_000
_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'none'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_OURS: Final = frozenset(name for name, _ in _HEADERS) | {b"server"}


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach an address (or name) of this kind."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Door:
    """An ASGI application before another one.

    With a token every visitor has to show it once, and then a cookie made of it. Without one the page is for this machine alone: a request
    that calls it by another name comes from a web page that had its own name point here, and is refused.
    """

    def __init__(self, inside: App, *, token: str | None) -> None:
        self._inside = inside
        self._token = token
        # What is kept in browsers is not the token itself.
        key = (token or "").encode()
        self._session = hmac.new(key, b"session of empiar-mirror serve", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return  # web sockets: closed by the server, as nobody accepts them
        guarded = _with_headers(send)
        answer = await self._stopped_at_door(scope, receive)
        if answer is None:
            await self._inside(scope, receive, guarded)
        else:
            await answer.send(guarded, head=scope["method"] == "HEAD")

    async def _stopped_at_door(self, scope: Scope, receive: Receive) -> Answer | None:
        path, method, headers = scope["raw_path"].partition(b"?")[0], scope["method"], headers_of(scope)
        if path == b"/-/healthz":
            return _plain(200, "alive")
        if self._token is None:
            host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
            if not is_loopback(host):
                return _plain(
                    421,
                    "this page is for its own machine: open it as http://127.0.0.1, or serve it with a token",
                )
        elif path == _LOGIN.encode():
            return await self._login(scope, receive, headers)
        elif path.startswith(b"/static/"):
            pass  # the login page looks like the others
        elif not self._knows(headers):
            if method == "GET" and "text/html" in headers.get("accept", ""):
                return see_other(_LOGIN)
            return _plain(
                401, f"log in first: {_LOGIN}?token=…, with the token that `empiar-mirror serve` prints"
            )
        if path == b"/-/logout":
            gone = f"{_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
            return see_other(_LOGIN if self._token else "/", headers=(("set-cookie", gone),))
        if method not in ("GET", "HEAD"):
            return Answer(b"only GET and HEAD\n", 405, "text/plain", (("allow", "GET, HEAD"),))
        if _KNOWN.fullmatch(path) is None or (self._token is None and path == _LOGIN.encode()):
            return _plain(404, "there is no such page; begin at /")
        if len(scope["query_string"]) > _LONGEST_QUERY:
            return _plain(414, "the address is too long; `empiar-mirror query` takes longer statements")
        return None

    def _knows(self, headers: dict[str, str]) -> bool:
        given = [
            value
            for cookie in headers.get("cookie", "").split(";")
            for name, _, value in [cookie.strip().partition("=")]
            if name == _COOKIE
        ]
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(bearer.strip()):
            return True
        return any(hmac.compare_digest(value.encode(), self._session.encode()) for value in given)

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    async def _login(self, scope: Scope, receive: Receive, headers: dict[str, str]) -> Answer:
        method = scope["method"]
        if method == "POST":
            given = (await form_of(receive)).get("token")
        elif method in ("GET", "HEAD"):
            query = (
                parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=50)
                if len(scope["query_string"]) < _LONGEST_QUERY
                else {}
            )
            given = query.get("token", [None])[0]
        else:
            return Answer(b"only GET and POST\n", 405, "text/plain", (("allow", "GET, HEAD, POST"),))
        if given is None:
            return Answer(_form(""), 200)
        if not self._is_token(given.strip()):
            return Answer(_form("This is not the token. The command printed it when it started."), 403)
        secure = (
            "; Secure"
            if scope.get("scheme") == "https" or headers.get("x-forwarded-proto") == "https"
            else ""
        )
        # Lax: a link in a mail leads in; nothing here can be changed by following one.
        cookie = f"{_COOKIE}={self._session}; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax{secure}"
        return see_other("/", headers=(("set-cookie", cookie),))


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in _OURS]
            if not any(name.lower() == b"cache-control" for name, _ in kept):
                kept.append((b"cache-control", b"private, no-cache"))
            message = {**message, "headers": [*kept, *_HEADERS]}
        await send(message)

    return guarded


def _plain(status: int, text: str) -> Answer:
    return Answer(f"{text}\n".encode(), status, "text/plain; charset=utf-8")


def _form(error: str) -> bytes:
    said = f'<p class="bad" role="alert">{error}</p>' if error else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Log in – empiar-mirror</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/static/style.css"></head>
<body><main id="main"><h1>EMPIAR mirror</h1>{said}<form method="post" action="{_LOGIN}" class="search">
<label for="token">Token</label> <input id="token" name="token" type="password" autocomplete="current-password" required>
<button>Log in</button></form></main></body></html>
""".encode()
