from __future__ import annotations

import time
from dataclasses import asdict

import click

from empiar_mirror.cli.invocation import Invocation, standard_options
from empiar_schema.faults import ConfigFault, ExitCode


@click.command("why")
@click.argument("targets", nargs=-1, required=True, metavar="ID[/PATH]...")
@standard_options
def command(invocation: Invocation, targets: tuple[str, ...]) -> ExitCode:
    """Say why a file or an entry is not here yet, in one sentence each.

    PATH is a file or a folder as on EMPIAR, such as 10017/data/a.mrc, or a derived file, such as
    10017/derived/motioncor3/data/a.mrc.
    """
    from empiar_mirror.instance_lock import holder
    from empiar_mirror.reading import reading
    from empiar_mirror.why import why_entry, why_path

    settings = invocation.settings()
    wanted = [_parsed(target) for target in targets]
    worker, now = holder(settings.root), time.time()
    with reading(settings.root) as connection:
        reasons = [
            reason
            for empiar_id, path in wanted
            for reason in (
                why_path(connection, empiar_id, path, worker=worker, settings=settings, now=now)
                if path
                else why_entry(connection, empiar_id, worker=worker, settings=settings, now=now)
            )
        ]
    lines = [f"{r.empiar_id}/{r.path}: {r.sentence}" if r.path else r.sentence for r in reasons]
    invocation.result([asdict(reason) for reason in reasons], lines)
    return ExitCode.OK


def _parsed(target: str) -> tuple[int, str]:
    from empiar_schema.paths import parse_empiar_id

    entry, _, path = target.partition("/")
    try:
        return parse_empiar_id(entry), path.strip("/")
    except ValueError as error:
        raise ConfigFault(
            str(error), hint="write an entry, 10017, or a file of it, 10017/data/a.mrc"
        ) from None
