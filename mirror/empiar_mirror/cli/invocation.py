"""What all commands share: their options, how they load the configuration, and how they tell errors."""

from __future__ import annotations

import errno
import functools
import json
import os
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from empiar_schema.faults import ConfigFault, EmpiarMirrorError, ExitCode

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from empiar_schema.settings import Settings

_DISK_REFUSES: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENAMETOOLONG,
    }
)


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a command: the options that all commands have."""

    config: Path | None
    as_json: bool
    debug: bool
    log_level: str | None = None
    log_format: str = "auto"

    def settings(self) -> Settings:
        """The configuration in force.

        Raises:
            ConfigFault: it is wrong; the text has one sentence for each mistake.
        """
        from empiar_schema.configuration import load

        return load(self.config, environ=os.environ, cwd=Path.cwd())

    @property
    def place(self) -> str:
        """Where the configuration stands, for people."""
        from empiar_schema.configuration import DEFAULT_FILE

        file = Path.cwd() / (self.config or DEFAULT_FILE)
        return str(file) if file.is_file() else "the environment"

    def result(
        self, document: DataclassInstance | dict[str, object] | list[object], text: Iterable[str]
    ) -> None:
        """The result stands on standard output: `document` as JSON with ``--json``, else the lines of `text`."""
        if self.as_json:
            click.echo(as_json(document))
            return
        for line in text:
            click.echo(line)


def as_json(document: DataclassInstance | dict[str, object] | list[object]) -> str:
    """Indented JSON; dataclasses become objects, sets and paths text."""
    plain = asdict(document) if is_dataclass(document) else document
    return json.dumps(plain, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def say(text: str) -> None:
    """Talk: a line on standard error."""
    click.echo(text, err=True)


def standard_options(function: Callable[..., ExitCode]) -> Callable[..., int]:
    """Gives a command ``--config``, ``--json`` and ``--debug``, and turns its errors into a sentence and an exit code.

    `function` gets an `Invocation` first, then its own options by name.
    """

    @functools.wraps(function)
    def run(**given: object) -> int:
        own = {name: value for name, value in given.items() if name not in _SHARED}
        shared = {name: value for name, value in given.items() if name in _SHARED}
        invocation = Invocation(**shared)  # type: ignore[arg-type] # click has checked them
        try:
            code = function(invocation, **own)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of our output (`| head`) has seen enough. Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.OK
        except BaseExceptionGroup as error:
            return _told(error, debug=invocation.debug)
        except (click.ClickException, click.Abort):
            raise
        except Exception as error:
            return _told(error, debug=invocation.debug)
        else:
            return code

    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Configuration file  [default: empiar-mirror.toml, if it is here]",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        click.option("--debug", is_flag=True, help="Show where an error arose."),
    ):
        run = option(run)
    return run


def work_options(function: Callable[..., int]) -> Callable[..., int]:
    """Gives a command that works for long ``--log-level`` and ``--log-format``."""
    levels = click.Choice(["debug", "info", "warning", "error"])
    formats = click.Choice(["auto", "console", "json"])
    for option in (
        click.option(
            "--log-level",
            type=levels,
            help="Least level that is logged  [default: warning on a terminal, else info]",
        ),
        click.option(
            "--log-format",
            type=formats,
            default="auto",
            help="Lines for people or for machines; auto: JSON unless on a terminal.",
        ),
    ):
        function = option(function)
    return function


_SHARED: Final = frozenset({"config", "as_json", "debug", "log_level", "log_format"})


class EntryId(click.ParamType[int]):
    """``10017`` or ``EMPIAR-10017``."""

    name = "ID"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of the entry."""
        from empiar_schema.paths import parse_empiar_id

        try:
            return value if isinstance(value, int) else parse_empiar_id(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


ids_argument = click.argument("ids", nargs=-1, type=EntryId(), metavar="[ID]...")


def _told(error: BaseException, *, debug: bool) -> ExitCode:
    """The error stands on standard error as a sentence and what to do next; returns the exit code."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    error = _leaf(error)
    if isinstance(error, EmpiarMirrorError):
        say(f"empiar-mirror: {error}")
        if error.hint:
            say(f"  → {error.hint}")
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        say("stopped; what was begun is kept")
        return ExitCode.STOPPED
    if isinstance(error, sqlite3.Error):
        say(f"empiar-mirror: the catalogue refused: {error}")
        say("  → `empiar-mirror doctor` checks it")
        return ExitCode.STORAGE
    if isinstance(error, OSError) and error.errno in _DISK_REFUSES:
        say(f"empiar-mirror: the disk refused: {error.strerror}: {error.filename or 'while writing'}")
        say("  → `empiar-mirror doctor` checks space and rights")
        return ExitCode.STORAGE
    say(f"empiar-mirror: this should not have happened: {type(error).__name__}: {error}")
    say(
        "  → work is kept, and the same command goes on; with --debug it shows where, which is what a report needs"
    )
    return ExitCode.SOME_FILES_FAILED


def _leaf(error: BaseException) -> BaseException:
    """Of an exception group the first error that has a sentence for people, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [_leaf(inner) for inner in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, EmpiarMirrorError)), leaves[0])


def needs_ids(ids: tuple[int, ...], asked_for: list[int], verb: str) -> list[int]:
    """The entries a command works on: those named, or else those that were asked for before.

    Raises:
        ConfigFault: there are neither.
    """
    chosen = list(dict.fromkeys(ids)) or asked_for
    if not chosen:
        raise ConfigFault(
            f"nothing to {verb}: no entry was named, and none was asked for before",
            hint=f"name entries, such as `empiar-mirror {verb} 10017`; EMPIAR as a whole is 9 PiB",
        )
    return chosen


def refuse_with_subscription(name: str | None, ids: tuple[int, ...], view: str | None) -> None:
    """A subscription says itself which entries it means, and what of them.

    Raises:
        ConfigFault: entries or a view are named beside it.
    """
    if name is not None and (ids or view is not None):
        raise ConfigFault(
            "--subscription stands alone: the subscription says which entries, and what of them",
            hint="leave the IDs and --view out",
        )
