"""Enumerations: walks of pages and blocks against a small server, and how sources are weighed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

import pytest
from aiohttp import web

from empiar_crawler.enumerate import Enumeration, disagreement, first_sensible, merged, shortened
from empiar_crawler.sources.ranges import Ranges
from empiar_crawler.sources.root_directory import RootDirectory
from empiar_crawler.sources.search import Search
from empiar_schema.crawl_store import EnumeratedEntry
from empiar_schema.faults import BadAnswer, PermanentFault, TransientFault, UnreachableFault
from empiar_schema.settings import ArchiveSettings
from empiar_wire.hosts import Hosts
from empiar_wire.http import PoliteHttp

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    url: str
    http: PoliteHttp
    hosts: Hosts
    asked: list[str] = field(default_factory=list)


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[Server]:
    async def no_sleep(_seconds: float) -> None:
        return None

    async def noted(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        body = (await request.read()).decode()
        result.asked.append(body or unquote(request.raw_path))
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", noted)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    hosts = Hosts(connections=4, requests_per_s=10_000, user_agent="test")
    http = PoliteHttp(hosts, tries=1, sleep=no_sleep)
    result = Server(f"http://{host}:{port}", http, hosts)
    try:
        yield result
    finally:
        await http.aclose()
        await runner.cleanup()


def answer(ids: Sequence[int], **fields: str) -> web.Response:
    return web.json_response({f"EMPIAR-{i}": {"title": f"Entry {i}", **fields} for i in ids})


def paged(ids: Sequence[int], *, past_the_end: int = 200) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        rows, page = int(request.query["rows"]), int(request.query["page"])
        part = ids[(page - 1) * rows : page * rows]
        if not part and past_the_end != 200:
            return web.Response(status=past_the_end)
        return answer(part, update_date="2026-11-20", status="REL")

    return handle


def ids_of(entries: Sequence[EnumeratedEntry]) -> list[int]:
    return [entry.empiar_id for entry in entries]


@pytest.mark.parametrize("past_the_end", [200, 404])
async def test_search_pages_through_all_entries(past_the_end: int) -> None:
    ids = list(range(10_002, 10_002 + 250))
    async with server(paged(ids, past_the_end=past_the_end)) as s:
        found = await Search(s.http, s.url).entries()
        assert ids_of(found) == ids
        assert found[0] == EnumeratedEntry(10_002, "2026-11-20", "REL", "Entry 10002")
        assert s.asked[0] == "/*?rows=100&page=1&fl=*"
        assert len(s.asked) == 4


async def test_search_for_changes_names_both_days_and_may_find_nothing() -> None:
    async with server(paged([])) as s:
        assert await Search(s.http, s.url).changed_between("2026-11-19", "2026-11-22") == []
        assert "database:EMPIAR AND update_date:[2026-11-19 TO 2026-11-22]" in s.asked[0]


async def test_search_that_ignores_the_page_is_not_sensible() -> None:
    async def same(_request: web.Request) -> web.StreamResponse:
        return answer([10_002, 10_003])

    async with server(same) as s:
        with pytest.raises(BadAnswer, match="repeats itself"):
            await Search(s.http, s.url).entries()
        assert len(s.asked) == 2


async def test_search_that_ignores_the_query_is_not_sensible() -> None:
    async with server(paged([10_002])) as s:
        with pytest.raises(BadAnswer, match="ignores the query"):
            await Search(s.http, s.url).changed_between("2026-01-01", "2026-02-01")


async def test_search_without_end_is_not_sensible() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        return answer([10_000 + int(request.query["page"])])

    async with server(endless) as s:
        with pytest.raises(BadAnswer, match="does not end"):
            await Search(s.http, s.url, rows=1).entries()


async def test_search_that_finds_nothing_at_all_is_not_sensible() -> None:
    async with server(paged([])) as s:
        with pytest.raises(BadAnswer):
            await Search(s.http, s.url).entries()


def ranged(ids: Sequence[int], *, as_array: bool = False) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        first, _, last = (await request.text()).partition("-")
        records = {f"EMPIAR-{i}": {"title": "t"} for i in ids if int(first) <= i <= int(last)}
        return web.json_response([{key: value} for key, value in records.items()] if as_array else records)

    return handle


@pytest.mark.parametrize("as_array", [False, True])
async def test_ranges_end_after_three_empty_blocks(as_array: bool) -> None:
    ids = [10_002, 10_499, 10_500, 12_001]
    async with server(ranged(ids, as_array=as_array)) as s:
        assert ids_of(await Ranges(s.http, s.url).entries()) == ids
        assert s.asked[0] == "10000-10499"
        assert s.asked[-1] == "13500-13999"


async def test_ranges_go_on_through_empty_blocks_below_the_highest_known_entry() -> None:
    async with server(ranged([10_002, 14_000])) as s:
        assert ids_of(await Ranges(s.http, s.url).entries()) == [10_002]
        assert ids_of(await Ranges(s.http, s.url, highest_known=14_000).entries()) == [10_002, 14_000]


async def test_ranges_answered_with_other_entries_are_not_sensible() -> None:
    async def stray(_request: web.Request) -> web.StreamResponse:
        return answer([20_000])

    async with server(stray) as s:
        with pytest.raises(BadAnswer, match="answered with 20000"):
            await Ranges(s.http, s.url).entries()


async def test_ranges_stop_at_the_highest_number_of_five_digits() -> None:
    async def every(request: web.Request) -> web.StreamResponse:
        return answer([int((await request.text()).partition("-")[0])])

    async with server(every) as s:
        found = await Ranges(s.http, s.url).entries()
        assert (len(found), s.asked[-1]) == (180, "99500-99999")


PAGE = """<html><head><title>Index of /empiar</title></head><body><h1>Index of /empiar</h1><pre>
<a href="../">../</a>
{rows}
</pre></body></html>
"""


def row(name: str) -> str:
    return f'<a href="{name}">{name}</a>   07-Feb-2025 19:49    {"-" if name.endswith("/") else 58}'


async def test_top_folder_names_entries_by_number_and_ignores_other_names() -> None:
    async def page(_request: web.Request) -> web.StreamResponse:
        rows = map(row, ["10002/", "10017/", "test/", "123/", "0010018/", "10019", "README"])
        return web.Response(text=PAGE.format(rows="\n".join(rows)), content_type="text/html")

    async with server(page) as s:
        source = RootDirectory(
            ArchiveSettings(https_url=f"{s.url}/w", ftp_url="ftp://127.0.0.1:9"),
            http=s.http,
            hosts=s.hosts,
            ways=("https",),
        )
        assert ids_of(await source.entries()) == [10_002, 10_017]
        assert (await source.look()).ignored == ("0010018", "10019", "123", "README", "test")
        assert s.asked[0] == "/w/"


async def test_top_folder_without_entries_is_not_sensible() -> None:
    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=PAGE.format(rows=row("pub/")), content_type="text/html")

    async with server(page) as s:
        archive = ArchiveSettings(https_url=s.url)
        with pytest.raises(BadAnswer, match="holds no entry"):
            await RootDirectory(archive, http=s.http, hosts=s.hosts, ways=("https",)).entries()


@dataclass
class Told:
    """A source that says or raises what it is told to."""

    name: str
    says: list[EnumeratedEntry] | Exception

    async def entries(self) -> list[EnumeratedEntry]:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


async def test_first_source_that_answers_sensibly_wins_and_the_others_are_named() -> None:
    down = TransientFault("down", host_down=True)
    found = await first_sensible(
        [
            Told("a", down),
            Told("b", BadAnswer("nonsense")),
            Told("c", [EnumeratedEntry(10_002)]),
            Told("d", []),
        ]
    )
    assert (found.source, found.complete, sorted(found.ids)) == ("c", True, [10_002])
    assert found.failed == {"a": "down", "b": "nonsense"}


async def test_no_source_reached_is_unreachable_and_one_senseless_answer_is_not() -> None:
    down = TransientFault("down", host_down=True)
    with pytest.raises(UnreachableFault, match="a: down; b: gone"):
        await first_sensible([Told("a", down), Told("b", UnreachableFault("gone"))])
    with pytest.raises(BadAnswer, match="nonsense"):
        await first_sensible([Told("a", down), Told("b", BadAnswer("nonsense"))])
    with pytest.raises(BadAnswer):
        await first_sensible([Told("a", PermanentFault("404", absent=True))])


def test_merging_keeps_each_entry_once_with_its_latest_date_and_drops_impossible_ids() -> None:
    old, new = EnumeratedEntry(10_002, "2020-01-01"), EnumeratedEntry(10_002, "2026-01-01")
    assert merged([[old, EnumeratedEntry(100_000)], [new, EnumeratedEntry(10_001)]]) == [
        EnumeratedEntry(10_001),
        new,
    ]
    assert merged([[new], [old]]) == [new]


def test_disagreement_counts_and_names_the_first_ids_on_both_sides() -> None:
    winner = Enumeration("search", tuple(EnumeratedEntry(i) for i in range(10_000, 10_020)), complete=True)
    assert disagreement(winner, "directory", winner.ids) is None
    found = disagreement(winner, "directory", {10_019, 10_030})
    assert found is not None
    assert found.stated.startswith("search: 20 entries, 19 (10000, 10001,")
    assert found.stated.endswith("…) only there")
    assert found.found == "directory: 2 entries, 1 (10030) only there"
    assert shortened([]) == "none"
