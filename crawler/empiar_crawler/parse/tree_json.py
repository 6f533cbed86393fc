"""The directory tree of EMPIAR's web pages: JSON nodes for jsTree, one level an answer.

The archive makes it at release, so it may be older than the files; whether its sizes are exact is not known, so they
count as estimates. It is for comparing, not for deciding what is there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from empiar_crawler.parse.listed import stored_name
from empiar_schema.faults import BadAnswer, HostileName

_NO_TREE = "does not exist"


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A file or directory of the tree. Numbers are given depth first, so a directory's first child is `number` + 1."""

    number: int
    #: Stored text of the name.
    name: str
    is_file: bool
    size: int | None
    #: What the answer holds of its children; a directory without any in the answer may have some in the next one.
    children: tuple[TreeNode, ...]
    #: Its children have to be asked for.
    lazy: bool


def read_tree(body: bytes) -> tuple[TreeNode, ...] | None:
    """The nodes of one answer; None where it says that the entry has no tree (HTTP 200 all the same).

    Raises:
        BadAnswer: it is no list of nodes, or nested deeper than any tree.
    """
    try:
        answer = json.loads(body)
        nodes = _nodes(answer)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"the directory tree cannot be read: {str(error)[:200]}") from error
    if len(nodes) == 1 and _NO_TREE in nodes[0].name:
        return None
    return nodes


def _nodes(answer: object) -> tuple[TreeNode, ...]:
    if not isinstance(answer, list):
        raise BadAnswer("the directory tree is no list of nodes")
    return tuple(_node(item) for item in answer)


def _node(item: object) -> TreeNode:
    if not isinstance(item, dict):
        raise BadAnswer("a node of the directory tree is no object")
    name, children = item.get("name", item.get("text")), item.get("children")
    if not isinstance(name, str):
        raise BadAnswer("a node of the directory tree has no name")
    try:
        stored = stored_name(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise HostileName(f"a name of the directory tree is no text: {name[:80]!r}") from error
    return TreeNode(
        number=_count(item.get("id")) or 0,
        name=stored,
        is_file=item.get("type") == "file",
        size=_count(item.get("size")),
        children=_nodes(children) if isinstance(children, list) else (),
        lazy=children is True,
    )


def _count(value: object) -> int | None:
    """A number that may come as text; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value >= 0 else None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:18])
    return None
