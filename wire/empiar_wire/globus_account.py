"""The Globus account of a mirror: a person's login with refresh tokens, or the credentials of an application.

Everything here blocks; `empiar_wire.globus` calls it from threads of its own. It may be used from several threads.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar, cast

from globus_sdk import (
    AuthClient,
    BaseClient,
    ClientApp,
    ConfidentialAppAuthClient,
    GlobusAppConfig,
    NativeAppAuthClient,
    TransferClient,
    UserApp,
)
from globus_sdk.authorizers import GlobusAuthorizer
from globus_sdk.gare import GlobusAuthorizationParameters
from globus_sdk.login_flows import CommandLineLoginFlowManager
from globus_sdk.scopes import AuthScopes, Scope, ScopeParser, TransferScopes
from globus_sdk.token_storage import MemoryTokenStorage, ScopeRequirementsValidator

from empiar_schema.faults import AccountFault, ConfigFault
from empiar_schema.settings import GlobusSettings
from empiar_wire.globus_faults import CHECK_CLIENT, LOG_IN, NO_NEEDS, Asked, SessionNeeds, shown
from empiar_wire.globus_sdk_errors import translated
from empiar_wire.globus_tokens import TokenFile, unreadable
from empiar_wire.globus_transport import tame

C = TypeVar("C", bound=BaseClient)

APP_NAME: Final = "empiar-mirror"
TOKEN_FILE_NAME: Final = "globus-tokens.json"  # noqa: S105 - the name of a file

_SCOPES: Final = {
    AuthScopes.resource_server: [AuthScopes.openid, AuthScopes.profile, AuthScopes.email],
    TransferScopes.resource_server: [TransferScopes.all],
}


def token_path(settings: GlobusSettings, root: Path) -> Path:
    """Where the tokens of a login are kept; a relative `token_file` is seen from `root`."""
    given = settings.token_file
    return root / TOKEN_FILE_NAME if given is None else root / given.expanduser()


class _Talk(CommandLineLoginFlowManager):
    """Shows the address and asks for the code by functions of the caller."""

    show: Callable[[str], None]
    ask: Callable[[], str]

    def print_authorize_url(self, authorize_url: str) -> None:
        self.show(authorize_url)

    def prompt_for_code(self) -> str:
        return self.ask()


class GlobusAccount:
    """Tokens for both services, renewed as needed. Built without the network; close it."""

    def __init__(self, settings: GlobusSettings, root: Path) -> None:
        """The account of `settings`: an application's own if there is a secret, else the person's who logged in.

        Raises:
            ConfigFault: there is no client id, or no folder for the tokens.
            AccountFault: the token file cannot be read.
        """
        if not settings.client_id:
            raise ConfigFault(
                "globus.client_id is not set",
                hint="register an application at https://app.globus.org/settings/developers and set globus.client_id to its id",
            )
        self.settings = settings
        self.client_id = settings.client_id
        secret = settings.client_secret
        self.is_client = secret is not None
        #: Where the tokens are; None with client credentials, whose tokens stay in memory.
        self.token_file = None if self.is_client else token_path(settings, root)
        self._lock = threading.RLock()
        self._clients: list[BaseClient] = []
        self._auth_url = _base_url(settings, "auth_url")
        self._app: ClientApp | UserApp
        try:
            if secret is not None:
                self._app = self._client_app(secret.get_secret_value())
            else:
                self._app = self._user_app(TokenFile(token_path(settings, root), client_id=self.client_id))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.close()
            raise unreadable(self.token_file, error) from None
        except BaseException:
            self.close()
            raise
        for validator in self._app.token_storage.validators:
            # The SDK gives no way to say where this client, which it builds itself, asks for consents.
            if isinstance(validator, ScopeRequirementsValidator):
                client = validator.consent_client
                client.base_url = self._auth_url or client.base_url
                tame(client)

    def _client_app(self, secret: str) -> ClientApp:
        login = self._kept(
            ConfidentialAppAuthClient(self.client_id, secret, base_url=self._auth_url, app_name=APP_NAME)
        )
        config = GlobusAppConfig(token_storage=MemoryTokenStorage(), token_validation_error_handler=None)
        return ClientApp(APP_NAME, login_client=login, scope_requirements=_SCOPES, config=config)

    def _user_app(self, tokens: TokenFile) -> UserApp:
        login = self._kept(NativeAppAuthClient(self.client_id, base_url=self._auth_url, app_name=APP_NAME))
        self._talk = _Talk(login, request_refresh_tokens=True, native_prefill_named_grant=APP_NAME)
        config = GlobusAppConfig(
            token_storage=tokens,
            token_validation_error_handler=None,
            request_refresh_tokens=True,
            login_flow_manager=self._talk,
        )
        return UserApp(APP_NAME, login_client=login, scope_requirements=_SCOPES, config=config)

    # --- tokens ---------------------------------------------------------------------------------------

    def authorizer(self, resource_server: str) -> GlobusAuthorizer:
        """What a client of the SDK asks for its Authorization header; safe for several threads."""
        return _OneAtATime(self._lock, functools.partial(self._app.get_authorizer, resource_server))

    def transfer_client(self) -> TransferClient:
        """A client of the Transfer service that tries once; it belongs to the account and is closed with it."""
        return self._kept(
            TransferClient(
                authorizer=self.authorizer(TransferScopes.resource_server),
                base_url=_base_url(self.settings, "transfer_url"),
                app_name=APP_NAME,
            )
        )

    def auth_client(self) -> AuthClient:
        """A client of the login service, for questions about the identity."""
        return self._kept(
            AuthClient(
                authorizer=self.authorizer(AuthScopes.resource_server),
                base_url=self._auth_url,
                app_name=APP_NAME,
            )
        )

    @property
    def renew(self) -> str:
        """What a person does when the account is not, or no longer, let in."""
        return CHECK_CLIENT if self.is_client else LOG_IN

    @property
    def logged_in(self) -> bool:
        """Whether there are tokens to go by; always, with client credentials. The network is not asked."""
        return self.is_client or self._stored(TransferScopes.resource_server) is not None

    def expires_at(self) -> float | None:
        """When the present access token for transfers ends, epoch seconds; it is renewed by itself. None where there is none."""
        return self._stored(TransferScopes.resource_server)

    def _stored(self, resource_server: str) -> float | None:
        storage = self._app.token_storage.token_storage
        try:
            with self._lock:
                data = storage.get_token_data(resource_server)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise unreadable(self.token_file, error) from None
        return None if data is None else float(data.expires_at_seconds)

    def renew_access(self, resource_server: str) -> None:
        """The present access token is not used again: the next request gets a new one."""
        with self._lock:
            self._app.get_authorizer(resource_server).handle_missing_authorization()

    def look_again(self) -> None:
        """The next request goes by the tokens that are in the file then: somebody may have logged in again meanwhile."""
        with self._lock:
            # Adding requirements, even none, is the SDK's public way to forget the authorizers that it keeps.
            self._app.add_scope_requirements({server: [] for server in _SCOPES})

    def require(self, scopes: Sequence[str]) -> None:
        """The next token of these client credentials has these scopes too.

        Raises:
            AccountFault: one of them has nothing to do with transfers.
        """
        with self._lock, translated(Asked("ask for consents"), renew=self.renew):
            server = TransferScopes.resource_server
            self._app.add_scope_requirements({server: _of_transfers(scopes)})
            self._app.token_storage.remove_token_data(server)

    # --- login and logout -----------------------------------------------------------------------------

    def log_in(
        self,
        show: Callable[[str], None],
        ask: Callable[[], str],
        *,
        scopes: Sequence[str] = (),
        session: SessionNeeds = NO_NEEDS,
    ) -> None:
        """A person has logged in, and the tokens are kept: `show` got the address, `ask` gave the code.

        Raises:
            AccountFault: the code is wrong or too old, or the login is of another identity than before.
            TransientFault: the login service cannot be reached.
        """
        assert not self.is_client
        with translated(Asked("log in"), renew=self.renew):
            wanted = [str(scope) for scope in _of_transfers(scopes)]
        parameters = GlobusAuthorizationParameters(
            required_scopes=wanted or None,
            session_required_single_domain=list(session.domains) or None,
            session_required_identities=list(session.identities) or None,
            session_required_policies=list(session.policies) or None,
            session_required_mfa=session.mfa or None,
        )
        self._talk.show, self._talk.ask = show, ask
        wrong = "the code may be mistyped or older than ten minutes: log in again"
        with self._lock, translated(Asked("log in"), renew=wrong):
            self._app.login(auth_params=parameters, force=True)

    def log_out(self) -> bool:
        """The tokens are revoked and removed; False if there were none.

        Raises:
            TransientFault: the login service cannot be reached; the tokens that it has not revoked are still there.
        """
        if self.is_client or not self.logged_in:
            return False
        with self._lock, translated(Asked("revoke the tokens"), renew=self.renew):
            self._app.logout(sweep=True)
            storage = self._app.token_storage.token_storage
            if isinstance(storage, TokenFile):
                storage.removed_if_empty()
        return True

    def close(self) -> None:
        """All connections are closed; the login stands."""
        app = getattr(self, "_app", None)
        if app is not None:
            app.close()
        for client in self._clients:
            client.close()

    def _kept(self, client: C) -> C:
        self._clients.append(client)
        tame(client)
        return client


class _OneAtATime(GlobusAuthorizer):
    """The app's authorizer, behind a lock: the SDK's apps and renewing authorizers are not made for several threads."""

    def __init__(self, lock: threading.RLock, authorizer: Callable[[], GlobusAuthorizer]) -> None:
        self._lock = lock
        self._authorizer = authorizer

    def get_authorization_header(self) -> str | None:
        with self._lock:
            return self._authorizer().get_authorization_header()

    def handle_missing_authorization(self) -> bool:
        with self._lock:
            return self._authorizer().handle_missing_authorization()


def _of_transfers(scopes: Sequence[str]) -> list[Scope]:
    """The scopes that a service has demanded.

    Raises:
        AccountFault: one has nothing to do with transfers; a mirror asks nobody for more.
    """
    parsed = [scope for text in scopes for scope in ScopeParser.parse(text)]
    for scope in parsed:
        if scope.scope_string != TransferScopes.all.scope_string:
            raise AccountFault(
                f"a consent is demanded that transfers do not need: {shown(scope.scope_string)}",
                hint="ask whoever runs the collection why; this program does not ask for it",
            )
    return parsed


def _base_url(settings: GlobusSettings, key: str) -> str | None:
    """The configured address; None leaves the choice to the SDK, which knows variables of the environment."""
    url = cast("str", getattr(settings, key))
    return None if url == GlobusSettings.model_fields[key].default else f"{url}/"
