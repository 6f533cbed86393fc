"""What a saved query says of itself, in the comments at its head. Pure.

::

    -- title: Entries with EER files, up to a size
    -- description: Sizes are as the entry states them.
    -- parameter max_bytes size = 2TB: at most so large

Kinds of parameters: id (10017 or EMPIAR-10017; `all`, where it is the default, is 0 in the SQL), int, real, text, size (bytes: 500MB, 2TiB), days (7d, in days). One
without a default has to be given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from empiar_schema.faults import ConfigFault
from empiar_schema.paths import parse_empiar_id
from empiar_schema.sizes import parse_duration, parse_size

Kind = Literal["id", "int", "real", "text", "size", "days"]
Value = None | int | float | str | bytes

#: What stands for every entry where one could be named; the SQL gets 0.
ALL: Final = "all"
_LINE: Final = re.compile(r"--\s*(title|description|parameter)\b\s*(.*)", re.IGNORECASE)
_PARAMETER: Final = re.compile(
    r"(?P<name>[a-z_]\w*)\s+(?P<kind>\w+)(?:\s*=\s*(?P<default>[^:]*?))?\s*:\s*(?P<text>.*)"
)
_EXAMPLE: Final[Mapping[Kind, str]] = {
    "id": "10017",
    "int": "20",
    "real": "0.5",
    "text": "a word",
    "size": "2TB",
    "days": "7d",
}
#: Whole numbers that SQLite has no place for.
_TOO_LARGE: Final = 2**63
_LONGEST_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that a saved query takes; `default` as somebody would write it, None where it must be given."""

    name: str
    kind: Kind
    default: str | None
    description: str

    @property
    def example(self) -> str:
        """What somebody could write for it."""
        return self.default or _EXAMPLE[self.kind]

    def value(self, text: str) -> Value:
        """`text` as SQLite gets it: sizes in bytes, durations in days.

        Raises:
            ConfigFault: it is none of this kind.
        """
        try:
            value = self._read(text)
        except (ValueError, OverflowError):
            value = None
        if value is None or (isinstance(value, int) and not -_TOO_LARGE <= value < _TOO_LARGE):
            raise self._refusal(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._refusal(text)
        return value

    def _read(self, text: str) -> Value:
        match self.kind:
            case "id":
                return 0 if text == ALL == self.default else parse_empiar_id(text)
            case "int":
                return int(text)
            case "real":
                return float(text)
            case "size":
                return int(str(parse_size(text)))
            case "days":
                return float(str(parse_duration(text))) / 86_400
            case "text":
                return text

    def _refusal(self, text: str) -> ConfigFault:
        return ConfigFault(
            f"the parameter {self.name} takes {_ARTICLE[self.kind]}, and {_shown(text)} is none",
            hint=f"such as -p {self.name}={self.example}",
        )


_ARTICLE: Final[Mapping[Kind, str]] = {
    "id": "an entry's number",
    "int": "a whole number",
    "real": "a number",
    "text": "a text",
    "size": "a size",
    "days": "a duration",
}


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]!r}…"


@dataclass(frozen=True, slots=True)
class SavedQuery:
    """A query by name."""

    name: str
    title: str
    description: str
    sql: str
    parameters: tuple[Parameter, ...]

    def values(self, given: Mapping[str, str]) -> dict[str, Value]:
        """What every parameter is, with what is `given` as text.

        Raises:
            ConfigFault: one must be given, one is not of its kind, or there is none of that name.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                has = f"it takes {', '.join(known)}" if known else "it takes none"
                raise ConfigFault(f"the query {self.name} has no parameter {name}", hint=has)
        values: dict[str, Value] = {}
        for name, parameter in known.items():
            text = given.get(name, parameter.default)
            if text is None:
                raise ConfigFault(
                    f"the query {self.name} needs the parameter {name}: {parameter.description}",
                    hint=f"give it with -p {name}={_EXAMPLE[parameter.kind]}",
                )
            values[name] = parameter.value(text)
        return values


def parse_query(name: str, text: str, *, title: str = "", description: str = "") -> SavedQuery:
    """The query in `text` with what its first comments say; `title` and `description` go before theirs.

    Raises:
        ConfigFault: a line of a parameter cannot be read, or a default is not of its kind.
    """
    stated = {"title": "", "description": ""}
    parameters: list[Parameter] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line.lstrip().startswith("--"):
            break
        found = _LINE.match(line.strip())
        if found is None:
            continue
        key, rest = found[1].lower(), found[2].strip()
        if key == "parameter":
            parameters.append(_parameter(name, rest))
        else:
            stated[key] = f"{stated[key]} {rest.removeprefix(':').strip()}".strip()
    return SavedQuery(
        name, title or stated["title"], description or stated["description"], text.strip(), tuple(parameters)
    )


def _parameter(query: str, text: str) -> Parameter:
    found = _PARAMETER.fullmatch(text)
    if found is None or found["kind"] not in get_args(Kind):
        raise ConfigFault(
            f"the query {query} has a parameter that cannot be read: {text!r}",
            hint=f"write -- parameter NAME KIND = DEFAULT: what it is; kinds are {', '.join(get_args(Kind))}",
        )
    kind: Kind = found["kind"]  # type: ignore[assignment] # it was looked up above
    parameter = Parameter(found["name"], kind, found["default"], found["text"].strip())
    if parameter.default is not None:
        parameter.value(parameter.default)
    return parameter
