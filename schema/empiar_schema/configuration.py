"""Reads the configuration: a TOML file below the environment, checked as one tree, all mistakes told at once."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args, get_origin

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
    """Every key, dotted: ``root``, ``archive.api_url`` …, in the order of the models."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def listed_tables() -> dict[str, type[BaseModel]]:
    """The tables that stand in lists, ``[[role]]``: name, and what is in one. Their keys have no variables of their own."""
    lists = {
        name: get_args(field.annotation)[0]
        for name, field in Settings.model_fields.items()
        if get_origin(field.annotation) is tuple
    }
    return {name: kind for name, kind in lists.items() if issubclass(kind, BaseModel)}


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
    return frozenset(key for key, value in flat.items() if isinstance(value, tuple)) | listed_tables().keys()


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
    if detail["loc"] and detail["loc"][0] in listed_tables():
        return _sentence_in_list(detail, origin, file)
    parts = [part for part in detail["loc"] if isinstance(part, str)]
    key = ".".join(parts)
    known = list(known_keys())
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


def _sentence_in_list(detail: ErrorDetails, origin: Mapping[str, str], file: str) -> str:
    """What is wrong with a list of tables, or in one of them, which is named by its number from 1."""
    name, *inner = detail["loc"]
    place = origin.get(str(name), file)
    if not inner:
        return f"{place}: {name} is a list of tables; write [[{name}]] and its keys below it"
    number = f"{place}: [[{name}]] number {int(inner[0]) + 1}"
    if len(inner) == 1:
        return f"{number} is no table of keys and values, but {_shown(detail['input'])}"
    key = str(inner[1])
    keys = list(listed_tables()[str(name)].model_fields)
    if detail["type"] == "extra_forbidden":
        meant = nearest(key, keys)
        return f"{number}: unknown key {key}" + (f"; did you mean {meant}?" if meant else "")
    if detail["type"] == "missing":
        return f"{number} lacks {key}; it needs {', '.join(keys)}"
    allowed = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{number}: {key} = {_shown(detail['input'])}: {allowed}"


def _shown(value: object) -> str:
    text = _USER_INFORMATION.sub("//***@", json.dumps(value, default=str, ensure_ascii=False))
    return text if len(text) <= 80 else text[:77] + "..."
