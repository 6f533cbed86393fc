"""What is read of derived files: the products of an entry, and what their makers work on."""

from __future__ import annotations

import sqlite3

from empiar_schema.codes import ROLES
from empiar_schema.products import Product
from empiar_schema.states import Role


def products_of(conn: sqlite3.Connection, empiar_id: int) -> list[Product]:
    """All derived files of the entry on record, by path."""
    rows = conn.execute(
        "SELECT p.product_id, p.path, p.kind, j.maker, p.stem, p.parent_file_id, p.bytes, p.sha256"
        " FROM product p JOIN job j ON j.job_id = p.job_id WHERE p.empiar_id = ? ORDER BY p.path",
        (empiar_id,),
    )
    return [Product(*row) for row in rows]


def roles_worked_on(conn: sqlite3.Connection, empiar_id: int, maker: str) -> frozenset[Role]:
    """Roles of the entry's files that `maker` works on, or has worked on."""
    rows = conn.execute(
        "SELECT DISTINCT f.role FROM job j JOIN file f ON f.file_id = j.file_id"
        " WHERE j.empiar_id = ? AND j.maker = ? AND f.role IS NOT NULL",
        (empiar_id, maker),
    )
    return frozenset(ROLES[number] for (number,) in rows if number in ROLES)
