"""One entry's metadata: what the API's answers mean, and when the header XML stands in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from empiar_crawler.entry_source import Absent, EntrySource, Found, Unchanged
from empiar_schema.crawl_store import CachedAnswer
from empiar_schema.faults import BadAnswer, EmpiarMirrorError, TransientFault, UnreachableFault
from empiar_wire.hosts import Hosts
from empiar_wire.http import PoliteHttp

XML = """<?xml version="1.0"?>
<entry xmlns="http://pdbe.org/empiar" accessionCode="EMPIAR-{id}" public="true">
  <admin><currentStatus>REL</currentStatus><title>From the header</title></admin>
</entry>
"""


@dataclass
class Archive:
    """Says for `api/entry/10017` and `w/10017/10017.xml` what it is told."""

    api: web.Response = field(default_factory=lambda: web.Response(status=404))
    xml: web.Response = field(default_factory=lambda: web.Response(status=404))
    asked: list[web.BaseRequest] = field(default_factory=list)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        return self.api if request.path == "/api/entry/10017" else self.xml


async def no_sleep(_seconds: float) -> None:
    return None


@asynccontextmanager
async def source(archive: Archive) -> AsyncIterator[EntrySource]:
    runner = web.ServerRunner(web.Server(archive.handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    http = PoliteHttp(
        Hosts(connections=2, requests_per_s=10_000, user_agent="test", sleep=no_sleep),
        tries=1,
        sleep=no_sleep,
    )
    try:
        yield EntrySource(
            http, api_url=f"http://127.0.0.1:{port}/api", https_url=f"http://127.0.0.1:{port}/w"
        )
    finally:
        await http.aclose()
        await runner.cleanup()


def record(**fields: object) -> web.Response:
    return web.json_response({"EMPIAR-10017": {"title": "From the API", **fields}}, headers={"ETag": '"a"'})


async def test_entry_is_found_with_the_validators_to_ask_with_next_time() -> None:
    async with source(Archive(api=record())) as s:
        found = await s.fetch(10017, known=None)
        assert isinstance(found, Found)
        assert (found.entry.title, found.source, found.validators) == (
            "From the API",
            "api",
            CachedAnswer('"a"', None),
        )


async def test_known_validators_are_sent_and_304_means_unchanged() -> None:
    archive = Archive(api=web.Response(status=304))
    async with source(archive) as s:
        known = CachedAnswer('"a"', "Mon, 16 Nov 2026 08:00:00 GMT")
        assert isinstance(await s.fetch(10017, known=known), Unchanged)
        headers = archive.asked[0].headers
        assert (headers["If-None-Match"], headers["If-Modified-Since"]) == (known.etag, known.last_modified)


async def test_304_to_a_question_without_conditions_is_no_sensible_answer() -> None:
    async with source(Archive(api=web.Response(status=304))) as s:
        with pytest.raises(BadAnswer, match="without conditions"):
            await s.fetch(10017, known=None)


@pytest.mark.parametrize(
    ("status", "text"),
    [(404, ""), (410, ""), (200, "{}"), (200, '{"EMPIAR-10018": {"title": "Another"}}')],
)
async def test_absent_is_404_410_an_empty_object_and_an_answer_without_the_entry(
    status: int, text: str
) -> None:
    archive = Archive(api=web.Response(status=status, text=text), xml=web.Response(text=XML.format(id=10017)))
    async with source(archive) as s:
        assert isinstance(await s.fetch(10017, known=None), Absent)
        assert len(archive.asked) == 1


async def test_header_xml_stands_in_for_an_api_that_fails_and_says_why() -> None:
    archive = Archive(
        api=web.Response(text="<html>sorry</html>"), xml=web.Response(text=XML.format(id=10017))
    )
    async with source(archive) as s:
        found = await s.fetch(10017, known=None)
        assert isinstance(found, Found)
        assert (found.entry.title, found.source) == ("From the header", "xml")
        assert "not JSON" in (found.api_failure or "")


async def test_header_xml_of_another_entry_is_refused() -> None:
    archive = Archive(api=web.Response(text="["), xml=web.Response(text=XML.format(id=10018)))
    async with source(archive) as s:
        with pytest.raises(BadAnswer, match="EMPIAR-10018"):
            await s.fetch(10017, known=None)


@pytest.mark.parametrize(("status", "fault"), [(503, TransientFault), (400, BadAnswer)])
async def test_failure_of_both_is_transient_where_the_apis_was(
    status: int, fault: type[EmpiarMirrorError]
) -> None:
    async with source(Archive(api=web.Response(status=status))) as s:
        with pytest.raises(fault, match="nor is the header XML to be had"):
            await s.fetch(10017, known=None)


async def test_two_closed_doors_are_unreachable() -> None:
    async with source(Archive()) as s:
        s._api_url = s._https_url = "http://127.0.0.1:9"
        with pytest.raises(UnreachableFault):
            await s.fetch(10017, known=None)
