from __future__ import annotations

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options, work_options
from empiar_schema.faults import ExitCode


@click.command("make")
@ids_argument
@click.option("--maker", "makers", multiple=True, metavar="NAME", help="Only this hook or built-in maker.")
@click.option("--retry", is_flag=True, help="Try again what was given up.")
@work_options
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], makers: tuple[str, ...], retry: bool) -> ExitCode:
    """Make what the configuration asks for of the files that are here: hooks and other derived files.

    Without IDs: for every entry of which files are here. Only what is missing or has changed is made; `sync` does the
    same after a transfer.
    """
    from empiar_mirror.cli.text import make_report
    from empiar_mirror.cli.working import work_on

    chosen = list(dict.fromkeys(ids)) or None
    only = list(dict.fromkeys(makers)) or None
    report, stopped = work_on(
        invocation,
        invocation.settings(),
        lambda mirror: mirror.make(chosen, makers=only, retry=retry),
        ids=[],
    )
    lines = list(make_report(report))
    invocation.result(report, lines or ["nothing had to be made; docs/hooks.md says how to have more made"])
    if stopped or report.stopped:
        return ExitCode.STOPPED
    return ExitCode.SOME_FILES_FAILED if report.failed else ExitCode.OK
