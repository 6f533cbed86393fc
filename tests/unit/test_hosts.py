"""Politeness, on a clock of its own."""

from __future__ import annotations

import asyncio

import pytest

from empiar_schema.faults import ConfigFault, UnreachableFault
from empiar_wire.backoff import backoff_s
from empiar_wire.hosts import Hosts, gate_name, shown_url


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def _hosts(clock: Clock, *, connections: int = 4, requests_per_s: float = 10.0) -> Hosts:
    return Hosts(
        connections=connections,
        requests_per_s=requests_per_s,
        user_agent="empiar-mirror/test",
        clock=clock,
        sleep=clock.sleep,
        jitter=lambda: 1.0,
        patience_s=100.0,
    )


async def test_requests_keep_to_the_rate() -> None:
    clock = Clock()
    gate = _hosts(clock, requests_per_s=10).gate("h")
    for _ in range(101):
        await gate.request()
    assert clock.now - 1000 == pytest.approx(10.0, abs=0.25)


async def test_a_pause_does_not_save_up_a_flood() -> None:
    clock = Clock()
    gate = _hosts(clock, requests_per_s=10).gate("h")
    clock.now += 3600
    for _ in range(51):
        await gate.request()
    assert clock.now - 4600 == pytest.approx(5.0, abs=0.25)


async def test_a_wish_to_be_left_alone_is_obeyed_by_all() -> None:
    clock = Clock()
    gate = _hosts(clock).gate("h")
    gate.rest(30)
    gate.rest(5)
    await gate.request()
    assert clock.now == pytest.approx(1030)


async def test_no_server_can_send_us_away_for_ever() -> None:
    clock = Clock()
    gate = _hosts(clock).gate("h")
    gate.rest(1e12)
    await gate.request()
    assert clock.now == pytest.approx(1000 + 3600)


async def test_hosts_do_not_wait_for_each_other() -> None:
    clock = Clock()
    hosts = _hosts(clock)
    hosts.gate("slow").rest(1000)
    await hosts.gate("quick").request()
    assert clock.now == 1000
    assert hosts.gate("slow") is hosts.gate("slow")


async def test_connections_beyond_the_limit_wait_for_a_free_place() -> None:
    gate = _hosts(Clock(), connections=2).gate("h")
    await gate.acquire()
    async with gate.connection():
        third = asyncio.create_task(gate.acquire())
        await asyncio.sleep(0)
        assert not third.done()
    await asyncio.wait_for(third, 1)


async def test_a_cancelled_wait_takes_no_place() -> None:
    gate = _hosts(Clock(), connections=1).gate("h")
    async with gate.connection():
        waiting = asyncio.create_task(gate.acquire())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    await asyncio.wait_for(gate.acquire(), 1)


async def test_a_full_server_gets_fewer_connections_for_a_minute_and_then_all_again() -> None:
    clock = Clock()
    gate = _hosts(clock, connections=3).gate("h")
    for _ in range(3):
        await gate.acquire()
    gate.crowded()
    gate.release()
    fourth = asyncio.create_task(gate.acquire())
    await asyncio.sleep(0)
    assert not fourth.done()
    clock.now += 61
    gate.release()
    await asyncio.wait_for(fourth, 1)
    await asyncio.wait_for(gate.acquire(), 1)


async def test_a_server_full_of_others_is_left_alone_for_a_while() -> None:
    clock = Clock()
    gate = _hosts(clock, connections=3).gate("h")
    await gate.acquire()
    gate.crowded()
    gate.release()
    await asyncio.wait_for(gate.acquire(), 1)
    await gate.request()
    assert clock.now > 1001


async def test_a_single_failure_costs_nothing_and_several_cost_longer_and_longer() -> None:
    clock = Clock()
    gate = _hosts(clock).gate("h")
    waits = []
    for _ in range(6):
        gate.failed()
        before = clock.now
        await gate.request()
        waits.append(round(clock.now - before))
    assert waits == [0, 0, 2, 4, 8, 16]
    assert gate.down


async def test_failures_side_by_side_count_once() -> None:
    clock = Clock()
    gate = _hosts(clock).gate("h")
    for _ in range(50):
        gate.failed()
    await gate.request()
    assert clock.now == pytest.approx(1002)


async def test_a_host_that_never_answered_is_given_up_sooner() -> None:
    clock = Clock()
    known, stranger = _hosts(clock).gate("known"), _hosts(clock).gate("stranger")
    known.succeeded()
    for gate in (known, stranger):
        for _ in range(50):
            gate.failed()
    clock.now += 25
    await known.request()
    with pytest.raises(UnreachableFault, match="stranger"):
        for _ in range(50):
            stranger.failed()
            await stranger.request()


async def test_a_host_down_for_longer_than_our_patience_is_unreachable_and_looked_at_again_later() -> None:
    clock = Clock()
    gate = _hosts(clock).gate("h")
    with pytest.raises(UnreachableFault, match="h has not answered for"):
        for _ in range(50):
            gate.failed()
            await gate.request()
    clock.now += 301
    await gate.request()
    gate.succeeded()
    assert not gate.down


def test_https_and_ftp_of_one_machine_share_a_gate() -> None:
    names = {gate_name(f"{url}/empiar") for url in ("https://ftp.ebi.ac.uk", "ftp://FTP.ebi.ac.uk:21")}
    assert names == {"ftp.ebi.ac.uk"}
    assert gate_name("http://127.0.0.1:8080/x") == "127.0.0.1:8080"


@pytest.mark.parametrize("url", ["https:///x", "http://h:99999/", "http://[::1/"])
def test_an_address_without_a_sensible_host_is_a_fault_of_the_configuration(url: str) -> None:
    with pytest.raises(ConfigFault):
        gate_name(url)


def test_a_shown_address_holds_no_password() -> None:
    assert shown_url("ftp://user:secret@h:21/a?b=c") == "ftp://h:21/a?b=c"


def test_waits_double_up_to_their_ceiling_and_are_half_random() -> None:
    assert [backoff_s(n, first_s=1, ceiling_s=10, jitter=lambda: 1.0) for n in range(1, 7)] == [
        1,
        2,
        4,
        8,
        10,
        10,
    ]
    assert backoff_s(3, first_s=1, jitter=lambda: 0.0) == 2
    assert backoff_s(10**6) <= 300
