"""What Prometheus reads of a mirror: counters fed by events, gauges fed by figures. No path and no entry is a label."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector

from empiar_mirror.metrics.figures import Figures, SlowFigures
from empiar_mirror.progress import is_progress
from empiar_mirror.status import Health
from empiar_schema import events
from empiar_schema.events import Event
from empiar_schema.settings import Settings
from empiar_schema.states import Channel, CopyState

#: Every metric's name begins with this.
PREFIX: Final = "empiar_mirror_"
#: How an attempt may fail: the words of `transfers.outcome`.
FAILURE_KINDS: Final = ("failed", "stalled", "changed", "damaged")
#: What EMDB can have said of a map: the numbers of `EmdbStanding`.
EMDB_STATES: Final = ("known", "waiting", "absent", "failed")
#: Channel of a file whose record a crash had delayed: its bytes stood at their place before this process began.
RECOVERED: Final = "recovered"


@dataclass(slots=True)
class _Moved:
    """By which channel each unfinished file comes, and how far each Globus task was when it last told."""

    channels: dict[int, Channel]
    task_bytes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric for people. A counter's samples have `_total` behind the name."""

    name: str
    #: ``counter``, ``gauge`` or ``info``.
    kind: str
    sentence: str
    labels: tuple[str, ...]


