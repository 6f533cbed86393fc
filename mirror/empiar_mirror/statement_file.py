"""Statements as JSON: written the same way each time, and read with suspicion."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError

from empiar_mirror.statement import FORMAT, Member, Statement, contradiction_in
from empiar_schema.faults import ConfigFault
from empiar_schema.paths import parse_empiar_id

#: The statement of an entry of a million files, each with its digest, has about 150 MB.
_LARGEST_BYTES: Final = 4 * 2**30


def document(statements: Iterable[Statement]) -> Iterator[str]:
    """The JSON document of these statements, in pieces, a line for every folder and file."""
    yield f'{{"format": {_json(FORMAT)}, "entries": ['
    before = ""
    for statement in statements:
        yield f"{before}\n"
        yield from _entry(statement)
        before = ","
    yield "\n]}\n"


def _entry(statement: Statement) -> Iterator[str]:
    gone = statement.gone
    plain = asdict(replace(statement, folders=(), gone=replace(gone, members=None)))
    del plain["folders"], plain["gone"]["members"]
    texts = [f"{_json(key)}: {_json(value)}" for key, value in plain.items() if key != "gone"]
    yield "{" + ",\n ".join(texts)
    yield f',\n "gone": {_json(plain["gone"])[:-1]}'
    yield from _members(gone.members)
    yield '},\n "folders": ['
    before = ""
    for folder in statement.folders:
        facts = {"path": folder.path, "files": folder.files, "bytes": folder.bytes, "digest": folder.digest}
        yield f"{before}\n  {_json(facts)[:-1]}"
        yield from _members(folder.members)
        yield "}"
        before = ","
    yield "\n ]}"


def _members(members: tuple[Member, ...] | None) -> Iterator[str]:
    if members is not None:
        yield ', "members": ['
        yield ",".join(f'\n   [{_json(name)}, {size}, "{sha256}"]' for name, size, sha256 in members)
        yield "]"


#: Made once: `json.dumps` would make an encoder for each of a million files.
_json: Final = json.JSONEncoder(ensure_ascii=False).encode


# --- reading -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Document:
    format: Literal["empiar-mirror statement 1"]
    entries: tuple[Statement, ...]


def read_statements(path: Path) -> dict[int, Statement]:
    """The statements of the file, or of every ``.json`` file of the folder, by entry. Each fits together in itself.

    Raises:
        ConfigFault: there is none, one cannot be read or was changed, or an entry comes twice.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ConfigFault(f"{path} holds no statements", hint="`empiar-mirror attest -o FILE` writes one")
    found: dict[int, Statement] = {}
    for file in files:
        for statement in _read(file):
            empiar_id = parse_empiar_id(statement.entry)
            if empiar_id in found:
                raise ConfigFault(
                    f"{path} states {statement.entry} twice",
                    hint="name the newer file, or keep one of each entry in the folder",
                )
            found[empiar_id] = statement
    return found


def _read(file: Path) -> tuple[Statement, ...]:
    again = "have it written and sent again: `empiar-mirror attest -o FILE`"
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise ConfigFault(f"{file} is too large for a statement", hint=again)
        content = file.read_bytes()
    except OSError as error:
        raise ConfigFault(
            f"{file} cannot be read: {error.strerror}", hint="name a file that `attest` has written"
        ) from error
    try:
        statements = _adapter().validate_json(content).entries
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ConfigFault(
            f"{file} is no statement of this version: {place}: {first['msg']}", hint=again
        ) from None
    for statement in statements:
        wrong = contradiction_in(statement)
        if wrong is not None:
            raise ConfigFault(f"{file}: {statement.entry} contradicts itself: {wrong}", hint=again)
    return statements


@functools.cache
def _adapter() -> TypeAdapter[_Document]:
    return TypeAdapter(_Document)
