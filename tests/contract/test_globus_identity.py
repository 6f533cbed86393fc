"""Whose account the Transfer service is used with: tokens, consents, logins; by the real SDK, against the stand-in."""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from empiar_mirror.rehearsal.globus import (
    CLIENT_ID,
    CLIENT_SECRET,
    DESTINATION_COLLECTION,
    GlobusConfig,
    GlobusFault,
    GlobusFaultKind,
    GlobusStandIn,
)
from empiar_schema.faults import (
    AccountFault,
    StorageFault,
)
from empiar_schema.settings import GlobusSettings
from empiar_wire.globus import THREADS, TransferService
from empiar_wire.globus_account import GlobusAccount
from empiar_wire.globus_faults import CHECK_CLIENT, LOG_IN, SessionNeeds
from empiar_wire.globus_transport import READ_S
from globus_mirrors import globus_archive, opened, person, settings_for, submission

BASE = "/gridftp/empiar/world_availability"
NOBODY = "00000000-0000-4000-8000-00000000dead"


async def test_an_application_with_a_secret_is_itself(service: TransferService, tmp_path: Path) -> None:
    who = await service.whoami()
    assert who.username.endswith("@clients.auth.globus.org")
    assert not list(tmp_path.iterdir())  # its tokens are nowhere on disk
    assert CLIENT_SECRET not in repr(service.account.settings)


async def test_a_consent_that_lacks_an_application_gives_itself(tmp_path: Path) -> None:
    async with (
        globus_archive(GlobusConfig(folder=tmp_path, needs_data_access=True)) as rehearsal,
        opened(settings_for(rehearsal.globus, tmp_path)) as service,
    ):
        tokens = ("POST", "/v2/oauth2/token")
        await service.submission_id()
        assert rehearsal.globus.requests[tokens] == 1
        await service.ls(DESTINATION_COLLECTION, "/")
        assert rehearsal.globus.requests[tokens] == 2
        await service.ls(DESTINATION_COLLECTION, "/")
        assert rehearsal.globus.requests[tokens] == 2


@pytest.mark.parametrize("as_person", [True, False])
async def test_tokens_that_expire_in_mid_run_are_renewed(
    stand_in: GlobusStandIn, tmp_path: Path, as_person: bool
) -> None:
    settings = settings_for(stand_in, tmp_path, person=as_person)
    async with opened(settings) as service:
        if as_person:
            await asyncio.to_thread(service.account.log_in, *person(stand_in))
        for _ in range(2):
            stand_in.book.add(GlobusFault(kind=GlobusFaultKind.EXPIRE_TOKENS))
            await service.submission_id()
            stand_in.accounts.expire_tokens()
            together = (service.ls(DESTINATION_COLLECTION, "/"), service.whoami(), service.submission_id())
            await asyncio.gather(*together, service.unfinished(), service.submission_id())


async def test_a_revoked_login_says_how_to_log_in_again(stand_in: GlobusStandIn, tmp_path: Path) -> None:
    async with opened(settings_for(stand_in, tmp_path, person=True)) as service:
        with pytest.raises(AccountFault, match="not logged in") as caught:
            await service.submission_id()
        assert caught.value.hint == LOG_IN
        await asyncio.to_thread(service.account.log_in, *person(stand_in))
        await service.submission_id()
        stand_in.book.add(GlobusFault(kind=GlobusFaultKind.REVOKE_LOGIN))
        with pytest.raises(AccountFault, match="has ended, or was revoked") as caught:
            await service.submission_id()
        assert caught.value.hint == LOG_IN
        # The SDK's error has the service's whole answer as a note, which a traceback would print.
        assert "The response body" not in "".join(traceback.format_exception(caught.value))
        await asyncio.to_thread(service.account.log_in, *person(stand_in))
        await service.submission_id()


async def test_a_login_from_elsewhere_lets_a_running_service_go_on(
    stand_in: GlobusStandIn, tmp_path: Path
) -> None:
    settings = settings_for(stand_in, tmp_path, person=True)

    async def log_in() -> None:
        account = GlobusAccount(settings.globus, tmp_path)
        try:
            await asyncio.to_thread(account.log_in, *person(stand_in))
        finally:
            account.close()

    async with opened(settings) as running:
        with pytest.raises(AccountFault, match="not logged in"):
            await running.submission_id()
        await log_in()
        await running.submission_id()
        stand_in.accounts.revoke_logins()
        with pytest.raises(AccountFault, match="has ended, or was revoked"):
            await running.submission_id()
        await log_in()
        await running.submission_id()


