"""Leases on disk and in the catalogue: granted, redeemed by an answer, lost, or withdrawn."""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from empiar_mirror.cluster.errands import BEGUN, leases_folder
from empiar_mirror.makers.folder import remove_tree
from empiar_mirror.threads import in_thread
from empiar_schema import lease_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.disk import make_folder, standing, storage_fault
from empiar_schema.lease_store import Grant


@dataclass(frozen=True, slots=True)
class Lease:
    """A piece of work in the hands of a worker."""

    lease_id: int
    grant: Grant
    #: In `staging/leases`; the worker writes nowhere else.
    folder: Path

    @property
    def name(self) -> str:
        """The folder's name, which is the task's key for Dask, too."""
        return self.folder.name


class Leases:
    """Every way in and out of a lease, each with its record. The folder of an ended lease is not where it was, so that nobody writes into it by its name."""

    def __init__(
        self, *, catalogue: Catalogue, root: Path, threads: Executor, clock: Callable[[], float]
    ) -> None:
        self._catalogue = catalogue
        self._folder = leases_folder(root)
        self._threads = threads
        self._clock = clock

    async def grant(self, work: str, subject: str, worker: str, job_id: int | None) -> Lease:
        """A lease is in force, and its folder is there.

        Raises:
            StorageFault: the disk refused.
        """
        grant = Grant(work, subject, worker, secrets.token_hex(8), job_id)
        record = functools.partial(lease_store.grant_lease, grant=grant, now=int(self._clock()))
        # A grant that a power cut undoes leads nowhere: the token is never drawn twice.
        lease_id = await self._catalogue.write(record, durable=False)
        lease = Lease(lease_id, grant, self._folder / f"{lease_id}-{grant.token}")
        await in_thread(self._threads, _make, lease.folder)
        return lease

    async def redeem(self, lease: Lease, keep: Path | None) -> bool:
        """Whether the answer counts; if so, what the worker wrote stands in `keep`, an empty folder, or is gone without one.

        Raises:
            StorageFault: the disk refused.
        """
        redeemed = await self._catalogue.write(
            functools.partial(lease_store.redeem_lease, lease_id=lease.lease_id, token=lease.grant.token),
            durable=False,
        )
        if redeemed and keep is not None:
            await in_thread(self._threads, _keep, lease.folder / BEGUN, keep)
        await in_thread(self._threads, remove_lease_folder, lease.folder)
        return redeemed

    async def lose(self, lease: Lease, reason: str) -> None:
        """The lease has ended because its worker was lost."""
        lost = functools.partial(
            lease_store.lose_lease, lease_id=lease.lease_id, reason=reason, now=int(self._clock())
        )
        await self._catalogue.write(lost)
        await in_thread(self._threads, remove_lease_folder, lease.folder)

    async def withdraw(self, lease: Lease) -> None:
        """The lease has ended, and nobody is to blame."""
        withdrawn = functools.partial(lease_store.withdraw_lease, lease_id=lease.lease_id)
        await self._catalogue.write(withdrawn, durable=False)
        await in_thread(self._threads, remove_lease_folder, lease.folder)


def recover_leases(catalogue: Catalogue, root: Path) -> None:
    """No lease is in force, and no folder of one is left. Only the holder of the instance lock may call it.

    Raises:
        CatalogueFault: the catalogue refused.
    """
    catalogue.write_now(lease_store.recover_leases)
    folder = leases_folder(root)
    for entry in folder.iterdir() if folder.is_dir() else ():
        remove_lease_folder(entry)


def _make(folder: Path) -> None:
    try:
        make_folder(folder.parent, within=standing(folder.parents[2]))
        folder.mkdir()
    except OSError as error:
        raise storage_fault(error, f"cannot make {folder}") from error


def _keep(made: Path, keep: Path) -> None:
    try:
        made.rename(keep)  # an empty folder makes way
    except OSError as error:
        raise storage_fault(error, f"cannot move {made} to {keep}") from error


def remove_lease_folder(folder: Path) -> None:
    """Nobody can write into the folder by its name any more, and what is in it is gone, as far as the disk allows."""
    # First away from its name: a worker that does not know yet that its lease has ended finds no folder to write into.
    # Whatever it has open may still grow and keep us from removing it all; the next start does.
    aside = folder if folder.name.startswith("ended-") else folder.with_name(f"ended-{folder.name}")
    with contextlib.suppress(OSError):
        if aside != folder:
            folder.rename(aside)
        remove_tree(aside)
