"""Globus Auth over HTTP: logging in, tokens, consents, and the key that signs identities."""

from __future__ import annotations

import base64
import html
import secrets
from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web

from empiar_mirror.rehearsal.archive import Json
from empiar_mirror.rehearsal.globus.accounts import SERVICE_IDENTITY, Accounts, Grant, Identity, Refused
from empiar_mirror.rehearsal.globus.documents import Document, timestamp
from empiar_mirror.rehearsal.globus.scopes import AUTH_SERVER, OPENID, ScopeTree, resource_server

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

AUTHORIZE: Final = "/v2/oauth2/authorize"
_SHOW_CODE: Final = "/v2/web/auth-code"
_KEY_ID: Final = "rehearsal"


class AuthService:
    """Answers the requests of Globus Auth from `accounts`. `issuer` is its address."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self.issuer = ""

    def routes(self) -> Iterable[web.RouteDef]:
        """What is served where."""
        return (
            web.get("/.well-known/openid-configuration", self._answered(self._configuration)),
            web.get("/jwk.json", self._answered(self._keys)),
            web.get(AUTHORIZE, self._authorize),
            web.post("/v2/oauth2/token", self._answered(self._token)),
            web.post("/v2/oauth2/token/revoke", self._answered(self._revoke)),
            web.get("/v2/oauth2/userinfo", self._answered(self._userinfo)),
            web.get("/v2/api/identities", self._answered(self._identities)),
            web.get("/v2/api/identities/{identity}/consents", self._answered(self._consents)),
        )

    def authorize(self, url: str) -> str:
        """The code that a person would get who opens the login's `url` and agrees.

        Raises:
            Refused: the address is not that of a login that this service knows.
        """
        asked = dict(parse_qsl(urlsplit(url).query))
        if asked.get("response_type") != "code" or asked.get("code_challenge_method", "S256") != "S256":
            raise Refused(400, "invalid_request")
        return self.accounts.new_code(
            client_id=asked.get("client_id", ""),
            redirect_uri=asked.get("redirect_uri", ""),
            challenge=asked.get("code_challenge", ""),
            requested=asked.get("scope", ""),
            offline=asked.get("access_type") == "offline",
            state=asked.get("state", ""),
        )

    @cached_property
    def _key(self) -> RSAPrivateKey:
        # Most tests log in with a client's secret and ask for no signature.
        from cryptography.hazmat.primitives.asymmetric import rsa

        return rsa.generate_private_key(public_exponent=65_537, key_size=2048)

    @staticmethod
    def _answered(
        answer: Callable[[web.Request], Awaitable[Document]],
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                return web.json_response(await answer(request))
            except Refused as refused:
                return web.json_response(_refusal(refused), status=refused.status)

        return handle

    async def _authorize(self, request: web.Request) -> web.Response:
        try:
            code = self.authorize(str(request.url))
        except Refused as refused:
            return web.Response(status=refused.status, text=refused.error)
        target = request.query.get("redirect_uri", "")
        if urlsplit(target).path != _SHOW_CODE:
            joint = "&" if urlsplit(target).query else "?"
            state = request.query.get("state", "")
            raise web.HTTPFound(target + joint + urlencode({"code": code, "state": state}))
        page = f"<!DOCTYPE html>\n<title>Authorization code</title>\n<p>Copy this code:</p>\n<pre>{html.escape(code)}</pre>\n"
        return web.Response(text=page, content_type="text/html")

    async def _token(self, request: web.Request) -> Document:
        form = await _form(request)
        client_id, secret = _credentials(request, form)
        self.accounts.authenticate(client_id, secret)
        match form.get("grant_type"):
            case "authorization_code":
                code = self.accounts.exchange(
                    form.get("code", ""),
                    client_id=client_id,
                    redirect_uri=form.get("redirect_uri", ""),
                    verifier=form.get("code_verifier", ""),
                )
                return self._tokens(
                    code.identity, client_id, code.scopes, offline=code.offline, state=code.state
                )
            case "refresh_token":
                token = form.get("refresh_token", "")
                return self._described(self.accounts.refreshed(token, client_id), token)
            case "client_credentials":
                if self.accounts.clients[client_id] is None:
                    raise Refused(401, "unauthorized_client")
                tree = self.accounts.service_scopes(form.get("scope", ""))
                return self._tokens(SERVICE_IDENTITY, client_id, tree, offline=False, state="_default")
            case _:
                raise Refused(400, "unsupported_grant_type")

    def _tokens(
        self, identity: Identity, client_id: str, tree: ScopeTree, *, offline: bool, state: str
    ) -> Document:
        by_server: dict[str, list[str]] = {}
        for scope in tree:
            by_server.setdefault(resource_server(scope), []).append(scope)
        documents = []
        for server, names in by_server.items():
            grant = Grant(identity, client_id, server, tuple(names))
            documents.append(
                self._described(grant, self.accounts.new_refresh_token(grant) if offline else None)
            )
        others: list[Json] = list(documents[1:])
        answer: Document = {**documents[0], "state": state, "other_tokens": others}
        if OPENID in tree:
            answer["id_token"] = self._id_token(identity, client_id)
        return answer

    def _described(self, grant: Grant, refresh_token: str | None) -> Document:
        answer: Document = {
            "access_token": self.accounts.new_access_token(grant),
            "scope": " ".join(grant.scopes),
            "expires_in": int(self.accounts.token_lifetime_s),
            "token_type": "Bearer",
            "resource_server": grant.resource_server,
            "other_tokens": [],
        }
        if refresh_token is not None:
            answer["refresh_token"] = refresh_token
        return answer

    def _id_token(self, identity: Identity, client_id: str) -> str:
        import jwt

        now = int(self.accounts.now())
        claims = {
            "sub": identity.identity_id,
            "preferred_username": identity.username,
            "name": identity.name,
            "email": identity.email,
            "iss": self.issuer,
            "aud": client_id,
            "iat": now,
            "exp": now + int(max(1.0, self.accounts.token_lifetime_s)),
            "at_hash": secrets.token_urlsafe(12),
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": _KEY_ID})

    async def _configuration(self, _request: web.Request) -> Document:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": self.issuer + AUTHORIZE,
            "token_endpoint": self.issuer + "/v2/oauth2/token",
            "revocation_endpoint": self.issuer + "/v2/oauth2/token/revoke",
            "userinfo_endpoint": self.issuer + "/v2/oauth2/userinfo",
            "jwks_uri": self.issuer + "/jwk.json",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "email", "profile"],
            "subject_types_supported": ["public"],
        }

    async def _keys(self, _request: web.Request) -> Document:
        numbers = self._key.public_key().public_numbers()
        key: Json = {
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": _KEY_ID,
            "n": _base64(numbers.n),
            "e": _base64(numbers.e),
        }
        return {"keys": [key]}

    async def _revoke(self, request: web.Request) -> Document:
        form = await _form(request)
        self.accounts.authenticate(*_credentials(request, form))
        self.accounts.revoke(form.get("token", ""))
        return {"active": False}

    def _holder(self, request: web.Request) -> Grant:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        grant = self.accounts.holder(token, AUTH_SERVER) if kind == "Bearer" else None
        if grant is None:
            raise Refused(401, "unauthorized")
        return grant

    async def _userinfo(self, request: web.Request) -> Document:
        grant = self._holder(request)
        if OPENID not in grant.scopes:
            raise Refused(403, "forbidden")
        who = grant.identity
        answer: Document = {"sub": who.identity_id}
        if "profile" in grant.scopes:
            answer |= {"name": who.name, "preferred_username": who.username}
        if "email" in grant.scopes:
            answer["email"] = who.email
        return answer

    async def _identities(self, request: web.Request) -> Document:
        self._holder(request)
        ids = request.query.get("ids", "").split(",")
        names = request.query.get("usernames", "").split(",")
        found: list[Json] = [
            {
                "id": known.identity_id,
                "username": known.username,
                "name": known.name,
                "email": known.email,
                "status": "used",
            }
            for known in self.accounts.identities.values()
            if known.identity_id in ids or known.username in names
        ]
        return {"identities": found}

    async def _consents(self, request: web.Request) -> Document:
        grant = self._holder(request)
        if request.match_info["identity"] != grant.identity.identity_id:
            raise Refused(403, "forbidden")
        tree = self.accounts.consents.get((grant.identity.identity_id, grant.client_id), {})
        rows: list[Json] = []
        self._add_consents(rows, tree, [], grant)
        return {"consents": rows}

    def _add_consents(self, rows: list[Json], tree: ScopeTree, above: list[Json], grant: Grant) -> None:
        now = timestamp(self.accounts.now())
        for scope, below in tree.items():
            number = len(rows) + 1
            path = [*above, number]
            rows.append(
                {
                    "id": number,
                    "client": grant.client_id,
                    "scope": scope,
                    "scope_name": scope,
                    "effective_identity": grant.identity.identity_id,
                    "dependency_path": path,
                    "created": now,
                    "updated": now,
                    "last_used": now,
                    "status": "approved",
                    "allows_refresh": True,
                    "auto_approved": False,
                    "atomically_revocable": bool(above),
                }
            )
            self._add_consents(rows, below, path, grant)


async def _form(request: web.Request) -> dict[str, str]:
    try:
        return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    except ValueError as error:
        raise Refused(400, "invalid_request") from error


def _credentials(request: web.Request, form: dict[str, str]) -> tuple[str, str | None]:
    kind, _, coded = request.headers.get("Authorization", "").partition(" ")
    if kind != "Basic":
        return form.get("client_id", ""), form.get("client_secret")
    try:
        client_id, _, secret = base64.b64decode(coded, validate=True).decode().partition(":")
    except ValueError as error:
        raise Refused(401, "invalid_client") from error
    return client_id, secret


def _refusal(refused: Refused) -> Document:
    answer: Document = {"error": refused.error}
    if refused.status in (401, 403) and refused.error in ("unauthorized", "forbidden"):
        error: Json = {
            "status": str(refused.status),
            "code": refused.error.upper(),
            "detail": "Call must be authenticated",
            "title": refused.error.capitalize(),
            "id": secrets.token_hex(8),
        }
        answer |= {"errors": [error], "error_description": refused.error.capitalize()}
    return answer


def _base64(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