async def test_no_secret_is_logged_at_any_level(
    stand_in: GlobusStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {CLIENT_SECRET, base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()}
    show, ask = person(stand_in)

    def ask_and_remember() -> str:
        code = ask()
        secrets.add(code)
        return code

    for as_person in (True, False):
        async with opened(settings_for(stand_in, tmp_path, person=as_person)) as service:
            if as_person:
                await asyncio.to_thread(service.account.log_in, show, ask_and_remember)
            await service.whoami()
            await service.submit(await submission(service))
            secrets |= {*stand_in.accounts.access, *stand_in.accounts.refresh}
            stand_in.accounts.expire_tokens()
            await service.ls(DESTINATION_COLLECTION, "/")
            secrets |= {*stand_in.accounts.access, *stand_in.accounts.refresh}
            stand_in.accounts.revoke_logins()
            if as_person:
                with pytest.raises(AccountFault):
                    await service.submission_id()
    assert len(secrets) > 6
    assert "globus_sdk" in {record.name.partition(".")[0] for record in caplog.records}
    assert not [secret for secret in secrets if secret in caplog.text]


async def test_a_full_disk_does_not_end_a_login(stand_in: GlobusStandIn, tmp_path: Path) -> None:
    settings = settings_for(stand_in, tmp_path, person=True)
    async with opened(settings) as service:
        await asyncio.to_thread(service.account.log_in, *person(stand_in))
        before = (tmp_path / "globus-tokens.json").read_bytes()
        (tmp_path / "globus-tokens.json.new").mkdir()  # nothing can be written there now
        stand_in.accounts.expire_tokens()
        await service.submission_id()
        assert (tmp_path / "globus-tokens.json").read_bytes() == before
        with pytest.raises(StorageFault, match="tokens cannot be kept") as caught:
            await asyncio.to_thread(service.account.log_in, *person(stand_in))
        assert caught.value.hint


async def test_a_login_may_have_to_be_of_a_certain_identity(stand_in: GlobusStandIn, tmp_path: Path) -> None:
    shown: list[str] = []

    def no_code() -> str:
        raise InterruptedError

    account = GlobusAccount(settings_for(stand_in, tmp_path, person=True).globus, tmp_path)
    needs = SessionNeeds(domains=("lab.example",), policies=("p",), mfa=True)
    try:
        with pytest.raises(StorageFault):  # the nearest fault to an error of the system
            account.log_in(shown.append, no_code, session=needs)
    finally:
        account.close()
    query = parse_qs(urlsplit(shown[0]).query)
    assert query["session_required_single_domain"] == ["lab.example"]
    assert query["session_required_mfa"] == ["True"]
    assert query["session_required_policies"] == ["p"]


async def test_addresses_left_at_their_defaults_are_those_of_the_sdk(
    stand_in: GlobusStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", f"{stand_in.url}/")
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", f"{stand_in.url}/")
    settings = settings_for(stand_in, tmp_path)
    default = GlobusSettings(client_id=settings.globus.client_id, client_secret=settings.globus.client_secret)
    async with opened(settings.model_copy(update={"globus": default})) as service:
        assert (await service.whoami()).identity_id == settings.globus.client_id


async def test_closing_does_not_wait_for_a_call_that_hangs(stand_in: GlobusStandIn, tmp_path: Path) -> None:
    stand_in.book.add(GlobusFault(kind=GlobusFaultKind.HANG, match="*/ls", times=None))
    async with opened(settings_for(stand_in, tmp_path)) as service:
        await service.submission_id()
        calls = [asyncio.create_task(service.ls(DESTINATION_COLLECTION, "/")) for _ in range(5)]
        while stand_in.requests["GET", f"/v0.10/operation/endpoint/{DESTINATION_COLLECTION}/ls"] < THREADS:
            await asyncio.sleep(0.01)
        # Each read waits for a minute; without end the test's own time limit strikes.
        await asyncio.wait_for(service.aclose(), READ_S / 2)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(RuntimeError):
            await service.submission_id()


async def test_a_wrong_secret_names_the_settings_to_check(stand_in: GlobusStandIn, tmp_path: Path) -> None:
    stand_in.accounts.clients[settings_for(stand_in, tmp_path).globus.client_id] = "another"
    async with opened(settings_for(stand_in, tmp_path)) as service:
        with pytest.raises(AccountFault, match="does not accept this application") as caught:
            await service.submission_id()
        assert caught.value.hint == CHECK_CLIENT
        assert CLIENT_SECRET not in str(caught.value)
