"""What becomes of a file after an attempt that failed (pure). Its test is the table in docs/faults.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from empiar_schema.faults import (
    ChangedUpstream,
    EmpiarMirrorError,
    IntegrityFault,
    PermanentFault,
    RangesRefused,
    Stalled,
    StorageFault,
    TransientFault,
)
from empiar_schema.states import Channel, CopyState

#: Fruitless attempts on one channel before the next one is tried.
PER_CHANNEL = 2
#: How often a file may turn out to be another one, or wrong, before we stop believing in it.
CHANGES_BELIEVED = 3
#: How often a server that calls itself busy, or refuses or breaks a connection, may mean our number of connections and not the file.
CROWDED_BELIEVED = 3
LONGEST_WAIT_S = 300.0


class Next(StrEnum):
    """What to do with the file now."""

    RESUME = "resume"
    START_OVER = "start over"
    WHOLE = "start over in one stream"
    SETTLE_SIZE = "ask every channel for the size"
    PARK = "park"
    QUARANTINE = "quarantine"
    PAUSE = "pause until there is space"
    STOP = "stop everything"


#: The state of a copy while what was decided is done.
STATE_AFTER: Final[Mapping[Next, CopyState]] = MappingProxyType(
    {
        Next.RESUME: CopyState.PARTIAL,
        Next.START_OVER: CopyState.WANTED,
        Next.WHOLE: CopyState.WANTED,
        Next.SETTLE_SIZE: CopyState.WANTED,
        Next.PARK: CopyState.PARKED,
        Next.QUARANTINE: CopyState.QUARANTINED,
        Next.PAUSE: CopyState.PARTIAL,
        Next.STOP: CopyState.PARTIAL,
    }
)


class ListingDisagrees(ChangedUpstream):
    """The server states another size than the listing."""


class ProvenWrong(IntegrityFault):
    """Verification rejected the whole file's bytes, which are in staging still."""


class OtherThanBefore(IntegrityFault):
    """The archive serves other bytes than those that were here before, of the same version: asked for again in so many seconds."""

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class WorkerGone(TransientFault):
    """Another machine had the file and was lost, or could not do it. No fault of the file or of the archive."""


@dataclass(slots=True)
class Tried:
    """What one file has been through since it was claimed."""

    channel: Channel
    #: Attempts in a row that brought nothing: in all, and on this channel.
    fruitless: int = 0
    on_channel: int = 0
    refused: set[Channel] = field(default_factory=set)
    changes: int = 0
    wrong: int = 0
    without_ranges: int = 0
    #: Attempts that a crowded server ended before they brought anything.
    crowded: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """The next step, after so many seconds, on this channel."""

    next: Next
    channel: Channel
    wait_s: float = 0.0


def decide(
    fault: EmpiarMirrorError,
    tried: Tried,
    *,
    progressed: bool,
    channels: Sequence[Channel],
    retries: int,
    first_wait_s: float,
    jitter: float = 0.5,
) -> Decision:
    """The fate of a file whose attempt on `tried.channel` ended with `fault`; `tried` takes note of it.

    `jitter` in [0, 1) spreads the waits of files that failed together. Progress renews the retry budget, so
    that a large file over a bad line ends some day, and a hopeless one soon.
    """
    if progressed:
        tried.fruitless = tried.on_channel = 0
    if isinstance(fault, StorageFault):
        return Decision(Next.PAUSE if fault.full else Next.STOP, tried.channel)
    if isinstance(fault, PermanentFault):
        tried.refused.add(tried.channel)
        other = _other(tried, channels)
        return Decision(Next.PARK, tried.channel) if other is None else _switch(tried, other, Next.RESUME)
    if isinstance(fault, TransientFault) and fault.host_down:
        # The host's own gate counts these and ends them with UnreachableFault; they are no fault of the file.
        return Decision(Next.RESUME, tried.channel, fault.retry_after_s or first_wait_s * (0.5 + jitter))
    if isinstance(fault, TransientFault) and fault.crowded and not progressed:
        tried.crowded += 1
        if tried.crowded <= CROWDED_BELIEVED:
            # There are fewer connections from now on (`pacing`), and the file has had no chance yet.
            wait_s = fault.retry_after_s
            return Decision(
                Next.RESUME, tried.channel, first_wait_s * (0.5 + jitter) if wait_s is None else wait_s
            )
    if not progressed:
        tried.fruitless += 1
        tried.on_channel += 1
    if isinstance(fault, ProvenWrong):
        return _reject(tried, channels)
    if isinstance(fault, OtherThanBefore):
        return replace(_start_over(tried, channels), wait_s=fault.wait_s)
    if tried.fruitless > retries:
        return Decision(Next.PARK, tried.channel)
    if isinstance(fault, ChangedUpstream | IntegrityFault):
        return _mistrust(fault, tried, channels)
    if isinstance(fault, RangesRefused):
        # Each whole stream brings progress, so the budget alone would not end this.
        tried.without_ranges += 1
        return Decision(Next.WHOLE if tried.without_ranges <= retries else Next.PARK, tried.channel)
    wait_s = _wait_s(fault, tried, first_wait_s=first_wait_s, jitter=jitter)
    other = _other(tried, channels)
    if tried.on_channel >= PER_CHANNEL and other is not None:
        return _switch(tried, other, Next.RESUME)
    return Decision(Next.RESUME, tried.channel, wait_s)


