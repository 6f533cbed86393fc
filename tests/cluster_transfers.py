"""A mirror whose large files are fetched by the workers of a cluster, and what tests see of it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from dask_cluster import DaskCluster
from empiar_mirror.app import Mirror
from empiar_mirror.cluster import mailbox
from empiar_mirror.cluster.errands import BEGUN
from empiar_mirror.doctor_cluster import examine_cluster
from empiar_mirror.folders import Folders
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import load
from empiar_schema.events import Event, WorkLost
from empiar_schema.settings import Settings

ID = 10190
MIB = 2**20


def settings_with_cluster(
    rehearsal: Rehearsal, folder: Path, address: str, *, transfer: str = "", cluster: str = ""
) -> Settings:
    """Of a mirror in `folder`, whose files of 2 MiB or more are fetched by workers; both texts are TOML."""
    file = folder / "empiar-mirror.toml"
    file.write_text(
        rehearsal.settings_toml(folder / "mirror")
        + "[crawl]\nrequests_per_s = 2000\n"
        + f"[transfer]\nrequests_per_s = 2000\nretry_wait_s = 0.01\n{transfer}"
        + f'[cluster]\nscheduler = "{address}"\nwork = ["transfer"]\ntransfer_bytes = {2 * MIB}\nconnect = "60s"\n{cluster}'
    )
    return load(file, environ={}, cwd=folder)


def slower(settings: Settings, bytes_per_s: int | None) -> Settings:
    """The same with another bandwidth."""
    transfer = settings.transfer.model_copy(update={"bandwidth": bytes_per_s})
    return settings.model_copy(update={"transfer": transfer})


async def until(condition: Callable[[], bool], explain: Callable[[], str], *, within_s: float = 60) -> None:
    """Returns when the condition holds."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(explain()) from None


async def ready(cluster: DaskCluster, settings: Settings) -> None:
    """All workers of the cluster answer."""
    Folders.below(settings.root)
    wanted = f"{len(cluster.workers)} of {len(cluster.workers)}"
    for _ in range(60):
        if (found := await examine_cluster(settings)) and found[0].sentence.startswith(wanted):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(cluster.log())


def coming(mirror: Mirror) -> dict[str, int]:
    """How far the files are that workers fetch, by the name of the lease."""
    leases = mirror.folders.staging / "leases"
    found = {folder.name: mailbox.moved(folder / BEGUN) for folder in leases.glob("*")}
    return {name: moved for name, moved in found.items() if moved}


def losses(events: Sequence[Event]) -> list[WorkLost]:
    """What was lost so far."""
    return [event for event in events if isinstance(event, WorkLost)]
