"""What work on tasks needs, over the real SDK; the network is asked only where a stand-in's address is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from empiar_mirror.globus.places import Places
from empiar_mirror.globus.tasks import Desk
from empiar_mirror.rehearsal.globus.accounts import CLIENT_ID, CLIENT_SECRET
from empiar_mirror.rehearsal.globus.collections import ARCHIVE_COLLECTION, DESTINATION_COLLECTION
from empiar_mirror.space import Space
from empiar_schema.catalogue import Catalogue
from empiar_schema.configuration import load
from empiar_schema.events import Event
from empiar_schema.settings import Settings
from empiar_wire.globus import TransferService
from empiar_wire.globus_account import GlobusAccount

PLACES = Places(ARCHIVE_COLLECTION, "/archive", DESTINATION_COLLECTION, "/mirror")


def desk_settings(root: Path, *channels: str, **globus: str) -> Settings:
    """Settings of a mirror below `root` with these channels and values of the table `globus`."""
    environ = {
        "EMPIAR_MIRROR_ROOT": str(root),
        "EMPIAR_MIRROR_TRANSFER__CHANNELS": "[" + ", ".join(f'"{channel}"' for channel in channels) + "]",
        "EMPIAR_MIRROR_GLOBUS__COLLECTION": DESTINATION_COLLECTION,
        "EMPIAR_MIRROR_GLOBUS__CLIENT_ID": CLIENT_ID,
        "EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET": CLIENT_SECRET,
        **{f"EMPIAR_MIRROR_GLOBUS__{name.upper()}": value for name, value in globus.items()},
    }
    return load(None, environ=environ, cwd=root)


@asynccontextmanager
async def a_desk(
    catalogue: Catalogue, settings: Settings, *, now: int, events: list[Event] | None = None
) -> AsyncIterator[Desk]:
    """A desk whose clock stands at `now`; what it tells is appended to `events`."""

    def observe(event: Event) -> None:
        if events is not None:
            events.append(event)

    staging = settings.root / "staging"
    staging.mkdir(exist_ok=True)
    service = TransferService(GlobusAccount(settings.globus, settings.root), requests_per_s=1e6)
    try:
        yield Desk(
            catalogue=catalogue,
            service=service,
            settings=settings.globus,
            places=PLACES,
            staging=staging,
            space=Space(staging, settings.disk),
            alone=list(settings.transfer.channels) == ["globus"],
            observer=observe,
            clock=lambda: now,
        )
    finally:
        await service.aclose()
