"""The configuration as text for people: the commented file that `init` writes, and the table in the docs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from empiar_schema.configuration import ANY_NAME, environment_only, listed_tables, tables, variable_of
from empiar_schema.settings import Settings
from empiar_schema.sizes import parse_duration, parse_size

#: Examples, in the commented file, of tables that users name, and of lists of tables. A space after each # keeps them apart from the keys that
#: can be switched on one by one.
_EXAMPLES: Final = {
    "transfer": (
        "# Limits by time of day, local time of this machine (docs/operations.md):",
        "# [[transfer.limit]]",
        '# days = "Mon-Fri"',
        '# hours = "08:00-18:00"',
        '# bytes_per_s = "50MB"',
        "# connections = 4",
    ),
    "hook.NAME": (
        "# External programs that run on arrived files (docs/hooks.md has templates for MotionCor3, RELION and CTFFIND):",
        "# [hook.motioncorr]",
        '# roles = ["movie"]',
        '# command = ["program", "--in", "{input}", "--out", "{output}", ["--gain", "{gain}"]]',
        '# outputs = [{ path = "{stem}.mrc", kind = "micrograph" }]',
    ),
    "view.NAME": (
        "# A layout of your own, built when arrange.views names it (docs/layouts.md):",
        "# [view.sample]",
        "# images = 50",
        '# choose = "random"',
        "# stratify = true",
    ),
    "notify.NAME": (
        "# Who is told what happens (docs/operations.md); try it with `empiar-mirror notify`:",
        "# [notify.operators]",
        '# kind = "email"',
        '# host = "mail.example.org"',
        '# sender = "mirror@example.org"',
        '# recipients = ["you@example.org"]',
    ),
    "subscription.NAME": (
        "# What is to be mirrored by itself, as SQL (docs/subscriptions.md):",
        "# [subscription.ribosomes]",
        "# sql = \"SELECT empiar_id FROM entries_fts WHERE entries_fts MATCH 'ribosome'\"",
        '# view = "small"',
        '# budget = "2TiB"',
    ),
    "pin.NAME": (
        "# What eviction never touches, as SQL (docs/disk.md):",
        "# [pin.benchmarks]",
        '# sql = "SELECT empiar_id FROM entries WHERE empiar_id IN (10017, 10028)"',
    ),
    "evict.NAME": (
        "# What may be removed to make room, as SQL, what may go first in front (docs/disk.md):",
        "# [evict.movies]",
        "# sql = \"SELECT file_id FROM files JOIN copies USING (file_id) WHERE role = 'movie' ORDER BY arrived_at\"",
    ),
    "query.NAME": (
        "# A query of your own for `empiar-mirror query NAME` (docs/query.md):",
        "# [query.channels]",
        "# sql = \"SELECT empiar_id, title FROM entries WHERE title LIKE '%channel%'\"",
        '# title = "Entries of channels"',
    ),
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key, as documented."""

    table: str
    name: str
    #: The default as TOML; None where the key is not set by default.
    default: str | None
    #: What a value may look like where there is no default.
    example: str | None
    sentence: str

    @property
    def dotted(self) -> str:
        """``archive.api_url``."""
        return f"{self.table}.{self.name}" if self.table else self.name


def documented_keys() -> Iterator[Key]:
    """Every key with its default and its sentence, in the order of the models."""
    yield from _keys_of(Settings, "")
    for table, model in tables():
        yield from _keys_of(model, table)


