"""Logging in at the Globus stand-in, by the SDK's own apps and clients."""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from globus_sdk import (
    AccessTokenAuthorizer,
    AuthAPIError,
    AuthClient,
    AuthLoginClient,
    ClientApp,
    ConfidentialAppAuthClient,
    GlobusAppConfig,
    NativeAppAuthClient,
    OAuthTokenResponse,
    TransferAPIError,
    TransferClient,
    UserApp,
)
from globus_sdk.gare import GlobusAuthorizationParameters
from globus_sdk.login_flows import LoginFlowManager
from globus_sdk.token_storage import JSONTokenStorage, MemoryTokenStorage
from globus_sdk.token_storage.validating_token_storage import IdentityMismatchError, MissingTokenError

from empiar_mirror.rehearsal.globus import (
    CLIENT_ID,
    CLIENT_SECRET,
    DESTINATION_COLLECTION,
    NATIVE_CLIENT_ID,
    GlobusConfig,
    GlobusFault,
    GlobusFaultKind,
    GlobusStandIn,
)
from empiar_mirror.rehearsal.globus.accounts import PERSON, Identity
from empiar_mirror.rehearsal.server import Rehearsal
from globus_client import TRANSFER, TRANSFER_ALL, Account, access_token, auth_client, call, transfer_client


@pytest.fixture
async def globus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GlobusStandIn]:
    config = GlobusConfig(folder=tmp_path / "storage", needs_data_access=True)
    (tmp_path / "storage").mkdir()
    async with Rehearsal([], globus=config) as rehearsal:
        # An app asks for consents with a client of its own, which takes no address.
        monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", rehearsal.globus.url + "/")
        monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", rehearsal.globus.url + "/")
        yield rehearsal.globus


class AgreeingPerson(LoginFlowManager):
    """Somebody who opens the login's address and agrees, without a browser."""

    def __init__(self, login_client: AuthLoginClient, globus: GlobusStandIn) -> None:
        super().__init__(login_client, request_refresh_tokens=True)
        self._globus = globus
        self.asked: list[str] = []

    def run_login_flow(self, auth_parameters: GlobusAuthorizationParameters) -> OAuthTokenResponse:
        address = self._get_authorize_url(auth_parameters, self._globus.url + "/v2/web/auth-code")
        self.asked.append(address)
        return self.login_client.oauth2_exchange_code_for_tokens(self._globus.authorize(address))


def user_app(globus: GlobusStandIn, storage: Path) -> UserApp:
    client = NativeAppAuthClient(NATIVE_CLIENT_ID, base_url=globus.url)
    config = GlobusAppConfig(
        request_refresh_tokens=True,
        token_storage=JSONTokenStorage(storage),
        token_validation_error_handler=None,
        login_flow_manager=AgreeingPerson(client, globus),
    )
    return UserApp("mirror", login_client=client, config=config)


async def test_a_person_logs_in_and_works_with_refresh_tokens(globus: GlobusStandIn, tmp_path: Path) -> None:
    def use() -> tuple[str, str]:
        with user_app(globus, tmp_path / "tokens.json") as app, TransferClient(app=app) as client:
            client.add_app_data_access_scope(DESTINATION_COLLECTION)
            assert app.login_required()
            with pytest.raises(MissingTokenError):
                client.get_submission_id()
            app.login()
            assert not app.login_required()
            first = client.get_submission_id()["value"]
            client.operation_mkdir(DESTINATION_COLLECTION, "/new")
        # Another process finds the login and its consents again.
        with user_app(globus, tmp_path / "tokens.json") as app, TransferClient(app=app) as client:
            client.add_app_data_access_scope(DESTINATION_COLLECTION)
            assert not app.login_required()
            return first, client.get_submission_id()["value"]

    first, second = await call(use)
    assert first != second


async def test_access_tokens_run_out_and_are_refreshed(globus: GlobusStandIn, tmp_path: Path) -> None:
    def use() -> None:
        with user_app(globus, tmp_path / "tokens.json") as app, TransferClient(app=app) as client:
            app.login()
            client.get_submission_id()
            globus.accounts.expire_tokens()
            client.get_submission_id()
            globus.accounts.revoke_logins()
            with pytest.raises(AuthAPIError) as caught:
                client.get_submission_id()
            assert (caught.value.http_status, caught.value.code) == (400, None)
            assert "invalid_grant" in caught.value.text

    await call(use)


