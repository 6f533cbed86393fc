"""The command line. A command parses, calls one function, prints: a module each, imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Final

import click

from empiar_mirror.cli.signals import ending_at_once
from empiar_schema.faults import ExitCode

#: Commands in the order of a mirror's life, as `--help` shows them.
COMMANDS: Final = (
    "init",
    "crawl",
    "subscribe",
    "subscriptions",
    "plan",
    "sync",
    "run",
    "status",
    "why",
    "verify",
    "scrub",
    "repair",
    "pin",
    "unpin",
    "pins",
    "evict",
    "recall",
    "attest",
    "compare",
    "make",
    "arrange",
    "convert",
    "labels",
    "query",
    "search",
    "export",
    "serve",
    "doctor",
    "globus",
    "notify",
    "rehearse",
)


class _Commands(click.Group):
    """Imports a command's module when that command, or the list of all, is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"empiar_mirror.cli.{name}")
        command: click.Command = module.command
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="empiar-mirror")
def cli() -> None:
    """Mirrors EMPIAR, the archive of raw cryo-EM images, with a SQL catalogue and proof of every byte.

    Begin with `empiar-mirror rehearse`, which shows the whole job on a small archive of its own, or with
    `empiar-mirror init`. Results go to standard output, talk and progress to standard error.

    Exit codes: 0 everything asked for is done; 1 some files failed (named); 2 bad usage or configuration;
    3 the archive could not be reached; 4 the disk or the catalogue refused; 5 damage found by verify;
    130 stopped by a signal, work kept.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code (`empiar_schema.faults.ExitCode`)."""
    try:
        with ending_at_once():
            code = cli.main(args=arguments, prog_name="empiar-mirror", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return ExitCode.STOPPED
    return int(code or 0)
