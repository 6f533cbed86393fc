"""The configuration as text for people: the commented file that `init` writes, and the table in the docs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from empiar_schema.configuration import ANY_NAME, tables, variable_of
from empiar_schema.settings import Settings
from empiar_schema.sizes import parse_duration, parse_size

#: The name that the commented file gives to a table whose name the user chooses.
EXAMPLE_NAME: Final = "mine"


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
        if key.table != table:
            table = key.table
            # A table whose name the user chooses would already declare something.
            head = f"#[{table.replace(ANY_NAME, EXAMPLE_NAME)}]" if ANY_NAME in table else f"[{table}]"
            lines += ["", f"# {sentences[table]}", head]
        value = key.default if key.default is not None else f"{key.example}  # an example; not set by default"
        lines += [f"# {key.sentence}", f"#{key.name} = {value}"]
    return "\n".join(lines) + "\n"


def reference_markdown() -> str:
    """The tables of docs/configuration.md: key, default, meaning."""
    lines = ["### Top level", "", *_markdown_rows(Settings, "")]
    for table, model in tables():
        lines += ["", f"### [{table}]", "", _sentence_of(model), "", *_markdown_rows(model, table)]
    return "\n".join(lines) + "\n"


def _markdown_rows(model: type[BaseModel], table: str) -> Iterator[str]:
    yield "| key | default | meaning | variable |"
    yield "| --- | --- | --- | --- |"
    for key in _keys_of(model, table):
        default = f"`{key.default}`" if key.default is not None else f"not set; such as `{key.example}`"
        yield f"| `{key.name}` | {default} | {key.sentence} | `{variable_of(key.dotted)}` |"


def _keys_of(model: type[BaseModel], table: str) -> Iterator[Key]:
    inner = {table.removesuffix(f".{ANY_NAME}") for table, _model in tables(model)}
    for name, field in model.model_fields.items():
        if name in inner:
            continue
        default = None if field.default is None else _as_toml(field, field.default)
        example = json.dumps(field.examples[0]) if field.examples else None
        yield Key(table, name, default, example, field.description or "")


def _as_toml(field: FieldInfo, value: object) -> str:
    parsers = [item.func for item in field.metadata if isinstance(item, BeforeValidator)]
    if isinstance(value, float) and parse_duration in parsers:
        return _quantity(value, {"d": 86_400, "h": 3600, "s": 1})
    if isinstance(value, int) and parse_size in parsers:
        return _quantity(value, {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1})
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
