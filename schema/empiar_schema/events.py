"""What happens, in the past tense. Logs, progress bars and later metrics all listen to the same events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from empiar_schema.jobs import JobState
from empiar_schema.states import Channel, CopyState


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; `name` is what logs show."""

    name = "event"


@dataclass(frozen=True, slots=True)
class EntryCrawled(Event):
    """An entry's metadata stands in the catalogue."""

    name = "entry.crawled"
    empiar_id: int
    changed: bool


@dataclass(frozen=True, slots=True)
class EntryAbsent(Event):
    """The archive does not serve this entry."""

    name = "entry.absent"
    empiar_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class ListingProgressed(Event):
    """More of an entry's file listing has been read; nothing of it is in the catalogue yet."""

    name = "listing.progressed"
    empiar_id: int
    directories: int
    files: int


@dataclass(frozen=True, slots=True)
class ListingReplaced(Event):
    """A complete listing stands in the catalogue."""

    name = "listing.replaced"
    empiar_id: int
    source: str
    files: int
    bytes: int
    added: int
    changed: int
    missing: int


@dataclass(frozen=True, slots=True)
class CrawlFailed(Event):
    """One entry or one source failed; the crawl goes on with the others."""

    name = "crawl.failed"
    empiar_id: int | None
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptBegan(Event):
    """A file's bytes begin to come."""

    name = "attempt.began"
    file_id: int
    path: str
    channel: Channel
    size_bytes: int | None
    start_bytes: int


@dataclass(frozen=True, slots=True)
class BytesMoved(Event):
    """Bytes of a file stand in its part file."""

    name = "bytes.moved"
    file_id: int
    count: int


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """An attempt at a file ended without it; `next_state` says what becomes of it, `kind` is the outcome in `transfers`."""

    name = "attempt.failed"
    file_id: int
    path: str
    channel: Channel
    reason: str
    next_state: CopyState
    kind: str = "failed"


@dataclass(frozen=True, slots=True)
class FileArrived(Event):
    """A file is durable at its final path and recorded; the one closing line about it."""

    name = "file.arrived"
    file_id: int
    path: str
    channel: Channel | None
    size_bytes: int
    sha256: str
    attempts: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileGivenUp(Event):
    """A file is parked or quarantined."""

    name = "file.given_up"
    file_id: int
    path: str
    state: CopyState
    reason: str


@dataclass(frozen=True, slots=True)
class FileDamaged(Event):
    """Scrubbing found a file that is not the one on record; `next_state` is wanted where the archive can replace it."""

    name = "file.damaged"
    file_id: int
    path: str
    reason: str
    next_state: CopyState


@dataclass(frozen=True, slots=True)
class ScrubStepTaken(Event):
    """Scrubbing has read a piece of a file (``read``), recorded sound files (``recorded``), or dealt with a damaged one (``damaged``, ``hidden``, ``set_aside``, ``wanted``)."""

    name = "scrub.step_taken"
    file_id: int
    step: str


@dataclass(frozen=True, slots=True)
class ScrubEnded(Event):
    """A run of scrubbing has ended."""

    name = "scrub.ended"
    files: int
    bytes: int
    damaged: int
    why: str


@dataclass(frozen=True, slots=True)
class DerivedDamaged(Event):
    """A derived file does not hold any more; it is made again."""

    name = "derived.damaged"
    empiar_id: int
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class EvictionStepTaken(Event):
    """An eviction has recorded its intent (``intended``), brought an entry's layouts into line (``hidden``), removed files (``removed``), or recorded that (``recorded``)."""

    name = "eviction.step_taken"
    empiar_id: int
    step: str


@dataclass(frozen=True, slots=True)
class EvictionRefused(Event):
    """The service could not make room by itself: a pin or a policy of the configuration is not in order."""

    name = "eviction.refused"
    policy: str
    reason: str


@dataclass(frozen=True, slots=True)
class EntryEvicted(Event):
    """Files of an entry were removed to make room; they can be fetched again."""

    name = "entry.evicted"
    empiar_id: int
    files: int
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class StepTaken(Event):
    """A step of a file's journey is done: ``claimed``, ``transferred``, ``verified``, ``synced``, ``linked``, ``recorded``, ``tidied``."""

    name = "step.taken"
    file_id: int
    step: str


@dataclass(frozen=True, slots=True)
class JobsWanted(Event):
    """A maker has found what it is to make of an entry, and something of it is new or has changed."""

    name = "jobs.wanted"
    empiar_id: int
    maker: str
    jobs: int


