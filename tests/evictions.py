"""A mirror with one entry of six small micrographs, from which files are evicted."""

from __future__ import annotations

import asyncio
from pathlib import Path

from empiar_mirror.app import Mirror
from empiar_mirror.eviction.evicting import Removed
from empiar_mirror.eviction.planning import Decision, Order, decide
from empiar_schema.eviction_settings import LISTED_WITHIN_S
from empiar_schema.states import Role
from entry_here import ID, NOW, opened, put_here, rows

NAMES = "abcdef"
SIZE = 5_000
FILES = {f"data/{name}.mrc": (Role.MICROGRAPH, name.encode() * SIZE) for name in NAMES}
ALL = "SELECT empiar_id FROM entries"


def mirror_of(root: Path, toml: str = "") -> Mirror:
    """The mirror, a day after its files came."""
    root.mkdir(exist_ok=True)
    if not (root / "empiar.db").exists():
        put_here(root, FILES)
    mirror = opened(root, toml)
    mirror.clock = lambda: NOW + 86_400
    return mirror


def order(
    sql: str = ALL,
    *,
    size: int | None = None,
    listed_within: float = LISTED_WITHIN_S,
    despite_subscriptions: bool = False,
) -> Order:
    """What a test asks for."""
    return Order(
        sql,
        "a test",
        bytes=size,
        listed_within=listed_within,
        despite_subscriptions=despite_subscriptions,
    )


def decided(mirror: Mirror, wanted: Order | None = None) -> Decision:
    """What an order would come to."""
    with mirror.catalogue.reader() as conn:
        now = int(mirror.clock())
        return decide(conn, mirror.folders.root, mirror.settings, wanted or order(), now=now)


def kept(decision: Decision) -> dict[str, int]:
    """How many files of all entries stay, by reason."""
    found: dict[str, int] = {}
    for share in decision.entries:
        for reason, kept_files in share.kept.items():
            found[reason.value] = found.get(reason.value, 0) + kept_files.files
    return found


def evict(mirror: Mirror, wanted: Order | None = None) -> Removed:
    """The order is carried out."""
    return asyncio.run(mirror.evict(wanted or order()))


def states(mirror: Mirror) -> str:
    """The first letters of the states of the six copies, in order: aaeaaa."""
    found = rows(mirror, "SELECT substr(state, 1, 1) FROM copies ORDER BY path")
    return "".join(str(row[0]) for row in found)


def on_disk(mirror: Mirror) -> str:
    """The names of the files that stand in the archive."""
    folder = mirror.folders.archive / str(ID) / "data"
    return "".join(sorted(path.name.removesuffix(".mrc") for path in folder.iterdir()))


def of(*names: str) -> str:
    """SQL that selects these files, in this order."""
    listed = ", ".join(f"'{name}.mrc'" for name in names)
    order_by = " ".join(f"WHEN '{name}.mrc' THEN {at}" for at, name in enumerate(names))
    return f"SELECT file_id FROM files WHERE name IN ({listed}) ORDER BY CASE name {order_by} END"
