"""What the Globus stand-in does at once, and how it is started: listings, folders, names, settings, the program."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tomllib
from pathlib import Path

import pytest
from globus_sdk import AccessTokenAuthorizer, ConfidentialAppAuthClient, TransferClient

from empiar_mirror.rehearsal.entries import many_files_entry
from empiar_mirror.rehearsal.globus import (
    ARCHIVE_COLLECTION,
    CLIENT_ID,
    CLIENT_SECRET,
    DESTINATION_COLLECTION,
    NATIVE_CLIENT_ID,
    GlobusConfig,
)
from empiar_mirror.rehearsal.server import Rehearsal
from globus_client import SOURCE, Account, access_token, auth_client, call, standing_in, transfer_client


async def test_a_folder_of_the_archive_is_listed_as_it_is(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (rehearsal, _globus, account):
        listed = await call(account.client.operation_ls, ARCHIVE_COLLECTION, path=SOURCE + "/10101/data/")
        rows = {row["name"]: row for row in listed}
        assert set(rows) == {"README.txt", "micrographs", "particles"}
        file = rehearsal.archive.file(10101, b"data/README.txt")
        assert file is not None
        assert (rows["README.txt"]["type"], rows["README.txt"]["size"]) == ("file", file.size)
        assert rows["micrographs"]["type"] == "dir"
        one = await call(account.client.operation_stat, ARCHIVE_COLLECTION, SOURCE + "/10101/data/README.txt")
        assert one.data == rows["README.txt"]
        entries = await call(account.client.operation_ls, ARCHIVE_COLLECTION)
        assert {"10101", "10105"} <= {row["name"] for row in entries}


async def test_long_folders_come_in_parts_hidden_names_on_demand_and_too_long_ones_not_at_all(
    tmp_path: Path,
) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (rehearsal, globus, account):
        rehearsal.archive.add_entry(many_files_entry(10191, 250, 1))
        folder = SOURCE + "/10191/data/grid_000/square_0000"
        names: list[str] = []
        while True:
            page = await call(
                account.client.operation_ls, ARCHIVE_COLLECTION, folder, limit=100, offset=len(names)
            )
            names += [row["name"] for row in page]
            if len(page["DATA"]) < 100:
                break
        assert names == [f"FoilHole_{number:07d}.mrc" for number in range(250)]
        globus.transfer.largest_listing = 249
        error = await account.refused(account.client.operation_ls, ARCHIVE_COLLECTION, folder)
        assert (error.http_status, error.code) == (502, "ExternalError.DirListingFailed.SizeLimit")
        answer = await account.submit(
            ("/10191/data/grid_000/square_0000", "/many"), recursive=True, options={"verify_checksum": True}
        )
        assert (await account.ended(answer["task_id"]))["files_transferred"] == 250
        globus.transfer.largest_listing = 100_000
        (tmp_path / ".hidden").touch()
        for show, seen in ((True, True), (False, False)):
            rows = await call(account.client.operation_ls, DESTINATION_COLLECTION, "/", show_hidden=show)
            assert (".hidden" in {row["name"] for row in rows}) is seen
        rows = await call(
            account.client.operation_ls,
            DESTINATION_COLLECTION,
            "/many",
            filter={"name": "~*_000000?.mrc"},
            orderby="name DESC",
        )
        assert [row["name"][-5] for row in rows] == list("9876543210")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (SOURCE + "/99999", 404, "ClientError.NotFound"),
        ("/empiar/world_availability", 404, "ClientError.NotFound"),
        (SOURCE + "/10101/data/README.txt", 502, "ExternalError.DirListingFailed.NotDirectory"),
        (SOURCE + "/../../../etc", 403, "EndpointPermissionDenied"),
        ("relative", 400, "ClientError.BadRequest"),
        (SOURCE + "/a\0b", 400, "InvalidPath"),
    ],
)
async def test_what_cannot_be_listed_is_refused_in_the_services_words(
    tmp_path: Path, path: str, status: int, code: str
) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, _globus, account):
        error = await account.refused(account.client.operation_ls, ARCHIVE_COLLECTION, path)
        assert (error.http_status, error.code) == (status, code)
        assert error.request_id


async def test_the_archive_can_be_at_another_path_and_cannot_be_written(tmp_path: Path) -> None:
    config = GlobusConfig(folder=tmp_path, archive_path="/empiar/world_availability")
    async with standing_in(config) as (_rehearsal, _globus, account):
        await call(account.client.operation_ls, ARCHIVE_COLLECTION, "/empiar/world_availability/10101")
        error = await account.refused(account.client.operation_ls, ARCHIVE_COLLECTION, SOURCE)
        assert error.http_status == 404
        error = await account.refused(
            account.client.operation_mkdir, ARCHIVE_COLLECTION, "/empiar/world_availability/new"
        )
        assert (error.http_status, error.code) == (403, "EndpointPermissionDenied")


async def test_folders_are_made_one_at_a_time_and_names_changed(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, _globus, account):
        mkdir, rename = account.client.operation_mkdir, account.client.operation_rename
        error = await account.refused(mkdir, DESTINATION_COLLECTION, "/a/b")
        assert (error.http_status, error.code) == (404, "ClientError.NotFound")
        for path in ("/a", "/a/b/"):
            assert (await call(mkdir, DESTINATION_COLLECTION, path))["code"] == "DirectoryCreated"
        error = await account.refused(mkdir, DESTINATION_COLLECTION, "/a")
        assert (error.http_status, error.code) == (502, "ExternalError.MkdirFailed.Exists")
        await call(rename, DESTINATION_COLLECTION, "/a/b", "/c")
        assert (tmp_path / "c").is_dir()
        error = await account.refused(rename, DESTINATION_COLLECTION, "/c", "/a")
        assert (error.http_status, error.code) == (502, "ExternalError.RenameFailed.Exists")
        error = await account.refused(account.client.operation_stat, DESTINATION_COLLECTION, "/gone")
        assert (error.http_status, error.code) == (404, "NotFound")


async def test_collections_say_what_they_are(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        source = await call(account.client.get_endpoint, ARCHIVE_COLLECTION)
        assert (source["id"], source["entity_type"]) == (ARCHIVE_COLLECTION, "GCSv5_mapped_collection")
        globus.destination.managed = False
        assert (await call(account.client.get_endpoint, DESTINATION_COLLECTION))["subscription_id"] is None
        error = await account.refused(account.client.get, "/v0.10/no_such_thing")
        assert (error.http_status, error.code) == (404, "ClientError.NotFound")


async def test_a_token_of_another_service_opens_nothing(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, _account):
        with auth_client(globus) as login:
            answer = await call(login.oauth2_client_credentials_tokens, "openid")
        token = answer.by_resource_server["auth.globus.org"]["access_token"]
        for wrong in (token, "nonsense"):
            with transfer_client(globus, wrong) as client:
                error = await Account(client).refused(client.get_submission_id)
            assert (error.http_status, error.code) == (401, "AuthenticationFailed")


async def test_settings_say_where_the_mirror_is_in_the_collection(tmp_path: Path) -> None:
    config = GlobusConfig(folder=tmp_path, folder_path="/data")
    async with Rehearsal([], globus=config) as rehearsal:
        settings = tomllib.loads(rehearsal.settings_toml(tmp_path / "lab/empiar"))
        assert settings["archive"]["globus_collection"] == ARCHIVE_COLLECTION
        assert settings["archive"]["globus_path"] == SOURCE
        assert settings["globus"] == {
            "collection": DESTINATION_COLLECTION,
            "path": "/data/lab/empiar",
            "client_id": CLIENT_ID,
            "transfer_url": rehearsal.globus.url,
            "auth_url": rehearsal.globus.url,
            "poll": "0.1s",
        }
        assert CLIENT_SECRET not in rehearsal.settings_toml(tmp_path)
        assert rehearsal.urls()["transfer_url"] == rehearsal.urls()["auth_url"] == rehearsal.globus.url
        with transfer_client(rehearsal.globus, await access_token(rehearsal.globus)) as client:
            await call(client.operation_mkdir, DESTINATION_COLLECTION, "/data/lab")
        assert (tmp_path / "lab").is_dir()
        assert ("globus", "POST", "/v2/oauth2/token", 200) in {
            (served.channel, served.method, served.path, served.status) for served in rehearsal.log
        }
        assert rehearsal.bytes_served() == 0
    async with Rehearsal([]) as plain:
        assert "globus" not in plain.settings_toml(tmp_path)
        with pytest.raises(LookupError):
            plain.globus  # noqa: B018


async def test_the_program_tells_addresses_and_ids(tmp_path: Path) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "empiar_mirror.rehearsal",
        "--globus",
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert program.stdout is not None
        facts = json.loads(await program.stdout.readline())
        assert facts["native_client_id"] == NATIVE_CLIENT_ID

        def use() -> None:
            with ConfidentialAppAuthClient(
                facts["client_id"], facts["client_secret"], base_url=facts["auth_url"]
            ) as login:
                answer = login.oauth2_client_credentials_tokens(
                    "urn:globus:auth:scope:transfer.api.globus.org:all"
                )
            token = answer.by_resource_server["transfer.api.globus.org"]["access_token"]
            with TransferClient(
                base_url=facts["transfer_url"], authorizer=AccessTokenAuthorizer(token)
            ) as client:
                client.operation_mkdir(facts["collection"], "/made")

        await call(use)
        assert (tmp_path / "made").is_dir()
    finally:
        program.send_signal(signal.SIGTERM)
        await program.wait()
    assert program.returncode == 0
