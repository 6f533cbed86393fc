"""One entry's metadata: from the API, or from the header XML beside its files when the API fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from empiar_crawler.outcome import ARCHIVE_FAULTS, is_unreachable
from empiar_crawler.parse.api import parse_answer
from empiar_crawler.parse.header_xml import parse_header_xml
from empiar_schema.crawl_store import CachedAnswer
from empiar_schema.entry import Entry
from empiar_schema.faults import BadAnswer, TransientFault, UnreachableFault
from empiar_schema.paths import accession
from empiar_wire.http import Answer, PoliteHttp

#: The largest known answer has some hundred kilobytes.
MAX_ENTRY_BYTES: Final = 64 * 2**20
API: Final = "api"
HEADER_XML: Final = "xml"


@dataclass(frozen=True, slots=True)
class Found:
    """The archive's metadata of an entry."""

    entry: Entry
    source: str
    url: str
    #: Validators to ask with next time.
    validators: CachedAnswer
    #: Why the API did not serve, where the header XML did instead.
    api_failure: str | None = None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The archive says that its answer is still the one we have."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The archive says that there is no such entry."""

    reason: str


class EntrySource:
    """Asks for one entry at a time."""

    def __init__(self, http: PoliteHttp, *, api_url: str, https_url: str) -> None:
        self._http = http
        self._api_url = api_url
        self._https_url = https_url

    def url(self, empiar_id: int) -> str:
        """The entry's address in the API."""
        return f"{self._api_url}/entry/{empiar_id}"

    async def fetch(self, empiar_id: int, *, known: CachedAnswer | None) -> Found | Unchanged | Absent:
        """What the archive says of the entry; with `known` validators it may say that nothing changed.

        Absent is what the API says by 404 or 410, by an empty object, or by an answer without the entry. If the API
        fails in any other way the header XML is read instead.

        Raises:
            UnreachableFault: neither host can be reached.
            BadAnswer, TransientFault: the API's failure, when the XML failed too.
        """
        try:
            return await self._from_api(empiar_id, known)
        except ARCHIVE_FAULTS as api_fault:
            try:
                return await self._from_xml(empiar_id, str(api_fault))
            except ARCHIVE_FAULTS as xml_fault:
                message = f"{api_fault}; nor is the header XML to be had: {xml_fault}"
                if is_unreachable(api_fault) and is_unreachable(xml_fault):
                    raise UnreachableFault(message, hint=api_fault.hint) from xml_fault
                if isinstance(api_fault, TransientFault):
                    raise TransientFault(message, hint=api_fault.hint) from xml_fault
                raise BadAnswer(message, hint=api_fault.hint) from xml_fault

    async def _from_api(self, empiar_id: int, known: CachedAnswer | None) -> Found | Unchanged | Absent:
        url = self.url(empiar_id)
        answer = await self._http.request(
            "GET",
            url,
            headers={"Accept": "application/json", **conditions(known)},
            max_bytes=MAX_ENTRY_BYTES,
            accept_statuses=frozenset({200, 304, 404, 410}),
        )
        if answer.status == 304:
            if known is None:
                raise BadAnswer(f"GET {url}: HTTP 304 to a request without conditions")
            return Unchanged()
        if answer.status != 200:
            return Absent(f"the API answers HTTP {answer.status}")
        entry = parse_answer(answer.body).get(empiar_id)
        if entry is None:
            return Absent(f"the API's answer does not hold {accession(empiar_id)}")
        return Found(entry, API, url, validators(answer))

    async def _from_xml(self, empiar_id: int, api_failure: str) -> Found:
        url = f"{self._https_url}/{empiar_id}/{empiar_id}.xml"
        answer = await self._http.request("GET", url, max_bytes=MAX_ENTRY_BYTES)
        entry = parse_header_xml(answer.body)
        if entry.empiar_id != empiar_id:
            raise BadAnswer(f"GET {url}: the header is that of {entry.accession}")
        return Found(entry, HEADER_XML, url, validators(answer), api_failure)


def conditions(known: CachedAnswer | None) -> Mapping[str, str]:
    """Headers that ask only for what is new."""
    headers: dict[str, str] = {}
    if known is not None and known.etag is not None:
        headers["If-None-Match"] = known.etag
    if known is not None and known.last_modified is not None:
        headers["If-Modified-Since"] = known.last_modified
    return headers


def validators(answer: Answer) -> CachedAnswer:
    """What to ask with next time."""
    return CachedAnswer(answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
