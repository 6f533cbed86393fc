"""The Globus stand-in's tasks, seen through the real SDK: what is submitted is really copied, and what is told is true."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from empiar_mirror.rehearsal.globus import (
    ARCHIVE_COLLECTION,
    DESTINATION_COLLECTION,
    GlobusConfig,
    GlobusStandIn,
)
from empiar_mirror.rehearsal.server import Rehearsal
from globus_client import SOURCE, Account, access_token, call, transfer_client

README = "/10101/data/README.txt"


@asynccontextmanager
async def standing_in(
    folder: Path, **settings: object
) -> AsyncIterator[tuple[Rehearsal, GlobusStandIn, Account]]:
    config = GlobusConfig(folder=folder)
    for name, value in settings.items():
        assert hasattr(config, name)
        setattr(config, name, value)
    async with Rehearsal(globus=config) as rehearsal:
        with transfer_client(rehearsal.globus, await access_token(rehearsal.globus)) as client:
            yield rehearsal, rehearsal.globus, Account(client)


def archive_files(rehearsal: Rehearsal, entry: int) -> dict[str, bytes]:
    archive = rehearsal.archive
    return {
        path.decode(): archive.read(entry, path, file, 0, file.size)
        for path, file in archive.entries[entry].walk()
    }


async def test_a_whole_folder_arrives_byte_for_byte_with_its_times(tmp_path: Path) -> None:
    async with standing_in(tmp_path) as (rehearsal, _globus, account):
        options: dict[str, object] = {"verify_checksum": True, "preserve_timestamp": True}
        answer = await account.submit(("/10101", "/here/10101"), recursive=True, options=options)
        assert answer["code"] == "Accepted"
        document = await account.ended(answer["task_id"])
        assert document["status"] == "SUCCEEDED", document
        expected = archive_files(rehearsal, 10101)
        arrived = {
            str(path.relative_to(tmp_path / "here/10101")): path.read_bytes()
            for path in (tmp_path / "here/10101").rglob("*")
            if path.is_file()
        }
        assert arrived == expected
        assert document["files"] == document["files_transferred"] == len(expected)
        assert document["bytes_transferred"] == sum(map(len, expected.values()))
        for path, file in rehearsal.archive.entries[10101].walk():
            assert (tmp_path / "here/10101" / path.decode()).stat().st_mtime == file.mtime
        moved = await account.moved(answer["task_id"])
        assert {source.removeprefix(SOURCE + "/10101/") for source, _ in moved} == set(expected)
        assert all(source.removeprefix(SOURCE) == there.removeprefix("/here") for source, there in moved)


async def test_the_same_submission_twice_makes_one_task(tmp_path: Path) -> None:
    async with standing_in(tmp_path) as (_rehearsal, globus, account):
        submission_id = (await call(account.client.get_submission_id))["value"]
        first = await account.submit((README, "/a.txt"), submission_id=submission_id)
        second = await account.submit((README, "/a.txt"), submission_id=submission_id)
        assert (first["code"], second["code"]) == ("Accepted", "Duplicate")
        assert first["task_id"] == second["task_id"]
        assert [known.times for known in globus.submissions] == [2]


async def test_a_cancelled_task_has_failed_and_leaves_half_a_file(tmp_path: Path) -> None:
    async with standing_in(tmp_path, rate=2_000_000.0) as (_rehearsal, _globus, account):
        answer = await account.submit(("/10101", "/10101"), recursive=True)
        await account.until(answer["task_id"], lambda document: document["bytes_transferred"] > 0)
        told = await call(account.client.cancel_task, answer["task_id"])
        assert told["code"] == "Canceled"
        document = await account.task(answer["task_id"])
        assert document["status"] == "FAILED"
        assert document["fatal_error"]["code"] == "CANCELED"
        again = await call(account.client.cancel_task, answer["task_id"])
        assert again["code"] == "TaskComplete"


async def test_three_tasks_work_and_the_fourth_is_queued(tmp_path: Path) -> None:
    async with standing_in(tmp_path) as (_rehearsal, globus, account):
        globus.hold()
        foreign = globus.add_foreign_task()
        ids = [(await account.submit((README, f"/{number}.txt")))["task_id"] for number in range(3)]
        await account.until(ids[1], lambda document: document["nice_status"] == "OK")
        queued = await account.task(ids[2])
        assert (queued["status"], queued["nice_status"]) == ("ACTIVE", "Queued")
        globus.end_task(foreign)
        await account.until(ids[2], lambda document: document["nice_status"] == "OK")
        globus.release()
        assert [(await account.ended(task_id))["status"] for task_id in ids] == ["SUCCEEDED"] * 3


async def test_folders_are_listed_and_made(tmp_path: Path) -> None:
    async with standing_in(tmp_path) as (_rehearsal, _globus, account):
        listed = await call(account.client.operation_ls, ARCHIVE_COLLECTION, path=SOURCE + "/10101/data")
        kinds = {row["name"]: (row["type"], row["size"]) for row in listed}
        assert kinds["README.txt"] == ("file", 76)
        assert kinds["micrographs"][0] == "dir"
        await call(account.client.operation_mkdir, DESTINATION_COLLECTION, "/new")
        assert (tmp_path / "new").is_dir()
        error = await account.refused(account.client.operation_mkdir, DESTINATION_COLLECTION, "/new")
        assert (error.http_status, error.code) == (502, "ExternalError.MkdirFailed.Exists")
