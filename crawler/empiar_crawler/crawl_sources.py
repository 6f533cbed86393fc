"""Everything the crawler asks, built from the settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from empiar_crawler.entry_source import EntrySource
from empiar_crawler.sources.base import ListingSource
from empiar_crawler.sources.ftp_list import FtpListing
from empiar_crawler.sources.globus_ls import GlobusListing
from empiar_crawler.sources.https_index import HttpsListing
from empiar_crawler.sources.ranges import Ranges
from empiar_crawler.sources.root_directory import RootDirectory, Way
from empiar_crawler.sources.search import Search
from empiar_crawler.sources.tree import TreeListing
from empiar_schema import crawl_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.settings import ArchiveSettings, CrawlSettings
from empiar_wire.globus_facts import GlobusService
from empiar_wire.hosts import Hosts
from empiar_wire.http import PoliteHttp


@dataclass(frozen=True, slots=True)
class CrawlSources:
    """The ways to ask the archive."""

    search: Search
    #: Given the highest id that the catalogue knows.
    ranges: Callable[[int], Ranges]
    directory: RootDirectory
    entries: EntrySource
    #: In the order in which they are tried.
    listings: Sequence[ListingSource]

    async def aclose(self) -> None:
        """Connections of the listing sources are closed."""
        for listing in self.listings:
            await listing.aclose()

    @classmethod
    def of(
        cls,
        archive: ArchiveSettings,
        crawl: CrawlSettings,
        *,
        http: PoliteHttp,
        hosts: Hosts,
        catalogue: Catalogue,
        globus: GlobusService | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> CrawlSources:
        """The sources at the configured addresses; `hosts` is the one that `http` uses, `globus` is needed where `crawl.listing` names it.

        The catalogue is asked for exact sizes that are known already, so that a page that rounds them costs no HEAD.
        """

        async def known(empiar_id: int, directory: str) -> Mapping[str, tuple[int, int | None]]:
            return await catalogue.read(
                lambda conn: crawl_store.known_exact_sizes(conn, empiar_id, directory)
            )

        ways: dict[str, ListingSource] = {
            "ftp": FtpListing(hosts, archive.ftp_url, now=clock, sleep=sleep),
            "https": HttpsListing(
                http, archive.https_url, exact_sizes=crawl.exact_sizes, known=known, sleep=sleep
            ),
            "tree": TreeListing(http, archive.site_url, sleep=sleep),
        }
        if globus is not None:
            ways["globus"] = GlobusListing(
                globus, archive.globus_collection, archive.globus_path, sleep=sleep
            )
        folder_ways: list[Way] = [name for name in crawl.listing if name == "ftp" or name == "https"]
        return cls(
            search=Search(http, archive.search_url),
            ranges=lambda highest: Ranges(http, archive.api_url, highest_known=highest),
            directory=RootDirectory(
                archive, http=http, hosts=hosts, ways=folder_ways or ["ftp", "https"], clock=clock
            ),
            entries=EntrySource(http, api_url=archive.api_url, https_url=archive.https_url),
            listings=tuple(ways[name] for name in crawl.listing),
        )
