"""What the doctor finds about quota, pins and policies of eviction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from empiar_mirror.eviction.pinned import ask_pins, pins_in_force
from empiar_mirror.findings import Finding, fail, ok, warn
from empiar_mirror.plan_facts import bytes_derived, bytes_held
from empiar_mirror.subscriptions.matching import matches_on
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings
from empiar_schema.sizes import format_bytes


def examine_disk_policy(connection: sqlite3.Connection, settings: Settings) -> Iterator[Finding]:
    """Whether the quota is kept, and whether pins and policies can be asked; nothing where there are none."""
    quota = settings.disk.quota
    if quota is not None:
        held = bytes_held(connection)
        derived = format_bytes(bytes_derived(connection))
        sentence = f"{format_bytes(held)} of the quota of {format_bytes(quota)} are held, {derived} of it by derived files"
        if held >= quota:
            remedy = "raise disk.quota, or make room: `empiar-mirror evict` (docs/disk.md)"
            yield fail("quota", f"{sentence}: nothing new starts", remedy)
        else:
            yield ok("quota", sentence)
    for pin in pins_in_force(connection, settings):
        try:
            ask_pins(connection, settings.root, [pin])
        except ConfigFault as fault:
            yield warn(f"pin {pin.name}", str(fault), fault.hint or "put its query right")
        else:
            yield ok(f"pin {pin.name}", "its query works")
    for name, policy in sorted(settings.evict.items()):
        try:
            found = len(matches_on(connection, settings.root, policy.sql).numbers)
        except ConfigFault as fault:
            yield warn(f"evict {name}", str(fault), fault.hint or f"put [evict.{name}] right")
        else:
            by = "the service, by itself" if policy.automatic else f"`empiar-mirror evict --policy {name}`"
            yield ok(f"evict {name}", f"its query works and returns {found:,} now; for {by}")
