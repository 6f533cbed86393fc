"""Each way in which the Globus stand-in can misbehave, as the real SDK sees it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from globus_sdk import GlobusAPIError, NetworkError, TransferAPIError

from empiar_mirror.rehearsal.globus import (
    DESTINATION_COLLECTION,
    GlobusConfig,
    GlobusFault,
    GlobusFaultKind,
)
from globus_client import SOURCE, access_token, archive_files, call, standing_in, transfer_client

K = GlobusFaultKind
IMAGE = "/10101/data/micrographs/stack_0002_2x_SumCorr.mrc"
README = "/10101/data/README.txt"
HALF = 500_000


async def test_an_answer_that_is_lost_leaves_one_task_behind(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.LOSE_ANSWER, match="POST /v0.10/transfer")
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, globus, account):
        submission_id = (await call(account.client.get_submission_id))["value"]
        with pytest.raises(NetworkError):
            await account.submit((README, "/a"), submission_id=submission_id)
        answer = await account.submit((README, "/a"), submission_id=submission_id)
        assert answer["code"] == "Duplicate"
        assert [known.times for known in globus.submissions] == [2]
        assert (await account.ended(answer["task_id"]))["status"] == "SUCCEEDED"
        assert globus.copies == {SOURCE + README: 1}


async def test_a_request_that_is_dropped_leaves_nothing_behind(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.DROP_REQUEST, match="POST /v0.10/transfer")
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, globus, account):
        with pytest.raises(NetworkError):
            await account.submit((README, "/a"))
        assert globus.submissions == []
        assert (await account.submit((README, "/a")))["code"] == "Accepted"


async def test_a_request_that_hangs_is_never_answered(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.HANG, match="GET /v0.10/submission_id")
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, _globus, account):
        account.client.transport.http_timeout = 0.2
        with pytest.raises(NetworkError):
            await call(account.client.get_submission_id)
        account.client.transport.http_timeout = 30
        await call(account.client.get_submission_id)


@pytest.mark.parametrize(
    ("fault", "status", "code", "retry_after"),
    [
        (GlobusFault(kind=K.STATUS, value="429 30"), 429, "TooManyRequests", "30"),
        (GlobusFault(kind=K.STATUS, value="503 5"), 503, "ServiceUnavailable", "5"),
        (GlobusFault(kind=K.STATUS, value="502"), 502, None, None),
        (GlobusFault(kind=K.MAINTENANCE, value="600"), 503, "ServiceUnavailable", "600"),
        (GlobusFault(kind=K.ERROR, value="409 Conflict it is so"), 409, "Conflict", None),
        (GlobusFault(kind=K.ERROR), 403, "PermissionDenied", None),
    ],
    ids=lambda value: f"{value.kind} {value.value}" if isinstance(value, GlobusFault) else "",
)
async def test_refusals_have_status_code_and_waiting_time(
    tmp_path: Path, fault: GlobusFault, status: int, code: str | None, retry_after: str | None
) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.book.add(fault)
        error = await account.refused(account.client.get_submission_id)
        assert (error.http_status, error.code) == (status, code)
        assert error.headers.get("Retry-After") == retry_after
        assert globus.book.struck == {fault.kind: 1}
        await call(account.client.get_submission_id)


async def test_a_consent_is_asked_for_with_its_scope(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.book.add(GlobusFault(kind=K.CONSENT_REQUIRED, match="POST *"))
        with pytest.raises(TransferAPIError) as caught:
            await account.submit((README, "/a"))
        assert caught.value.info.consent_required
        (scope,) = caught.value.info.consent_required.required_scopes
        assert DESTINATION_COLLECTION in scope


@pytest.mark.parametrize("value", ["", "[1, 2]", "null", '{"DATA": "text", "value": 7}'])
async def test_garbage_comes_as_json(tmp_path: Path, value: str) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.book.add(GlobusFault(kind=K.GARBAGE, match="GET /v0.10/task_list", value=value))
        answer = await call(account.client.task_list)
        assert answer.http_status == 200
        if value == "":
            with pytest.raises((ValueError, TypeError, KeyError)):
                answer["DATA"]
        else:
            assert answer.text == value


async def test_login_and_all_tokens_can_be_revoked_in_the_middle(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.book.add(GlobusFault(kind=K.REVOKE_LOGIN, match="GET /v0.10/submission_id"))
        error = await account.refused(account.client.get_submission_id)
        assert (error.http_status, error.code) == (401, "AuthenticationFailed")
        with transfer_client(globus, await access_token(globus)) as client:
            await call(client.get_submission_id)


async def test_auth_can_be_out_of_order_too(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, _account):
        globus.book.add(
            GlobusFault(kind=K.STATUS, match="POST /v2/oauth2/token", value="503 7"),
            GlobusFault(kind=K.ERROR, match="POST /v2/oauth2/token", value="400 invalid_grant"),
        )
        with pytest.raises(GlobusAPIError) as caught:
            await access_token(globus)
        assert caught.value.http_status == 503
        with pytest.raises(GlobusAPIError) as caught:
            await access_token(globus)
        assert "invalid_grant" in caught.value.text
        assert await access_token(globus)


async def test_a_withheld_file_keeps_the_task_active_for_ever(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.WITHHOLD, match="*_0002_*", times=None, at_byte=HALF)
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, _globus, account):
        answer = await account.submit((IMAGE, "/a.mrc"), (README, "/b"))
        document = await account.until(answer["task_id"], lambda document: document["faults"] >= 3)
        assert (document["status"], document["nice_status"]) == ("ACTIVE", "ENDPOINT_ERROR")
        assert await account.moved(answer["task_id"]) == [(SOURCE + README, "/b")]
        assert (tmp_path / "a.mrc").stat().st_size == HALF


async def test_a_file_withheld_twice_comes_at_the_third_attempt(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.WITHHOLD, match="*_0002_*", times=2, value="TIMEOUT")
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, globus, account):
        document = await account.ended((await account.submit((IMAGE, "/a.mrc")))["task_id"])
        assert (document["status"], document["faults"]) == ("SUCCEEDED", 2)
        assert globus.copies == {SOURCE + IMAGE: 3}


async def test_a_source_file_vanishes_while_it_is_copied(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.VANISH, match="*_0002_*", at_byte=HALF)
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (rehearsal, _globus, account):
        options: dict[str, object] = {"skip_source_errors": True}
        answer = await account.submit((IMAGE, "/a.mrc"), options=options)
        document = await account.ended(answer["task_id"])
        assert (document["status"], document["files_transferred"]) == ("SUCCEEDED", 0)
        (row,) = await call(account.client.task_skipped_errors, answer["task_id"])
        assert row["error_code"] == "FILE_NOT_FOUND"
        assert (tmp_path / "a.mrc").stat().st_size == HALF
        assert rehearsal.archive.file(10101, IMAGE.removeprefix("/10101/").encode()) is None


@pytest.mark.parametrize("kind", [K.CHANGE, K.CHANGE_SILENTLY])
@pytest.mark.parametrize("verify", [True, False])
async def test_a_source_file_that_changes_is_noticed_only_by_checksums(
    tmp_path: Path, kind: GlobusFaultKind, verify: bool
) -> None:
    fault = GlobusFault(kind=kind, match="*_0002_*", at_byte=HALF)
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (rehearsal, _globus, account):
        path = IMAGE.removeprefix("/10101/")
        before = archive_files(rehearsal, 10101)[path]
        options: dict[str, object] = {"verify_checksum": verify}
        answer = await account.submit((IMAGE, "/a.mrc"), options=options)
        document = await account.ended(answer["task_id"])
        assert document["status"] == "SUCCEEDED"
        after = archive_files(rehearsal, 10101)[path]
        assert after != before
        arrived = (tmp_path / "a.mrc").read_bytes()
        assert arrived == (after if verify else before[:HALF] + after[HALF:])
        codes = await account.event_codes(answer["task_id"])
        assert ("VERIFY_CHECKSUM" in codes) is verify
        assert document["faults"] == int(verify)


async def test_a_checksum_fails_once_and_the_file_comes_again(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.CHECKSUM)
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, globus, account):
        options: dict[str, object] = {"verify_checksum": True}
        document = await account.ended((await account.submit((README, "/a"), options=options))["task_id"])
        assert (document["status"], document["faults"]) == ("SUCCEEDED", 1)
        assert globus.copies == {SOURCE + README: 2}


async def test_a_checksum_that_never_fits_keeps_the_task_active(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.CHECKSUM, times=None)
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, _globus, account):
        options: dict[str, object] = {"verify_checksum": True}
        answer = await account.submit((README, "/a"), options=options)
        document = await account.until(answer["task_id"], lambda document: document["faults"] >= 3)
        assert (document["status"], document["nice_status"]) == ("ACTIVE", "VERIFY_CHECKSUM")


async def test_a_destination_that_refuses_is_an_error_that_no_option_passes_over(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.destination.read_only = True
        options: dict[str, object] = {"skip_source_errors": True}
        answer = await account.submit((README, "/a"), options=options)
        document = await account.until(answer["task_id"], lambda document: document["faults"] >= 2)
        assert (document["status"], document["nice_status"]) == ("ACTIVE", "PERMISSION_DENIED")
        globus.destination.read_only = False
        globus.book.add(GlobusFault(kind=K.PERMISSION))
        assert (await account.ended(answer["task_id"]))["status"] == "SUCCEEDED"


@pytest.mark.parametrize("fail", [True, False])
async def test_a_full_destination_ends_the_task_where_that_was_asked_for(tmp_path: Path, fail: bool) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.storage.quota_left = HALF
        globus.rate = 4_000_000.0
        options: dict[str, object] = {"fail_on_quota_errors": fail}
        answer = await account.submit((IMAGE, "/a.mrc"), options=options)
        document = await account.until(answer["task_id"], lambda document: document["faults"] >= 1)
        if fail:
            document = await account.ended(answer["task_id"])
            assert (document["status"], document["fatal_error"]["code"]) == ("FAILED", "QUOTA_EXCEEDED")
        else:
            assert (document["status"], document["nice_status"]) == ("ACTIVE", "QUOTA_EXCEEDED")
            globus.storage.quota_left = None
            assert (await account.ended(answer["task_id"]))["status"] == "SUCCEEDED"


async def test_quota_as_a_fault(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.QUOTA, at_byte=HALF)
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, _globus, account):
        options: dict[str, object] = {"fail_on_quota_errors": True}
        document = await account.ended((await account.submit((IMAGE, "/a"), options=options))["task_id"])
        assert document["fatal_error"]["code"] == "QUOTA_EXCEEDED"
        assert (tmp_path / "a").stat().st_size == HALF


async def test_an_administrator_pauses_a_task_and_lets_it_go_on(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.PAUSE, match="*_0002_*", at_byte=HALF)
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, globus, account):
        for _ in range(2):
            globus.add_foreign_task()
        task_id = (await account.submit((IMAGE, "/a.mrc")))["task_id"]
        document = await account.until(task_id, lambda document: document["is_paused"] is True)
        assert (document["status"], document["nice_status"]) == ("ACTIVE", "PAUSED_BY_ADMIN")
        other = (await account.submit((README, "/b")))["task_id"]
        assert (await account.ended(other))["status"] == "SUCCEEDED"
        assert (tmp_path / "a.mrc").stat().st_size == HALF
        globus.resume(globus.desk.tasks[task_id])
        assert (await account.ended(task_id))["status"] == "SUCCEEDED"
        assert globus.copies[SOURCE + IMAGE] == 1


async def test_a_pause_can_end_by_itself_and_a_paused_task_can_be_cancelled(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.book.add(GlobusFault(kind=K.PAUSE, value="0.01"), GlobusFault(kind=K.PAUSE, match="*_0002_*"))
        short = await account.ended((await account.submit((README, "/b")))["task_id"])
        assert short["status"] == "SUCCEEDED"
        paused = (await account.submit((IMAGE, "/a.mrc")))["task_id"]
        await account.until(paused, lambda document: document["is_paused"] is True)
        await call(account.client.cancel_task, paused)
        document = await account.task(paused)
        assert (document["status"], document["is_paused"]) == ("FAILED", False)


async def test_credentials_run_out_and_the_task_is_inactive(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.DEACTIVATE)
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, globus, account):
        task_id = (await account.submit((README, "/a")))["task_id"]
        document = await account.until(task_id, lambda document: document["status"] == "INACTIVE")
        assert document["nice_status"] == "CREDENTIALS_EXPIRED"
        globus.resume(globus.desk.tasks[task_id])
        assert (await account.ended(task_id))["status"] == "SUCCEEDED"


async def test_somebody_cancels_the_task_in_the_web_app(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.CANCEL, match="*_0002_*", at_byte=HALF)
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, _globus, account):
        answer = await account.submit((README, "/b"), (IMAGE, "/a.mrc"), (README, "/c"))
        document = await account.ended(answer["task_id"])
        assert (document["status"], document["fatal_error"]["code"]) == ("FAILED", "CANCELED")
        assert (document["files_transferred"], document["subtasks_canceled"]) == (1, 2)
        assert (tmp_path / "a.mrc").stat().st_size == HALF
        assert await account.moved(answer["task_id"]) == [(SOURCE + README, "/b")]


async def test_a_task_fails_for_good(tmp_path: Path) -> None:
    fault = GlobusFault(kind=K.FAIL, value="ENDPOINT_TOO_BUSY")
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (_rehearsal, _globus, account):
        document = await account.ended((await account.submit((README, "/a")))["task_id"])
        assert (document["status"], document["fatal_error"]["code"]) == ("FAILED", "ENDPOINT_TOO_BUSY")


@pytest.mark.parametrize(
    "fault", [GlobusFault(kind=K.FLIP_BIT, at_byte=7), GlobusFault(kind=K.CUT_SHORT, at_byte=7)], ids=str
)
async def test_a_file_can_arrive_wrong_though_all_seems_well(tmp_path: Path, fault: GlobusFault) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path, faults=[fault])) as (rehearsal, _globus, account):
        options: dict[str, object] = {"verify_checksum": True, "preserve_timestamp": True}
        document = await account.ended((await account.submit((README, "/a"), options=options))["task_id"])
        assert (document["status"], document["faults"]) == ("SUCCEEDED", 0)
        right = archive_files(rehearsal, 10101)["data/README.txt"]
        flipped = right[:7] + bytes([right[7] ^ 1]) + right[8:]
        assert (tmp_path / "a").read_bytes() == (flipped if fault.kind is K.FLIP_BIT else right[:7])
        known = rehearsal.archive.file(10101, b"data/README.txt")
        assert known is not None
        assert (tmp_path / "a").stat().st_mtime == known.mtime


async def test_histories_can_have_gaps_or_be_deleted(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.book.add(
            GlobusFault(kind=K.FORGET, match="*README*"),
            GlobusFault(kind=K.HISTORY_DELETED, match="old *"),
        )
        gap = await account.ended((await account.submit((README, "/a"), (IMAGE, "/b")))["task_id"])
        assert gap["files_transferred"] == 2
        assert await account.moved(gap["task_id"]) == [(SOURCE + IMAGE, "/b")]
        answer = await account.submit((README, "/a"), label="old one")
        old = await account.until(answer["task_id"], lambda document: document["history_deleted"] is True)
        assert old["files_transferred"] == 1
        assert await account.moved(old["task_id"]) == []
        assert await account.event_codes(old["task_id"]) == []


async def test_a_collection_can_be_gone_or_out_of_reach(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.destination.reachable = False
        error = await account.refused(account.client.operation_ls, DESTINATION_COLLECTION)
        assert (error.http_status, error.code) == (502, "ExternalError.DirListingFailed.GCDisconnected")
        answer = await account.submit((README, "/a"))
        document = await account.until(answer["task_id"], lambda document: document["faults"] >= 1)
        assert document["nice_status"] == "CONNECT_FAILED"
        globus.destination.reachable = True
        assert (await account.ended(answer["task_id"]))["status"] == "SUCCEEDED"
        globus.destination.gone = True
        for ask in (account.client.operation_ls, account.client.get_endpoint):
            error = await account.refused(ask, DESTINATION_COLLECTION)
            assert (error.http_status, error.code) == (404, "EndpointNotFound")


async def test_a_slow_collection_holds_up_its_own_tasks(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.destination.bytes_per_s = 1000.0
        answer = await account.submit((IMAGE, "/a.mrc"))
        document = await account.until(answer["task_id"], lambda document: document["bytes_transferred"] > 0)
        assert document["bytes_transferred"] < HALF
        globus.destination.bytes_per_s = None
        assert (await account.ended(answer["task_id"]))["status"] == "SUCCEEDED"


async def test_other_requests_are_answered_while_files_are_copied(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        tasks = [
            await account.submit(("/10101", f"/{number}"), recursive=True, options={"verify_checksum": True})
            for number in range(3)
        ]
        running = 0
        while not all(task.ended for task in globus.tasks):
            await call(account.client.task_list)
            running += 1
            await asyncio.sleep(0)
        assert running > 1
        assert {(await account.task(task["task_id"]))["status"] for task in tasks} == {"SUCCEEDED"}
