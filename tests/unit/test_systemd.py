"""What systemd hears, over a real datagram socket, and when the watchdog falls silent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from empiar_mirror.metrics.monitor import Look
from empiar_mirror.status import Health
from empiar_mirror.systemd import PINGS, ServiceManager, Watchdog, status_line
from empiar_schema import events
from empiar_schema.states import Channel, CopyState
from seen_mirror import Clock, seen_mirror

WATCHDOG_S = 600.0
FINE = Look(0.0, Health(), ())
STUCK = Look(0.0, Health(standstill=("no byte has come for 30 minutes",)), ())


class Ear:
    """What stands for systemd: a socket that keeps every datagram."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(10_000).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ear]:
    address = (
        str(tmp_path / "notify") if request.param == "path" else f"@empiar-test-{os.getpid()}-{id(request)}"
    )
    made = Ear(address)
    yield made
    made.close()


def manager(ear: Ear, **variables: str) -> ServiceManager:
    microseconds = str(int(WATCHDOG_S * 1e6))
    return ServiceManager.of({"NOTIFY_SOCKET": ear.address, "WATCHDOG_USEC": microseconds, **variables})


def test_the_life_of_a_service_is_told(ear: Ear) -> None:
    systemd = manager(ear)
    systemd.ready("3 files to come")
    systemd.status("two\nlines\n\nSTOPPING=1")
    systemd.reloading()
    systemd.stopping()
    ready, status, reloading, stopping = ear.heard()
    assert ready == "READY=1\nSTATUS=3 files to come"
    assert status == "STATUS=two lines STOPPING=1"  # one line: no text can forge a word of the protocol
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert stopping == "STOPPING=1"


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative", "/"])
def test_without_systemd_nothing_is_said_and_nothing_fails(address: str) -> None:
    systemd = ServiceManager.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    systemd.ready()
    assert systemd.watchdog_s is None


def test_a_manager_that_is_gone_or_does_not_listen_holds_nobody_up(ear: Ear, tmp_path: Path) -> None:
    ServiceManager(str(tmp_path / "gone")).ready()
    systemd = manager(ear)
    for _ in range(5_000):  # the socket's queue is full long before
        systemd.ping()
    assert 0 < len(ear.heard()) < 5_000


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, WATCHDOG_S),
        ({"WATCHDOG_PID": str(os.getpid())}, WATCHDOG_S),
        ({"WATCHDOG_PID": "1"}, None),  # meant for the process that started us
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_the_one_that_systemd_asks_for(
    ear: Ear, variables: dict[str, str], seconds: float | None
) -> None:
    assert manager(ear, **variables).watchdog_s == seconds


def test_progress_is_a_ping_but_not_for_every_byte(ear: Ear) -> None:
    clock = Clock(0.0)
    watchdog = Watchdog(manager(ear), monotonic=clock)
    for _ in range(1_000):
        watchdog(events.BytesMoved(7, 1))
    assert ear.heard() == ["WATCHDOG=1"]
    clock.now += WATCHDOG_S / PINGS
    watchdog(events.BytesMoved(7, 1))
    assert ear.heard() == ["WATCHDOG=1"]


def test_trying_and_failing_is_no_ping(ear: Ear) -> None:
    clock = Clock(0.0)
    watchdog = Watchdog(manager(ear), monotonic=clock)
    for _ in range(100):
        clock.now += WATCHDOG_S
        watchdog(events.StepTaken(7, "claimed"))
        watchdog(events.AttemptBegan(7, "10017/a", Channel.FTP, 10, 0))
        watchdog(events.AttemptFailed(7, "10017/a", Channel.FTP, "FTP 426", CopyState.WANTED))
        watchdog.looked(STUCK)
    assert set(ear.heard()) == {"STATUS=no byte has come for 30 minutes"}


def test_rightful_rest_is_a_ping(ear: Ear) -> None:
    clock = Clock(0.0)
    watchdog = Watchdog(manager(ear), monotonic=clock)
    watchdog.looked(FINE)
    assert ear.heard() == ["STATUS=nothing to transfer", "WATCHDOG=1"]
    clock.now += WATCHDOG_S
    watchdog.at_rest()
    assert ear.heard() == ["WATCHDOG=1"]


def test_without_a_watchdog_nobody_is_pinged(ear: Ear) -> None:
    watchdog = Watchdog(ServiceManager.of({"NOTIFY_SOCKET": ear.address}))
    watchdog(events.BytesMoved(7, 1))
    watchdog.at_rest()
    assert ear.heard() == []


async def test_the_status_says_what_is_to_come_and_what_hinders(tmp_path: Path) -> None:
    with seen_mirror(tmp_path / "mirror") as seen:
        look = await seen.monitor.refresh()
    assert status_line(look) == (
        "3 files to come, 11.4 MiB, 977 KiB/s; 1 file is damaged: `empiar-mirror repair` fetches again"
    )
    assert status_line(replace(look, unready=("/srv is not there",))) == "cannot work: /srv is not there"
    assert status_line(replace(look, health=STUCK.health)) == "no byte has come for 30 minutes"
