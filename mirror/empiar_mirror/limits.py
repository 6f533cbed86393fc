"""Which limits hold for transfers at a time (pure). Times are epoch seconds; hours are those of this machine's clock on the wall.

Limits of one scope (a channel, a host, both, or everything) are one timetable: one with hours or days holds in them, one without
at all other times, and what neither states is what `transfer.bandwidth` and `transfer.connections` say. Scopes hold side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from empiar_schema.hours import DAY_NAMES, first_minute, hours_open
from empiar_schema.states import Channel
from empiar_schema.transfer_settings import LimitSettings, TransferSettings

Scope = tuple[Channel | None, str | None]
EVERYTHING: Final[Scope] = (None, None)


@dataclass(frozen=True, slots=True)
class InForce:
    """What holds for one scope now."""

    #: None means without a limit, 0 that nothing is transferred.
    bytes_per_s: int | None = None
    connections: int | None = None
    #: The key of the configuration that says so.
    key: str = "transfer.bandwidth"

    @property
    def paused(self) -> bool:
        """Whether nothing is transferred."""
        return self.bytes_per_s == 0


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is transferred; `until` is epoch seconds, None where no time will end it."""

    until: float | None
    key: str

    def sentence(self, now: float, zone: tzinfo | None = None) -> str:
        """What it waits for."""
        if self.until is None:
            return f"{self.key} allows no transfers at any time: change it, and reload"
        return f"waits for {moment(self.until, now, zone)}, {self.key}"


def moment(at: float, now: float, zone: tzinfo | None = None) -> str:
    """A time as people name it: ``18:00`` today, else with its day."""
    then, today = datetime.fromtimestamp(at, zone), datetime.fromtimestamp(now, zone)
    day = "" if then.date() == today.date() else f"{DAY_NAMES[then.weekday()]} "
    return f"{day}{then:%H:%M}"


def scopes_of(channel: Channel, host: str) -> tuple[Scope, ...]:
    """The scopes that concern a stream."""
    host = host.lower()
    return (EVERYTHING, (channel, None), (None, host), (channel, host))


def in_force(settings: TransferSettings, scope: Scope, now: float, zone: tzinfo | None = None) -> InForce:
    """What the timetable of `scope` says now."""
    base = InForce(settings.bandwidth, settings.connections) if scope == EVERYTHING else InForce()
    own = [one for one in settings.limit if one.scope == scope]
    for holds in (_at_all_times(own), _now(own, now, zone)):
        if holds is not None:
            base = _over(base, holds)
    return base


def _at_all_times(limits: Sequence[LimitSettings]) -> LimitSettings | None:
    return next((one for one in limits if one.at_all_times), None)


def _now(limits: Sequence[LimitSettings], now: float, zone: tzinfo | None) -> LimitSettings | None:
    timed = (one for one in limits if not one.at_all_times)
    return next((one for one in timed if hours_open(now, one.hours, zone, days=one.days)), None)


def _over(base: InForce, limit: LimitSettings) -> InForce:
    rate, key = base.bytes_per_s, base.key
    if limit.bytes_per_s is not None:
        rate = None if limit.bytes_per_s == "none" else limit.bytes_per_s
        key = "transfer.limit"
    connections = base.connections if limit.connections is None else limit.connections
    return InForce(rate, connections, key)


def connections(settings: TransferSettings, scopes: Sequence[Scope], now: float) -> int:
    """The ceiling for a stream of these scopes now."""
    stated = (in_force(settings, scope, now).connections for scope in scopes)
    return min((number for number in stated if number is not None), default=settings.connections)


def rests(
    settings: TransferSettings,
    streams: Sequence[tuple[Channel, str]],
    now: float,
    zone: tzinfo | None = None,
) -> str | None:
    """The key because of which nothing comes by any of these (channel, host) now; None where something may, or there are none."""
    key = None
    for channel, host in streams:
        holds = (in_force(settings, scope, now, zone) for scope in scopes_of(channel, host))
        key = next((one.key for one in holds if one.paused), None)
        if key is None:
            return None
    return key


def pause(
    settings: TransferSettings,
    streams: Sequence[tuple[Channel, str]],
    now: float,
    zone: tzinfo | None = None,
) -> Pause | None:
    """As `rests`, and until when."""
    key = rests(settings, streams, now, zone)
    if key is None:
        return None
    if all(one.at_all_times for one in settings.limit):
        return Pause(None, key)
    return Pause(first_minute(now, lambda at: rests(settings, streams, at, zone) is None), key)
