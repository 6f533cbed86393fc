"""The door of the web page: who comes in, what is asked for at all, and what every answer says to browsers."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from typing import Final
from urllib.parse import parse_qs, urlsplit

from empiar_mirror.web.answers import (
    Answer,
    App,
    Message,
    Receive,
    Scope,
    Send,
    form_of,
    headers_of,
    plain,
    see_other,
)

#: Where an application finds whether this visitor may save.
MAY_WRITE: Final = "empiar_mirror.may_write"
_COOKIE: Final = "empiar-mirror"
_WRITE_COOKIE: Final = "empiar-mirror-write"
_LOGIN: Final = "/-/login"
#: What there is. Datasette has many more pages; what is not named here does not exist.
_KNOWN: Final = re.compile(
    rb"/|/entries|/entry/[0-9]{1,8}(?:/files|/pictures)?|/file/[0-9]{1,18}|/picture/[0-9]{1,18}|/subscriptions"
    rb"|/subscription/[A-Za-z0-9._~%-]{1,400}|/charts|/static/[a-z-]{1,40}\.(?:css|js|svg)|/-/login|/-/logout|/-/healthz"
    rb"|/catalogue(?:/[a-z_]{1,60})?(?:\.(?:json|csv))?|/queries|/query/[A-Za-z0-9][A-Za-z0-9_-]{0,100}(?:\.(?:json|csv))?"
    rb"|/entry/[0-9]{1,8}/micrograph/[0-9]{1,18}(?:/state|/versions/[0-9]{1,4}|/tile/[0-9]{1,2}/[0-9]{1,5}/[0-9]{1,5})?"
)
#: The one thing that can be changed: labels of a micrograph.
_WRITTEN: Final = re.compile(rb"/entry/[0-9]{1,8}/micrograph/[0-9]{1,18}/labels")
#: The one page with a script, which is our own file.
_SCRIPTED: Final = re.compile(rb"/entry/[0-9]{1,8}/micrograph/[0-9]{1,18}")
#: Longest query of an address; a longer statement has no place in one.
_LONGEST_QUERY: Final = 16_000
_POLICY: Final = b"default-src 'self'; script-src %s; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_OURS: Final = frozenset(name for name, _ in _HEADERS) | {b"server", b"content-security-policy"}


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

    Saving needs the write token everywhere, and a request of our own page: another page in the same browser could send one, too.
    """

    def __init__(self, inside: App, *, token: str | None, write_token: str | None = None) -> None:
        self._inside = inside
        self._token = token
        self._write_token = write_token
        # What is kept in browsers is not the token itself.
        self._session = _derived(token, b"session of empiar-mirror serve")
        self._write_session = _derived(write_token, b"saving at empiar-mirror serve")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return  # web sockets: closed by the server, as nobody accepts them
        path = scope["raw_path"].partition(b"?")[0]
        guarded = _with_headers(send, scripted=_SCRIPTED.fullmatch(path) is not None)
        answer = await self._stopped_at_door(scope, receive)
        if answer is None:
            scope[MAY_WRITE] = self._may_write(headers_of(scope))
            await self._inside(scope, receive, guarded)
        else:
            await answer.send(guarded, head=scope["method"] == "HEAD")

    async def _stopped_at_door(self, scope: Scope, receive: Receive) -> Answer | None:
        path, method, headers = scope["raw_path"].partition(b"?")[0], scope["method"], headers_of(scope)
        if path == b"/-/healthz":
            return plain(200, "alive")
        if self._token is None:
            host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
            if not is_loopback(host):
                return plain(
                    421,
                    "this page is for its own machine: open it as http://127.0.0.1, or serve it with a token",
                )
        elif path == _LOGIN.encode():
            pass
        elif path.startswith(b"/static/"):
            pass  # the login page looks like the others
        elif not self._knows(headers):
            if method == "GET" and "text/html" in headers.get("accept", ""):
                return see_other(_LOGIN)
            return plain(
                401, f"log in first: {_LOGIN}?token=…, with the token that `empiar-mirror serve` prints"
            )
        if path == _LOGIN.encode() and (self._token or self._write_token):
            return await self._login(scope, receive, headers)
        if path == b"/-/logout":
            gone = [
                f"{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict" for name in (_WRITE_COOKIE, _COOKIE)
            ]
            return see_other(_LOGIN if self._token else "/", headers=[("set-cookie", one) for one in gone])
        if method == "POST" and _WRITTEN.fullmatch(path):
            return self._stopped_from_writing(headers)
        if method not in ("GET", "HEAD"):
            return Answer(b"only GET and HEAD\n", 405, "text/plain", (("allow", "GET, HEAD"),))
        if _KNOWN.fullmatch(path) is None or path == _LOGIN.encode():
            return plain(404, "there is no such page; begin at /")
        if len(scope["query_string"]) > _LONGEST_QUERY:
            return plain(414, "the address is too long; `empiar-mirror query` takes longer statements")
        return None

    def _knows(self, headers: dict[str, str]) -> bool:
        return _bears(headers, self._token) or _has_cookie(headers, _COOKIE, self._session)

    def _may_write(self, headers: dict[str, str]) -> bool:
        return self._write_token is not None and (
            _bears(headers, self._write_token) or _has_cookie(headers, _WRITE_COOKIE, self._write_session)
        )

    def _stopped_from_writing(self, headers: dict[str, str]) -> Answer | None:
        if not self._may_write(headers):
            return plain(
                401,
                f"saving needs the token that `empiar-mirror serve` prints: open {_LOGIN} in another tab, log in, and save again",
            )
        origin, by_script = headers.get("origin"), _bears(headers, self._write_token)
        # A browser names the page that sends; a script that shows the token itself is no browser that was tricked.
        own = origin is not None and urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
        if not own and (origin is not None or not by_script):
            return plain(403, "another page has sent this, or none: save on the micrograph's own page")
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return plain(403, "another page has sent this: save on the micrograph's own page")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return plain(415, "labels are sent as application/json")
        return None

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
        given = given.strip()
        reads, writes = _same(given, self._token), _same(given, self._write_token)
        if not (reads or writes):
            return Answer(_form("This is not the token. The command printed it when it started."), 403)
        secure = (
            "; Secure"
            if scope.get("scheme") == "https" or headers.get("x-forwarded-proto") == "https"
            else ""
        )
        # Lax: a link in a mail leads in; nothing here can be changed by following one.
        kept = f"Path=/; Max-Age=2592000; HttpOnly{secure}"
        cookies = []
        if writes:
            cookies.append(f"{_WRITE_COOKIE}={self._write_session}; {kept}; SameSite=Strict")
        if reads:
            cookies.append(f"{_COOKIE}={self._session}; {kept}; SameSite=Lax")
        return see_other("/", headers=[("set-cookie", cookie) for cookie in cookies])


