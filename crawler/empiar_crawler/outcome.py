"""What a crawl came to, and which failures are the archive's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from empiar_schema.faults import BadAnswer, EmpiarMirrorError, TransferFault, TransientFault, UnreachableFault

#: Failures of the archive or of the way to it. They end one entry or one source; everything else (a full disk, a
#: locked catalogue) ends the crawl.
ARCHIVE_FAULTS: Final = (BadAnswer, TransferFault, UnreachableFault)


def is_unreachable(fault: BaseException) -> bool:
    """Whether the fault says that nothing reached the server at all, after all retries."""
    return isinstance(fault, UnreachableFault) or (isinstance(fault, TransientFault) and fault.host_down)


@dataclass(slots=True)
class CrawlReport:
    """The result of one crawl, in numbers of entries."""

    #: Which enumeration named the entries; None when ids were given or none answered.
    enumerated_by: str | None = None
    #: Entries whose metadata was confirmed or recorded.
    entries: int = 0
    #: Entries with a new complete listing.
    listed: int = 0
    #: Entries that were listed because it was their turn in the sweep.
    swept: int = 0
    #: Entries whose metadata and listing both stood as they were.
    unchanged: int = 0
    #: Entries that the archive does not serve.
    absent: int = 0
    #: Entries that could not be crawled, with the reason for people.
    failed: dict[int, str] = field(default_factory=dict)
    #: Enumerations that did not answer sensibly, with the reason.
    sources_failed: dict[str, str] = field(default_factory=dict)
    #: Whether anything that failed did so by an answer, however senseless, and not for want of one.
    answered: bool = False
    #: Why the crawl ended before its last entry (the archive went away, quiet hours began); what is left is still due.
    stopped: str | None = None

    @property
    def complete(self) -> bool:
        """Whether everything that was due is done."""
        return not self.failed and self.stopped is None


def reason(fault: EmpiarMirrorError) -> str:
    """The fault as a line for people."""
    return f"{fault}; {fault.hint}" if fault.hint else str(fault)
