"""Tells everybody of ``[notify.NAME]`` what happens, beside the work and never in its way."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from empiar_mirror.notify.command import CommandWay
from empiar_mirror.notify.gathering import Gathering, Message
from empiar_mirror.notify.mail import MailWay
from empiar_mirror.notify.news import EntryStanding, Notice, Standing, news, notice_of, summary, unready_news
from empiar_mirror.notify.way import NotDelivered, Way
from empiar_mirror.notify.webhook import WebhookWay
from empiar_schema.configuration import variable_of
from empiar_schema.events import Event, Notified, NotifyFailed, Observer
from empiar_schema.faults import ConfigFault
from empiar_schema.notify_settings import NoticeKind, NotifySettings
from empiar_schema.settings import Settings
from empiar_schema.states import CopyState

if TYPE_CHECKING:
    from empiar_mirror.metrics.monitor import Look

#: Tries of one message, with a wait that quadruples: two minutes in all.
TRIES: Final = 4
FIRST_WAIT_S: Final = 5.0
#: So many messages wait for one somebody; what comes then is dropped, and said in the log.
WAITING: Final = 100
#: How often it is looked whether gathered notices may be sent, in seconds.
LOOK_S: Final = 1.0


@dataclass(slots=True)
class _Somebody:
    """One ``[notify.NAME]``, and the messages that wait for it."""

    name: str
    settings: NotifySettings
    kinds: frozenset[NoticeKind]
    way: Way
    waiting: asyncio.Queue[Message] = field(default_factory=lambda: asyncio.Queue(WAITING))
    serving: asyncio.Task[None] | None = None


def way_of(name: str, settings: NotifySettings) -> Way:
    """The way that ``[notify.NAME]`` describes.

    Raises:
        ConfigFault: the environment lacks the webhook's address.
    """
    match settings.kind:
        case "command":
            return CommandWay(settings.command, timeout_s=settings.timeout)
        case "webhook":
            if settings.url is None:
                raise ConfigFault(
                    f"notify.{name} has no address",
                    hint=f"set {variable_of(f'notify.{name}.url')} in the daemon's environment",
                )
            return WebhookWay(settings.url, timeout_s=settings.timeout)
        case "email":
            return MailWay(settings)


def people_of(settings: Settings) -> dict[str, _Somebody]:
    """Everybody who is told, by name.

    Raises:
        ConfigFault: the environment lacks a webhook's address.
    """
    return {
        name: _Somebody(name, one, frozenset(one.events), way_of(name, one))
        for name, one in settings.notify.items()
        if one.enabled
    }


class Notifier:
    """Watches the mirror's looks and events, and sends messages. It is an observer; `run` does the sending."""

    def __init__(
        self,
        settings: Settings,
        *,
        observer: Observer,
        clock: Callable[[], float] = time.time,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        """`observer` is told what was sent and what could not be: for the log.

        Raises:
            ConfigFault: the environment lacks a webhook's address.
        """
        self._people = people_of(settings)
        self._running = False
        self._mirror = name_of(settings)
        self._observer = observer
        self._clock = clock
        self._first_wait_s = first_wait_s
        self._gathering = Gathering(every_s=settings.daemon.notify_every)
        self._summary_at = settings.daemon.summary_at
        self._standing: Standing | None = None
        self._unready: tuple[str, ...] | None = None
        self._summed: Standing | None = None
        self._next_summary = next_time_of_day(self._summary_at, clock())

    def apply(self, settings: Settings) -> None:
        """The configuration is another: new people are told from now on, those who are gone no more. What waits for the others is kept.

        Raises:
            ConfigFault: the environment lacks a webhook's address; nothing has changed.
        """
        before, new = self._people, people_of(settings)
        kept = {
            name: one for name, one in before.items() if name in new and new[name].settings == one.settings
        }
        for name in before.keys() - kept.keys():
            if (serving := before[name].serving) is not None:
                serving.cancel()
        self._people = new | kept
        self._gathering.every_s = settings.daemon.notify_every
        if self._summary_at != settings.daemon.summary_at:
            self._summary_at = settings.daemon.summary_at
            self._next_summary = next_time_of_day(self._summary_at, self._clock())
        self._serve_everybody()

    def __call__(self, event: Event) -> None:
        """What the event tells waits to be sent. May be called in the event loop only."""
        if (notice := notice_of(event)) is not None:
            self.tell(notice)

    def tell(self, *notices: Notice) -> None:
        """They wait to be sent: for those who know of something that no look shows."""
        self._gathering.add(notices)

    def looked(self, look: Look) -> None:
        """What has changed since the look before waits to be sent."""
        if self._unready is not None:
            self.tell(*unready_news(self._unready, look.unready))
        self._unready = look.unready
        if (standing := standing_of(look)) is None:
            return
        self.tell(*news(self._standing, standing))
        self._standing = standing
        if self._summed is None:
            self._summed = standing
        elif look.at >= self._next_summary or look.at < self._next_summary - LONGEST_DAY_S:
            self.tell(summary(self._summed, standing))
            self._summed = standing
            self._next_summary = next_time_of_day(self._summary_at, look.at)

    async def run(self) -> None:
        """Sends until it is cancelled; what could not be sent by then is dropped."""
        self._running = True
        self._serve_everybody()
        try:
            while True:
                self.give_out()
                await asyncio.sleep(LOOK_S)
        finally:
            self._running = False
            serving = [one.serving for one in self._people.values() if one.serving is not None]
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

    def _serve_everybody(self) -> None:
        """Each has a task that sends; not before `run`."""
        if self._running:
            for one in self._people.values():
                one.serving = one.serving or asyncio.create_task(self._serve(one))

    def give_out(self) -> None:
        """What may be sent now waits for those who want it."""
        now = self._clock()
        for kind, notices, more in self._gathering.due(now):
            message = Message(kind, self._mirror, now, notices, more)
            for somebody in self._people.values():
                if kind not in somebody.kinds:
                    continue
                try:
                    somebody.waiting.put_nowait(message)
                except asyncio.QueueFull:
                    reason = f"{WAITING} messages wait for it already"
                    self._observer(NotifyFailed(somebody.name, kind.value, reason))

    async def _serve(self, somebody: _Somebody) -> None:
        while True:
            message = await somebody.waiting.get()
            try:
                await self._delivered(somebody.way, message)
            except NotDelivered as reason:
                self._observer(NotifyFailed(somebody.name, message.kind.value, str(reason)))
            except Exception as error:  # a defect of a way must not end the work
                reason_text = f"an unforeseen {type(error).__name__}"
                self._observer(NotifyFailed(somebody.name, message.kind.value, reason_text))
            else:
                told = len(message.notices) + message.more
                self._observer(Notified(somebody.name, message.kind.value, told))

    async def _delivered(self, way: Way, message: Message) -> None:
        wait_s = self._first_wait_s
        for left in reversed(range(TRIES)):
            try:
                return await way.send(message)
            except NotDelivered as reason:
                if not reason.again or not left:
                    raise
                await asyncio.sleep(wait_s if reason.after_s is None else max(wait_s, reason.after_s))
                wait_s *= 4
        return None


def name_of(settings: Settings) -> str:
    """By which name messages speak of this mirror: the machine, and its root."""
    return f"{socket.gethostname()}:{settings.root}"


def standing_of(look: Look) -> Standing | None:
    """How the mirror stood at this look; None where its catalogue could not be read."""
    if look.status is None or look.figures is None:
        return None
    entries: Mapping[int, EntryStanding] = {
        entry.empiar_id: EntryStanding(
            title=entry.title,
            state=entry.state,
            wanted_files=entry.wanted_files - entry.evicted_files,
            wanted_bytes=entry.wanted_bytes - entry.evicted_bytes,
            here_files=entry.here_files,
            here_bytes=entry.here_bytes,
            failed_files=entry.failed_files,
            withdrawn_files=entry.withdrawn_files,
            upstream=entry.upstream,
        )
        for entry in look.status.entries
    }
    return Standing(
        entries=entries,
        damaged_files=look.figures.queue[CopyState.DAMAGED][0],
        standstill=look.health.standstill,
        disk_refusal=look.disk_refusal,
        free_bytes=look.figures.room.free,
        attention=look.health.attention,
    )


#: More than this is never left until the next summary, even where clocks change: the clock was set back.
LONGEST_DAY_S: Final = 2 * 86_400.0


def next_time_of_day(at: str, now: float) -> float:
    """The next time, epoch seconds, at which local clocks show `at` (``07:00``)."""
    hour, minute = map(int, at.split(":"))
    here = datetime.fromtimestamp(now).astimezone()
    found = here.replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None)
    # Without a zone, so that the day on which clocks change has its summary at the right hour, too.
    while found.astimezone().timestamp() <= now:
        found += timedelta(days=1)
    return found.astimezone().timestamp()
