"""The Transfer service as the mirror uses it, by the real SDK, against the stand-in."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.globus import (
    ARCHIVE_COLLECTION,
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
    TransientFault,
)
from empiar_wire.globus import TransferService
from empiar_wire.globus_facts import (
    CANCELED,
    FilterRule,
    TaskStatus,
    TransferItem,
)
from empiar_wire.globus_faults import NotPermitted
from empiar_wire.globus_paths import KNOWN_BASES, find_archive_base
from globus_mirrors import ended, globus_archive, opened, settings_for, submission

BASE = "/gridftp/empiar/world_availability"
NOBODY = "00000000-0000-4000-8000-00000000dead"


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
