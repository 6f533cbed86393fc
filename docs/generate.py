"""Renews the generated parts of the pages in this folder, from the program itself: ``make docs``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click

from empiar_mirror.cli import COMMANDS, cli
from empiar_mirror.metrics.instruments import Instruments
from empiar_mirror.observers import level_of
from empiar_schema import events
from empiar_schema.faults import ExitCode
from empiar_schema.notify_settings import NOTICE_MEANING
from empiar_schema.role_reasons import RULES
from empiar_schema.settings_reference import reference_markdown
from empiar_schema.states import MEANING

DOCS = Path(__file__).parent

EXIT_CODES = {
    ExitCode.OK: "everything asked for is done",
    ExitCode.SOME_FILES_FAILED: "some files or entries failed; they are named",
    ExitCode.USAGE: "bad usage or configuration",
    ExitCode.UNREACHABLE: "the archive could not be reached",
    ExitCode.STORAGE: "the disk or the catalogue refused",
    ExitCode.DAMAGE_FOUND: "damage found by `verify` or `scrub`; by `compare`, a difference in what both have",
    ExitCode.STOPPED: "stopped by a signal; work is kept",
}


def page(name: str, text: str) -> str:
    """The page `name` with its generated parts as they are to be."""
    parts = {
        "configuration.md": {"keys": reference_markdown()},
        "operations.md": {
            "metrics": _table(("metric", "kind", "means", "by"), _metrics()),
            "notices": _table(
                ("event", "tells that"),
                ((f"`{kind}`", f"{text}.") for kind, text in NOTICE_MEANING.items()),
            ),
        },
        "roles.md": {
            "reasons": _table(("reason", "means"), ((reason.value, text) for reason, text in RULES.items())),
        },
        "commands.md": {
            "exit codes": _table(("code", "meaning"), ((f"`{int(c)}`", EXIT_CODES[c]) for c in ExitCode)),
            "options": "\n".join(_options()),
            "states": _table(("state", "meaning"), ((f"`{state}`", text) for state, text in MEANING.items())),
            "events": _table(("event", "level", "means", "facts"), _events()),
        },
    }[name]
    for part, content in parts.items():
        begin = f"<!-- generated: {part} -->\n"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{content.strip()}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return text


def all_events() -> list[type[events.Event]]:
    """Every kind of event, in the order of the module."""
    kinds = (kind for kind in vars(events).values() if isinstance(kind, type))
    return [kind for kind in kinds if issubclass(kind, events.Event) and kind is not events.Event]


def _table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _options() -> Iterator[str]:
    for name, command in all_commands():
        context = click.Context(command, info_name=f"empiar-mirror {name}", terminal_width=110)
        context.help_option_names = ["-h", "--help"]
        yield f"### {name}\n\n```text\n{command.get_help(context)}\n```\n"


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by the words that call it, subcommands after their group."""
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", inner) for below, inner in command.commands.items())


def _metrics() -> Iterator[tuple[str, ...]]:
    """Our own metrics; those of the process itself are the library's."""
    for metric in Instruments().described():
        name = f"{metric.name}_total" if metric.kind == "counter" else metric.name
        yield (f"`{name}`", metric.kind, metric.sentence, ", ".join(f"`{label}`" for label in metric.labels))


def _events() -> Iterator[tuple[str, ...]]:
    for kind in all_events():
        if kind is events.BytesMoved:  # for bars only
            continue
        unknown = kind.__new__(kind)
        for field in fields(kind):
            object.__setattr__(unknown, field.name, None)
        level = logging.getLevelName(level_of(unknown)).lower()
        names = ", ".join(f"`{field.name}`" for field in fields(kind))
        yield (f"`{kind.name}`", level, (kind.__doc__ or "").split("\n")[0], names)


if __name__ == "__main__":
    for name in ("configuration.md", "commands.md", "operations.md", "roles.md"):
        path = DOCS / name
        path.write_text(page(name, path.read_text()))
