"""The Globus stand-in's tasks, seen through the real SDK: what is submitted is really copied, and what is told is true."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from globus_sdk import TransferAPIError, TransferData

from empiar_mirror.rehearsal.archive import ArchiveFile
from empiar_mirror.rehearsal.globus import (
    ARCHIVE_COLLECTION,
    DESTINATION_COLLECTION,
    Collection,
    FolderStorage,
    GlobusConfig,
)
from globus_client import SOURCE, archive_files, call, standing_in

README = "/10101/data/README.txt"
WHOLE: dict[str, object] = {"verify_checksum": True, "preserve_timestamp": True}


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_whole_folder_arrives_byte_for_byte_with_its_times(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (rehearsal, globus, account):
        answer = await account.submit(("/10101", "/here/10101"), recursive=True, options=WHOLE)
        assert answer["code"] == "Accepted"
        document = await account.ended(answer["task_id"])
        assert document["status"] == "SUCCEEDED"
        expected = archive_files(rehearsal, 10101)
        assert files_below(tmp_path / "here/10101") == expected
        assert document["files"] == document["files_transferred"] == len(expected)
        assert document["bytes_transferred"] == sum(map(len, expected.values())) == globus.bytes_moved
        assert document["faults"] == 0
        for path, file in rehearsal.archive.entries[10101].walk():
            assert (tmp_path / "here/10101" / path.decode()).stat().st_mtime == file.mtime
        moved = await account.moved(answer["task_id"])
        assert {source.removeprefix(SOURCE + "/10101/") for source, _ in moved} == set(expected)
        assert all(source.removeprefix(SOURCE) == there.removeprefix("/here") for source, there in moved)
        assert globus.copies == {source: 1 for source, _ in moved}
        codes = await account.event_codes(answer["task_id"])
        assert (codes[0], codes[-1]) == ("SUCCEEDED", "STARTED")


async def test_names_that_are_not_utf8_travel_with_their_folder_and_cannot_be_named(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (rehearsal, _globus, account):
        folder = SOURCE + "/10105/data/odd names"
        listed = [row["name"] for row in await call(account.client.operation_ls, ARCHIVE_COLLECTION, folder)]
        odd = [name for name in listed if name.startswith("\N{REPLACEMENT CHARACTER}")]
        true = [path for path, _ in rehearsal.archive.entries[10105].walk() if not _is_text(path)]
        assert len(odd) == sum(path.startswith(b"data/odd names/") for path in true) > 0
        error = await account.refused(
            account.client.operation_stat, ARCHIVE_COLLECTION, folder + "/" + odd[0]
        )
        assert error.http_status == 404
        answer = await account.submit(("/10105", "/10105"), recursive=True)
        assert (await account.ended(answer["task_id"]))["status"] == "SUCCEEDED"
        assert files_below(tmp_path / "10105") == {
            os.fsdecode(path): data for path, data in archive_files(rehearsal, 10105).items()
        }


def _is_text(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True


async def test_the_same_submission_twice_makes_one_task(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        submission_id = (await call(account.client.get_submission_id))["value"]
        first = await account.submit((README, "/a.txt"), submission_id=submission_id)
        await account.ended(first["task_id"])
        second = await account.submit((README, "/a.txt"), submission_id=submission_id)
        assert (first["code"], second["code"]) == ("Accepted", "Duplicate")
        assert first["task_id"] == second["task_id"]
        (known,) = globus.submissions
        assert (known.times, known.label, known.items) == (
            2,
            "rehearsal",
            ((SOURCE.encode() + README.encode(), b"/a.txt"),),
        )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"DATA": []}, "ClientError.BadRequest.NoTransferItems"),
        ({"submission_id": "00000000-0000-4000-8000-000000000000"}, "ClientError.BadRequest"),
        ({"label": "x" * 129}, "ClientError.BadRequest"),
        ({"label": "two\nlines"}, "ClientError.BadRequest"),
        ({"label": " blank"}, "ClientError.BadRequest"),
        ({"deadline": "2020-01-01T00:00:00+00:00"}, "ClientError.BadRequest"),
        ({"deadline": "soon"}, "ClientError.BadRequest"),
        ({"sync_level": 4}, "ClientError.BadRequest"),
        ({"recursive_symlinks": "perhaps"}, "ClientError.BadRequest"),
        ({"verify_checksum": "yes"}, "ClientError.BadRequest"),
        ({"delete_destination_extra": True}, "ClientError.BadRequest"),
        ({"filter_rules": [{"method": "exclude"}]}, "ClientError.BadRequest"),
        ({"filter_rules": [{"method": "perhaps", "name": "*"}]}, "ClientError.BadRequest"),
        ({"DATA": [{"DATA_TYPE": "transfer_item", "source_path": "a"}]}, "ClientError.BadRequest"),
        (
            {
                "DATA": [
                    {"DATA_TYPE": "transfer_item", "source_path": "/a\r\n", "destination_path": "/a"},
                ]
            },
            "InvalidPath",
        ),
        (
            {
                "DATA": [
                    {"DATA_TYPE": "transfer_item", "source_path": "/a", "destination_path": "/\ud800"},
                ]
            },
            "InvalidPath",
        ),
        (
            {"DATA": [{"DATA_TYPE": "transfer_item", "source_path": "/a", "destination_path": "/b/"}]},
            "ClientError.BadRequest",
        ),
        ({"source_endpoint": "00000000-0000-4000-8000-000000000000"}, "EndpointNotFound"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
async def test_what_the_service_does_not_take_is_refused(
    tmp_path: Path, change: dict[str, object], code: str
) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        data = TransferData(ARCHIVE_COLLECTION, DESTINATION_COLLECTION)
        data.add_item(SOURCE + README, "/a.txt")
        data["submission_id"] = (await call(account.client.get_submission_id))["value"]
        data.update(change)
        error = await account.refused(account.client.submit_transfer, data)
        assert error.code == code
        assert error.request_id
        assert error.http_status == (404 if code == "EndpointNotFound" else 400)
        assert globus.submissions == []


async def test_a_submission_id_belongs_to_one_account_and_a_hundred_tasks_may_wait(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        foreign = [globus.add_foreign_task(f"own {number}") for number in range(99)]
        await account.submit((README, "/a.txt"))
        with pytest.raises(TransferAPIError) as caught:
            await account.submit((README, "/b.txt"))
        assert (caught.value.http_status, caught.value.code) == (409, "TooManyPendingJobs")
        globus.end_task(foreign[0])
        await account.submit((README, "/b.txt"))


async def test_a_cancelled_task_has_failed_and_leaves_half_a_file(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path, rate=2_000_000.0)) as (rehearsal, _globus, account):
        path = "/10101/data/micrographs/stack_0002_2x_SumCorr.mrc"
        answer = await account.submit((path, "/a.mrc"))
        await account.until(answer["task_id"], lambda document: document["bytes_transferred"] > 0)
        told = await call(account.client.cancel_task, answer["task_id"])
        assert told["code"] == "Canceled"
        document = await account.task(answer["task_id"])
        assert document["status"] == "FAILED"
        assert document["fatal_error"]["code"] == "CANCELED"
        whole = archive_files(rehearsal, 10101)[path.removeprefix("/10101/")]
        half = (tmp_path / "a.mrc").read_bytes()
        assert 0 < len(half) < len(whole)
        assert whole.startswith(half)
        assert await account.moved(answer["task_id"]) == []
        again = await call(account.client.cancel_task, answer["task_id"])
        assert again["code"] == "TaskComplete"


async def test_three_tasks_work_and_the_fourth_is_queued(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
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


async def test_a_queued_task_that_is_cancelled_takes_nobodys_place(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        foreign = [globus.add_foreign_task() for _ in range(3)]
        first = (await account.submit((README, "/1.txt")))["task_id"]
        second = (await account.submit((README, "/2.txt")))["task_id"]
        await call(account.client.cancel_task, first)
        globus.end_task(foreign[0])
        assert (await account.ended(second))["status"] == "SUCCEEDED"
        assert not (tmp_path / "1.txt").exists()


async def test_a_missing_file_keeps_the_task_active_and_its_place_free(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (rehearsal, globus, account):
        for _ in range(2):
            globus.add_foreign_task()
        stuck = (await account.submit(("/10101/gone.mrc", "/gone.mrc"), (README, "/a.txt")))["task_id"]
        document = await account.until(stuck, lambda document: document["faults"] >= 3)
        assert (document["status"], document["nice_status"]) == ("ACTIVE", "FILE_NOT_FOUND")
        assert (document["files_transferred"], document["subtasks_retrying"]) == (1, 1)
        other = (await account.submit((README, "/b.txt")))["task_id"]
        assert (await account.ended(other))["status"] == "SUCCEEDED"
        errors = await call(account.client.task_event_list, stuck, query_params={"filter": "is_error:1"})
        assert {event["code"] for event in errors} == {"FILE_NOT_FOUND"}
        late = ArchiveFile(1000, 1_700_000_000)
        rehearsal.archive.add_file(10101, b"gone.mrc", late)
        assert (await account.ended(stuck))["status"] == "SUCCEEDED"
        assert (tmp_path / "gone.mrc").stat().st_size == 1000


async def test_errors_of_the_source_are_passed_over_where_that_was_asked_for(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, _globus, account):
        options: dict[str, object] = {"skip_source_errors": True}
        answer = await account.submit(("/10101/gone.mrc", "/gone.mrc"), (README, "/a.txt"), options=options)
        document = await account.ended(answer["task_id"])
        assert (document["status"], document["subtasks_skipped_errors"]) == ("SUCCEEDED", 1)
        skipped = list(await call(account.client.task_skipped_errors, answer["task_id"]))
        assert [(row["source_path"], row["error_code"]) for row in skipped] == [
            (SOURCE + "/10101/gone.mrc", "FILE_NOT_FOUND")
        ]
        assert await account.moved(answer["task_id"]) == [(SOURCE + README, "/a.txt")]


async def test_the_first_filter_rule_that_matches_decides(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (rehearsal, _globus, account):
        rules = (
            ("include", "*_0004_*", "file"),
            ("exclude", "*.mrc", "file"),
            ("exclude", "particles", "dir"),
        )
        answer = await account.submit(("/10101", "/10101"), recursive=True, rules=rules)
        await account.ended(answer["task_id"])
        expected = {
            path: data
            for path, data in archive_files(rehearsal, 10101).items()
            if "_0004_" in path or (not path.endswith(".mrc") and "particles/" not in path)
        }
        assert files_below(tmp_path / "10101") == expected
        assert any("_0004_" in path for path in expected)


@pytest.mark.parametrize(
    ("level", "copied"),
    [(0, set()), (1, {"short"}), (2, {"old"}), (3, {"short", "wrong", "old"})],
    ids=["exists", "size", "mtime", "checksum"],
)
async def test_sync_levels_take_for_the_same_what_the_service_does(
    tmp_path: Path, level: int, copied: set[str]
) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (rehearsal, _globus, account):
        right = archive_files(rehearsal, 10101)["data/README.txt"]
        wrong = bytes(byte ^ 1 for byte in right)
        for name, data in {"same": right, "short": right[:10], "wrong": wrong, "old": wrong}.items():
            (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / "old", (0, 0))
        names = ("same", "short", "wrong", "old")
        options: dict[str, object] = {"sync_level": level}
        answer = await account.submit(*((README, f"/{name}") for name in names), options=options)
        document = await account.ended(answer["task_id"])
        assert {there for _, there in await account.moved(answer["task_id"])} == {
            f"/{name}" for name in copied
        }
        assert (document["files_transferred"], document["files_skipped"]) == (len(copied), 4 - len(copied))
        assert all((tmp_path / name).read_bytes() == right for name in copied)


@pytest.mark.parametrize("while_running", [True, False])
async def test_what_has_been_moved_is_told_in_pages_at_once_or_afterwards(
    tmp_path: Path, while_running: bool
) -> None:
    config = GlobusConfig(folder=tmp_path, page_size=3, history_while_running=while_running)
    async with standing_in(config) as (_rehearsal, globus, account):
        items = [(README, f"/{number}.txt") for number in range(10)]
        answer = await account.submit(*items, ("/10101/gone", "/gone"))
        task_id = answer["task_id"]
        await account.until(task_id, lambda document: document["files_transferred"] == 10)
        if while_running:
            assert [there for _, there in await account.moved(task_id)] == [there for _, there in items]
        else:
            error = await account.refused(account.client.task_successful_transfers, task_id)
            assert (error.http_status, error.code) == (400, "ClientError.BadRequest")
            assert error.message is not None
            assert "still in progress" in error.message
        await call(account.client.cancel_task, task_id)
        assert [there for _, there in await account.moved(task_id)] == [there for _, there in items]
        page = await call(account.client.task_successful_transfers, task_id)
        assert len(page["DATA"]) == 3
        assert page["next_marker"]
        longer = await call(account.client.task_successful_transfers, task_id, query_params={"limit": 1000})
        assert (len(longer["DATA"]), longer["next_marker"]) == (10, None)
        assert globus.requests["GET", f"/v0.10/task/{task_id}/successful_transfers"] >= 6


async def test_tasks_are_found_by_status_and_label_the_latest_first(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        done = [(await account.submit((README, f"/{n}"), label=f"mirror {n}"))["task_id"] for n in range(3)]
        for task_id in done:
            await account.ended(task_id)
        foreign = globus.add_foreign_task("mirror of mine")

        async def ids(**query: object) -> list[str]:
            answer = await call(account.client.task_list, query_params=query)
            return [row["task_id"] for row in answer]

        assert await ids() == [foreign.task_id, *reversed(done)]
        assert await ids(filter="status:ACTIVE,INACTIVE/type:TRANSFER") == [foreign.task_id]
        assert await ids(filter="label:mirror 1") == [done[1]]
        assert await ids(filter="label:~mirror ?") == [*reversed(done)]
        assert await ids(orderby="label", filter="status:SUCCEEDED") == done
        assert await ids(limit=1, offset=1) == [done[2]]
        (row,) = await call(
            account.client.task_list,
            query_params={"fields": "task_id,status", "filter": f"task_id:{done[0]}"},
        )
        assert row == {"DATA_TYPE": "task", "task_id": done[0], "status": "SUCCEEDED"}
        for wrong in ({"filter": "colour:red"}, {"orderby": "colour"}, {"limit": 1001}, {"offset": "x"}):
            with pytest.raises(TransferAPIError) as caught:
                await ids(**wrong)
            assert caught.value.code == "ClientError.BadRequest"


async def test_the_deadline_is_judged_by_the_services_clock(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.clock_offset_s = 7200.0
        deadline = datetime.now(UTC) + timedelta(hours=1)
        with pytest.raises(TransferAPIError) as caught:
            await account.submit((README, "/a"), options={"deadline": deadline.isoformat()})
        assert caught.value.code == "ClientError.BadRequest"
        deadline = datetime.now(UTC) + timedelta(hours=3)
        globus.hold()
        answer = await account.submit((README, "/a"), options={"deadline": deadline.isoformat()})
        date = (await call(account.client.get_task, answer["task_id"])).headers["Date"]
        assert datetime.strptime(date, "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC) > datetime.now(
            UTC
        ) + timedelta(minutes=119)
        globus.clock_offset_s = 4 * 3600.0
        document = await account.task(answer["task_id"])
        assert (document["status"], document["fatal_error"]["code"]) == ("FAILED", "EXPIRED")
        globus.release()
        assert not (tmp_path / "a").exists()


async def test_label_and_deadline_can_be_changed_until_the_end(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.hold()
        task_id = (await account.submit((README, "/a")))["task_id"]
        await call(account.client.update_task, task_id, {"label": "new", "deadline": "2999-01-01"})
        document = await account.task(task_id)
        assert (document["label"], document["deadline"]) == ("new", "2999-01-01T00:00:00+00:00")
        globus.release()
        await account.ended(task_id)
        error = await account.refused(account.client.update_task, task_id, {"label": "newer"})
        assert error.http_status == 409


@pytest.mark.parametrize("links", ["ignore", "keep", "copy"])
async def test_symbolic_links_below_a_folder_are_treated_as_asked(tmp_path: Path, links: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"data")
    (source / "link").symlink_to("file")
    (tmp_path / "there").mkdir()
    async with standing_in(GlobusConfig(folder=tmp_path / "there")) as (_rehearsal, globus, account):
        other = "00000000-0000-4000-8000-000000000051"
        globus.add_collection(
            Collection(collection_id=other, display_name="Other", storage=FolderStorage(source))
        )
        options: dict[str, object] = {"recursive_symlinks": links}
        answer = await account.submit(("/", "/got"), source=other, recursive=True, options=options)
        document = await account.ended(answer["task_id"])
        assert document["status"] == "SUCCEEDED"
        got = tmp_path / "there/got/link"
        assert got.is_symlink() is (links == "keep")
        assert got.exists() is (links != "ignore")
        assert document["symlinks"] == (0 if links == "copy" else 1)


async def test_nothing_is_written_outside_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "there/way_out").symlink_to(tmp_path / "outside")
    async with standing_in(GlobusConfig(folder=tmp_path / "there")) as (_rehearsal, _globus, account):
        answer = await account.submit((README, "/way_out/a"), (README, "/../outside/b"), (README, "/c"))
        document = await account.until(answer["task_id"], lambda document: document["faults"] >= 4)
        assert document["nice_status"] == "PERMISSION_DENIED"
        await call(account.client.cancel_task, answer["task_id"])
        assert list((tmp_path / "outside").iterdir()) == []
        assert (tmp_path / "there/c").exists()


async def test_a_hundred_thousand_items_are_taken_while_others_are_answered(tmp_path: Path) -> None:
    async with standing_in(GlobusConfig(folder=tmp_path)) as (_rehearsal, globus, account):
        globus.hold()
        items = [(README, f"/many/{number:06d}.txt") for number in range(100_000)]
        answer = await account.submit(*items)
        assert (await account.task(answer["task_id"]))["subtasks_pending"] == 100_000
        assert len(globus.submissions[0].items) == 100_000
        await call(account.client.cancel_task, answer["task_id"])
