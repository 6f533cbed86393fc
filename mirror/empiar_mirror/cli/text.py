"""Facts as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from empiar_schema.sizes import format_bytes

if TYPE_CHECKING:
    from empiar_mirror.probe import ProbeReport
    from empiar_mirror.reports import FailedFile, MakeReport
    from empiar_mirror.syncing import SyncReport

#: So many failed files are named; `--json` names all.
NAMED: Final = 20


def duration(seconds: float) -> str:
    """90 → ``2 min``; two units at most."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if days < 30 else f"{days} days"


def rate(bytes_per_s: float) -> str:
    """Bytes per second, binary units."""
    return f"{format_bytes(bytes_per_s)}/s"


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 file``, ``2,000 files``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def one_line(text: str) -> str:
    """Text of the archive for a terminal: on one line, and nothing in it that the terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def failures(files: Sequence[FailedFile], word: str) -> Iterator[str]:
    """The first failed files by name, and how many more there are."""
    if not files:
        return
    yield f"{count(len(files), 'file')} {word}:"
    for file in files[:NAMED]:
        yield f"  {file.path}  {file.state}: {file.error}"
    if len(files) > NAMED:
        yield f"  … and {len(files) - NAMED:,} more; --json names all"


class Crawled(Protocol):
    """What of a crawl's report is told; the crawler's own class is none of the command line's business."""

    @property
    def entries(self) -> int:
        """How many entries' metadata were read."""

    @property
    def listed(self) -> int:
        """How many entries' files were listed."""

    @property
    def unchanged(self) -> int:
        """How many were found as they were."""

    @property
    def failed(self) -> dict[int, str]:
        """Entries that could not be crawled, and why."""

    @property
    def sources_failed(self) -> dict[str, str]:
        """Enumerations that did not answer sensibly, and why."""

    @property
    def absent(self) -> int:
        """How many entries the archive does not serve."""

    @property
    def stopped(self) -> str | None:
        """Why the crawl ended before its last entry."""


class AskedForMaps(Protocol):
    """What of a report on EMDB is told, as `Crawled`."""

    @property
    def due(self) -> int:
        """How many maps were due."""

    @property
    def recorded(self) -> int:
        """Of how many EMDB said something new."""

    @property
    def unchanged(self) -> int:
        """Of how many it said the same as before."""

    @property
    def absent(self) -> int:
        """How many it does not serve."""

    @property
    def failed(self) -> dict[str, str]:
        """Maps for which it gave no answer that makes sense, and why."""

    @property
    def stopped(self) -> str | None:
        """Why it was asked no further."""


def crawl_failures(report: Crawled) -> Iterator[str]:
    """What a crawl could not read."""
    for empiar_id, reason in sorted(report.failed.items()):
        yield f"EMPIAR-{empiar_id} failed: {reason}"
    for source, reason in report.sources_failed.items():
        yield f"the enumeration by {source} failed: {reason}"
    if report.absent:
        yield f"{count(report.absent, 'entry', 'entries')} not served by the archive"
    if report.stopped:
        yield f"the crawl ended early: {report.stopped}; the rest stays due"


def probe_report(report: ProbeReport) -> Iterator[str]:
    """What a look at headers brought."""
    families = count(report.families, "family of images", "families of images")
    yield f"{families}, {report.probed:,} looked at, {format_bytes(report.bytes_read)} read"
    for path, reason in sorted(report.failed.items())[:NAMED]:
        yield f"  {path} could not be looked at: {reason}"


def sync_report(report: SyncReport) -> Iterator[str]:
    """What a sync or a repair did."""
    transfer = report.transfer
    yield f"{count(transfer.arrived, 'file')} arrived, {format_bytes(transfer.bytes_moved)} moved, {transfer.already_here:,} were here already"
    if transfer.unverified:
        yield (
            f"{count(transfer.unverified, 'file')}, {format_bytes(transfer.unverified_bytes)}, transferred by Globus and not verified:"
            " run `empiar-mirror verify` where their storage is"
        )
    if transfer.evicted:
        yield f"{count(transfer.evicted, 'file')} stay evicted: `empiar-mirror recall` has them fetched again"
    yield from make_report(transfer.making)
    for view, files in transfer.arranged.items():
        yield f"{count(files, 'file')} in the layout datasets/{view}"
    if report.crawl is not None:
        yield from crawl_failures(report.crawl)
    yield from failures(transfer.failed, "failed")


def make_report(report: MakeReport) -> Iterator[str]:
    """What the makers made, and what they could not; nothing where nothing was to be made."""
    if report.made:
        yield f"{count(report.products, 'derived file')} made of {count(report.made, 'file')}"
    if report.failed:
        yield f"{count(len(report.failed), 'derived file')} could not be made:"
    for job in report.failed[:NAMED]:
        yield f"  {job.path} by {job.maker}  {job.state}: {job.error}"
    if len(report.failed) > NAMED:
        yield f"  … and {len(report.failed) - NAMED:,} more; --json names all"
    if report.damaged:
        yield f"{count(report.damaged, 'file')} damaged by a program: `empiar-mirror repair` fetches them again"
