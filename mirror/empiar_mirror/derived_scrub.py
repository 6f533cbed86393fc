"""Scrubbing of derived files: read again like the deposited ones, after them. What does not hold is made again, not fetched."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from empiar_mirror.makers.placing import derived_folder
from empiar_mirror.makers.templates import on_disk
from empiar_mirror.scrub_budget import SUSPICIOUS_RUN
from empiar_mirror.threads import in_thread
from empiar_schema import derived_proof_store as store
from empiar_schema import job_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.derived_proof_store import ProvenProduct
from empiar_schema.faults import StorageFault

_GROUP: Final = 256


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast reading may go, by the scrubber's own rate, hours and end."""

    #: Returns when the next piece may be read; raises where the run is to end.
    rest: Callable[[], Awaitable[None]]
    #: The time at which a piece is about to be read.
    begin: Callable[[], float]
    #: So many bytes were read since that time.
    spend: Callable[[int, float], None]


class Damaged(NamedTuple):
    """A derived file that does not hold, and why."""

    product: ProvenProduct
    wrong: str


@dataclass(slots=True)
class DerivedScrub:
    """One pass over derived files."""

    catalogue: Catalogue
    root: Path
    threads: Executor
    pace: Pace
    piece: int
    clock: Callable[[], float]
    checked: int = 0
    damaged: list[Damaged] = field(default_factory=list)
    _sound: list[ProvenProduct] = field(default_factory=list)
    _suspects: list[Damaged] = field(default_factory=list)

    async def run(self, *, until: int, ids: Sequence[int] | None) -> None:
        """Every derived file that was last proven by `until` was read; of a wrong one, read twice, the record is gone and its job wanted again.

        Raises:
            StorageFault: so many do not hold, or a whole folder is missing, that the disk seems to be away; nothing was recorded of those.
        """
        place = (-(2**62), 0)
        try:
            while True:
                page = functools.partial(
                    store.next_products, after=place, until=until, limit=_GROUP, empiar_ids=ids
                )
                products = await self.catalogue.read(page)
                if not products:
                    break
                place = products[-1].proven_at, products[-1].product_id
                for product in products:
                    await self._scrub(product)
                await self._record_sound()
        finally:
            await self._record_sound()
        await self._settle()

    async def _scrub(self, product: ProvenProduct) -> None:
        wrong = await self._wrong_with(product)
        if wrong is not None:
            wrong = await self._wrong_with(product)  # memory and cables err, too
        self.checked += 1
        if wrong is None:
            await self._settle()
            self._sound.append(product)
            return
        if not await self.catalogue.read(functools.partial(store.is_recorded, product=product)):
            return  # made anew while it was read
        folder = derived_folder(self.root, product.empiar_id)
        if not folder.is_dir():
            raise StorageFault(
                f"scrubbing stopped: the folder {folder} is missing as a whole",
                hint="mount the disk; nothing was marked as damaged; if it is really gone, `empiar-mirror verify` has its files made again",
            )
        self._suspects.append(Damaged(product, wrong))
        if len(self._suspects) >= SUSPICIOUS_RUN:
            raise StorageFault(
                f"{len(self._suspects)} derived files in a row do not hold, the first because {self._suspects[0].wrong}",
                hint="so many at once speak of the disk, the memory or the controller: check them; nothing of it was marked; "
                "`empiar-mirror verify` records what is really damaged",
            )

    async def _wrong_with(self, product: ProvenProduct) -> str | None:
        """What is wrong with the file; None if it is the one on record."""
        path = derived_folder(self.root, product.empiar_id) / on_disk(product.path)
        try:
            fd = await in_thread(self.threads, _open, path)
        except FileNotFoundError:
            return "it is missing"
        except OSError as error:
            return f"it cannot be opened: {error.strerror}"
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                return "it is no regular file"
            if facts.st_size != product.size:
                return f"it has {facts.st_size} bytes, the record says {product.size}"
            sha256 = hashlib.sha256()
            while True:
                await self.pace.rest()
                began = self.pace.begin()
                got = await in_thread(self.threads, _step, fd, self.piece, sha256.update)
                self.pace.spend(got, began)
                if not got:
                    break
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        finally:
            os.close(fd)
        if sha256.digest() == product.sha256:
            return None
        return f"its sha256 is {sha256.hexdigest()}, the record says {product.sha256.hex()}"

    async def _record_sound(self) -> None:
        sound, self._sound = self._sound, []
        if sound:
            record = functools.partial(store.record_proven, products=sound, now=int(self.clock()))
            await self.catalogue.write(record)

    async def _settle(self) -> None:
        """The suspects are damaged: their records are gone, their jobs wanted again."""
        suspects, self._suspects = self._suspects, []
        for suspect in suspects:
            product = suspect.product
            doubt = functools.partial(job_store.doubt_product, empiar_id=product.empiar_id, path=product.path)
            await self.catalogue.write(doubt)
            self.damaged.append(suspect)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def _step(fd: int, piece: int, update: Callable[[bytes], None]) -> int:
    data = os.read(fd, piece)
    update(data)
    return len(data)
