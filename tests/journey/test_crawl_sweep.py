"""The slow sweep, and a crawl that may not go on."""

from __future__ import annotations

from pathlib import Path

from crawl_bench import DAY_S, NOW, bench
from empiar_mirror.rehearsal.faults import Fault, FaultKind
from empiar_schema.events import ListingReplaced


async def test_listings_are_read_anew_evenly_oldest_first_and_behind_what_changed(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        # One connection, so that entries come one after the other.
        slowly = {"relist": 14 * DAY_S, "connections": 1}
        b.crawler._settings = b.crawler._settings.model_copy(update=slowly)
        await b.crawl()
        swept = 0
        for _ in range(16):
            b.now += DAY_S
            report = await b.crawler.crawl(None, every_s=DAY_S)
            assert report.swept <= 2, "never in one burst"
            assert report.failed == {}
            swept += report.swept
        times = b.pairs("SELECT empiar_id, unixepoch(listed_at) FROM entries WHERE listed_at IS NOT NULL")
        assert swept >= len(times)
        assert all(isinstance(at, int) and b.now - at <= 15 * DAY_S for at in times.values())

        b.now += 3 * DAY_S
        b.rehearsal.archive.touch_record(10101, "2026-12-07")  # by this clock
        b.events.clear()
        await b.crawl()
        listed = [event.empiar_id for event in b.events if isinstance(event, ListingReplaced)]
        assert listed[0] == 10101
        assert len(listed) >= 2


async def test_no_entry_is_begun_once_the_crawl_may_not_go_on_and_the_rest_stays_due(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        report = await b.crawler.crawl(None, may_go_on=lambda: len(b.events) < 5)
        assert 0 < report.entries < 15
        assert report.stopped == "quiet hours have begun"
        assert (await b.crawl()).entries == 15 - report.entries


async def test_an_entry_that_cannot_be_listed_does_not_hold_up_the_sweep(tmp_path: Path) -> None:
    async with bench(tmp_path, tries=1) as b:
        await b.crawl()
        oldest = b.rows(
            "SELECT empiar_id FROM entries WHERE listed_at IS NOT NULL ORDER BY listed_at, 1 LIMIT 1"
        )
        broken = str(oldest[0][0])
        for match in (f"entry/{broken}", f"*{broken}.xml"):
            b.rehearsal.book.add(Fault(kind=FaultKind.STATUS, match=match, times=None, value="500"))
        b.crawler._settings = b.crawler._settings.model_copy(update={"relist": 14 * DAY_S})
        for _ in range(16):
            b.now += DAY_S
            await b.crawl()
        old = b.rows("SELECT empiar_id FROM entries WHERE unixepoch(listed_at) < ?", NOW + DAY_S)
        assert [str(row[0]) for row in old] == [broken]
