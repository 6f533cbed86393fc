"""What follows the arrival of files: roles, contradictions, derived files, manifests, layouts and their documents."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from empiar_mirror.arrange import ArrangeReport, arrange_entry, read_plan
from empiar_mirror.by_hand.taking import take_in
from empiar_mirror.cluster.opening import Hands
from empiar_mirror.documents.export import write_bag
from empiar_mirror.documents.view import remove_stale_documents, write_view_documents
from empiar_mirror.header_check import check_headers
from empiar_mirror.makers import registry
from empiar_mirror.makers.interface import Maker
from empiar_mirror.makers.runner import Runner
from empiar_mirror.manifest import write_entry_manifests
from empiar_mirror.plan_facts import asked_for, bytes_held
from empiar_mirror.reports import BagReport, FailedJob, ImportedEntry, ImportReport, MakeReport
from empiar_mirror.role_renewal import entries_to_renew, renew_roles
from empiar_mirror.space import Space
from empiar_mirror.stopping import Stopping
from empiar_mirror.threads import in_thread
from empiar_schema import header_store, job_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer
from empiar_schema.faults import ClusterFault, ConfigFault
from empiar_schema.layout_views import IMPORTED_LABELS, ViewRecipe
from empiar_schema.settings import Settings
from empiar_schema.subscription_store import subscribed_views

_NO_COORDINATES: Final = "the tree holds no coordinates of it; what was imported before stays"


@dataclass(frozen=True, slots=True)
class Finishing:
    """Brings everything that is made of arrived files into line with them. Doing it again changes nothing."""

    settings: Settings
    catalogue: Catalogue
    root: Path
    threads: ThreadPoolExecutor
    observer: Observer
    clock: Callable[[], float]
    stopping: Stopping
    #: What each worker of a cluster has in hand.
    in_hand: Counter[str] = field(default_factory=Counter)
    #: What makes derived files besides the hooks of the configuration.
    built_in: Sequence[registry.BuiltIn] = registry.BUILT_IN

    @property
    def hands(self) -> Hands:
        """Those who work on files: this machine, or a cluster."""
        return Hands(
            self.settings,
            self.root,
            self.catalogue,
            self.threads,
            self.observer,
            self.clock,
            self.in_hand,
        )

    async def follow(
        self, ids: Sequence[int], view: ViewRecipe | None = None, *, retrying: bool = True
    ) -> tuple[MakeReport, dict[str, int]]:
        """All of it for these entries, unless stopped before; what was made, and how many files each layout shows.

        Jobs that fail are tried again until they are made or parked; unless `retrying`, those that have to wait for that are left.
        Layouts are those that are built by themselves, `view`, those in which subscriptions want an entry, and those
        that stand from an earlier `--view`: they would go on showing files that were replaced since.

        Raises:
            ClusterFault: a cluster was to make something, and cannot be had; manifests and layouts show what is here.
            ConfigFault: makers do not fit together.
            StorageFault: the disk is full or refuses.
        """
        making, arranged = MakeReport(), Counter[str]()
        for subscribed, group in (await self._by_subscribed_views(ids)).items():
            if self.stopping.stopped:
                break
            recipes = tuple(dict.fromkeys((*self.settings.recipes, *([view] if view else []), *subscribed)))
            made, shown = await self._follow(group, recipes, retrying=retrying)
            making += made
            arranged.update(shown)
        return making, dict(arranged)

    async def _by_subscribed_views(self, ids: Sequence[int]) -> dict[tuple[ViewRecipe, ...], list[int]]:
        """The entries, by the views in which subscriptions want them."""
        views = await self.catalogue.read(functools.partial(subscribed_views, ids=ids))
        groups: dict[tuple[ViewRecipe, ...], list[int]] = {}
        for empiar_id in ids:
            known = (name for name in sorted(views.get(empiar_id, ())) if self.settings.has_view(name))
            groups.setdefault(tuple(map(self.settings.recipe, known)), []).append(empiar_id)
        return groups

    async def _follow(
        self, ids: Sequence[int], recipes: tuple[ViewRecipe, ...], *, retrying: bool
    ) -> tuple[MakeReport, dict[str, int]]:
        for empiar_id in ids:
            await self.judge(empiar_id)
        try:
            making = await self.make(ids, recipes=recipes, retrying=retrying)
        except ClusterFault:
            # It may be away for days; what has arrived is shown now.
            await self._write_manifests(ids)
            await self._show_layouts(ids, recipes)
            raise
        return making, await self._show_layouts(ids, recipes)

    async def _show_layouts(self, ids: Sequence[int], recipes: tuple[ViewRecipe, ...]) -> dict[str, int]:
        arranged: dict[str, int] = {}
        for empiar_id in () if self.stopping.stopped else ids:
            for recipe in dict.fromkeys((*recipes, *self._standing(empiar_id))):
                report = await in_thread(self.threads, self._arrange, empiar_id, recipe, rebuild=False)
                arranged[recipe.name] = arranged.get(recipe.name, 0) + report.linked + report.kept
        return arranged

    async def withdraw_damaged(self, ids: Sequence[int]) -> None:
        """The layouts of these entries that stand show no file that the catalogue calls damaged; nothing is made anew."""
        for empiar_id in ids:
            for recipe in self._standing(empiar_id):
                await in_thread(self.threads, self._arrange, empiar_id, recipe, rebuild=False)

    def show(self, empiar_id: int) -> None:
        """The entry's manifests, and its layouts that stand, say what the catalogue says is here; nothing is made anew. Blocking."""
        for recipe in self._standing(empiar_id):
            self._arrange(empiar_id, recipe, rebuild=False)
        with self.catalogue.reader() as conn:
            write_entry_manifests(conn, self.root, empiar_id)

    def _standing(self, empiar_id: int) -> tuple[ViewRecipe, ...]:
        """Recipes of the entry's layouts on disk; one whose view the configuration no longer knows is left as it is."""
        found: list[ViewRecipe] = []
        for folder in sorted((self.root / "datasets").glob(f"*/{empiar_id}")):
            try:
                found.append(self.settings.recipe(folder.parent.name))
            except ConfigFault:
                continue
        return tuple(found)

    async def follow_crawl(self, *, since: int) -> None:
        """Roles and contradictions of entries that are stated otherwise since then, here or by the archive."""
        changed = functools.partial(entries_to_renew, stated=self.settings.role)
        for empiar_id in await self.catalogue.read(changed):
            await self._renew_roles(empiar_id)
        told = functools.partial(header_store.told_otherwise, since=since)
        for empiar_id in await self.catalogue.read(told):
            await check_headers(self.catalogue, empiar_id, now=int(self.clock()))

    async def judge(self, empiar_id: int) -> None:
        """Roles and contradictions of the entry follow the headers that are known."""
        await self._renew_roles(empiar_id)
        await check_headers(self.catalogue, empiar_id, now=int(self.clock()))

    async def _renew_roles(self, empiar_id: int) -> None:
        await in_thread(self.threads, renew_roles, self.catalogue, empiar_id, self.settings.role)

    # --- derived files --------------------------------------------------------------------------------

    async def make(
        self,
        ids: Sequence[int],
        *,
        makers: Sequence[str] | None = None,
        retry: bool = False,
        recipes: Sequence[ViewRecipe] | None = None,
        retrying: bool = True,
    ) -> MakeReport:
        """What configuration and views (those that are built by themselves, if None) ask for is made of the files that are here, or the report says what is not.

        Only what is missing or whose parents or recipe have changed is made. With `retry`, what was given up gets a fresh
        budget. Unless `retrying`, jobs that may be tried again later only are left. The manifests follow.

        Raises:
            ConfigFault: there is no such maker, or makers do not fit together.
            StorageFault: the disk is full or refuses; what was made stands.
        """
        if retry:
            await self.catalogue.write(
                functools.partial(job_store.retry_jobs, empiar_ids=ids, makers=makers, now=int(self.clock()))
            )
        for empiar_id in ids:
            await take_in(self.catalogue, self.root, empiar_id)
        async with self.hands.makers() as workers:
            chosen = registry.configured(self.settings, workers, recipes=recipes, built_in=self.built_in)
            report = await self._run(chosen, ids, only=makers, retrying=retrying)
        await self._write_manifests(ids)
        return report

    async def _run(
        self,
        makers: Sequence[Maker],
        ids: Sequence[int],
        *,
        only: Sequence[str] | None = None,
        retrying: bool = True,
    ) -> MakeReport:
        held = await self.catalogue.read(bytes_held)
        runner = Runner(
            catalogue=self.catalogue,
            root=self.root,
            makers=makers,
            workers=self.settings.making.workers or os.cpu_count() or 1,
            space=Space(self.root / "staging", self.settings.disk, held_bytes=held),
            threads=self.threads,
            observer=self.observer,
            clock=self.clock,
        )
        with self.stopping.telling(runner.stop):
            if self.stopping.stopped:
                return MakeReport(stopped=True)
            return await runner.run(ids, only=only, retrying=retrying)

    async def _write_manifests(self, ids: Sequence[int]) -> None:
        def write(empiar_id: int) -> None:
            with self.catalogue.reader() as conn:
                write_entry_manifests(conn, self.root, empiar_id)

        for empiar_id in ids:
            await in_thread(self.threads, write, empiar_id)

    # --- labels from elsewhere ------------------------------------------------------------------------

    async def import_labels(self, source: Path, ids: Sequence[int]) -> ImportReport:
        """The coordinates of a released CryoPPP tree (folder or tar archive) are the labels of those of its entries that are among `ids`.

        They are kept below ``derived/``, go before the entry's own coordinate files, and stand in its layouts; names without
        a counterpart are reported on both sides.

        Raises:
            BadLabels: it is no such tree, or a damaged or hostile one.
            ConfigFault: the mirror has no file of any of its entries.
        """
        from empiar_imaging.labels.released import read_released
        from empiar_mirror.makers.imported import ImportedLabels

        entries = await in_thread(self.threads, read_released, source)
        here = [entry for entry in entries if entry.empiar_id in set(ids)]
        if not here:
            named = ", ".join(str(entry.empiar_id) for entry in entries[:10])
            raise ConfigFault(
                f"{source} holds labels of {named}, of which nothing is here",
                hint=f"fetch micrographs first: `empiar-mirror sync {entries[0].empiar_id}`",
            )
        chosen = [entry.empiar_id for entry in here]
        maker = ImportedLabels.of(here, source.name)
        kept = await self._run([maker], chosen, only=[IMPORTED_LABELS])
        making, _ = await self.follow(chosen)
        names = [recipe.label_maker for recipe in self.settings.recipes]
        matched = await self.catalogue.read(functools.partial(_matched, ids=chosen, makers=names))
        notes = tuple(
            f"{entry.empiar_id}: {note}"
            for entry in here
            for note in (*entry.notes, *([] if maker.tables[entry.empiar_id] else [_NO_COORDINATES]))
        )
        known = set(await self.catalogue.read(asked_for))
        elsewhere = tuple(entry.empiar_id for entry in entries if entry.empiar_id not in known)
        return ImportReport(tuple(matched), elsewhere, notes, kept + making)

    # --- layouts --------------------------------------------------------------------------------------

    async def arrange(
        self, ids: Sequence[int], *, view: str | None = None, rebuild: bool = False
    ) -> dict[int, dict[str, ArrangeReport]]:
        """The standard layouts of these entries follow the catalogue, its roles the configuration, and what the layouts show is made first.

        Raises:
            ConfigFault: there is no such view.
            StorageFault: the disk is full or refuses.
        """
        recipes = self.settings.recipes if view is None else (self.settings.recipe(view),)
        for empiar_id in ids:
            await self._renew_roles(empiar_id)
        making = await self.make(ids, recipes=tuple(dict.fromkeys((*self.settings.recipes, *recipes))))
        reports: dict[int, dict[str, ArrangeReport]] = {}
        for empiar_id in ids:
            if self.stopping.stopped:
                break
            reports[empiar_id] = {}
            own = _lacking(making.failed, empiar_id)
            for recipe in recipes:
                report = await in_thread(self.threads, self._arrange, empiar_id, recipe, rebuild=rebuild)
                reports[empiar_id][recipe.name] = replace(report, notes=report.notes + own, complete=not own)
        return reports

    def _arrange(self, empiar_id: int, recipe: ViewRecipe, *, rebuild: bool) -> ArrangeReport:
        """The layout and then its documents follow the catalogue."""
        with self.catalogue.reader() as conn:
            plan = read_plan(conn, empiar_id, recipe)
        report = arrange_entry(
            self.root,
            empiar_id,
            view=recipe.name,
            plan=plan,
            mode=recipe.link or self.settings.arrange.link,
            rebuild=rebuild,
        )
        with self.catalogue.reader() as conn:
            notes = write_view_documents(conn, self.root, empiar_id, view=recipe.name)
        remove_stale_documents(self.root, empiar_id)
        return replace(report, notes=report.notes + notes)

    async def write_bags(self, reports: Mapping[int, Mapping[str, ArrangeReport]], folder: Path) -> BagReport:
        """Every layout of `reports` that holds files is a bag below `folder`, too, or the report says why not.

        Raises:
            StorageFault: the disk refused.
        """
        bags: list[Path] = []
        refused: list[str] = []
        for empiar_id, views in reports.items():
            for view, report in views.items():
                if self.stopping.stopped or not report.linked + report.kept:
                    continue
                write = functools.partial(write_bag, view=view, folder=folder)
                try:
                    bags.append(await in_thread(self.threads, write, self.root, empiar_id))
                except ConfigFault as fault:
                    refused.append(f"{fault}: {fault.hint}")
        return BagReport(tuple(bags), tuple(refused))


