"""The web site's directory tree: its answers, and a walk through them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from empiar_crawler.parse.tree_json import read_tree
from empiar_crawler.sources.tree import TreeListing
from empiar_schema.faults import BadAnswer, PermanentFault
from empiar_wire.hosts import Hosts
from empiar_wire.http import PoliteHttp

ABSENT = [{"id": 1, "name": "The file with the list of directories does not exist", "size": 0}]


def node(number: int, name: str, size: object = 0, **more: object) -> dict[str, object]:
    return {"id": number, "name": name, "text": name, "size": size, **more}


def test_nodes_are_read_with_numbers_that_come_as_text_too() -> None:
    nodes = read_tree(
        json.dumps([node(4, "a.mrc", "123", type="file"), node(5, "d", children=True)]).encode()
    )
    assert nodes is not None
    assert [(n.number, n.name, n.is_file, n.size, n.lazy) for n in nodes] == [
        (4, "a.mrc", True, 123, False),
        (5, "d", False, 0, True),
    ]


def test_an_entry_without_a_tree_is_told_from_an_empty_one() -> None:
    assert read_tree(json.dumps(ABSENT).encode()) is None
    assert read_tree(b"[]") == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[1]",
        b"[{}]",
        b'[{"name": ".."}]',
        b'[{"name": "a/b"}]',
        b'[{"name": "\\ud800"}]',
        b"[" * 100_000,
    ],
)
def test_what_is_no_tree_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_tree(body)


@asynccontextmanager
async def _site(levels: Mapping[str, object]) -> AsyncIterator[TreeListing]:
    """The tree of EMPIAR-10001 on loopback: the answer to each ``list=``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        prefix, number, suffix = (
            path.partition("list%3D")[0],
            path.split("list%3D")[1].split("/")[0],
            path[-4:],
        )
        assert (prefix, suffix) == ("/EMPIAR-10001/dirStruct%3Dfull&", "/-1/")
        body = json.dumps(levels[number]).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    http = PoliteHttp(Hosts(connections=2, requests_per_s=1e6, user_agent="x"), tries=1)
    try:
        yield TreeListing(http, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        await http.aclose()
        server.close()
        await server.wait_closed()


async def test_the_tree_is_walked_level_by_level() -> None:
    levels = {
        "1": [node(1, "10001", children=True)],
        "2": [node(2, "10001.xml", 9, type="file"), node(3, "data", children=True)],
        "4": [
            node(4, "a.mrc", 5, type="file"),
            node(5, "empty"),
            node(6, "sub", children=[node(7, "b", 6, type="file")]),
        ],
    }
    async with _site(levels) as source:
        found = {
            f"{b.directory}/{f.name}": (f.bytes, f.bytes_exact)
            async for b in source.walk(10001)
            for f in b.files
        }
    assert found == {"/10001.xml": (9, False), "data/a.mrc": (5, False), "data/sub/b": (6, False)}


async def test_an_entry_without_a_tree_is_absent() -> None:
    async with _site({"1": ABSENT}) as source:
        with pytest.raises(PermanentFault) as caught:
            await anext(source.walk(10001))
    assert caught.value.absent