def _mistrust(fault: EmpiarMirrorError, tried: Tried, channels: Sequence[Channel]) -> Decision:
    if isinstance(fault, ListingDisagrees):
        tried.changes += 1
        return Decision(Next.SETTLE_SIZE if tried.changes == 1 else Next.PARK, tried.channel)
    if isinstance(fault, ChangedUpstream):
        tried.changes += 1
        if tried.changes > CHANGES_BELIEVED:
            return Decision(Next.PARK, tried.channel)
        return Decision(Next.START_OVER, tried.channel)
    tried.wrong += 1
    if tried.wrong > CHANGES_BELIEVED:
        return Decision(Next.PARK, tried.channel)
    return _start_over(tried, channels)


def _reject(tried: Tried, channels: Sequence[Channel]) -> Decision:
    """Wrong once: fetch again, elsewhere if possible. Wrong twice: keep the bytes aside for a person to look at."""
    tried.wrong += 1
    if tried.wrong > 1:
        return Decision(Next.QUARANTINE, tried.channel)
    return _start_over(tried, channels)


def _start_over(tried: Tried, channels: Sequence[Channel]) -> Decision:
    """From the beginning, elsewhere if possible."""
    other = _other(tried, channels)
    if other is not None:
        return _switch(tried, other, Next.START_OVER)
    return Decision(Next.START_OVER, tried.channel)


def _wait_s(fault: EmpiarMirrorError, tried: Tried, *, first_wait_s: float, jitter: float) -> float:
    if isinstance(fault, TransientFault) and fault.retry_after_s is not None:
        return fault.retry_after_s
    # About one request in thirty hangs at this archive whatever one does; a fresh connection is the cure.
    if isinstance(fault, Stalled) or tried.fruitless == 0:
        return 0.0
    exponential = first_wait_s * 2.0 ** (tried.fruitless - 1)
    return float(min(LONGEST_WAIT_S, exponential) * (0.5 + jitter))


def _other(tried: Tried, channels: Sequence[Channel]) -> Channel | None:
    """The next channel in order of preference after the current one that has not refused for good."""
    if tried.channel not in channels:
        return next((c for c in channels if c not in tried.refused), None)
    here = list(channels).index(tried.channel)
    ordered = [*channels[here + 1 :], *channels[:here]]
    return next((c for c in ordered if c not in tried.refused), None)


def _switch(tried: Tried, channel: Channel, then: Next) -> Decision:
    tried.channel = channel
    tried.on_channel = 0
    return Decision(then, channel)


def outcome_word(fault: EmpiarMirrorError | None) -> str:
    """What is recorded of an attempt that ended with `fault`."""
    match fault:
        case None:
            return "done"
        case WorkerGone():
            return "stopped"
        case Stalled():
            return "stalled"
        case ChangedUpstream():
            return "changed"
        case ProvenWrong() | OtherThanBefore():
            return "damaged"
        case _:
            return "failed"
