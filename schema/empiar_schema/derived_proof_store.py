"""What scrubbing asks of the catalogue about derived files, and writes into it: whose proof is oldest, and what held."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

_OF_ENTRIES: Final = "(:ids IS NULL OR empiar_id IN (SELECT value FROM json_each(:ids)))"


class ProvenProduct(NamedTuple):
    """A derived file and when it was last proven (at the latest, when it was made): a place in the order of scrubbing."""

    proven_at: int
    product_id: int
    empiar_id: int
    #: Stored text below ``derived/<empiar_id>``.
    path: str
    size: int
    sha256: bytes


def next_products(
    conn: sqlite3.Connection,
    *,
    after: tuple[int, int],
    until: int,
    limit: int,
    empiar_ids: Sequence[int] | None = None,
) -> list[ProvenProduct]:
    """The derived files whose proofs come next behind `after` (time and number), oldest first, none later than `until`."""
    rows = conn.execute(
        "SELECT ifnull(verified_at, made_at) AS proven_at, product_id, empiar_id, path, bytes, sha256 FROM product"  # noqa: S608
        " WHERE (ifnull(verified_at, made_at), product_id) > (:at, :number) AND ifnull(verified_at, made_at) <= :until"
        f" AND {_OF_ENTRIES} ORDER BY ifnull(verified_at, made_at), product_id LIMIT :limit",
        {"at": after[0], "number": after[1], "until": until, "limit": limit, "ids": _json(empiar_ids)},
    )
    return [ProvenProduct(*row) for row in rows]


def record_proven(conn: sqlite3.Connection, products: Iterable[ProvenProduct], *, now: int) -> None:
    """These derived files were read through and hold; of one that was made anew since, nothing is recorded."""
    conn.executemany(
        "UPDATE product SET verified_at = ? WHERE product_id = ? AND sha256 = ?",
        [(now, product.product_id, product.sha256) for product in products],
    )


def is_recorded(conn: sqlite3.Connection, product: ProvenProduct) -> bool:
    """Whether the record still is that of the bytes that were read."""
    query = "SELECT 1 FROM product WHERE product_id = ? AND sha256 = ?"
    return conn.execute(query, (product.product_id, product.sha256)).fetchone() is not None


def bytes_of_products(conn: sqlite3.Connection, empiar_ids: Sequence[int] | None = None) -> int:
    """Bytes of all derived files."""
    query = f"SELECT ifnull(sum(bytes), 0) FROM product_progress WHERE {_OF_ENTRIES}"  # noqa: S608
    return int(conn.execute(query, {"ids": _json(empiar_ids)}).fetchone()[0])


def _json(empiar_ids: Sequence[int] | None) -> str | None:
    return None if empiar_ids is None else json.dumps(list(empiar_ids))
