"""Short ways to subscribe, to evaluate, and to see what came of it."""

from __future__ import annotations

import functools
import sqlite3

from empiar_mirror.subscriptions.evaluation import Evaluated, evaluate_subscriptions
from empiar_mirror.why import why_entry
from empiar_schema import crawl_store
from empiar_schema import subscription_store as store
from empiar_schema.catalogue import Catalogue
from empiar_schema.entry import Entry
from empiar_schema.files import ListedFile
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.settings import Settings
from empiar_schema.subscriptions import Definition
from small_mirror import NOW, SIZE

ALL = "SELECT empiar_id FROM entries"
ONLY = "SELECT empiar_id FROM entries WHERE title LIKE '%10028'"
LATER = NOW + 1000


def subscribe(catalogue: Catalogue, sql: str, *, name: str = "mine", at: int = NOW, **more: object) -> None:
    definition = Definition(name, sql, **more)  # type: ignore[arg-type] # keys of Definition
    catalogue.write_now(functools.partial(store.add_subscription, wanted=definition, now=at))


def evaluate(catalogue: Catalogue, settings: Settings, *, now: int = LATER, name: str = "mine") -> Evaluated:
    [found] = evaluate_subscriptions(catalogue, settings, now=now, names=[name])
    return found


def rows(catalogue: Catalogue, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    with catalogue.reader() as conn:
        return [tuple(row) for row in conn.execute(sql, parameters)]


def held(catalogue: Catalogue, name: str = "mine") -> object:
    [(reason,)] = rows(catalogue, "SELECT held_reason FROM subscriptions WHERE name = ?", name)
    return reason


def add_entry(catalogue: Catalogue, empiar_id: int, *names: str, now: int = LATER, size: int = SIZE) -> None:
    """The entry is known, and these are its files; those that were listed before stay."""

    def job(conn: sqlite3.Connection) -> None:
        entry = Entry(empiar_id=empiar_id, title=f"Part {empiar_id}", status="REL")
        crawl_store.record_entry(conn, entry, source="api", now=now)
        listing = begin_listing(conn, empiar_id, source="ftp", now=now)
        add_to_listing(conn, listing, "data", [ListedFile(name, size, True, now - 10, 1) for name in names])
        complete_listing(conn, listing, now=now)

    catalogue.write_now(job)


def enumerated(catalogue: Catalogue) -> None:
    catalogue.write_now(lambda conn: crawl_store.record_harvest(conn, "search", day="2026-01-01", now=NOW))


def reasons(catalogue: Catalogue, settings: Settings, empiar_id: int) -> str:
    with catalogue.reader() as conn:
        found = why_entry(conn, empiar_id, worker=None, settings=settings, now=LATER)
    return "\n".join(reason.sentence for reason in found)
