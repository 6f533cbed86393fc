"""A catalogue whose files go by Globus, and short ways to use its ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from empiar_mirror.globus import facts
from empiar_mirror.globus.routing import Need
from empiar_schema import crawl_store as crawl
from empiar_schema import globus_store as globus
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.files import ListedFile
from empiar_schema.globus_bundles import NewBundle
from empiar_schema.paths import RemotePath

T = TypeVar("T")
ID, OTHER_ID = 10017, 10018
NOW = 1000
TREE = {"": ["a.xml"], "data": ["b.mrc", "c.mrc"], "data/deep": ["d.mrc"], "data/deeper": ["e.mrc"]}


def under_way_ids(conn: sqlite3.Connection) -> set[int]:
    """Files that are claimed for the service, in bundles that have not ended."""
    rows = conn.execute(
        "SELECT g.file_id FROM globus_bundle b JOIN globus_item g ON g.bundle_id = b.bundle_id"
        " WHERE b.state <= 2 AND g.state = 0"
    )
    return {row[0] for row in rows}


class Mirror:
    """A catalogue with two entries of five files of 100 bytes, all wanted, and short ways to use it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        for empiar_id in (ID, OTHER_ID):
            self.relist(empiar_id, TREE)
            self.do(lambda c, e=empiar_id: transfer.want_entry(c, e, now=NOW))  # type: ignore[misc]

    def do(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return self.catalogue.write_now(job)

    def relist(self, empiar_id: int, tree: dict[str, list[str]], *, now: int = NOW) -> None:
        listing = self.do(lambda c: crawl.begin_listing(c, empiar_id, source="ftp", now=now))
        for folder, names in tree.items():
            listed = [ListedFile(name, 100, True, 1_700_000_000, 1) for name in names]
            self.do(lambda c, f=folder, part=listed: crawl.add_to_listing(c, listing, f, part))  # type: ignore[misc]
        self.do(lambda c: crawl.complete_listing(c, listing, now=now))

    def withdraw(self, *paths: str) -> None:
        """The archive ceases to list these files of the first entry."""
        for now in (NOW + 1000, NOW + 2000):
            tree = {
                folder: [name for name in names if f"{folder}/{name}".strip("/") not in paths]
                for folder, names in TREE.items()
            }
            self.relist(ID, {folder: names for folder, names in tree.items() if names}, now=now)

    def id(self, path: str, empiar_id: int = ID) -> int:
        rows = self.rows("SELECT file_id FROM copies WHERE empiar_id = ? AND path = ?", (empiar_id, path))
        number = rows[0][0]
        assert isinstance(number, int)
        return number

    def plan(self, *paths: str, sync_level: str | None = None, empiar_ids: Sequence[int] = (ID,)) -> int:
        """A bundle of these files of the entries; of all of them, without paths."""
        ids = [
            number
            for empiar_id in empiar_ids
            for number, path in self.rows(
                "SELECT file_id, path FROM copies WHERE empiar_id = ?", (empiar_id,)
            )
            if not paths or path in paths
        ]
        new = NewBundle("label", ids, sync_level)  # type: ignore[arg-type]  # ids are numbers
        return self.do(lambda c: globus.plan_bundle(c, new, now=NOW))

    def submit(self, bundle_id: int, task_id: str = "task") -> None:
        self.do(lambda c: globus.record_submission_id(c, bundle_id, f"submission-{bundle_id}"))
        self.do(lambda c: globus.record_task(c, bundle_id, task_id, now=NOW))

    def move(self, bundle_id: int, *paths: str, marker: str | None = None, visible: bool = True) -> int:
        remotes = [RemotePath.parse(ID, path) for path in paths]
        return self.do(
            lambda c: globus.record_moved(c, bundle_id, remotes, marker=marker, now=NOW + 5, visible=visible)
        )

    def candidates(self, empiar_id: int = ID, *, begun_too: bool = False, now: int = NOW) -> list[str]:
        found = self.do(
            lambda c: list(
                globus.candidates(
                    c, empiar_id, least_priority=transfer.ANY_PRIORITY, now=now, begun_too=begun_too
                )
            )
        )
        return [str(RemotePath(*file[1:4])).partition("/")[2] for file in found]

    def need(self, only: list[int] | None = None) -> tuple[int, int]:
        with self.catalogue.reader() as conn:
            found = facts.need_of(conn, ID, least_priority=transfer.ANY_PRIORITY, only=only)
        assert found == Need(ID, found.files, found.bytes)
        return found.files, found.bytes

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with self.catalogue.reader() as reader:
            return [tuple(row) for row in reader.execute(sql, tuple(values))]

    def states(self, empiar_id: int = ID) -> dict[object, object]:
        return dict(self.rows("SELECT path, state FROM copies WHERE empiar_id = ?", (empiar_id,)))  # type: ignore[arg-type]  # rows of two

    def items(self) -> dict[object, tuple[object, ...]]:
        """By path of the first entry: bundle, state (0 under way, 1 delivered, 2 freed), tries."""
        query = (
            "SELECT c.path, g.bundle_id, g.state, g.tries FROM globus_item g JOIN copies c USING (file_id)"
            f" WHERE c.empiar_id = {ID}"
        )
        return {path: tuple(rest) for path, *rest in self.rows(query)}


PATHS = ["a.xml", "data/b.mrc", "data/c.mrc", "data/deep/d.mrc", "data/deeper/e.mrc"]
