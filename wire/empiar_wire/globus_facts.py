"""What is said to the Globus Transfer service, and what it says, in words of our own.

Facts of the service: https://docs.globus.org/api/transfer/ (task documents, submission, task behaviour).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

T = TypeVar("T")

#: `operation_ls` refuses directories with more names.
LARGEST_LISTING: Final = 100_000
#: Of an account: tasks that are worked on at once, and tasks that may exist unfinished.
ACTIVE_TASKS: Final = 3
PENDING_TASKS: Final = 100
LABEL_LENGTH: Final = 128
#: What the service records for a task that somebody cancelled.
CANCELED: Final = "CANCELED"


class TaskStatus(StrEnum):
    """The one word of a task document."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the task."""
        return self in (TaskStatus.SUCCEEDED, TaskStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Task:
    """One task of the account, as the service describes it. Numbers that it leaves out are 0."""

    task_id: str
    status: TaskStatus
    label: str
    #: ``OK``, ``Queued``, or the code of the error met last (``FILE_NOT_FOUND``, ``PERMISSION_DENIED``, …).
    nice_status: str | None
    is_paused: bool
    bytes_transferred: int
    files: int
    files_transferred: int
    files_skipped: int
    #: Errors met so far, each tried again by the service.
    faults: int
    #: Why it failed for good: code and sentence; None before.
    fatal_code: str | None
    fatal_text: str | None
    submitted_at: float | None
    deadline_at: float | None
    ended_at: float | None
    kind: str = "TRANSFER"

    @property
    def queued(self) -> bool:
        """Whether it waits for one of the account's three places."""
        return self.status is TaskStatus.ACTIVE and self.nice_status == "Queued"


@dataclass(frozen=True, slots=True)
class TransferItem:
    """One file, or with `recursive` one folder, to be copied. Paths are those of the collections, without a slash at the end."""

    source: str
    destination: str
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class FilterRule:
    """Which names recursive items leave out (``exclude``) or take (``include``); of several the first that matches counts."""

    method: str
    #: A shell pattern on the name alone, such as ``*.jpg``.
    name: str
    #: ``file``, ``dir``; None for both.
    type: str | None = "file"


@dataclass(frozen=True, slots=True)
class Submission:
    """A transfer to be submitted; the same `submission_id` twice makes one task."""

    submission_id: str
    label: str
    source_collection: str
    destination_collection: str
    items: Sequence[TransferItem]
    filters: Sequence[FilterRule] = ()
    #: None copies everything; ``checksum`` passes over files whose bytes are there already.
    sync_level: str | None = None
    #: Seconds from the service's now, by its own clock, until it gives up.
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A file that a task has copied: its two paths."""

    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that a task has passed over, and why."""

    source: str
    destination: str | None
    code: str
    details: str


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One line of a task's history."""

    at: float
    code: str
    is_error: bool
    details: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, and the marker that asks for the next part; None with the last."""

    items: tuple[T, ...]
    next_marker: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """One name in a folder of a collection. `kind` is ``file``, ``dir``, or what else the service says (``invalid_symlink``)."""

    name: str
    kind: str
    size: int
    modified_at: int | None
    link_target: str | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """What the service tells of a collection."""

    collection_id: str
    display_name: str
    #: ``GCSv5_mapped_collection``, ``GCSv5_guest_collection``, ``GCP_mapped_collection``, …
    entity_type: str
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose account it is."""

    username: str
    name: str
    identity_id: str
    email: str | None = None


class GlobusService(Protocol):
    """The Transfer service for one account.

    Every call raises `TransientFault` where the same call may succeed later (the network, 429, 502, 503, with `retry_after_s`
    where the service said it), `AccountFault` where a person must do something (log in again, give a consent,
    a permission that lacks, a collection that is gone), and `PermanentFault` for what the service refuses for good
    (`absent` for 404 of a path or a task).
    """

    async def submission_id(self) -> str:
        """A new id, with which one transfer may be submitted once."""

    async def submit(self, submission: Submission) -> str:
        """The id of the task, new or, with a submission id that was used before, the one of then."""

    async def task(self, task_id: str) -> Task:
        """How the task stands."""

    async def unfinished(self) -> list[Task]:
        """All transfer tasks of the account that are active or inactive, whoever submitted them."""

    async def labelled(self, label: str) -> list[Task]:
        """Tasks of the account with exactly this label, the latest first."""

    async def cancel(self, task_id: str) -> None:
        """The service has been told to cancel; a task that has ended already stays as it is."""

    async def moved(self, task_id: str, marker: str | None = None) -> Page[Moved]:
        """A page of the files that the task has copied so far. Files that a sync level passed over are not among them."""

    async def skipped(self, task_id: str, marker: str | None = None) -> Page[Skipped]:
        """A page of the paths that the task has passed over because of errors at the source."""

    async def events(self, task_id: str, *, limit: int = 20) -> list[TaskEvent]:
        """The latest events of the task, the newest first."""

    async def ls(self, collection: str, path: str) -> list[Listed]:
        """All names in a folder.

        Raises:
            BadAnswer: there are more than the service lists.
        """

    async def stat(self, collection: str, path: str) -> Listed:
        """One file or folder."""

    async def mkdir(self, collection: str, path: str) -> None:
        """The folder is there; its parents must be. One that is there already is no fault."""

    async def collection(self, collection: str) -> Collection:
        """What the service tells of a collection."""

    async def whoami(self) -> Identity:
        """Whose account this is."""

    async def aclose(self) -> None:
        """Connections and threads are closed."""