@dataclass(frozen=True, slots=True)
class JobMade(Event):
    """A job's products are durable and recorded."""

    name = "job.made"
    job_id: int
    maker: str
    path: str
    products: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class JobFailed(Event):
    """An attempt at a job ended without its products; `next_state` says what becomes of it."""

    name = "job.failed"
    job_id: int
    maker: str
    path: str
    reason: str
    next_state: JobState


@dataclass(frozen=True, slots=True)
class JobStepTaken(Event):
    """A step of a job is done: ``claimed``, ``ran``, ``checked``, ``listed``, ``cleared``, ``placed``, ``recorded``, ``tidied``."""

    name = "job.step_taken"
    job_id: int
    step: str


@dataclass(frozen=True, slots=True)
class WorkLost(Event):
    """A piece of work was lost with the machine that had it; what that machine still says of it does not count."""

    name = "work.lost"
    lease_id: int
    work: str
    subject: str
    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerRefused(Event):
    """A worker of the cluster is given nothing: it is not fit for this mirror."""

    name = "worker.refused"
    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class GlobusTaskSubmitted(Event):
    """The Globus service has taken a task on."""

    name = "globus.submitted"
    task_id: str
    label: str
    files: int
    bytes: int
    link: str


@dataclass(frozen=True, slots=True)
class GlobusTaskProgressed(Event):
    """A Globus task has brought more, or stands otherwise than before."""

    name = "globus.progressed"
    task_id: str
    status: str
    nice_status: str | None
    bytes_transferred: int
    files_transferred: int
    faults: int


@dataclass(frozen=True, slots=True)
class GlobusTaskEnded(Event):
    """A Globus task has ended, and what became of each of its files is recorded; a warning where it has a `reason`."""

    name = "globus.ended"
    task_id: str
    status: str
    delivered: int
    freed: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class GlobusOut(Event):
    """The Globus channel cannot be used for now; what it had goes by another one."""

    name = "globus.out"
    reason: str
    freed: int


@dataclass(frozen=True, slots=True)
class Notified(Event):
    """Somebody has been told of `notices` things of one kind, by ``[notify.NAME]``."""

    name = "notify.sent"
    by: str
    kind: str
    notices: int


@dataclass(frozen=True, slots=True)
class NotifyFailed(Event):
    """A notification could not be delivered and is dropped; the work does not wait for it."""

    name = "notify.failed"
    by: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class SubscriptionMatched(Event):
    """A subscription has made something wanted that was not before."""

    name = "subscription.matched"
    subscription: str
    entries: tuple[int, ...]
    files: int


@dataclass(frozen=True, slots=True)
class SubscriptionLate(Event):
    """What the subscription wants was to be here by now, and so many bytes of it are not."""

    name = "subscription.late"
    subscription: str
    #: When its earliest deadline ended, epoch seconds.
    due: int
    bytes_left: int


@dataclass(frozen=True, slots=True)
class SubscriptionHeld(Event):
    """A subscription rests until somebody resumes it: its query broke, or its result is not to be trusted."""

    name = "subscription.held"
    subscription: str
    reason: str


#: What `Paused.until` says where work waits for space on the disk.
UNTIL_SPACE: Final = "there is space again"


@dataclass(frozen=True, slots=True)
class Paused(Event):
    """Work rests: a full disk, a host that is down. `until` says what it waits for."""

    name = "paused"
    reason: str
    until: str


@dataclass(frozen=True, slots=True)
class ConnectionsAllowed(Event):
    """So many connections of a channel are used from now on, of `ceiling`; `reason` says what has changed the number, and nothing where a transfer begins with it."""

    name = "connections.allowed"
    channel: Channel
    host: str
    connections: int
    ceiling: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class LimitsInForce(Event):
    """From now on transfers get so many bytes a second (None: no limit) over so many connections; `rests` says what they wait for, where nothing may come at all."""

    name = "limits.in_force"
    bytes_per_s: int | None
    connections: int
    rests: str | None


@dataclass(frozen=True, slots=True)
class ConfigurationRead(Event):
    """A running service has read its configuration anew; a warning with its reason where it is wrong, not `in_force`, and the one before stays, or where a key of it needs another start."""

    name = "configuration.read"
    in_force: bool
    reason: str | None


class Observer(Protocol):
    """Listens to events. Must be quick and must not raise."""

    def __call__(self, event: Event) -> None:
        """Takes one event."""


def nobody(event: Event) -> None:
    """The observer that does not care."""