async def test_an_access_token_is_good_for_its_lifetime_only(globus: GlobusStandIn) -> None:
    globus.accounts.token_lifetime_s = 100.0
    token = await access_token(globus)
    with transfer_client(globus, token) as client:
        await call(client.get_submission_id)
        globus.accounts.clock_offset_s = 101.0
        error = await Account(client).refused(client.get_submission_id)
    assert (error.http_status, error.code) == (401, "AuthenticationFailed")


async def test_a_service_logs_in_by_its_secret(globus: GlobusStandIn) -> None:
    def use() -> None:
        client = ConfidentialAppAuthClient(CLIENT_ID, CLIENT_SECRET, base_url=globus.url)
        config = GlobusAppConfig(token_storage=MemoryTokenStorage(), token_validation_error_handler=None)
        with (
            ClientApp("mirror", login_client=client, config=config) as app,
            TransferClient(app=app) as transfer,
            AuthClient(app=app) as auth,
        ):
            transfer.add_app_data_access_scope(DESTINATION_COLLECTION)
            transfer.operation_mkdir(DESTINATION_COLLECTION, "/new")
            assert auth.userinfo()["sub"] == CLIENT_ID

    await call(use)


async def test_who_one_is_depends_on_the_scopes(globus: GlobusStandIn) -> None:
    def use() -> None:
        with NativeAppAuthClient(NATIVE_CLIENT_ID, base_url=globus.url) as login:
            login.oauth2_start_flow("openid email profile " + TRANSFER_ALL)
            answer = login.oauth2_exchange_code_for_tokens(globus.authorize(login.oauth2_get_authorize_url()))
            assert answer.decode_id_token()["sub"] == PERSON.identity_id
            assert set(answer.by_resource_server) == {"auth.globus.org", TRANSFER}
            token = answer.by_resource_server["auth.globus.org"]["access_token"]
            with AuthClient(authorizer=AccessTokenAuthorizer(token)) as auth:
                facts = auth.userinfo()
                assert (facts["preferred_username"], facts["email"]) == (PERSON.username, PERSON.email)
                found = auth.get_identities(usernames=[PERSON.username])
                assert [row["id"] for row in found] == [PERSON.identity_id]
            login.oauth2_revoke_token(token)
            with AuthClient(authorizer=AccessTokenAuthorizer(token)) as auth:
                auth.retry_config.max_retries = 0
                with pytest.raises(AuthAPIError) as caught:
                    auth.userinfo()
                assert caught.value.http_status == 401

    await call(use)


async def test_a_code_serves_once_and_only_with_its_verifier(globus: GlobusStandIn) -> None:
    def use() -> None:
        with (
            NativeAppAuthClient(NATIVE_CLIENT_ID, base_url=globus.url) as login,
            NativeAppAuthClient(NATIVE_CLIENT_ID, base_url=globus.url) as thief,
        ):
            login.oauth2_start_flow(TRANSFER_ALL)
            thief.oauth2_start_flow(TRANSFER_ALL)
            code = globus.authorize(login.oauth2_get_authorize_url())
            with pytest.raises(AuthAPIError, match="400"):
                thief.oauth2_exchange_code_for_tokens(code)
            code = globus.authorize(login.oauth2_get_authorize_url())
            login.oauth2_exchange_code_for_tokens(code)
            with pytest.raises(AuthAPIError, match="400"):
                login.oauth2_exchange_code_for_tokens(code)

    await call(use)


async def test_a_wrong_secret_and_an_unknown_client_are_refused(globus: GlobusStandIn) -> None:
    def use(client_id: str, secret: str) -> AuthAPIError:
        with ConfidentialAppAuthClient(client_id, secret, base_url=globus.url) as client:
            with pytest.raises(AuthAPIError) as caught:
                client.oauth2_client_credentials_tokens(TRANSFER_ALL)
            return caught.value

    for client_id, secret in ((CLIENT_ID, "wrong"), (PERSON.identity_id, CLIENT_SECRET)):
        error = await call(use, client_id, secret)
        assert error.http_status == 401
        assert "invalid_client" in error.text


