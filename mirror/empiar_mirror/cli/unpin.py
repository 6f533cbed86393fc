from __future__ import annotations

import functools

import click

from empiar_mirror.cli.invocation import Invocation, standard_options
from empiar_schema.faults import ConfigFault, ExitCode


@click.command("unpin")
@click.argument("name")
@standard_options
def command(invocation: Invocation, name: str) -> ExitCode:
    """End a pin: what it kept may be evicted, by a command. Works beside a running mirror."""
    from empiar_mirror.reading import CATALOGUE_NAME
    from empiar_schema import pin_store
    from empiar_schema.catalogue import Catalogue

    settings = invocation.settings()
    if name in settings.pin:
        raise ConfigFault(
            f"the pin {name} is not ended by command: it stands in {invocation.place} as [pin.{name}]",
            hint="take it out of the file",
        )
    with Catalogue.open(settings.root / CATALOGUE_NAME) as catalogue:
        with catalogue.reader() as connection:
            pin_store.pin_named(connection, name)
        catalogue.write_now(functools.partial(pin_store.remove_pin, name=name))
    invocation.result({"name": name, "action": "unpin"}, [f"the pin {name} is no more"])
    return ExitCode.OK
