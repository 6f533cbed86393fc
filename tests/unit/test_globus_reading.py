"""What a task has copied is read to its end, however the service pages it, over the real SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from empiar_mirror.globus import tasks
from empiar_mirror.rehearsal.archive import RehearsalArchive
from empiar_mirror.rehearsal.globus import GlobusConfig, GlobusStandIn
from empiar_mirror.rehearsal.globus.accounts import SERVICE_IDENTITY
from empiar_mirror.rehearsal.globus.faults import GlobusFault, GlobusFaultKind
from empiar_mirror.rehearsal.globus.tasks import Moved, Task
from empiar_mirror.rehearsal.served import ServedLog
from empiar_schema import globus_store as globus
from empiar_schema.catalogue import Catalogue
from globus_desk import PLACES, a_desk, desk_settings
from globus_ledger import ID, NOW, PATHS, Mirror

LISTS = "GET */successful_transfers"


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:
        yield Mirror(catalogue)


@pytest.fixture
async def standin(tmp_path: Path) -> AsyncIterator[GlobusStandIn]:
    globus = GlobusStandIn(RehearsalArchive(), GlobusConfig(folder=tmp_path, page_size=2), ServedLog())
    await globus.start()
    try:
        yield globus
    finally:
        await globus.close()


def copied(standin: GlobusStandIn, *paths: str) -> Task:
    """A task of the account that has copied these files of the entry."""
    task = standin.desk.add_foreign(SERVICE_IDENTITY.identity_id, "copied")
    add(task, *paths)
    return task


def add(task: Task, *paths: str) -> None:
    task.moved += [
        Moved(PLACES.source(ID, path).encode(), PLACES.destination(ID, path).encode()) for path in paths
    ]


async def read(
    mirror: Mirror, standin: GlobusStandIn, tmp_path: Path, task: Task, *, while_running: bool = False
) -> int:
    """How many files are newly delivered."""
    settings = desk_settings(tmp_path, "globus", transfer_url=standin.url, auth_url=standin.url)
    (bundle,) = mirror.do(globus.open_bundles)
    async with asyncio.timeout(60), a_desk(mirror.catalogue, settings, now=NOW) as desk:
        return await tasks.read_moved(
            desk, replace(bundle, task_id=task.task_id), while_running=while_running
        )


def marker(mirror: Mirror) -> str | None:
    return mirror.do(globus.open_bundles)[0].moved_marker


def asked(standin: GlobusStandIn) -> int:
    return sum(n for (_, path), n in standin.requests.items() if path.endswith("/successful_transfers"))


async def test_a_list_that_grows_is_read_on_from_its_last_page(
    mirror: Mirror, standin: GlobusStandIn, tmp_path: Path
) -> None:
    mirror.plan()
    task = copied(standin, *PATHS[:3], "unknown")
    assert await read(mirror, standin, tmp_path, task, while_running=True) == 3
    assert (marker(mirror), asked(standin)) == ("2", 2)
    add(task, *PATHS[3:])
    assert await read(mirror, standin, tmp_path, task, while_running=True) == 2
    assert (marker(mirror), asked(standin)) == ("4", 4)
    assert await read(mirror, standin, tmp_path, task) == 0
    assert set(mirror.states().values()) == {"wanted"}


async def test_a_marker_that_the_service_does_not_know_is_read_from_the_beginning(
    mirror: Mirror, standin: GlobusStandIn, tmp_path: Path
) -> None:
    bundle_id = mirror.plan()
    mirror.move(bundle_id, marker="no marker of its")
    task = copied(standin, *PATHS)
    assert await read(mirror, standin, tmp_path, task, while_running=True) == 0
    assert await read(mirror, standin, tmp_path, task) == len(PATHS)


async def test_a_service_that_refuses_the_second_page_is_not_asked_for_ever(
    mirror: Mirror, standin: GlobusStandIn, tmp_path: Path
) -> None:
    mirror.plan()
    task = copied(standin, *PATHS)
    refusal = GlobusFault(
        kind=GlobusFaultKind.ERROR, match=LISTS, times=None, after=1, value="400 BadRequest"
    )
    standin.book.add(refusal)
    assert await read(mirror, standin, tmp_path, task) == 2
    assert asked(standin) == 2


async def test_a_history_that_is_gone_delivers_nothing(
    mirror: Mirror, standin: GlobusStandIn, tmp_path: Path
) -> None:
    mirror.plan()
    refusal = GlobusFault(kind=GlobusFaultKind.ERROR, match=LISTS, times=None, value="404 TaskNotFound")
    standin.book.add(refusal)
    assert await read(mirror, standin, tmp_path, copied(standin, *PATHS)) == 0


@pytest.mark.parametrize("following", ['"5"', '"0"', "7"])
async def test_markers_that_lead_in_a_circle_end(
    mirror: Mirror, standin: GlobusStandIn, tmp_path: Path, following: str
) -> None:
    mirror.plan()
    place = PLACES.destination(ID, "a.xml")
    row = f'{{"source_path": "/x", "destination_path": "{place}"}}'
    page = f'{{"DATA_TYPE": "successful_transfers", "next_marker": {following}, "DATA": [{row}]}}'
    standin.book.add(GlobusFault(kind=GlobusFaultKind.GARBAGE, match=LISTS, times=None, value=page))
    assert await read(mirror, standin, tmp_path, copied(standin)) == 1
    assert asked(standin) == 2


async def test_places_that_are_none_of_ours_are_passed_over(
    mirror: Mirror, standin: GlobusStandIn, tmp_path: Path
) -> None:
    mirror.plan()
    task = copied(standin, "a.xml", "../10018/a.xml", "data/../a.xml")
    task.moved += [
        Moved(b"/x", b"/etc/passwd"),
        Moved(b"/x", b"/mirror/staging/globus/99999999999999999999/a"),
    ]
    assert await read(mirror, standin, tmp_path, task) == 1
