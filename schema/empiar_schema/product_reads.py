"""What is read of derived files: the products of an entry, and what their makers work on."""

from __future__ import annotations

import sqlite3

from empiar_schema.codes import JOB_STATE_CODES, ROLES
from empiar_schema.jobs import JobState
from empiar_schema.products import Kind, Product
from empiar_schema.states import Role


def products_of(conn: sqlite3.Connection, empiar_id: int) -> list[Product]:
    """The derived files of the entry that may be shown, by path: all on record, but for particle stacks that are to be made again.

    Sections of a stack are joined to the rows of its micrograph's coordinates, and those are others by then. Any other
    product is better old than missing.
    """
    rows = conn.execute(
        "SELECT p.product_id, p.path, p.kind, j.maker, p.stem, p.parent_file_id, p.bytes, p.sha256"
        " FROM product p JOIN job j ON j.job_id = p.job_id WHERE p.empiar_id = ?1"
        " AND (p.kind <> ?2 OR j.state = ?3) ORDER BY p.path",
        (empiar_id, Kind.PARTICLE_STACK, JOB_STATE_CODES[JobState.MADE]),
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
