from __future__ import annotations

import functools
import time

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options
from empiar_schema.faults import ConfigFault, ExitCode


@click.command("pin")
@click.argument("name")
@ids_argument
@click.option("--sql", help="One SELECT that returns a column empiar_id or file_id, asked at every eviction.")
@standard_options
def command(invocation: Invocation, name: str, ids: tuple[int, ...], sql: str | None) -> ExitCode:
    """Keep entries, or whatever a query returns, from ever being evicted.

    While a pin's query does not work, nothing at all is evicted. Works beside a running mirror. See docs/disk.md.
    """
    from empiar_mirror.cli.text import count
    from empiar_mirror.reading import CATALOGUE_NAME, reading
    from empiar_mirror.subscriptions.matching import SECONDS_WHEN_MADE, matches_of
    from empiar_schema import pin_store
    from empiar_schema.catalogue import Catalogue
    from empiar_schema.pin_store import Pin
    from empiar_schema.settings_types import checked_folder_name

    try:
        checked_folder_name(name)
    except ValueError:
        raise ConfigFault(f"{name!r} is no name for a pin: use a-z, 0-9, _ and -") from None
    if (sql is None) == (not ids):
        raise ConfigFault(
            "pin what? Give entries, or --sql", hint=f"such as `empiar-mirror pin {name} 10017`"
        )
    settings = invocation.settings()
    if name in settings.pin:
        raise ConfigFault(
            f"[pin.{name}] stands in {invocation.place}", hint="choose another name, or change it there"
        )
    if sql is None:
        entries = tuple(dict.fromkeys(ids))
        _require_known(settings.root, entries)
        pin, selects = Pin(name, None, entries), count(len(entries), "entry", "entries")
    else:
        with reading(settings.root):
            matches = matches_of(settings.root, sql, seconds=SECONDS_WHEN_MADE)
        many = len(matches.numbers)
        pin = Pin(name, sql, match_count=many)
        selects = (
            f"{count(many, 'file')}" if matches.selects == "files" else f"{count(many, 'entry', 'entries')}"
        )
        selects = f"what its query returns, now {selects}"
    with Catalogue.open(settings.root / CATALOGUE_NAME) as catalogue:
        catalogue.write_now(functools.partial(pin_store.add_pin, pin=pin, now=int(time.time())))
    document: dict[str, object] = {
        "name": name, "sql": sql, "entries": list(pin.entries), "matches": pin.match_count,
    }  # fmt: skip
    invocation.result(document, [f"the pin {name} keeps {selects}"])
    return ExitCode.OK


def _require_known(root: object, entries: tuple[int, ...]) -> None:
    from pathlib import Path

    from empiar_mirror.plan_facts import never_heard_of
    from empiar_mirror.reading import reading

    assert isinstance(root, Path)
    with reading(root) as connection:
        unknown = never_heard_of(connection, ids=entries)
    if unknown:
        raise ConfigFault(
            f"EMPIAR-{unknown[0]} is not in the catalogue",
            hint=f"check the number; `empiar-mirror crawl {unknown[0]}` asks the archive for it",
        )
