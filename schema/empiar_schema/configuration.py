"""Reads the configuration: a TOML file below the environment, checked as one tree, all mistakes told at once."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings

PREFIX: Final = "EMPIAR_MIRROR_"
DEFAULT_FILE: Final = "empiar-mirror.toml"
#: A configuration file is a few kilobytes; anything much larger is another file given by mistake.
MAX_FILE_BYTES: Final = 2**20

Tree = dict[str, object]

_USER_INFORMATION = re.compile(r"//[^/\s]*@")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the values of one layer stand, for error texts."""

    #: Dotted key → what the user has to change: the file's path, or the variable's name.
    origin: Mapping[str, str]
    values: Tree


def load(file: Path | None = None, *, environ: Mapping[str, str], cwd: Path) -> Settings:
    """The settings in force: the environment above `file` above the defaults; `root` is absolute.

    Without `file`, ``empiar-mirror.toml`` in `cwd` is read if it is there. A relative `root` is seen from the
    folder of the file, or from `cwd` when the environment gives it or no file is read.

    Raises:
        ConfigFault: the file is missing or no TOML, or keys or values are wrong: one sentence for each.
    """
    chosen = _chosen_file(file, cwd)
    below = _from_file(chosen) if chosen is not None else Source({}, {})
    above, strangers = _from_environment(environ)
    problems = [_unknown_variable(name) for name in strangers]
    settings = None
    try:
        settings = Settings.model_validate(_merged(below.values, above.values))
    except ValidationError as error:
        origin = {**below.origin, **above.origin}
        problems += [_sentence(detail, origin, str(chosen or DEFAULT_FILE)) for detail in error.errors()]
    if settings is None or problems:
        hint = "docs/configuration.md lists every key; `empiar-mirror init` writes a commented file"
        raise ConfigFault("\n".join(dict.fromkeys(problems)), hint=hint)
    folder = cwd if "root" in above.values or chosen is None else chosen.parent
    root = Path(os.path.abspath(folder / settings.root.expanduser()))  # noqa: PTH100 - links in it stay as written
    return settings.model_copy(update={"root": root})


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every key, dotted: ``root``, ``archive.api_url`` …, in the order of the models; not those of tables that users name."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")
        elif model is not Settings or name not in named_tables():
            yield f"{prefix}{name}"


def named_tables() -> dict[str, type[BaseModel]]:
    """Tables of which there may be many, each with a name of the user's: ``hook`` for ``[hook.NAME]``, and what is in one."""
    fields = Settings.model_fields.items()
    return {name: model for name, field in fields if (model := _model_of_many(field.annotation)) is not None}


def _model_of_many(annotation: object) -> type[BaseModel] | None:
    """The model that a dict or tuple of models holds."""
    for part in get_args(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def variable_of(key: str) -> str:
    """``archive.api_url`` → ``EMPIAR_MIRROR_ARCHIVE__API_URL``."""
    return PREFIX + key.replace(".", "__").upper()


def nearest(wrong: str, known: list[str]) -> str | None:
    """The name that was probably meant: the same last part in another table, or the most similar one."""
    last = wrong.rpartition(".")[2]
    elsewhere = [key for key in known if key.rpartition(".")[2] == last]
    similar = elsewhere or difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    if similar:
        return similar[0]
    parts = {key.rpartition(".")[2]: key for key in reversed(known)}
    by_part = difflib.get_close_matches(last, list(parts), n=1, cutoff=0.7)
    return parts[by_part[0]] if by_part else None


def _chosen_file(file: Path | None, cwd: Path) -> Path | None:
    if file is None:
        default = cwd / DEFAULT_FILE
        return default if default.is_file() else None
    chosen = cwd / file
    if not chosen.is_file():
        raise ConfigFault(
            f"there is no configuration file {file}",
            hint="give another one with --config, or write one with `empiar-mirror init`",
        )
    return chosen


def _from_file(path: Path) -> Source:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigFault(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigFault(f"{path} is larger than 1 MiB and so no configuration file")
    try:
        values = tomllib.loads(raw.decode())
    except UnicodeDecodeError:
        raise ConfigFault(f"{path} is not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigFault(f"{path} is not valid TOML: {error}") from error
    return Source(dict.fromkeys(known_keys(), str(path)), values)


def _from_environment(environ: Mapping[str, str]) -> tuple[Source, list[str]]:
    """The values of our variables, and the names of variables with our prefix that mean nothing."""
    keys = {variable_of(key): key for key in known_keys()}
    origin: dict[str, str] = {}
    values: Tree = {}
    strangers = []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        key = keys.get(variable)
        if key is None:
            strangers.append(variable)
            continue
        origin[key] = variable
        table, _, name = key.rpartition(".")
        holder = values.setdefault(table, {}) if table else values
        assert isinstance(holder, dict)
        holder[name] = _listed(environ[variable]) if key in _list_keys() else environ[variable]
    return Source(origin, values), strangers


def _list_keys() -> frozenset[str]:
    defaults = Settings().model_dump()
    flat = {
        f"{table}.{key}": v
        for table, keys in defaults.items()
        if isinstance(keys, dict)
        for key, v in keys.items()
    }
    return frozenset(key for key, value in flat.items() if isinstance(value, tuple))


def _listed(text: str) -> object:
    """A list in a variable: ``https,ftp`` or ``["https", "ftp"]``."""
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return [part.strip() for part in text.split(",") if part.strip()]


def _merged(below: Tree, above: Tree) -> Tree:
    merged = dict(below)
    for name, value in above.items():
        lower = below.get(name)
        merged[name] = {**lower, **value} if isinstance(value, dict) and isinstance(lower, dict) else value
    return merged


def _unknown_variable(name: str) -> str:
    # The value is not shown: a misspelt name may well be that of a secret.
    key = nearest(name.removeprefix(PREFIX).lower().replace("__", "."), list(known_keys()))
    return f"{name} in the environment means nothing" + (f"; did you mean {variable_of(key)}?" if key else "")


def _sentence(detail: ErrorDetails, origin: Mapping[str, str], file: str) -> str:
    parts = [part for part in detail["loc"] if isinstance(part, str)]
    key = ".".join(part for part in parts if part != "[key]")
    known = [*known_keys(), *_keys_of_named(parts)]
    if detail["type"] == "extra_forbidden":
        meant = nearest(key, known)
        return f"{file}: unknown key {key}" + (f"; did you mean {meant}?" if meant else "")
    place = origin.get(key, file)
    if detail["type"] in ("model_type", "model_attributes_type"):
        return f"{file}: {key} is a table; write [{key}] and its keys below it"
    allowed = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if key not in known:  # a rule about a whole table
        return f"{place}: [{key}] {allowed}"
    return f"{place}: {key} = {_shown(detail['input'])}: {allowed}"


def _keys_of_named(parts: Sequence[str]) -> Iterator[str]:
    """The keys of the table that the user named, where `parts` lead into one: ``hook.motioncor3.command``."""
    if len(parts) < 2 or parts[0] not in named_tables():
        return
    for name, field in named_tables()[parts[0]].model_fields.items():
        yield (key := f"{parts[0]}.{parts[1]}.{name}")
        inner = _model_of_many(field.annotation)
        if inner is not None:
            yield from known_keys(inner, f"{key}.")


def _shown(value: object) -> str:
    text = _USER_INFORMATION.sub("//***@", json.dumps(value, default=str, ensure_ascii=False))
    return text if len(text) <= 80 else text[:77] + "..."