def commented_file() -> str:
    """The text of a configuration file that changes nothing: each key, commented out, with its sentence."""
    lines = [
        "# Configuration of empiar-mirror. Every key below shows its default: remove the # to change it.",
        "# Durations read 90s, 6h, 7d; sizes 500MB (decimal) or 2TiB (binary).",
        f"# Each key can also be given in the environment, such as {variable_of('archive.api_url')};",
        "# the environment wins over this file.",
        "",
    ]
    sentences = {table: _sentence_of(model) for table, model in tables()}
    table = ""
    for key in documented_keys():
        if ANY_NAME in key.table or key.dotted in listed_tables():
            continue
        if key.dotted in environment_only():
            lines += [f"# ({variable_of(key.dotted)} in the environment: {key.sentence})"]
            continue
        if key.table != table:
            table = key.table
            lines += ["", f"# {sentences[table]}", f"[{table}]"]
        value = key.default if key.default is not None else f"{key.example}  # an example; not set by default"
        lines += [f"# {key.sentence}", f"#{key.name} = {value}"]
    for table in sentences:
        if table in _EXAMPLES:
            lines += ["", *_EXAMPLES[table]]
    for table, model in listed_tables().items():
        lines += ["", f"# {_sentence_of(model)}", f"# [[{table}]]"]
        lines += [f"# {key.name} = {key.example}" for key in _keys_of(model, table)]
    return "\n".join(lines) + "\n"


def reference_markdown() -> str:
    """The tables of docs/configuration.md: key, default, meaning."""
    lines = ["### Top level", "", *_markdown_rows(Settings, "")]
    for table, model in tables():
        lines += ["", f"### [{table}]", "", _sentence_of(model), "", *_markdown_rows(model, table)]
    for table, model in [*listed_tables().items(), *_lists_in_tables()]:
        lines += ["", f"### [[{table}]]", "", _sentence_of(model), "", "| key | such as | meaning |"]
        lines += ["| --- | --- | --- |"]
        lines += [
            f"| `{key.name}` | `{key.example or key.default}` | {key.sentence} |"
            for key in _keys_of(model, table)
        ]
    return "\n".join(lines) + "\n"


def _lists_in_tables() -> Iterator[tuple[str, type[BaseModel]]]:
    """Tables that stand in lists of other tables: ``transfer.limit``."""
    for table, model in tables():
        yield from ((f"{table}.{name}", inner) for name, inner in listed_tables(model).items())


def _markdown_rows(model: type[BaseModel], table: str) -> Iterator[str]:
    yield "| key | default | meaning | variable |"
    yield "| --- | --- | --- | --- |"
    for key in _keys_of(model, table):
        default = f"`{key.default}`" if key.default is not None else f"not set; such as `{key.example}`"
        if key.dotted in environment_only():
            default = "not set; environment only"
        yield f"| `{key.name}` | {default} | {key.sentence} | `{variable_of(key.dotted)}` |"


def _keys_of(model: type[BaseModel], table: str) -> Iterator[Key]:
    inner = {table.removesuffix(f".{ANY_NAME}") for table, _model in tables(model)}
    for name, field in model.model_fields.items():
        if name in inner:
            continue
        unset = field.is_required() or field.default is None
        default = None if unset else _as_toml(field, field.default)
        example = _example(field.examples[0]) if field.examples else None
        yield Key(table, name, default, example, field.description or "")


def _example(value: object) -> str:
    """`value` as TOML, which differs from JSON in its tables."""
    if isinstance(value, list):
        return f"[{', '.join(map(_example, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_example(item)}' for key, item in value.items())} }}"
    return json.dumps(value)


def _as_toml(field: FieldInfo, value: object) -> str:
    parsers = [item.func for item in field.metadata if isinstance(item, BeforeValidator)]
    if isinstance(value, float) and parse_duration in parsers:
        return _quantity(value, {"d": 86_400, "h": 3600, "s": 1})
    if isinstance(value, int) and parse_size in parsers:
        return _quantity(value, {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "GB": 10**9, "KiB": 2**10, "B": 1})
    if isinstance(value, tuple):
        return json.dumps([str(item) for item in value])
    return json.dumps(value, default=str)


def _quantity(value: float, units: dict[str, int]) -> str:
    unit, size = next(
        ((u, s) for u, s in units.items() if value and value % s == 0), (next(reversed(units)), 1)
    )
    return json.dumps(f"{value / size:g}{unit}")


def _sentence_of(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").split("\n")[0]
