"""Who is known to Globus Auth: clients, identities, their consents and tokens. No HTTP here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import Final

from empiar_mirror.rehearsal.globus import scopes
from empiar_mirror.rehearsal.globus.scopes import ScopeTree

#: A confidential client and its secret; in its own name it is the identity of a service.
CLIENT_ID: Final = "00000000-0000-4000-8000-0000000c11e7"
CLIENT_SECRET: Final = "rehearsal-client-secret"  # noqa: S105 - opens nothing but this stand-in
#: A native client, for people to log in with.
NATIVE_CLIENT_ID: Final = "00000000-0000-4000-8000-00000000a991"

_CODE_LIFETIME_S = 600.0


@dataclass(frozen=True, slots=True)
class Identity:
    """An account."""

    identity_id: str
    username: str
    name: str
    email: str | None = None


#: The identity that the confidential client is, and the one that a person logs in as.
SERVICE_IDENTITY: Final = Identity(CLIENT_ID, f"{CLIENT_ID}@clients.auth.globus.org", "Rehearsal client")
PERSON: Final = Identity(
    "00000000-0000-4000-8000-0000000000a1",
    "rehearsal@example.org",
    "Rehearsal account",
    "rehearsal@example.org",
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token lets its holder do, and for whom. `expires_at` in Unix seconds; None: until it is revoked."""

    identity: Identity
    client_id: str
    resource_server: str
    scopes: tuple[str, ...]
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code that waits to be exchanged."""

    identity: Identity
    client_id: str
    redirect_uri: str
    challenge: str
    scopes: ScopeTree
    offline: bool
    state: str
    expires_at: float


class Refused(Exception):
    """Auth refuses: HTTP status, and the word of OAuth for it."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


@dataclass(slots=True)
class Accounts:
    """All identities, clients, consents and tokens. `token_lifetime_s` holds for tokens given out from now on."""

    token_lifetime_s: float = 172_800.0
    clients: dict[str, str | None] = field(
        default_factory=lambda: {CLIENT_ID: CLIENT_SECRET, NATIVE_CLIENT_ID: None}
    )
    identities: dict[str, Identity] = field(
        default_factory=lambda: {known.identity_id: known for known in (SERVICE_IDENTITY, PERSON)}
    )
    #: Who logs in at the web page.
    person: Identity = PERSON
    #: Seconds by which the clock of Auth is ahead.
    clock_offset_s: float = 0.0
    access: dict[str, Grant] = field(default_factory=dict)
    refresh: dict[str, Grant] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    consents: dict[tuple[str, str], ScopeTree] = field(default_factory=dict)

    def now(self) -> float:
        """Unix time by the clock of Auth."""
        return time.time() + self.clock_offset_s

    def consent(self, identity: Identity, client_id: str, tree: ScopeTree) -> None:
        """The identity lets the client have these scopes, besides what it let it have before."""
        scopes.merge(self.consents.setdefault((identity.identity_id, client_id), {}), tree)

    def has_consent(self, grant: Grant, scope: str, dependent: str) -> bool:
        """Whether the holder of `grant` may use `dependent` through `scope`."""
        tree = self.consents.get((grant.identity.identity_id, grant.client_id), {})
        return dependent in tree.get(scope, {})

    def revoke_consents(self, scope: str | None = None) -> None:
        """Nobody consents any more to the dependent `scope`, or to any."""
        for tree in self.consents.values():
            for below in tree.values():
                for name in [name for name in below if scope in (None, name)]:
                    del below[name]

    def new_code(
        self, *, client_id: str, redirect_uri: str, challenge: str, requested: str, offline: bool, state: str
    ) -> str:
        """`person` has logged in and consented: the code for the client.

        Raises:
            Refused: there is no such client or scope.
        """
        if client_id not in self.clients:
            raise Refused(400, "invalid_client")
        tree = _known_scopes(requested)
        self.consent(self.person, client_id, tree)
        code = secrets.token_urlsafe(24)
        self.codes[code] = Code(
            self.person,
            client_id,
            redirect_uri,
            challenge,
            tree,
            offline,
            state,
            self.now() + _CODE_LIFETIME_S,
        )
        return code

    def exchange(self, code: str, *, client_id: str, redirect_uri: str, verifier: str) -> Code:
        """What the code stood for; it is used up.

        Raises:
            Refused: it is unknown, used, too old, somebody else's, or the verifier does not fit the challenge.
        """
        found = self.codes.pop(code, None)
        fits = (
            found is not None
            and found.client_id == client_id
            and found.redirect_uri == redirect_uri
            and found.expires_at > self.now()
            and hmac.compare_digest(found.challenge.encode(), _challenge(verifier).encode())
        )
        if found is None or not fits:
            raise Refused(400, "invalid_grant")
        return found

    def service_scopes(self, requested: str) -> ScopeTree:
        """What a confidential client asks for itself, which needs nobody else's consent.

        Raises:
            Refused: there is no such scope.
        """
        tree = _known_scopes(requested)
        self.consent(SERVICE_IDENTITY, CLIENT_ID, tree)
        return tree

    def authenticate(self, client_id: str, secret: str | None) -> None:
        """Returns if these are the credentials of a client.

        Raises:
            Refused: they are not.
        """
        if client_id not in self.clients:
            raise Refused(401, "invalid_client")
        known = self.clients[client_id]
        if known is not None and not hmac.compare_digest(known.encode(), (secret or "").encode()):
            raise Refused(401, "invalid_client")

    def new_access_token(self, grant: Grant) -> str:
        """An access token for what `grant` says, from now on."""
        token = "A" + secrets.token_urlsafe(32)
        expires = self.now() + self.token_lifetime_s
        self.access[token] = Grant(
            grant.identity, grant.client_id, grant.resource_server, grant.scopes, expires
        )
        return token

    def new_refresh_token(self, grant: Grant) -> str:
        """A refresh token for what `grant` says."""
        token = "R" + secrets.token_urlsafe(32)
        self.refresh[token] = grant
        return token

    def holder(self, token: str, server: str) -> Grant | None:
        """What the access token allows at `server` now; None where it allows nothing."""
        grant = self.access.get(token)
        if grant is None or grant.resource_server != server:
            return None
        return grant if grant.expires_at is None or grant.expires_at > self.now() else None

    def refreshed(self, token: str, client_id: str) -> Grant:
        """What the refresh token stands for.

        Raises:
            Refused: it is unknown, revoked or another client's.
        """
        grant = self.refresh.get(token)
        if grant is None or grant.client_id != client_id:
            raise Refused(400, "invalid_grant")
        return grant

    def revoke(self, token: str) -> None:
        """The token is good for nothing any more."""
        self.access.pop(token, None)
        self.refresh.pop(token, None)

    def expire_tokens(self) -> None:
        """All access tokens given out so far are invalid."""
        self.access.clear()

    def revoke_logins(self) -> None:
        """All tokens given out so far are invalid."""
        self.access.clear()
        self.refresh.clear()


def _known_scopes(requested: str) -> ScopeTree:
    try:
        tree = scopes.parse_scopes(requested)
        for scope, below in tree.items():
            scopes.resource_server(scope)
            for dependent in below:
                scopes.resource_server(dependent)
    except ValueError as error:
        raise Refused(400, "invalid_scope") from error
    if not tree:
        raise Refused(400, "invalid_scope")
    return tree


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
