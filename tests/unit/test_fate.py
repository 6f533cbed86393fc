"""The table of faults: what a file's attempt ended with, and what becomes of the file."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from empiar_mirror.fate import Decision, ListingDisagrees, Next, OtherThanBefore, ProvenWrong, Tried, decide
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
from empiar_schema.states import Channel

HTTPS, FTP = Channel.HTTPS, Channel.FTP


@dataclass
class Case:
    name: str
    fault: EmpiarMirrorError
    expected: Decision
    tried: Tried = field(default_factory=lambda: Tried(HTTPS))
    progressed: bool = False
    channels: tuple[Channel, ...] = (HTTPS, FTP)


CASES = [
    Case("a stall is tried again at once", Stalled("s"), Decision(Next.RESUME, HTTPS, 0.0)),
    Case("a reset waits a little", TransientFault("t"), Decision(Next.RESUME, HTTPS, 2.0)),
    Case(
        "a reset after progress does not",
        TransientFault("t"),
        Decision(Next.RESUME, HTTPS, 0.0),
        progressed=True,
    ),
    Case(
        "a server that is crowded costs the file nothing at first",
        TransientFault("t", crowded=True),
        Decision(Next.RESUME, HTTPS, 2.0),
        Tried(HTTPS, fruitless=5, on_channel=1),
    ),
    Case(
        "one that always calls itself crowded does",
        TransientFault("t", crowded=True),
        Decision(Next.RESUME, FTP),
        Tried(HTTPS, fruitless=1, on_channel=1, crowded=3),
    ),
    Case("Retry-After is obeyed", TransientFault("t", retry_after_s=77), Decision(Next.RESUME, HTTPS, 77.0)),
    Case(
        "two fruitless attempts change the channel",
        TransientFault("t"),
        Decision(Next.RESUME, FTP),
        Tried(HTTPS, fruitless=1, on_channel=1),
    ),
    Case(
        "with one channel the waits double",
        TransientFault("t"),
        Decision(Next.RESUME, HTTPS, 8.0),
        Tried(HTTPS, fruitless=2, on_channel=2),
        channels=(HTTPS,),
    ),
    Case(
        "the budget ends",
        TransientFault("t"),
        Decision(Next.PARK, HTTPS),
        Tried(HTTPS, fruitless=5, on_channel=1),
    ),
    Case(
        "progress renews the budget",
        TransientFault("t"),
        Decision(Next.RESUME, HTTPS, 0.0),
        Tried(HTTPS, fruitless=5, on_channel=5),
        progressed=True,
    ),
    Case("404 is looked for elsewhere", PermanentFault("p", absent=True), Decision(Next.RESUME, FTP)),
    Case(
        "absent everywhere is given up",
        PermanentFault("p", absent=True),
        Decision(Next.PARK, FTP),
        Tried(FTP, refused={HTTPS}),
    ),
    Case("refused ranges mean one stream", RangesRefused("r"), Decision(Next.WHOLE, HTTPS)),
    Case("a changed file starts over", ChangedUpstream("c"), Decision(Next.START_OVER, HTTPS)),
    Case(
        "a file that keeps changing is given up",
        ChangedUpstream("c"),
        Decision(Next.PARK, HTTPS),
        Tried(HTTPS, changes=3),
    ),
    Case(
        "a size that is not the listed one is voted on",
        ListingDisagrees("l"),
        Decision(Next.SETTLE_SIZE, HTTPS),
    ),
    Case(
        "once settled it is not voted on again",
        ListingDisagrees("l"),
        Decision(Next.PARK, HTTPS),
        Tried(HTTPS, changes=1),
    ),
    Case("too many bytes: start over elsewhere", IntegrityFault("i"), Decision(Next.START_OVER, FTP)),
    Case("wrong bytes: start over elsewhere", ProvenWrong("w"), Decision(Next.START_OVER, FTP)),
    Case("wrong twice: quarantine", ProvenWrong("w"), Decision(Next.QUARANTINE, FTP), Tried(FTP, wrong=1)),
    Case(
        "other bytes than before: start over elsewhere, after a while",
        OtherThanBefore("o", wait_s=60),
        Decision(Next.START_OVER, FTP, 60.0),
        Tried(HTTPS, fruitless=9),
    ),
    Case("a full disk pauses", StorageFault("d", full=True), Decision(Next.PAUSE, HTTPS)),
    Case("a broken disk stops", StorageFault("d"), Decision(Next.STOP, HTTPS)),
    Case(
        "a host that is down is no fault of the file",
        TransientFault("h", host_down=True),
        Decision(Next.RESUME, HTTPS, 2.0),
        Tried(HTTPS, fruitless=5),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_fault_table(case: Case) -> None:
    decision = decide(
        case.fault,
        case.tried,
        progressed=case.progressed,
        channels=case.channels,
        retries=5,
        first_wait_s=2.0,
        jitter=0.5,
    )
    assert decision == case.expected


def test_a_server_without_ranges_that_always_breaks_off_is_given_up() -> None:
    tried = Tried(HTTPS)
    for _ in range(20):
        for fault, progressed in ((TransientFault("t"), True), (RangesRefused("r"), False)):
            decision = decide(
                fault, tried, progressed=progressed, channels=(HTTPS,), retries=5, first_wait_s=1
            )
        if decision.next is Next.PARK:
            return
    pytest.fail("never given up")


@pytest.mark.parametrize(
    "fault",
    [
        TransientFault("t"),
        Stalled("s"),
        RangesRefused("r"),
        ChangedUpstream("c"),
        ListingDisagrees("l"),
        IntegrityFault("i"),
        ProvenWrong("w"),
        PermanentFault("p"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_no_fault_of_a_file_can_loop_for_ever(fault: EmpiarMirrorError) -> None:
    tried = Tried(HTTPS)
    for _ in range(50):
        decision = decide(fault, tried, progressed=False, channels=(HTTPS, FTP), retries=5, first_wait_s=1)
        if decision.next in (Next.PARK, Next.QUARANTINE):
            return
    pytest.fail("never given up")


def test_waits_are_bounded() -> None:
    tried = Tried(HTTPS, fruitless=40, on_channel=40)
    decision = decide(
        TransientFault("t"),
        tried,
        progressed=False,
        channels=(HTTPS,),
        retries=100,
        first_wait_s=2,
        jitter=0.99,
    )
    assert decision.wait_s <= 450
