from __future__ import annotations

import time

import click

from empiar_mirror.cli.invocation import Invocation, standard_options
from empiar_schema.faults import ConfigFault, ExitCode


@click.command("notify")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@standard_options
def command(invocation: Invocation, names: tuple[str, ...]) -> ExitCode:
    """Send a message to try each [notify.NAME] of the configuration, or those that are named.

    Exit code 0 if all were delivered, else 1. The daemon sends such messages by itself.
    """
    import asyncio

    from empiar_mirror.notify.gathering import Message
    from empiar_mirror.notify.news import Notice
    from empiar_mirror.notify.notifier import name_of, way_of
    from empiar_mirror.notify.way import NotDelivered

    settings = invocation.settings()
    chosen = names or tuple(settings.notify)
    unknown = [name for name in chosen if name not in settings.notify]
    if unknown or not chosen:
        raise ConfigFault(
            f"there is no [notify.{unknown[0]}]" if unknown else "nobody is to be notified",
            hint="declare whom to tell as [notify.NAME]; docs/operations.md shows how",
        )
    results: list[object] = []
    lines = []
    for name in chosen:
        one = settings.notify[name]
        kind = one.events[0]
        said = "this is a trial: notifications of this mirror arrive here"
        message = Message(kind, name_of(settings), time.time(), (Notice(kind, "trial", said),))
        try:
            asyncio.run(way_of(name, one).send(message))
        except NotDelivered as reason:
            results.append({"name": name, "delivered": False, "reason": str(reason)})
            lines.append(f"{name}: not delivered: {reason}")
        else:
            results.append({"name": name, "delivered": True, "reason": None})
            lines.append(f"{name}: delivered")
    invocation.result(results, lines)
    failed = any(line.startswith(f"{name}: not ") for name, line in zip(chosen, lines, strict=True))
    return ExitCode.SOME_FILES_FAILED if failed else ExitCode.OK