class Instruments:
    """All metrics of one mirror in a registry of their own. It is an observer; threads may call it."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._moved = _Moved({}, {})
        self._described: list[Metric] = []
        self._make_counters()
        self._make_gauges()
        ProcessCollector(registry=self.registry)

    # --- what they are ------------------------------------------------------------------------------------

    def _make_counters(self) -> None:
        self._bytes = self._counter("bytes", "Bytes of files that came, by channel.", "channel")
        self._arrived = self._counter("files_arrived", "Files verified, durable and recorded.", "channel")
        self._attempts = self._counter("attempts", "Attempts at files that began.", "channel")
        self._failures = self._counter(
            "attempt_failures",
            "Attempts that ended without the file; the kind `stalled` is a stall.",
            "channel",
            "kind",
        )
        self._given_up = self._counter("files_given_up", "Files parked or quarantined.", "state")
        self._crawled = self._counter("entries_crawled", "Entries whose metadata was read.")
        self._listed = self._counter("listings", "Complete file listings that were recorded.")
        self._crawl_failures = self._counter(
            "crawl_failures", "Entries or sources that could not be crawled."
        )
        self._jobs_made = self._counter("jobs_made", "Jobs of makers that brought their products.")
        self._job_failures = self._counter("job_failures", "Attempts at jobs that failed.")
        self._pauses = self._counter("pauses", "Times that work came to rest, for space or for a service.")
        self._tasks_ended = self._counter(
            "globus_tasks_ended", "Globus tasks that ended with all they should bring, or short of it.", "end"
        )
        for channel in Channel:
            self._bytes.labels(channel)
            self._attempts.labels(channel)
            self._arrived.labels(channel)
            for kind in FAILURE_KINDS:
                self._failures.labels(channel, kind)
        for state in (CopyState.PARKED, CopyState.QUARANTINED):
            self._given_up.labels(state)
        for end in ("complete", "short"):
            self._tasks_ended.labels(end)

    def _make_gauges(self) -> None:
        gauge = self._gauge
        gauge("up", "1 while the process runs.").set(1)
        build = {"version": version("empiar-mirror"), "python": platform.python_version()}
        Info(f"{PREFIX}build", "Version of the program, always 1.", registry=self.registry).info(build)
        self._described.append(
            Metric(f"{PREFIX}build_info", "info", "Version of the program, always 1.", tuple(build))
        )
        self._progressed = gauge("last_progress_timestamp_seconds", "When anything last got on.")
        self._progressed.set(self._clock())
        self._read = gauge("figures_timestamp_seconds", "When catalogue and disk were last read.")
        self._standstill = gauge("standstill", "Reasons why work that could go on does not.")
        self._attention = gauge("attention", "Reasons why a person, or space, is needed.")
        self._queue_files = gauge("queue_files", "Files by the state of their copies.", "state")
        self._queue_bytes = gauge("queue_bytes", "Their bytes, as far as known.", "state")
        self._disk_total = gauge("disk_total_bytes", "Size of the file system of root.")
        self._disk_free = gauge("disk_free_bytes", "Free for the mirror's user.")
        self._disk_allowed = gauge("disk_allowed_bytes", "What watermark and quota still allow.")
        self._crawl_lag = gauge(
            "crawl_lag_seconds", "Since the longest waiting of the due entries was looked at."
        )
        self._crawl_interval = gauge("crawl_interval_seconds", "crawl.interval of the configuration.")
        self._sweep_lag = gauge("sweep_lag_seconds", "Since the oldest of all file listings was read.")
        self._relist = gauge("crawl_relist_seconds", "crawl.relist of the configuration.")
        self._scrub_lag = gauge(
            "scrub_lag_seconds", "Since the file that waited longest was verified in full."
        )
        self._scrub_period = gauge("scrub_period_seconds", "scrub.period of the configuration.")
        self._oldest_wanted = gauge("oldest_wanted_seconds", "Since the longest waiting file was asked for.")
        self._emdb_maps = gauge(
            "emdb_maps", "Maps that entries name, by what EMDB has said of them.", "state"
        )
        self._emdb_asked = gauge("emdb_asked_timestamp_seconds", "When EMDB last answered; 0 before it did.")
        self._globus_tasks = gauge("globus_tasks", "Globus tasks that have not ended.", "state")
        self._jobs = gauge("jobs", "Jobs of makers.", "state")
        self._connections = gauge(
            "connections_allowed", "Connections that may be used now, by what the server bears.", "channel"
        )
        self._bandwidth = gauge(
            "bandwidth_limit_bytes_per_second",
            "Limit for all transfers now: 0 where nothing may come, +Inf without a limit.",
        )
        self._bandwidth.set(math.inf)

    def _counter(self, name: str, sentence: str, *labels: str) -> Counter:
        self._described.append(Metric(PREFIX + name, "counter", sentence, labels))
        return Counter(PREFIX + name, sentence, labels, registry=self.registry)

    def _gauge(self, name: str, sentence: str, *labels: str) -> Gauge:
        self._described.append(Metric(PREFIX + name, "gauge", sentence, labels))
        return Gauge(PREFIX + name, sentence, labels, registry=self.registry)

    def described(self) -> tuple[Metric, ...]:
        """Our own metrics, for documentation; the registry has some of the process besides."""
        return tuple(self._described)

    # --- what feeds them ----------------------------------------------------------------------------------

    def __call__(self, event: Event) -> None:
        """The counters hold the event."""
        if is_progress(event):
            self._progressed.set(self._clock())
        match event:
            case events.BytesMoved():
                self._bytes_moved(event)
            case events.GlobusTaskSubmitted() | events.GlobusTaskProgressed() | events.GlobusTaskEnded():
                self._globus_went_on(event)
            case events.AttemptBegan() | events.AttemptFailed() | events.FileArrived() | events.FileGivenUp():
                self._file_went_on(event)
            case events.EntryCrawled():
                self._crawled.inc()
            case events.ListingReplaced():
                self._listed.inc()
            case events.CrawlFailed():
                self._crawl_failures.inc()
            case events.JobMade():
                self._jobs_made.inc()
            case events.JobFailed():
                self._job_failures.inc()
            case events.Paused():
                self._pauses.inc()
            case events.ConnectionsAllowed():
                self._connections.labels(event.channel).set(event.connections)
            case events.LimitsInForce():
                rate = 0 if event.rests else event.bytes_per_s
                self._bandwidth.set(math.inf if rate is None else rate)

    def _bytes_moved(self, event: events.BytesMoved) -> None:
        channel = self._moved.channels.get(event.file_id)
        # What Globus has delivered is only read here; its bytes came when the task told of them.
        if channel is not None and channel is not Channel.GLOBUS:
            self._bytes.labels(channel).inc(event.count)

    def _file_went_on(
        self,
        event: events.AttemptBegan | events.AttemptFailed | events.FileArrived | events.FileGivenUp,
    ) -> None:
        match event:
            case events.AttemptBegan():
                self._moved.channels[event.file_id] = event.channel
                self._attempts.labels(event.channel).inc()
            case events.AttemptFailed():
                # The file's other connections may still bring bytes, so its channel stays known.
                self._failures.labels(event.channel, event.kind).inc()
            case events.FileArrived():
                self._moved.channels.pop(event.file_id, None)
                self._arrived.labels(event.channel or RECOVERED).inc()
            case events.FileGivenUp():
                self._moved.channels.pop(event.file_id, None)
                self._given_up.labels(event.state).inc()

    def _globus_went_on(
        self, event: events.GlobusTaskSubmitted | events.GlobusTaskProgressed | events.GlobusTaskEnded
    ) -> None:
        told = self._moved.task_bytes
        match event:
            case events.GlobusTaskSubmitted():
                told[event.task_id] = 0
            case events.GlobusTaskProgressed():
                # Of a task that an earlier process submitted, what it had brought by then is not this one's.
                before = told.get(event.task_id, event.bytes_transferred)
                self._bytes.labels(Channel.GLOBUS).inc(max(0, event.bytes_transferred - before))
                told[event.task_id] = max(before, event.bytes_transferred)
            case events.GlobusTaskEnded():
                told.pop(event.task_id, None)
                self._tasks_ended.labels("short" if event.reason else "complete").inc()

    def show(self, figures: Figures, settings: Settings, *, now: float) -> None:
        """The gauges hold these figures, read at `now`, epoch seconds."""
        self._read.set(now)
        for state, (files, size) in figures.queue.items():
            self._queue_files.labels(state).set(files)
            self._queue_bytes.labels(state).set(size)
        self._disk_total.set(figures.room.total)
        self._disk_free.set(figures.room.free)
        self._disk_allowed.set(figures.room.allowed)
        self._crawl_lag.set(figures.crawl_lag_s)
        self._crawl_interval.set(settings.crawl.interval)
        self._sweep_lag.set(figures.sweep_lag_s)
        self._relist.set(settings.crawl.relist)
        self._scrub_period.set(settings.scrub.period)
        for emdb_state in EMDB_STATES:
            self._emdb_maps.labels(emdb_state).set(getattr(figures.emdb, emdb_state))
        self._emdb_asked.set(figures.emdb.asked_at or 0)
        for task_state, count in figures.globus_tasks.items():
            self._globus_tasks.labels(task_state).set(count)

    def show_slow(self, figures: SlowFigures) -> None:
        """The gauges hold these figures."""
        self._scrub_lag.set(figures.scrub_lag_s)
        self._oldest_wanted.set(figures.oldest_wanted_s)
        for state, count in figures.jobs.items():
            self._jobs.labels(state).set(count)

    def show_health(self, health: Health) -> None:
        """The gauges hold this judgement."""
        self._standstill.set(len(health.standstill))
        self._attention.set(len(health.attention))
