"""Roles after arrivals and after changes of the configuration: files are judged anew by all that is known by then."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from empiar_imaging.judging import judge_folder
from empiar_imaging.role_overrides import Overrides
from empiar_schema import crawl_store, role_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.role_reasons import Judgement
from empiar_schema.role_settings import RoleOverride


def renew_roles(catalogue: Catalogue, empiar_id: int, stated: Sequence[RoleOverride]) -> int:
    """Each of the entry's listed files has the role that names, headers and `stated` give it; returns how many changed.

    Headers are those of files here, and of probed ones. Where nothing changed nothing is written. Memory is that of
    one part of a folder (`role_store.PART` files) and of the changes.

    Raises:
        CatalogueFault: the catalogue refused.
    """
    overrides = Overrides.of(empiar_id, stated)
    changed: list[tuple[int, Judgement]] = []
    count = 0
    with catalogue.reader() as conn:
        imagesets = crawl_store.imagesets_of(conn, empiar_id)
        with_facts = role_store.has_facts(conn, empiar_id)
        followed = role_store.overrides_followed(conn, empiar_id)
        for directory_id, path, files in crawl_store.directories_of(conn, empiar_id):
            for part in role_store.parts_of_directory(
                conn, directory_id, path, count=files, with_facts=with_facts
            ):
                judged = judge_folder(imagesets, path, part.files, facts=part.facts, overrides=overrides)
                changed += part.differing(judged)
                if len(changed) >= role_store.PART:
                    count += _write(catalogue, changed)
                    changed = []
    count += _write(catalogue, changed)
    if followed != overrides.digest:
        catalogue.write_now(lambda conn: role_store.record_overrides(conn, empiar_id, overrides.digest))
    return count


def _write(catalogue: Catalogue, changed: Sequence[tuple[int, Judgement]]) -> int:
    if changed:
        catalogue.write_now(lambda conn: role_store.record_judgements(conn, changed))
    return len(changed)


def entries_to_renew(conn: sqlite3.Connection, *, stated: Sequence[RoleOverride]) -> list[int]:
    """Listed entries whose roles follow other overrides than `stated`."""
    followed = role_store.all_overrides_followed(conn)
    asked = {rule.entry for rule in stated} & followed.keys()
    given = {empiar_id for empiar_id, digest in followed.items() if digest is not None}
    return [
        empiar_id
        for empiar_id in sorted(asked | given)
        if followed[empiar_id] != Overrides.of(empiar_id, stated).digest
    ]
