"""Roles that somebody stated for files of an entry, found by patterns of paths. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from empiar_schema.role_reasons import Judgement, RoleReason
from empiar_schema.role_settings import RoleOverride
from empiar_schema.states import Role

_ANY_FOLDERS: Final = None
#: A part of a path that must fit, or `_ANY_FOLDERS`.
_Part = re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Overrides:
    """The stated roles of one entry's files, in the order of the configuration."""

    rules: tuple[tuple[tuple[_Part, ...], Judgement], ...]
    #: Changes with the rules, so that it can be told whether roles follow them; None where there are none.
    digest: str | None

    @classmethod
    def of(cls, empiar_id: int, stated: Iterable[RoleOverride]) -> Overrides:
        """Those of `stated` that speak of the entry."""
        ours = [(rule.path, rule.role) for rule in stated if rule.entry == empiar_id]
        rules = tuple((_parts(path), Judgement(role, 1.0, RoleReason.OVERRIDE)) for path, role in ours)
        digest = hashlib.sha256(json.dumps(ours).encode()).hexdigest()[:16] if ours else None
        return cls(rules, digest)

    def judge(self, directory: str, name: str) -> Judgement | None:
        """What is stated of the file, a stored text in a folder of the entry: the last rule that fits, or None."""
        parts = [*directory.split("/"), name] if directory else [name]
        return next((judged for pattern, judged in reversed(self.rules) if _fits(pattern, parts)), None)

    def role(self, path: str) -> Role | None:
        """The role that is stated for a path below the entry, or None."""
        directory, _, name = path.rpartition("/")
        judged = self.judge(directory, name)
        return None if judged is None else judged.role


NO_OVERRIDES: Final = Overrides((), None)


def _parts(path: str) -> tuple[_Part, ...]:
    return tuple(_ANY_FOLDERS if part == "**" else _part(part) for part in path.split("/"))


def _part(pattern: str) -> re.Pattern[str]:
    """``*`` is any run of characters, ``?`` any one; brackets stand for themselves, as names hold them.

    Each run but the last is atomic, so that a hostile name cannot make the match take long.
    """
    pieces = [re.escape(piece).replace(r"\?", ".") for piece in re.sub(r"\*+", "*", pattern).split("*")]
    if len(pieces) == 1:
        return re.compile(pieces[0], re.DOTALL)
    inner = "".join(f"(?>.*?{piece})" for piece in pieces[1:-1])
    return re.compile(f"{pieces[0]}{inner}.*{pieces[-1]}", re.DOTALL)


def _fits(pattern: tuple[_Part, ...], parts: list[str]) -> bool:
    """Whether the parts fit one by one, ``**`` standing for any number of folders, none among them."""
    at, back, resume = 0, -1, 0
    i = 0
    while i < len(parts):
        part = pattern[at] if at < len(pattern) else ...
        if part is _ANY_FOLDERS:
            at, back, resume = at + 1, at, i
        elif part is not ... and part.fullmatch(parts[i]):
            at, i = at + 1, i + 1
        elif back >= 0:
            at, resume = back + 1, resume + 1
            i = resume
        else:
            return False
    return all(part is _ANY_FOLDERS for part in pattern[at:])
