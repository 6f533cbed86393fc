"""What pins keep, asked when an eviction is decided. A pin that cannot be asked, or is not to be believed, stops every eviction."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from empiar_mirror.eviction.judging import shrunk
from empiar_mirror.subscriptions.matching import matches_on
from empiar_schema import pin_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import ConfigFault
from empiar_schema.pin_store import Pin
from empiar_schema.settings import Settings


@dataclass(slots=True)
class Pinned:
    """Entries and files that a pin keeps, each with the first pin by name that does, and how many rows each query returned."""

    entries: dict[int, str] = field(default_factory=dict)
    files: dict[int, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def keeps(self, empiar_id: int, file_id: int) -> bool:
        """Whether a pin keeps this file of this entry."""
        return empiar_id in self.entries or file_id in self.files


def pins_in_force(conn: sqlite3.Connection, settings: Settings) -> list[Pin]:
    """The pins of the catalogue, and those of the configuration as they stand there now, by name."""
    found = {pin.name: pin for pin in pin_store.pins(conn) if not pin.declared or pin.name in settings.pin}
    for name, declared in settings.pin.items():
        known = found.get(name)
        if known is None or not known.declared or known.sql != declared.sql:
            found[name] = Pin(name, declared.sql, declared=True)
    return [found[name] for name in sorted(found)]


def pins_declared(settings: Settings) -> dict[str, str]:
    """What the configuration declares: queries by the pins' names."""
    return {name: pin.sql for name, pin in sorted(settings.pin.items())}


def put_pins_in_force(catalogue: Catalogue, settings: Settings, *, now: int) -> None:
    """The catalogue has the pins of the configuration as they stand there."""
    job = functools.partial(pin_store.declare_pins, declared=pins_declared(settings), now=now)
    catalogue.write_now(job)


def ask_pins(conn: sqlite3.Connection, root: Path, pins: Iterable[Pin]) -> Pinned:
    """What the pins keep, on this connection's snapshot.

    Raises:
        ConfigFault: one of them cannot be asked, or returns so much less than before that it is not believed.
    """
    pinned = Pinned()
    for pin in pins:
        for empiar_id in pin.entries:
            pinned.entries.setdefault(empiar_id, pin.name)
        if pin.sql is None:
            continue
        try:
            matches = matches_on(conn, root, pin.sql)
        except ConfigFault as fault:
            raise ConfigFault(
                f"nothing is evicted while a pin cannot be asked: {pin.name}: {fault}",
                hint=f"{fault.hint}; or end the pin: `empiar-mirror unpin {pin.name}`"
                if not pin.declared
                else f"put [pin.{pin.name}] right in the configuration",
            ) from fault
        reason = shrunk(pin.match_count, len(matches.numbers))
        if reason is not None:
            raise ConfigFault(
                f"nothing is evicted while a pin is not to be believed: {pin.name}: {reason}",
                hint=f"look at its query; `empiar-mirror pins accept {pin.name}` believes it",
            )
        pinned.counts[pin.name] = len(matches.numbers)
        kept = pinned.files if matches.selects == "files" else pinned.entries
        for number in matches.numbers:
            kept.setdefault(number, pin.name)
    return pinned
