"""A crawl that lists by Globus: exact, and with other sources where the account may not."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.doctor import examine
from empiar_mirror.rehearsal.globus import GlobusConfig
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import CrawlFailed, Event
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import CrawlSettings, Settings
from globus_mirrors import globus_archive, whole_settings


@pytest.fixture
async def rehearsal(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    async with globus_archive(GlobusConfig(folder=tmp_path)) as rehearsal:
        yield rehearsal


async def crawled(settings: Settings, *ids: int) -> tuple[dict[str, int], dict[int, str], list[Event]]:
    """What a crawl brought: exact sizes by path below the entries, who listed each entry, and what was told."""
    events: list[Event] = []
    with Mirror.open(settings, observer=lambda event: events.append(event), create=True) as mirror:
        await mirror.crawl(ids)
    with sqlite3.connect(f"file:{settings.root}/empiar.db?mode=ro", uri=True) as conn:
        sizes = dict(conn.execute("SELECT path, bytes FROM files WHERE bytes IS NOT NULL"))
        sources = dict(conn.execute("SELECT empiar_id, source FROM listings WHERE completed_at IS NOT NULL"))
    conn.close()
    return sizes, sources, events


def settings_of(rehearsal: Rehearsal, root: Path, *listing: str, person: bool = False) -> Settings:
    crawl = CrawlSettings.model_validate({"listing": listing, "requests_per_s": 10_000})
    return whole_settings(rehearsal, root, person=person, crawl=crawl)


async def test_listings_by_globus_are_those_of_the_archive(rehearsal: Rehearsal, tmp_path: Path) -> None:
    sizes, sources, _ = await crawled(settings_of(rehearsal, tmp_path, "globus"), 10101)
    served = {path.decode(): file.size for path, file in rehearsal.archive.entries[10101].walk()}
    assert {path.removeprefix("10101/"): size for path, size in sizes.items()} == served
    assert sources == {10101: "globus"}
    assert not [one for one in rehearsal.log if one.channel == "ftp"]


async def test_without_a_login_the_next_source_lists_and_the_reason_is_told(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    settings = settings_of(rehearsal, tmp_path, "globus", "ftp", person=True)
    _, sources, events = await crawled(settings, 10101)
    assert sources == {10101: "ftp"}
    (failed,) = [event for event in events if isinstance(event, CrawlFailed)]
    assert (failed.source, "not logged in to Globus; run `empiar-mirror globus login`" in failed.reason) == (
        "globus",
        True,
    )


async def test_a_crawl_by_globus_without_a_client_id_says_so(rehearsal: Rehearsal, tmp_path: Path) -> None:
    settings = settings_of(rehearsal, tmp_path, "globus")
    nobody = settings.model_copy(update={"globus": settings.globus.model_copy(update={"client_id": ""})})
    with pytest.raises(ConfigFault, match=r"globus\.client_id is not set"):
        await crawled(nobody, 10101)


async def test_the_doctor_looks_at_globus_too(rehearsal: Rehearsal, tmp_path: Path) -> None:
    settings = settings_of(rehearsal, tmp_path, "globus")
    await crawled(settings, 10101)
    checks = {finding.check: str(finding.verdict) for finding in await examine(settings)}
    assert checks["globus round trip"] == checks["globus writing"] == "ok"
    assert "catalogue" in checks
