from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_schema.pin_store import Pin
    from empiar_schema.settings import Settings

#: So many entries of a pin are named; the view `pins` has all.
_NAMED = 20


@click.command("pins")
@click.argument("action", type=click.Choice(["show", "accept"]), required=False)
@click.argument("name", required=False)
@standard_options
def command(invocation: Invocation, action: str | None, name: str | None) -> ExitCode:
    """List pins, show what one keeps now, or accept the result of one that is not believed.

    A pin whose query returns a tenth or less of what it did is not believed, and nothing is evicted until somebody accepts
    the result. Works beside a running mirror.
    """
    settings = invocation.settings()
    if action is None:
        pins = _pins(settings)
        lines = [_line(pin) for pin in pins] or ["there are no pins: `empiar-mirror pin` makes one"]
        invocation.result(list(pins), lines)
        return ExitCode.OK
    if name is None:
        raise ConfigFault(f"{action} which pin?", hint=f"`empiar-mirror pins {action} NAME`")
    pin = _named(settings, name)
    if action == "show":
        return _show(invocation, settings, pin)
    return _accept(invocation, settings, pin)


def _pins(settings: Settings) -> list[Pin]:
    from empiar_mirror.eviction.pinned import pins_in_force
    from empiar_mirror.reading import reading

    with reading(settings.root) as connection:
        return pins_in_force(connection, settings)


def _named(settings: Settings, name: str) -> Pin:
    found = {pin.name: pin for pin in _pins(settings)}
    if name not in found:
        names = ", ".join(found)
        raise ConfigFault(
            f"there is no pin {name}",
            hint=f"there are {names}" if names else "`empiar-mirror pin` makes one",
        )
    return found[name]


def _line(pin: Pin) -> str:
    where = "  (in the configuration)" if pin.declared else ""
    return f"{pin.name}{where}  {pin.sql if pin.sql is not None else _entries(pin.entries)}"


def _entries(entries: tuple[int, ...]) -> str:
    more = f" and {len(entries) - _NAMED:,} more" if len(entries) > _NAMED else ""
    return ", ".join(f"EMPIAR-{i}" for i in entries[:_NAMED]) + more


def _show(invocation: Invocation, settings: Settings, pin: Pin) -> ExitCode:
    from empiar_mirror.cli.text import count
    from empiar_mirror.eviction.judging import shrunk
    from empiar_mirror.subscriptions.matching import SECONDS_WHEN_MADE, matches_of

    if pin.sql is None:
        document: dict[str, object] = {"name": pin.name, "empiar_id": list(pin.entries)}
        invocation.result(document, [_line(pin)])
        return ExitCode.OK
    matches = matches_of(settings.root, pin.sql, seconds=SECONDS_WHEN_MADE)
    reason = shrunk(pin.match_count, len(matches.numbers))
    column = "file_id" if matches.selects == "files" else "empiar_id"
    numbers = [str(number) for number in matches.numbers[:_NAMED]]
    more = f" and {len(matches.numbers) - _NAMED:,} more" if len(matches.numbers) > _NAMED else ""
    lines = [_line(pin), f"  {column}: {', '.join(numbers) or 'nothing'}{more}"]
    if reason is not None:
        lines.append(
            f"  not believed: {reason}; nothing is evicted until `empiar-mirror pins accept {pin.name}`"
        )
    lines.append(count(len(matches.numbers), "match", "matches"))
    document = {"name": pin.name, "sql": pin.sql, column: list(matches.numbers), "not_believed": reason}
    invocation.result(document, lines)
    return ExitCode.OK


def _accept(invocation: Invocation, settings: Settings, pin: Pin) -> ExitCode:
    from empiar_mirror.reading import CATALOGUE_NAME
    from empiar_schema import pin_store
    from empiar_schema.catalogue import Catalogue

    with Catalogue.open(settings.root / CATALOGUE_NAME) as catalogue:
        catalogue.write_now(functools.partial(pin_store.believe_pin, name=pin.name, match_count=None))
    invocation.result(
        {"name": pin.name, "action": "accept"}, [f"the next result of the pin {pin.name} is believed"]
    )
    return ExitCode.OK
