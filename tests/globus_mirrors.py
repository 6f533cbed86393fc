"""Mirrors whose Globus is the stand-in of the rehearsal archive, for tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from empiar_mirror.rehearsal.globus import (
    ARCHIVE_COLLECTION,
    CLIENT_ID,
    CLIENT_SECRET,
    DESTINATION_COLLECTION,
    NATIVE_CLIENT_ID,
    GlobusConfig,
    GlobusStandIn,
)
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import load
from empiar_schema.settings import ArchiveSettings, GlobusSettings, Settings
from empiar_wire.globus import TransferService
from empiar_wire.globus_account import GlobusAccount
from empiar_wire.globus_facts import GlobusService, Submission, Task, TransferItem

SECRET = {"EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET": CLIENT_SECRET}


def settings_for(stand_in: GlobusStandIn, root: Path, *, person: bool = False) -> Settings:
    """Settings of a mirror below `root`: with the service's own secret, or for a person to log in."""
    return Settings(
        root=root,
        archive=ArchiveSettings(
            globus_collection=ARCHIVE_COLLECTION, globus_path=stand_in.config.archive_path
        ),
        globus=GlobusSettings(
            collection=DESTINATION_COLLECTION,
            path=stand_in.collection_path(root),
            client_id=NATIVE_CLIENT_ID if person else CLIENT_ID,
            client_secret=None if person else SecretStr(CLIENT_SECRET),
            transfer_url=stand_in.url,
            auth_url=stand_in.url,
        ),
    )


def whole_settings(rehearsal: Rehearsal, root: Path, *, person: bool = False, **tables: object) -> Settings:
    """As `settings_for`, with all addresses of the rehearsal archive, and `tables` in place of the default ones."""
    settings = settings_for(rehearsal.globus, root, person=person)
    addresses = {name: url for name, url in rehearsal.urls().items() if name in ArchiveSettings.model_fields}
    archive = settings.archive.model_copy(update=addresses)
    return settings.model_copy(update={"archive": archive, **tables})


def globus_settings(
    rehearsal: Rehearsal, folder: Path, *, channels: Sequence[str] = ("globus",), globus: str = ""
) -> Settings:
    """Settings of a mirror in `folder` with these channels; `globus` is TOML at the end of the `[globus]` table."""
    file = folder / "empiar-mirror.toml"
    named = ", ".join(f'"{channel}"' for channel in channels)
    text = rehearsal.settings_toml(folder / "mirror").rstrip() + f"\n{globus}\n"
    text += "[crawl]\nrequests_per_s = 2000\n[transfer]\nrequests_per_s = 2000\nstall_s = 5\nretry_wait_s = 0.01\n"
    file.write_text(f"{text}channels = [{named}]\n")
    return load(file, environ=SECRET, cwd=folder)


def standing_in(folder: Path, **more: object) -> GlobusConfig:
    """A stand-in whose destination collection is the whole of `folder`."""
    return GlobusConfig(folder=folder, **more)  # type: ignore[arg-type]  # of the dataclass


@asynccontextmanager
async def globus_archive(config: GlobusConfig) -> AsyncIterator[Rehearsal]:
    """A rehearsal archive with a stand-in of Globus."""
    async with Rehearsal(globus=config) as rehearsal:
        yield rehearsal


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[TransferService]:
    """The service for `settings`, without its usual pace."""
    service = TransferService(GlobusAccount(settings.globus, settings.root), requests_per_s=10_000)
    try:
        yield service
    finally:
        await service.aclose()


def person(stand_in: GlobusStandIn) -> tuple[Callable[[str], None], Callable[[], str]]:
    """Somebody who opens the address that is shown, agrees, and brings the code."""
    shown: list[str] = []
    return shown.append, lambda: stand_in.authorize(shown[-1])


async def submission(service: GlobusService, *items: TransferItem, label: str = "mirror 1") -> Submission:
    """A transfer of these items, or of one entry's data, with a submission id of its own."""
    return Submission(
        submission_id=await service.submission_id(),
        label=label,
        source_collection=ARCHIVE_COLLECTION,
        destination_collection=DESTINATION_COLLECTION,
        items=items
        or (TransferItem("/gridftp/empiar/world_availability/10101/data", "/10101", recursive=True),),
    )


async def ended(service: TransferService, task_id: str) -> Task:
    """The task, when nothing more will happen to it."""
    until = time.monotonic() + 60
    while not (task := await service.task(task_id)).status.ended:
        assert time.monotonic() < until, task
        await asyncio.sleep(0.02)
    return task
