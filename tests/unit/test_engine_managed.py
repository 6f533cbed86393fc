"""The engine beside a channel whose service moves files by itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from empiar_mirror.app import Mirror
from empiar_mirror.engine import Engine
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.space import Space
from empiar_mirror.transferring import Transferring
from empiar_schema import globus_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import nobody
from empiar_schema.globus_bundles import NewBundle
from globus_mirrors import globus_settings, standing_in
from independent import content
from mirrors import opened, rows

ID = 10190


@dataclass
class LastMoment:
    """A channel that delivers its file just when it is asked whether anything is left, and says that nothing is."""

    catalogue: Catalogue
    deliver: Callable[[], None]
    asked: list[bool] = field(default_factory=list)

    async def run(
        self, empiar_ids: Sequence[int] | None, *, least_priority: int, changed: Callable[[], None]
    ) -> None:
        changed()

    @property
    def out(self) -> bool:
        return False

    async def planned(self) -> None:
        return

    async def settled(self) -> bool:
        if not self.asked:
            self.deliver()
        self.asked.append(True)
        return True


def engine_of(mirror: Mirror, managed: LastMoment) -> Engine:
    work = Transferring(
        mirror.settings,
        mirror.catalogue,
        mirror.folders,
        mirror._threads,
        nobody,
        mirror.clock,
        mirror._stopping,
        mirror.pacing,
        mirror.doubts,
    )
    return work._engine({}, space=Space(mirror.folders.staging, mirror.settings.disk), keeper=managed)  # type: ignore[arg-type]


async def test_what_is_delivered_while_the_end_is_asked_for_is_not_left_behind(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, {"a.mrc": 5000})], globus=standing_in(tmp_path)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.crawl([ID])
            await mirror.catalogue.write(functools.partial(transfer_store.want_entry, empiar_id=ID, now=1))
            ids = [number for (number,) in rows(mirror, "SELECT file_id FROM copies")]
            bundle = NewBundle("label", ids, None)  # type: ignore[arg-type]  # ids are numbers
            plan = functools.partial(globus_store.plan_bundle, new=bundle, now=1)
            bundle_id = await mirror.catalogue.write(plan)
            for path, _ in rehearsal.archive.entries[ID].walk():
                place = mirror.folders.staging / "globus" / str(ID) / path.decode()
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content(rehearsal, ID, path))

            def deliver() -> None:
                mirror.catalogue.write_now(
                    functools.partial(globus_store.deliver, bundle_id=bundle_id, file_ids=ids, now=1)  # type: ignore[arg-type]
                )

            await engine_of(mirror, LastMoment(mirror.catalogue, deliver)).run([ID])
            assert rows(mirror, "SELECT DISTINCT state FROM copies") == [("arrived",)]
