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
from empiar_schema.settings_types import EnvironmentOnly

PREFIX: Final = "EMPIAR_MIRROR_"
DEFAULT_FILE: Final = "empiar-mirror.toml"
#: A configuration file is a few kilobytes; anything much larger is another file given by mistake.
MAX_FILE_BYTES: Final = 2**20

#: Stands for the name that the user chooses where keys are listed: ``view.NAME.images``.
ANY_NAME: Final = "NAME"

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
    problems += _without_secrets(below.values, str(chosen))
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
    """Every key, dotted: ``root``, ``archive.api_url``, ``view.NAME.images`` …, in the order of the models."""
    inner = dict(tables(model))
    for name in model.model_fields:
        table = next((table for table in (name, f"{name}.{ANY_NAME}") if table in inner), None)
        if table is None:
            yield f"{prefix}{name}"
        else:
            yield from known_keys(inner[table], f"{prefix}{table}.")


def tables(model: type[BaseModel] = Settings) -> Iterator[tuple[str, type[BaseModel]]]:
    """The tables of `model`: ``archive`` …, and ``view.NAME`` for those whose names the user chooses."""
    for name, field in model.model_fields.items():
        kinds = get_args(field.annotation)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation
        elif get_origin(field.annotation) is dict and _is_model(kinds[1]):
            yield f"{name}.{ANY_NAME}", kinds[1]


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def listed_tables(model: type[BaseModel] = Settings) -> dict[str, type[BaseModel]]:
    """The tables of `model` that stand in lists, ``[[role]]``: name, and what is in one. Their keys have no variables of their own."""
    held = {name: get_args(field.annotation) for name, field in model.model_fields.items()}
    return {name: kinds[0] for name, kinds in held.items() if kinds and _is_model(kinds[0])}


def named_after(key: str) -> tuple[str, str | None]:
    """``view.mine.images`` → ``view.NAME.images``, ``mine``; any other key as it is."""
    for table, _model in tables():
        before, dot, _ = table.partition(f".{ANY_NAME}")
        if dot and key.startswith(f"{before}."):
            name, _, rest = key.removeprefix(f"{before}.").partition(".")
            return f"{table}.{rest}" if rest else table, name
    return key, None


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


def _without_secrets(values: Tree, file: str) -> Iterator[str]:
    """A sentence for each secret that stands in a file; it is taken out of `values`, so that no text shows it."""
    for generic in sorted(environment_only()):
        table, _, name = generic.rpartition(".")
        for path, holder in _tables_in(values, table):
            if holder.pop(name, None) is not None:
                key = f"{path}.{name}"
                yield f"{file}: {key} is a secret and must not stand in a file; remove it and set {variable_of(key)} instead"


def _tables_in(values: Tree, table: str) -> Iterator[tuple[str, Tree]]:
    """The tables of the file that `table` stands for: itself, or, of ``notify.NAME``, each of any name."""
    before, any_name, _ = table.partition(f".{ANY_NAME}")
    holder = values.get(before)
    if not isinstance(holder, dict):
        return
    if not any_name:
        yield table, holder
        return
    yield from ((f"{before}.{name}", inner) for name, inner in holder.items() if isinstance(inner, dict))


def environment_only() -> frozenset[str]:
    """The keys, dotted, that only the environment may give: secrets."""
    return frozenset(
        f"{table}.{name}"
        for table, model in tables()
        for name, field in model.model_fields.items()
        if any(isinstance(item, EnvironmentOnly) for item in field.metadata)
    )


def _from_environment(environ: Mapping[str, str]) -> tuple[Source, list[str]]:
    """The values of our variables, and the names of variables with our prefix that mean nothing."""
    known = frozenset(known_keys())
    origin: dict[str, str] = {}
    values: Tree = {}
    strangers = []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        generic, name = _key_of_variable(variable)
        if generic not in known:
            strangers.append(variable)
            continue
        key = generic.replace(ANY_NAME, name or "")
        origin[key] = variable
        text = environ[variable]
        *above, last = key.split(".")
        holder = values
        for table in above:
            inner = holder.setdefault(table, {})
            assert isinstance(inner, dict)
            holder = inner
        holder[last] = _listed(text) if generic in _list_keys() else text
    return Source(origin, values), strangers


def _key_of_variable(variable: str) -> tuple[str, str | None]:
    """``EMPIAR_MIRROR_VIEW__MINE__IMAGES`` → ``view.NAME.images``, ``mine``. Two underscores may stand in a name."""
    text = variable.removeprefix(PREFIX).lower()
    for table, _model in tables():
        before, dot, _ = table.partition(f".{ANY_NAME}")
        name, joint, last = text.removeprefix(f"{before}__").rpartition("__")
        if dot and text.startswith(f"{before}__") and joint:
            return f"{table}.{last}", name
    return text.replace("__", "."), None


def _list_keys() -> frozenset[str]:
    return frozenset(_lists(Settings, ""))


def _lists(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        if any(get_origin(kind) is tuple for kind in kinds):
            yield f"{prefix}{name}"
    for table, inner in tables(model):
        yield from _lists(inner, f"{prefix}{table}.")


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
        merged[name] = _merged(lower, value) if isinstance(value, dict) and isinstance(lower, dict) else value
    return merged


def _unknown_variable(name: str) -> str:
    # The value is not shown: a misspelt name may well be that of a secret.
    wrong, own = _key_of_variable(name)
    key = nearest(wrong, list(known_keys()))
    if key and own:
        key = key.replace(ANY_NAME, own)
    return f"{name} in the environment means nothing" + (f"; did you mean {variable_of(key)}?" if key else "")


def _sentence(detail: ErrorDetails, origin: Mapping[str, str], file: str) -> str:
    if detail["loc"] and detail["loc"][0] in listed_tables():
        return _sentence_in_list(detail, origin, file)
    parts = [part for part in detail["loc"] if isinstance(part, str) and part != "[key]"]
    key = ".".join(parts)
    generic, name = named_after(key)
    known = [*known_keys(), *_keys_in_lists()]
    if detail["type"] == "extra_forbidden":
        meant = nearest(generic, known)
        meant = meant.replace(ANY_NAME, name) if meant and name else meant
        return f"{file}: unknown key {key}" + (f"; did you mean {meant}?" if meant else "")
    place = origin.get(key, file)
    if detail["type"] == "missing":
        table, _, lacking = key.rpartition(".")
        return f"{place}: [{table}] lacks {lacking}"
    if detail["type"] == "too_short":
        return f"{place}: {key} = []: must not be empty"
    if detail["type"] in ("model_type", "model_attributes_type"):
        return f"{file}: {key} is a table; write [{key}] and its keys below it"
    allowed = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if generic not in known:  # a rule about a whole table
        return f"{place}: [{key}] {allowed}"
    shown = "***" if generic in environment_only() else _shown(detail["input"])
    return f"{place}: {key} = {shown}: {allowed}"


def _keys_in_lists() -> Iterator[str]:
    """The keys of tables that stand in a list of another table: ``hook.NAME.outputs.kind``."""
    for table, model in tables():
        for name, inner in listed_tables(model).items():
            yield from known_keys(inner, f"{table}.{name}.")


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
