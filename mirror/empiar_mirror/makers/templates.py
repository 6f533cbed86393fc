"""Commands of hooks with their placeholders filled (pure)."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from empiar_mirror.makers.maker import Source
from empiar_schema.hook_settings import HookSettings, placeholders
from empiar_schema.paths import bytes_from_text

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Unfilled(Exception):
    """A template cannot be filled; the text says why, in words that fit after "it cannot be begun:"."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A command ready to run, and the files that it is to write, as paths from the folder in which it runs."""

    argv: tuple[str, ...]
    answers: tuple[str, ...]
    #: Path written, and name below ``derived/``, both as they are on disk; in the order of the configuration.
    outputs: tuple[tuple[str, str], ...]


#: What `Unfilled` says of a value that is not known.
_UNKNOWN: Mapping[str, str] = {
    "gain": "no gain reference of this entry is here",
    "defects": "no defect file of this entry is here",
    "pixel_size": "its pixel size is not known",
    "frames": "its number of frames is not known",
    "width": "its width is not known",
    "height": "its height is not known",
}


def on_disk(stored: str) -> str:
    """The name on disk that a stored text stands for."""
    return os.fsdecode(bytes_from_text(stored))


def values_of(
    source: Source, *, empiar_id: int, threads: str, gain: Source | None, defects: Source | None
) -> dict[str, str | None]:
    """What stands for each placeholder but ``output``; None where it is not known."""
    facts = source.facts
    stem = on_disk(source.stem)
    size = facts.pixel_size_angstrom
    return {
        "input": f"input/{on_disk(source.name)}",
        "name": on_disk(source.name),
        "stem": stem,
        "flat_stem": stem.replace(".", "_"),
        "suffix": source.suffix,
        "gain": None if gain is None else f"gain/{on_disk(gain.name)}",
        "defects": None if defects is None else f"defects/{on_disk(defects.name)}",
        "id": str(empiar_id),
        "pixel_size": None if size is None else f"{size:.6g}",
        "frames": None if facts.frames is None else str(facts.frames),
        "width": None if facts.width is None else str(facts.width),
        "height": None if facts.height is None else str(facts.height),
        "threads": threads,
    }


def fill(hook: HookSettings, values: Mapping[str, str | None]) -> Filled:
    """The hook's command, answers and outputs with `values` in place.

    Raises:
        Unfilled: a value that is needed is not known, or would not mean there what it should.
    """
    outputs = tuple(_filled_output(output.path, output.name, values) for output in hook.outputs)
    known = {**values, "output": outputs[0][0]}
    argv: list[str] = []
    for argument in hook.command:
        if isinstance(argument, str):
            argv.append(_argument(argument, known))
        elif all(known[name] is not None for part in argument for name in placeholders(part)):
            argv += [_argument(part, known) for part in argument]
    answers = tuple(_filled(answer, known) for answer in hook.answers)
    if any(_CONTROL.search(answer) for answer in answers):
        raise Unfilled(
            "a name with a line end or another control character cannot be given on standard input"
        )
    return Filled(tuple(argv), answers, outputs)


def _filled(template: str, values: Mapping[str, str | None]) -> str:
    parts: list[str] = []
    for text, name, _, _ in string.Formatter().parse(template):
        parts.append(text)
        if name is not None:
            value = values[name]
            if value is None:
                raise Unfilled(_UNKNOWN[name])
            parts.append(value)
    return "".join(parts)


def _argument(template: str, values: Mapping[str, str | None]) -> str:
    filled = _filled(template, values)
    if filled.startswith("-") and not template.startswith("-"):
        # `rm {stem}` and a file called -rf.mrc: the program would take the name for an option.
        raise Unfilled(
            f"its name begins with a hyphen, and the program would take {filled[:40]!r} for an option"
        )
    return filled


def _filled_output(path: str, name: str, values: Mapping[str, str | None]) -> tuple[str, str]:
    where = _filled(path, values)
    called = _filled(name, values) if name else where.rpartition("/")[2]
    for part in (*where.split("/"), called):
        if part in ("", ".", "..") or len(os.fsencode(part)) > 255:
            raise Unfilled(f"no file can have the name {part[:80]!r}")
    return where, called


def names_used(hook: HookSettings) -> frozenset[str]:
    """The placeholders that the command and the answers hold."""
    parts: Sequence[str] = [
        part for argument in hook.command for part in ((argument,) if isinstance(argument, str) else argument)
    ]
    return frozenset(name for text in (*parts, *hook.answers) for name in placeholders(text))