def _derived(token: str | None, use: bytes) -> str | None:
    return None if token is None else hmac.new(token.encode(), use, hashlib.sha256).hexdigest()


def _same(given: str, expected: str | None) -> bool:
    return expected is not None and hmac.compare_digest(given.encode(), expected.encode())


def _bears(headers: dict[str, str], token: str | None) -> bool:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and _same(bearer.strip(), token)


def _has_cookie(headers: dict[str, str], wanted: str, value: str | None) -> bool:
    given = [cookie.strip().partition("=") for cookie in headers.get("cookie", "").split(";")]
    return any(name == wanted and _same(found, value) for name, _, found in given)


def _with_headers(send: Send, *, scripted: bool) -> Send:
    policy = (b"content-security-policy", _POLICY % (b"'self'" if scripted else b"'none'"))

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in _OURS]
            if not any(name.lower() == b"cache-control" for name, _ in kept):
                kept.append((b"cache-control", b"private, no-cache"))
            message = {**message, "headers": [*kept, policy, *_HEADERS]}
        await send(message)

    return guarded


def _form(error: str) -> bytes:
    said = f'<p class="bad" role="alert">{error}</p>' if error else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Log in – empiar-mirror</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/static/style.css"></head>
<body><main id="main"><h1>EMPIAR mirror</h1>{said}<form method="post" action="{_LOGIN}" class="search">
<label for="token">Token</label> <input id="token" name="token" type="password" autocomplete="current-password" required>
<button>Log in</button></form></main></body></html>
""".encode()
