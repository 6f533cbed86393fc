"""How fast transfers go now: connections by host and channel, bandwidth, hours. In force from one moment to the next, while streams run.

The judgement is elsewhere: what a server bears in `empiar_wire.congestion`, what the configuration says in `limits`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from empiar_mirror import limits
from empiar_mirror.limits import Pause, Scope
from empiar_mirror.pacing_note import PacingNote
from empiar_schema.events import ConnectionsAllowed, LimitsInForce, Observer
from empiar_schema.faults import EmpiarMirrorError, Stalled, TransientFault
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from empiar_wire.congestion import WINDOW_S, Congestion, Window
from empiar_wire.hosts import HostGate, Hosts, gate_name
from empiar_wire.throttle import Bucket, Throttle

#: Keys of ``[transfer]`` that change while streams run.
LIVE_KEYS: Final = frozenset({"connections", "requests_per_s", "bandwidth", "limit"})


def streams_of(settings: Settings, channels: Iterable[Channel] | None = None) -> dict[Channel, str]:
    """The host, as its gate is named, of each of these channels that streams; of those of the configuration, if None."""
    urls = {Channel.HTTPS: settings.archive.https_url, Channel.FTP: settings.archive.ftp_url}
    allowed = settings.transfer.channels if channels is None else channels
    return {channel: gate_name(urls[channel]) for channel in allowed if channel in urls}


def pause_of(settings: Settings, now: float) -> Pause | None:
    """Why no channel that streams brings anything now, by the limits; None where one may."""
    return limits.pause(settings.transfer, tuple(streams_of(settings).items()), now)


def rested_at(settings: Settings, now: float, *, within_s: int) -> float | None:
    """When the latest pause of the last `within_s` seconds was in force, to the minute; None where none was.

    After it nobody can ask for bytes that could not come before.
    """
    if settings.transfer.bandwidth != 0 and not settings.transfer.limit:
        return None
    streams = tuple(streams_of(settings).items())
    moments = (now - ago for ago in range(0, within_s, 60))
    return next((at for at in moments if limits.rests(settings.transfer, streams, at)), None)


def begun_anew(before: Settings, after: Settings) -> bool:
    """Whether a transfer under way has to be begun anew for the change: all but limits is built into its transports."""

    def built_in(settings: Settings) -> object:
        transfer = settings.transfer.model_dump(exclude=set(LIVE_KEYS))
        return (
            transfer,
            settings.archive,
            settings.disk,
            settings.globus,
            settings.order,
            settings.cluster if settings.cluster.hands_out("transfer") else None,
            settings.crawl.contact,
        )

    return built_in(before) != built_in(after)


@dataclass(slots=True)
class _Stream:
    """One channel in this window: how many streams run, and what they brought."""

    host: str
    congestion: Congestion
    running: int = 0
    moved: int = 0
    paused: bool = False
    #: Connections to the host, by all its channels together.
    host_most: int = 1
    told: int | None = None


@dataclass(slots=True)
class Pacing:
    """The limits of all transfers of one process. What was learnt of a host outlasts a single transfer."""

    settings: Settings
    observer: Observer
    clock: Callable[[], float] = time.time
    #: A clock that never goes back.
    timer: Callable[[], float] = time.monotonic
    _streams: dict[Channel, _Stream] = field(default_factory=dict)
    _learnt: dict[tuple[Channel, str], Congestion] = field(default_factory=dict)
    _buckets: dict[Scope, Bucket] = field(default_factory=dict)
    _hosts: Hosts | None = None
    _total: int = 1
    #: Streams from our own disk, of what Globus has delivered.
    _local: int = 0
    _disk_waits: bool = False
    _window_began: float = 0.0
    _room: tuple[object, ...] = ()
    _told: tuple[int | None, int, str | None] | None = None
    _changed: Callable[[], object] = lambda: None

    def begin(self, settings: Settings, hosts: Hosts, channels: Iterable[Channel]) -> None:
        """A transfer begins, over `hosts`, by these channels, as far as they stream."""
        self.settings, self._hosts = settings, hosts
        self._streams = {}
        for channel, host in streams_of(self.settings, channels).items():
            known = self._learnt.setdefault((channel, host), Congestion(self.settings.transfer.connections))
            self._streams[channel] = _Stream(host, known)
        self._in_force()

    def apply(self, settings: Settings) -> None:
        """The configuration is another, from now on."""
        self.settings = settings
        self._in_force()
        self._changed()

    # --- what streams ask and tell --------------------------------------------------------------------

    def throttle(self, channel: Channel) -> Throttle:
        """What a stream of this channel pays from."""
        scopes = limits.scopes_of(channel, self._streams[channel].host)
        return Throttle([self._buckets.setdefault(scope, Bucket()) for scope in scopes])

    def gate(self, channel: Channel) -> HostGate:
        """The gate of the channel's host, which streams on other machines hold a place at, too."""
        assert self._hosts is not None
        return self._hosts.gate(self._streams[channel].host)

    @property
    def user_agent(self) -> str:
        """How streams introduce themselves."""
        assert self._hosts is not None
        return self._hosts.user_agent

    def share(self, channel: Channel) -> float | None:
        """Bytes a second for one of the streams of this channel that run now, if each has as much as the others; None without a limit."""
        shares = []
        for scope in limits.scopes_of(channel, self._streams[channel].host):
            rate = self._buckets.setdefault(scope, Bucket()).bytes_per_s
            if rate is not None:
                running = sum(
                    one.running
                    for other, one in self._streams.items()
                    if scope in limits.scopes_of(other, one.host)
                )
                shares.append(rate / max(1, running))
        return min(shares, default=None)

    @property
    def connections(self) -> int:
        """Streams that may run at once, by all channels together."""
        allowed = sum(stream.congestion.allowed for stream in self._streams.values() if not stream.paused)
        return max(1, min(self._total, allowed)) if self._streams else self.settings.transfer.connections

    def paused(self, channel: Channel) -> bool:
        """Whether nothing may come by this channel now."""
        stream = self._streams.get(channel)
        return stream is not None and stream.paused

    def room(self, channel: Channel) -> bool:
        """Whether one stream more may begin. What Globus has delivered is on our disk, and waits for nobody."""
        stream = self._streams.get(channel)
        if stream is None:
            return self._local < self.settings.transfer.connections
        of_host = sum(one.running for one in self._streams.values() if one.host == stream.host)
        room = of_host < stream.host_most and sum(s.running for s in self._streams.values()) < self._total
        return room and not stream.paused and stream.running < stream.congestion.allowed

    def began(self, channel: Channel) -> None:
        """A stream has begun. Each needs one `ended`."""
        if channel in self._streams:
            self._streams[channel].running += 1
        else:
            self._local += 1

    def ended(self, channel: Channel) -> None:
        """A stream has ended."""
        if channel in self._streams:
            self._streams[channel].running -= 1
        else:
            self._local -= 1

    def moved(self, channel: Channel, count: int) -> None:
        """So many bytes have come."""
        if channel in self._streams:
            self._streams[channel].moved += count

    def disk_waits(self) -> None:
        """More has come than the disk takes."""
        self._disk_waits = True

    def failed(self, channel: Channel, fault: EmpiarMirrorError, *, began_at: float) -> None:
        """An attempt of a stream that was begun at `began_at`, by the timer, has failed."""
        stream = self._streams.get(channel)
        if stream is None or not isinstance(fault, TransientFault):
            return
        now, learnt = self.timer(), stream.congestion
        if isinstance(fault, Stalled):
            fewer = learnt.stalled(began_at=began_at, now=now)
        else:
            fewer = fault.crowded and learnt.refused(began_at=began_at, now=now)
        if fewer:
            self._tell(channel, stream, str(fault))

    # --- the course of time ---------------------------------------------------------------------------

    async def run(self, changed: Callable[[], object]) -> None:
        """Limits follow the clock, and numbers of connections what windows of time show, until cancelled; `changed` is called when there may be room."""
        self._changed = changed
        self._window_began = self.timer()
        note = PacingNote(self.settings.root)
        try:
            for channel, stream in self._streams.items():
                self._tell(channel, stream, None)
            while True:
                note.write({str(c): (s.congestion.allowed, s.host) for c, s in self._streams.items()})
                await asyncio.sleep(WINDOW_S)
                self.tick()
        finally:
            self._changed = lambda: None
            note.clear()

    def tick(self) -> None:
        """A window of time has ended."""
        now = self.timer()
        seconds, self._window_began = max(1e-3, now - self._window_began), now
        for channel, stream in self._streams.items():
            held_back = self._disk_waits or self.throttle(channel).held_back
            busy = stream.running >= stream.congestion.allowed
            if stream.congestion.window(Window(stream.moved, seconds, busy, held_back), now=now):
                self._tell(channel, stream, "one more, since the last brought what it should")
            stream.moved = 0
        for bucket in self._buckets.values():
            bucket.held_back = False
        self._disk_waits = False
        self._in_force()
        # Whoever waits for room is woken where there may be more than before.
        room = (self._total, *((s.congestion.allowed, s.paused, s.host_most) for s in self._streams.values()))
        if room != self._room:
            self._room = room
            self._changed()

    def _in_force(self) -> None:
        """What the configuration says for this moment holds."""
        transfer, now = self.settings.transfer, self.clock()
        whole = limits.in_force(transfer, limits.EVERYTHING, now)
        self._total = whole.connections or transfer.connections
        if self._hosts is not None:
            self._hosts.limit(connections=transfer.connections, requests_per_s=transfer.requests_per_s)
        for scope in self._scopes():
            rate = limits.in_force(transfer, scope, now).bytes_per_s
            # Where nothing may come no stream begins; what a proof still has to read goes as it can.
            self._buckets.setdefault(scope, Bucket()).change(rate or None)
        for channel, stream in self._streams.items():
            scopes = limits.scopes_of(channel, stream.host)
            stream.congestion.limit(
                transfer.connections, now_at_most=limits.connections(transfer, scopes, now)
            )
            of_host = limits.in_force(transfer, (None, stream.host), now).connections
            stream.host_most = of_host or transfer.connections
            stream.paused = any(limits.in_force(transfer, scope, now).paused for scope in scopes)
        self._tell_limits(whole.bytes_per_s, now)

    def _scopes(self) -> Iterable[Scope]:
        every = (limits.scopes_of(channel, stream.host) for channel, stream in self._streams.items())
        return dict.fromkeys(scope for scopes in every for scope in scopes)

    def _tell(self, channel: Channel, stream: _Stream, reason: str | None) -> None:
        allowed = stream.congestion.allowed
        if reason is not None and allowed == stream.told:
            return
        stream.told = allowed
        self.observer(
            ConnectionsAllowed(channel, stream.host, allowed, self.settings.transfer.connections, reason)
        )

    def _tell_limits(self, rate: int | None, now: float) -> None:
        resting = self._streams and all(stream.paused for stream in self._streams.values())
        rests = None
        if resting and self._told is not None and self._told[2] is not None:
            rests = self._told[2]  # the same pause; when it ends was told
        elif resting:
            streams = tuple((channel, stream.host) for channel, stream in self._streams.items())
            found = limits.pause(self.settings.transfer, streams, now)
            rests = found.sentence(now) if found is not None else None
        holds = (rate, self._total, rests)
        # That there are no limits, as in most mirrors, is no news at the beginning.
        before = self._told or (None, self.settings.transfer.connections, None)
        self._told = holds
        if self._streams and holds != before:
            self.observer(LimitsInForce(*holds))
