"""The Transfer service as the mirror uses it, by the real SDK, against the stand-in."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from empiar_mirror.rehearsal.globus import (
    ARCHIVE_COLLECTION,
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
    BadAnswer,
    ConfigFault,
    EmpiarMirrorError,
    PermanentFault,
    StorageFault,
    TransientFault,
)
from empiar_schema.settings import GlobusSettings
from empiar_wire.globus import THREADS, TransferService
from empiar_wire.globus_account import GlobusAccount
from empiar_wire.globus_facts import (
    CANCELED,
    FilterRule,
    GlobusService,
    Submission,
    TaskStatus,
    TransferItem,
)
from empiar_wire.globus_faults import CHECK_CLIENT, LOG_IN, NotPermitted, SessionNeeds
from empiar_wire.globus_paths import KNOWN_BASES, find_archive_base
from empiar_wire.globus_transport import READ_S
from globus_mirrors import ended, globus_archive, opened, person, settings_for

BASE = "/gridftp/empiar/world_availability"
NOBODY = "00000000-0000-4000-8000-00000000dead"


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[GlobusStandIn]:
    config = GlobusConfig(folder=tmp_path, page_size=3, history_while_running=False)
    async with globus_archive(config) as rehearsal:
        yield rehearsal.globus


@pytest.fixture
async def service(stand_in: GlobusStandIn, tmp_path: Path) -> AsyncIterator[TransferService]:
    async with opened(settings_for(stand_in, tmp_path)) as service:
        yield service


async def submission(service: GlobusService, *items: TransferItem, label: str = "mirror 1") -> Submission:
    return Submission(
        submission_id=await service.submission_id(),
        label=label,
        source_collection=ARCHIVE_COLLECTION,
        destination_collection=DESTINATION_COLLECTION,
        items=items or (TransferItem(f"{BASE}/10101/data", "/10101", recursive=True),),
    )


def files_below(stand_in: GlobusStandIn, empiar_id: int, folder: bytes) -> dict[str, int]:
    entry = stand_in.archive_collection.storage.archive.entries[empiar_id]  # type: ignore[union-attr] # of the archive
    return {path.decode(): file.size for path, file in entry.walk() if path.startswith(folder + b"/")}


# --- transfers --------------------------------------------------------------------------------------------------


async def test_a_transfer_is_submitted_with_every_option_and_its_history_is_read(
    service: TransferService, stand_in: GlobusStandIn, tmp_path: Path
) -> None:
    asked = await submission(service)
    task_id = await service.submit(replace(asked, deadline_s=3600.0))
    task = await ended(service, task_id)
    expected = files_below(stand_in, 10101, b"data")
    assert expected
    assert task.status is TaskStatus.SUCCEEDED
    assert (task.label, task.files_transferred) == ("mirror 1", len(expected))
    assert task.bytes_transferred == sum(expected.values())
    assert task.submitted_at is not None
    assert task.deadline_at is not None
    assert abs(task.deadline_at - task.submitted_at - 3600) <= 2

    moved: dict[str, str] = {}
    marker, pages = None, 0
    while True:
        page = await service.moved(task_id, marker)
        moved |= {one.source: one.destination for one in page.items}
        pages += 1
        if (marker := page.next_marker) is None:
            break
    assert pages > 1
    assert moved == {f"{BASE}/10101/{path}": f"/10101/{path.removeprefix('data/')}" for path in expected}
    assert {
        path: (tmp_path / "10101" / path.removeprefix("data/")).stat().st_size for path in expected
    } == expected

    events = await service.events(task_id, limit=2)
    assert len(events) == 2
    assert events[0].at >= events[1].at


async def test_the_same_submission_twice_is_one_task(
    service: TransferService, stand_in: GlobusStandIn
) -> None:
    asked = await submission(service)
    assert await service.submit(asked) == await service.submit(asked)
    assert len(stand_in.tasks) == 1


async def test_a_lost_answer_is_transient_and_the_same_submission_finds_its_task(
    service: TransferService, stand_in: GlobusStandIn
) -> None:
    asked = await submission(service)
    stand_in.book.add(GlobusFault(kind=GlobusFaultKind.LOSE_ANSWER, match="POST /v0.10/transfer"))
    with pytest.raises(TransientFault) as caught:
        await service.submit(asked)
    assert caught.value.host_down
    assert await service.submit(asked) == stand_in.tasks[0].task_id
    assert len(stand_in.tasks) == 1


async def test_filters_leave_out_what_they_say(
    service: TransferService, stand_in: GlobusStandIn, tmp_path: Path
) -> None:
    asked = await submission(service)
    rules = (FilterRule("include", "*.mrc"), FilterRule("exclude", "*"))
    assert (
        await ended(service, await service.submit(replace(asked, filters=rules)))
    ).status is TaskStatus.SUCCEEDED
    names = {path.name for path in (tmp_path / "10101").rglob("*") if path.is_file()}
    assert names
    assert all(name.endswith(".mrc") for name in names)


async def test_a_missing_source_is_passed_over_and_named(service: TransferService) -> None:
    gone = TransferItem(f"{BASE}/10101/data/no such.mrc", "/x.mrc")
    task = await ended(service, await service.submit(await submission(service, gone)))
    page = await service.skipped(task.task_id)
    assert [(one.source, one.code) for one in page.items] == [(gone.source, "FILE_NOT_FOUND")]


async def test_the_deadline_goes_by_the_clock_of_the_service(
    service: TransferService, stand_in: GlobusStandIn
) -> None:
    stand_in.clock_offset_s = 86_400.0
    stand_in.hold()
    asked = await submission(service)
    task = await service.task(await service.submit(replace(asked, deadline_s=600.0)))
    assert task.deadline_at is not None
    assert abs(task.deadline_at - (time.time() + 86_400 + 600)) < 60
    stand_in.release()


async def test_tasks_are_found_by_exact_label_and_while_unfinished(
    service: TransferService, stand_in: GlobusStandIn
) -> None:
    stand_in.hold()
    labels = ["mirror 7", "mirror 77", "Mirror 7", "mirror: 7/8 *"]
    ids = {label: await service.submit(await submission(service, label=label)) for label in labels}
    foreign = stand_in.add_foreign_task()
    for label in labels:
        assert [task.task_id for task in await service.labelled(label)] == [ids[label]]
    assert await service.labelled("mirror") == []
    unfinished = await service.unfinished()
    assert {task.task_id for task in unfinished} == {*ids.values(), foreign.task_id}
    assert any(task.queued for task in unfinished)

    await service.cancel(ids["mirror 7"])
    task = await ended(service, ids["mirror 7"])
    assert (task.status, task.fatal_code) == (TaskStatus.FAILED, CANCELED)
    await service.cancel(ids["mirror 7"])
    assert ids["mirror 7"] not in {task.task_id for task in await service.unfinished()}
    stand_in.release()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"items": ()}, "without items"),
        ({"label": "x" * 129}, "one line of at most 128"),
        ({"label": "two\nlines"}, "one line of at most 128"),
        ({"sync_level": "size and a half"}, "no sync level"),
    ],
)
async def test_what_the_service_would_refuse_is_refused_here(
    service: TransferService, stand_in: GlobusStandIn, change: dict[str, object], words: str
) -> None:
    asked = replace(await submission(service), **change)  # type: ignore[arg-type] # each value fits its field
    with pytest.raises(PermanentFault, match=words):
        await service.submit(asked)
    assert stand_in.requests["POST", "/v0.10/transfer"] == 0


async def test_an_id_that_is_none_is_told_before_anything_is_asked(service: TransferService) -> None:
    for call in (service.ls("archive", "/"), service.task("../x"), service.collection("")):
        with pytest.raises(AccountFault, match="is no Globus"):
            await call


# --- collections ------------------------------------------------------------------------------------------------


async def test_a_listing_has_exact_sizes_and_seconds(
    service: TransferService, stand_in: GlobusStandIn
) -> None:
    found = {one.name: one for one in await service.ls(ARCHIVE_COLLECTION, f"{BASE}/10101")}
    assert found["data"].kind == "dir"
    one = next(iter(files_below(stand_in, 10101, b"data").items()))
    shown = await service.stat(ARCHIVE_COLLECTION, f"{BASE}/10101/{one[0]}")
    assert (shown.kind, shown.size, shown.modified_at is not None) == ("file", one[1], True)


async def test_a_folder_is_made_once_and_there_twice(service: TransferService, tmp_path: Path) -> None:
    for _ in range(2):
        await service.mkdir(DESTINATION_COLLECTION, "/new")
        assert (tmp_path / "new").is_dir()
    with pytest.raises(PermanentFault) as caught:
        await service.mkdir(DESTINATION_COLLECTION, "/no/parent")
    assert caught.value.absent


async def test_links_are_told_from_what_they_lead_to(service: TransferService, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "to file").symlink_to("a")
    (tmp_path / "to nothing").symlink_to("b")
    found = {one.name: one for one in await service.ls(DESTINATION_COLLECTION, "/")}
    assert (found["to file"].kind, found["to file"].size, found["to file"].link_target) == ("file", 5, "a")
    assert found["to nothing"].kind == "invalid_symlink"


async def test_a_folder_with_too_many_names_is_no_listing(
    service: TransferService, stand_in: GlobusStandIn
) -> None:
    stand_in.book.add(
        GlobusFault(
            kind=GlobusFaultKind.ERROR,
            match="*/ls",
            value="502 ExternalError.DirListingFailed.SizeLimit too many",
        )
    )
    with pytest.raises(BadAnswer, match="more names than Globus lists"):
        await service.ls(DESTINATION_COLLECTION, "/")


async def test_the_archive_is_found_at_the_other_base_path(tmp_path: Path) -> None:
    for base in KNOWN_BASES:
        async with globus_archive(GlobusConfig(folder=tmp_path, archive_path=base)) as rehearsal:
            settings = settings_for(rehearsal.globus, tmp_path)
            async with opened(settings) as service:
                for configured in (*KNOWN_BASES, f"{base}/", "/no/where"):
                    assert await find_archive_base(service, ARCHIVE_COLLECTION, configured) == base
    async with (
        globus_archive(GlobusConfig(folder=tmp_path, archive_path="/third")) as rehearsal,
        opened(settings_for(rehearsal.globus, tmp_path)) as service,
    ):
        assert await find_archive_base(service, ARCHIVE_COLLECTION, "/third") == "/third"
        with pytest.raises(ConfigFault, match="neither at /fourth nor at"):
            await find_archive_base(service, ARCHIVE_COLLECTION, "/fourth")


async def test_the_archive_is_found_where_the_other_path_is_not_allowed_or_servers_are_old(
    service: TransferService, stand_in: GlobusStandIn
) -> None:
    not_allowed = GlobusFault(
        kind=GlobusFaultKind.ERROR, match="*/stat", value="403 EndpointPermissionDenied no"
    )
    stand_in.book.add(not_allowed)
    assert await find_archive_base(service, ARCHIVE_COLLECTION, KNOWN_BASES[1]) == BASE
    stand_in.book.add(replace(not_allowed, times=None))
    with pytest.raises(NotPermitted):
        await find_archive_base(service, ARCHIVE_COLLECTION, BASE)
    stand_in.book.clear()
    stand_in.book.add(replace(not_allowed, times=None, value="400 NotSupported by this server"))
    assert await find_archive_base(service, ARCHIVE_COLLECTION, KNOWN_BASES[1]) == BASE


# --- whose account ----------------------------------------------------------------------------------------------


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


# --- what goes wrong --------------------------------------------------------------------------------------------

K = GlobusFaultKind


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (GlobusFault(kind=K.DROP_REQUEST), TransientFault, "cannot be reached"),
        (GlobusFault(kind=K.LOSE_ANSWER), TransientFault, "cannot be reached"),
        (GlobusFault(kind=K.GARBAGE), TransientFault, "no sensible answer"),
        (GlobusFault(kind=K.GARBAGE, value="[]"), TransientFault, "no sensible answer"),
        (GlobusFault(kind=K.GARBAGE, value="null"), TransientFault, "no sensible answer"),
        (GlobusFault(kind=K.GARBAGE, value='{"DATA": 3}'), BadAnswer, "DATA is not a list"),
        (GlobusFault(kind=K.GARBAGE, value='{"DATA": [3]}'), BadAnswer, "int in place of an object"),
        (GlobusFault(kind=K.GARBAGE, value='{"DATA": [{}]}'), BadAnswer, "is lacking"),
        (GlobusFault(kind=K.MAINTENANCE, value="77"), TransientFault, "maintenance"),
        (GlobusFault(kind=K.STATUS, value="429 3600"), TransientFault, "429"),
        (GlobusFault(kind=K.STATUS, value="502"), TransientFault, "502"),
        (GlobusFault(kind=K.ERROR, value="403 PermissionDenied"), NotPermitted, "may not list /"),
        (GlobusFault(kind=K.ERROR, value="409 Conflict it is so"), PermanentFault, "it is so"),
        (GlobusFault(kind=K.ERROR, value="404 EndpointNotFound gone"), AccountFault, "no Globus collection"),
    ],
)  # fmt: skip
async def test_what_goes_wrong_is_the_fault_that_it_is(
    service: TransferService,
    stand_in: GlobusStandIn,
    fault: GlobusFault,
    kind: type[EmpiarMirrorError],
    words: str,
) -> None:
    await service.submission_id()  # tokens are there
    stand_in.book.add(replace(fault, match="*/ls"))
    with pytest.raises(EmpiarMirrorError, match=words) as caught:
        await service.ls(DESTINATION_COLLECTION, "/")
    assert type(caught.value) is kind
    if isinstance(caught.value, TransientFault):
        waits = {K.MAINTENANCE: 77.0, K.STATUS: 3600.0 if "429" in fault.value else None}
        assert caught.value.retry_after_s == waits.get(fault.kind)
    assert (
        await service.ls(DESTINATION_COLLECTION, "/") == []
    )  # each was asked once, and the next call is another
    assert stand_in.requests["GET", f"/v0.10/operation/endpoint/{DESTINATION_COLLECTION}/ls"] == 2


async def test_a_collection_that_is_gone_and_one_that_sleeps_are_told_apart(
    service: TransferService, stand_in: GlobusStandIn
) -> None:
    assert (await service.collection(DESTINATION_COLLECTION)).display_name == "Rehearsal storage"
    stand_in.destination.reachable = False
    with pytest.raises(TransientFault, match="GCDisconnected"):
        await service.ls(DESTINATION_COLLECTION, "/")
    stand_in.destination.gone = True
    for call in (service.collection(DESTINATION_COLLECTION), service.ls(DESTINATION_COLLECTION, "/")):
        with pytest.raises(AccountFault, match="no Globus collection") as caught:
            await call
        assert "globus.collection" in caught.value.hint
    with pytest.raises(AccountFault):
        await service.submit(await submission(service))


async def test_what_is_not_there_is_absent(service: TransferService) -> None:
    calls = (
        service.ls(DESTINATION_COLLECTION, "/none"),
        service.stat(DESTINATION_COLLECTION, "/none"),
        service.task(NOBODY),
        service.moved(NOBODY),
        service.events(NOBODY),
    )
    for call in calls:
        with pytest.raises(PermanentFault) as caught:
            await call
        assert caught.value.absent


async def test_writing_where_one_may_not_names_the_collection(
    service: TransferService, stand_in: GlobusStandIn
) -> None:
    stand_in.destination.read_only = True
    with pytest.raises(
        AccountFault, match=f"may not make the folder /x of collection {DESTINATION_COLLECTION}"
    ) as caught:
        await service.mkdir(DESTINATION_COLLECTION, "/x")
    assert f"ask whoever runs collection {DESTINATION_COLLECTION}" in caught.value.hint


async def test_requests_keep_the_pace_of_the_service(stand_in: GlobusStandIn, tmp_path: Path) -> None:
    account = settings_for(stand_in, tmp_path)
    service = TransferService.of(account)
    try:
        await service.submission_id()
        begun = time.monotonic()
        await asyncio.gather(*(service.submission_id() for _ in range(24)))
        assert (
            time.monotonic() - begun > 0.9
        )  # 20 a second, of which a fifth of a second's worth may come at once
    finally:
        await service.aclose()
