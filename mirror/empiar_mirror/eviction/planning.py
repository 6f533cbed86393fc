"""Decides an eviction: what would go, what would stay and why, on one snapshot of the catalogue. Changes nothing."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from empiar_mirror.eviction.facts import Selected
from empiar_mirror.eviction.judging import Chooser, Kept, Rules
from empiar_mirror.eviction.pinned import Pinned, ask_pins, pins_in_force
from empiar_mirror.eviction.tree import ArchiveTree
from empiar_mirror.space import disk_use
from empiar_mirror.subscriptions.matching import matches_on
from empiar_schema.eviction_settings import LISTED_WITHIN_S
from empiar_schema.eviction_store import Chosen
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asks to be evicted. Sizes are bytes."""

    sql: str
    #: Who asks: the command, or the table of the configuration.
    reason: str
    #: So much is to be freed.
    bytes: int | None = None
    #: So much is to be free on the file system afterwards.
    until_free: int | None = None
    listed_within: float = LISTED_WITHIN_S
    despite_subscriptions: bool = False


@dataclass(slots=True)
class Sum:
    """Files and bytes."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """One more file."""
        self.files += 1
        self.bytes += size


@dataclass(slots=True)
class EntryShare:
    """What would go of one entry, and what stays, by reason."""

    empiar_id: int
    evicted: Sum = field(default_factory=Sum)
    #: What that gives back to the file system: nothing where other names hold the same bytes.
    frees: int = 0
    #: Files that go and free nothing, because names outside of the layouts hold their bytes.
    linked_elsewhere: int = 0
    kept: dict[Kept, Sum] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What an order comes to."""

    order: Order
    #: Bytes that have to be freed; None for all that is selected.
    target: int | None
    # Left out of the text of it: Python's own signal handling makes one of every result, and here that is as long as there are files.
    entries: tuple[EntryShare, ...] = field(repr=False)
    chosen: tuple[Chosen, ...] = field(repr=False)
    pinned: Pinned = field(repr=False)

    @property
    def files(self) -> int:
        """How many files go."""
        return sum(entry.evicted.files for entry in self.entries)

    @property
    def bytes(self) -> int:
        """Their bytes."""
        return sum(entry.evicted.bytes for entry in self.entries)

    @property
    def frees(self) -> int:
        """What that gives back to the file system, bytes."""
        return sum(entry.frees for entry in self.entries)

    @property
    def falls_short(self) -> int:
        """Bytes that are still to be freed afterwards."""
        return max(0, (self.target or 0) - self.frees)


def decide(conn: sqlite3.Connection, root: Path, settings: Settings, order: Order, *, now: int) -> Decision:
    """What `order` comes to. `conn` reads only; selection, pins and facts are those of one snapshot.

    Raises:
        ConfigFault: the SQL is not allowed or does not work, a pin cannot be asked or believed, or it is not known what
            a subscription wants.
        StorageFault: the disk refused, or ``archive`` is a symbolic link.
    """
    conn.execute("BEGIN")
    try:
        pinned = ask_pins(conn, root, pins_in_force(conn, settings))
        if not order.despite_subscriptions:
            _require_known_subscriptions(conn, settings)
        matches = matches_on(conn, root, order.sql)
        target = _target(root, order)
        chooser = Chooser(Rules(now, order.listed_within, order.despite_subscriptions, target))
        shares: dict[int, EntryShare] = {}
        chosen: list[Chosen] = []
        with ArchiveTree(root) as tree:
            selected = Selected(conn, root, settings, tree=tree, pinned=pinned, enough=lambda: chooser.enough)
            for empiar_id, file in selected.files(matches):
                share = shares.setdefault(empiar_id, EntryShare(empiar_id))
                kept = chooser.judge(file)
                if kept is not None:
                    share.kept.setdefault(kept, Sum()).add(file.size)
                    continue
                share.evicted.add(file.size)
                share.frees += file.frees
                share.linked_elsewhere += file.frees == 0 and file.size > 0
                assert file.sha256 is not None
                assert file.listed_at is not None
                chosen.append(Chosen(file.file_id, file.sha256, file.listed_at))
    finally:
        conn.execute("ROLLBACK")
    return Decision(order, target, tuple(shares.values()), tuple(chosen), pinned)


def _target(root: Path, order: Order) -> int | None:
    if order.until_free is None:
        return order.bytes
    return max(0, order.until_free - disk_use(root / "archive").free)


def _require_known_subscriptions(conn: sqlite3.Connection, settings: Settings) -> None:
    """Every subscription that is not paused has once been evaluated."""
    names = dict(conn.execute("SELECT name, evaluated_at FROM subscription WHERE paused = 0").fetchall())
    unknown = sorted(
        {name for name, at in names.items() if at is None} | (set(settings.subscription) - set(names))
    )
    if unknown:
        raise ConfigFault(
            f"it is not known what the subscription {unknown[0]} wants: it was never evaluated",
            hint="run `empiar-mirror crawl` first, or pause the subscription, or add --despite-subscriptions",
        )
