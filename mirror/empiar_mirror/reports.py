"""What the long commands did, for people and for `--json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from empiar_schema.jobs import JobState
from empiar_schema.states import CopyState


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that is not as it should be: ``10017/data/a.mrc``, its state, and why."""

    path: str
    state: CopyState
    error: str


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A derived file that could not be made: of what (``10017/data/a.tif``), by whom, and why."""

    path: str
    maker: str
    state: JobState
    error: str


@dataclass(frozen=True, slots=True)
class MakeReport:
    """What the makers made."""

    made: int = 0
    products: int = 0
    failed: tuple[FailedJob, ...] = ()
    #: Deposited files whose bytes a program changed; `repair` fetches them again.
    damaged: int = 0
    #: Stopped by a signal; what was begun is begun anew.
    stopped: bool = False

    def __add__(self, other: MakeReport) -> MakeReport:
        """Both, one after the other."""
        return MakeReport(
            self.made + other.made,
            self.products + other.products,
            self.failed + other.failed,
            self.damaged + other.damaged,
            self.stopped or other.stopped,
        )


@dataclass(frozen=True, slots=True)
class BagReport:
    """The bags that were written, and sentences about those that could not be."""

    bags: tuple[Path, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportedEntry:
    """How imported labels found the micrographs of an entry."""

    empiar_id: int
    particles: int
    annotated_micrographs: int
    #: Names in the labels without a micrograph here, and micrographs here without labels; the report file names them.
    unmatched_labels: int
    unmatched_micrographs: int
    orientation: str | None
    report: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import of labels brought."""

    entries: tuple[ImportedEntry, ...]
    #: Entries of the tree of which no file is here.
    not_here: tuple[int, ...]
    notes: tuple[str, ...]
    making: MakeReport


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What a transfer brought."""

    arrived: int
    bytes_moved: int
    already_here: int
    failed: tuple[FailedFile, ...]
    #: Arranged files by view.
    arranged: dict[str, int] = field(default_factory=dict)
    #: Files and bytes that Globus transferred to storage that is not visible here, now or earlier, and that are not verified.
    unverified: int = 0
    unverified_bytes: int = 0
    #: Files that were evicted and that nobody has recalled.
    evicted: int = 0
    #: What was made of the files that are here; nothing where no maker is configured.
    making: MakeReport = field(default_factory=MakeReport)
    #: Stopped by a signal; what was begun is kept.
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What re-reading found."""

    checked: int
    bytes_read: int
    damaged: tuple[FailedFile, ...]
    #: Derived files that were read, too; those of them that are damaged stand among the others.
    derived: int = 0
    stopped: bool = False
    #: What stands in the archive's folders and no record accounts for. It is left alone.
    strangers: tuple[str, ...] = ()

    def __add__(self, other: VerifyReport) -> VerifyReport:
        return VerifyReport(
            self.checked + other.checked,
            self.bytes_read + other.bytes_read,
            self.damaged + other.damaged,
            self.derived + other.derived,
            stopped=self.stopped or other.stopped,
            strangers=self.strangers + other.strangers,
        )


class ScrubEnd(StrEnum):
    """Why a run of scrubbing ended."""

    NOTHING_DUE = "nothing is due"
    HOURS = "outside scrub.hours"
    ASKED = "told to end"


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """What one run of scrubbing read and found."""

    checked: int
    bytes_read: int
    #: Named with why; those in state `wanted` come again with the next transfer, the others are listed by EMPIAR no longer.
    damaged: tuple[FailedFile, ...]
    #: Damaged before, found sound now.
    restored: int
    ended: ScrubEnd
    #: When the copy that waits longest was last proven; None where nothing is here.
    oldest_proof: str | None
    #: Whether a pass at this rate and within these hours takes longer than `scrub.period`.
    too_slow: bool = False


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What was put in order at the start, after a process that had ended anyhow."""

    #: Linked but not recorded: recorded now.
    finished: int = 0
    #: Claims given back, with and without a partial that is kept.
    resumable: int = 0
    given_back: int = 0
    #: Part files that belong to no claim.
    discarded: int = 0
    #: Jobs on files here that had been begun; they begin anew.
    jobs_given_back: int = 0
