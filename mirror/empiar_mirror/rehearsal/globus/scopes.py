"""Scope strings of Globus Auth: ``root[*dependent other[deeper]] second``."""

from __future__ import annotations

import re
from typing import Final

OPENID: Final = "openid"
TRANSFER_ALL: Final = "urn:globus:auth:scope:transfer.api.globus.org:all"
AUTH_SERVER: Final = "auth.globus.org"
TRANSFER_SERVER: Final = "transfer.api.globus.org"

#: Scopes and those that hang on them.
ScopeTree = dict[str, "ScopeTree"]

_TOKENS = re.compile(r"[\[\]]|[^\s\[\]]+")
_OWN = re.compile(r"urn:globus:auth:scope:([A-Za-z0-9._-]+):[A-Za-z0-9._:-]+")
_OF_COLLECTION = re.compile(r"https://auth\.globus\.org/scopes/([0-9a-f-]{36})/[A-Za-z0-9_]+")


def parse_scopes(text: str) -> ScopeTree:
    """The scopes of `text` and those that hang on them; whether one is optional makes no difference here.

    Raises:
        ValueError: it is no list of scopes.
    """
    root: ScopeTree = {}
    stack, last = [root], None
    for part in _TOKENS.findall(text):
        if part == "[":
            if last is None:
                raise ValueError("a bracket without a scope before it")
            stack.append(stack[-1][last])
            last = None
        elif part == "]":
            if len(stack) == 1:
                raise ValueError("a bracket that was not opened")
            stack.pop()
            last = None
        else:
            last = part.removeprefix("*")
            stack[-1].setdefault(last, {})
    if len(stack) != 1:
        raise ValueError("a bracket that was not closed")
    return root


def merge(into: ScopeTree, more: ScopeTree) -> None:
    """`into` holds all that `more` holds."""
    for scope, below in more.items():
        merge(into.setdefault(scope, {}), below)


def resource_server(scope: str) -> str:
    """Whose scope it is.

    Raises:
        ValueError: nobody's.
    """
    if scope in (OPENID, "email", "profile"):
        return AUTH_SERVER
    for pattern in (_OWN, _OF_COLLECTION):
        found = pattern.fullmatch(scope)
        if found is not None:
            return found[1]
    raise ValueError(scope)


def data_access(collection_id: str) -> str:
    """The scope by which a user lets the Transfer service at the data of a mapped collection."""
    return f"https://auth.globus.org/scopes/{collection_id}/data_access"


def required_for(collection_id: str) -> str:
    """What a client must ask for in order to transfer from or to such a collection."""
    return f"{TRANSFER_ALL}[*{data_access(collection_id)}]"