def _lacking(failed: Sequence[FailedJob], empiar_id: int) -> tuple[str, ...]:
    """What could not be made of the entry, one sentence for each maker and reason, however many files it is true of."""
    alike: dict[tuple[str, str], list[str]] = {}
    for job in failed:
        if job.path.partition("/")[0] == str(empiar_id):
            alike.setdefault((job.maker, job.error), []).append(job.path)
    return tuple(
        f"{paths[0]}{f' and {len(paths) - 1:,} more' if len(paths) > 1 else ''} by {maker} could not be made: {error}"
        for (maker, error), paths in alike.items()
    )


def _matched(conn: sqlite3.Connection, *, ids: Sequence[int], makers: Sequence[str]) -> list[ImportedEntry]:
    """How the labels of these entries found their micrographs, one row each."""
    found: list[ImportedEntry] = []
    for empiar_id in ids:
        rows = conn.execute(
            "SELECT maker, selected, annotated_micrographs, unmatched_labels, unmatched_micrographs, orientation,"
            " report FROM label_sets WHERE empiar_id = ? ORDER BY maker",
            (empiar_id,),
        ).fetchall()
        row = next((row for row in rows if row[0] in makers), None)
        if row is not None:
            found.append(ImportedEntry(empiar_id, *row[1:]))
    return found