async def test_a_person_can_copy_the_code_from_a_page(globus: GlobusStandIn) -> None:
    class Pre(HTMLParser):
        text = ""
        inside = False

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.inside = tag == "pre"

        def handle_data(self, data: str) -> None:
            self.text += data if self.inside else ""

    def use() -> None:
        with NativeAppAuthClient(NATIVE_CLIENT_ID, base_url=globus.url) as login:
            login.oauth2_start_flow(TRANSFER_ALL, refresh_tokens=True)
            with urllib.request.urlopen(login.oauth2_get_authorize_url()) as page:
                parser = Pre()
                parser.feed(page.read().decode())
            answer = login.oauth2_exchange_code_for_tokens(parser.text.strip())
            assert answer.by_resource_server[TRANSFER]["refresh_token"]

    await call(use)


async def test_without_consent_the_data_cannot_be_reached(globus: GlobusStandIn) -> None:
    token = await access_token(globus)
    with transfer_client(globus, token) as client:
        error = await Account(client).refused(client.operation_ls, DESTINATION_COLLECTION)
        assert error.info.consent_required
        scopes = error.info.consent_required.required_scopes
        assert scopes == [
            f"{TRANSFER_ALL}[*https://auth.globus.org/scopes/{DESTINATION_COLLECTION}/data_access]"
        ]
        # What the error asks for is what a login must ask for.
        await access_token(globus, scopes[0])
        await call(client.operation_ls, DESTINATION_COLLECTION)
        globus.accounts.revoke_consents()
        error = await Account(client).refused(client.operation_ls, DESTINATION_COLLECTION)
        assert (error.http_status, error.code) == (403, "ConsentRequired")


async def test_an_app_notices_that_a_consent_was_withdrawn(globus: GlobusStandIn, tmp_path: Path) -> None:
    def use() -> None:
        with user_app(globus, tmp_path / "tokens.json") as app, TransferClient(app=app) as client:
            client.add_app_data_access_scope(DESTINATION_COLLECTION)
            app.login()
        globus.accounts.revoke_consents()
        with user_app(globus, tmp_path / "tokens.json") as app, TransferClient(app=app) as client:
            assert not app.login_required()
            client.add_app_data_access_scope(DESTINATION_COLLECTION)
            assert app.login_required()

    await call(use)


async def test_another_person_at_the_same_login_is_noticed(globus: GlobusStandIn, tmp_path: Path) -> None:
    def use() -> None:
        with user_app(globus, tmp_path / "tokens.json") as app:
            app.login()
            globus.accounts.person = Identity(
                "00000000-0000-4000-8000-0000000000a2", "other@example.org", "Other"
            )
            with pytest.raises(IdentityMismatchError):
                app.login(force=True)

    await call(use)


async def test_tokens_expire_in_the_middle_when_a_fault_says_so(globus: GlobusStandIn) -> None:
    with auth_client(globus) as login, transfer_client(globus, await access_token(globus)) as client:
        globus.book.add(GlobusFault(kind=GlobusFaultKind.EXPIRE_TOKENS, match="GET /v0.10/task_list"))
        await call(client.get_submission_id)
        with pytest.raises(TransferAPIError) as caught:
            await call(client.task_list)
        assert (caught.value.http_status, caught.value.code) == (401, "AuthenticationFailed")
        answer = await call(login.oauth2_client_credentials_tokens, TRANSFER_ALL)
        client.authorizer = AccessTokenAuthorizer(answer.by_resource_server[TRANSFER]["access_token"])
        await call(client.task_list)


async def test_accounts_do_not_see_each_others_tasks(globus: GlobusStandIn) -> None:
    task = await call(globus.add_foreign_task, owner_id=PERSON.identity_id)
    with transfer_client(globus, await access_token(globus)) as client:
        error = await Account(client).refused(client.get_task, task.task_id)
        assert (error.http_status, error.code) == (404, "ClientError.NotFound")
        assert list(await call(client.task_list)) == []
    globus.end_task(task)
