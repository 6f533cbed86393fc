from __future__ import annotations

from pathlib import Path

import pytest

from empiar_mirror.active import ActiveFile, Verdict
from empiar_mirror.agenda import LEAST_BYTES, LEAST_BYTES_WITHOUT_RANGES, Agenda
from empiar_mirror.fate import Decision, Next, Tried
from empiar_mirror.transports.base import Capabilities
from empiar_schema.faults import TransientFault
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel
from empiar_schema.transfer_settings import TransferSettings
from empiar_schema.transfer_store import Work

MIB = 2**20
SETTINGS = TransferSettings(connections=4, connections_per_file=2, segment_bytes=16 * MIB)


@pytest.fixture
def agenda() -> Agenda:
    capabilities = {
        Channel.HTTPS: Capabilities(resumes=True, ranges=True, batch_files=5),
        Channel.FTP: Capabilities(resumes=True, ranges=False, batch_files=5),
    }
    return Agenda(SETTINGS, capabilities)


def file(number: int, size: int, channel: Channel = Channel.HTTPS) -> ActiveFile:
    work = Work(
        file_id=number, remote=RemotePath(10017, "data", f"{number}.mrc"), size=size, size_exact=True,
        modified_at=None, fruitless=0, attempts=0, last_channel=None, validators=None, bytes_kept=0,
    )  # fmt: skip
    return ActiveFile.of(work, path=Path("x"), tried=Tried(channel))


def test_small_files_come_in_batches_no_larger_than_the_transport_wants(agenda: Agenda) -> None:
    for number in range(40):
        agenda.add(file(number, 1000))
    assert [active.file_id for active in agenda.batch()] == [0, 1, 2, 3, 4]


def test_the_last_small_files_are_shared_out_evenly(agenda: Agenda) -> None:
    for number in range(8):
        agenda.add(file(number, 1000))
    assert [len(agenda.batch()) for _ in range(4)] == [2, 2, 1, 1]


def test_a_batch_is_of_one_channel(agenda: Agenda) -> None:
    for number in range(20):
        agenda.add(file(number, 1000, Channel.HTTPS if number < 3 else Channel.FTP))
    assert {active.tried.channel for active in agenda.batch()} == {Channel.HTTPS}
    assert {active.tried.channel for active in agenda.batch()} == {Channel.FTP}


def test_files_that_can_be_shared_are_kept_for_the_end(agenda: Agenda) -> None:
    huge, plain = file(1, 500 * MIB), file(2, 8 * MIB)
    agenda.add(huge)
    agenda.add(plain)
    assert agenda.large() is plain
    agenda.remove(plain)
    assert agenda.large() is huge


def test_a_file_under_way_is_shared_by_no_more_connections_than_configured(agenda: Agenda) -> None:
    huge = file(1, 500 * MIB)
    agenda.add(huge)
    for _ in range(SETTINGS.connections_per_file):
        assert agenda.large() is huge
        huge.remaining.take(agenda.stretch_bytes(huge))
    assert agenda.large() is None


@pytest.mark.parametrize(
    ("channel", "least", "most"),
    [(Channel.HTTPS, LEAST_BYTES, 32 * MIB), (Channel.FTP, LEAST_BYTES_WITHOUT_RANGES, 256 * MIB)],
)
def test_stretches_become_shorter_towards_the_end(
    agenda: Agenda, channel: Channel, least: int, most: int
) -> None:
    huge = file(1, 10_000 * MIB, channel)
    agenda.add(huge)
    lengths: list[int] = []
    while not huge.remaining.nothing_left_to_take:
        stretch = huge.remaining.take(agenda.stretch_bytes(huge))
        assert stretch.stop is not None
        lengths.append(stretch.stop - stretch.start)
        stretch.position = stretch.stop
        huge.remaining.give_back(stretch)
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == most
    assert lengths[-2] == least


def test_a_fast_connection_brings_a_whole_file(agenda: Agenda) -> None:
    huge = file(1, 500 * MIB)
    agenda.add(huge)
    agenda.measured(Channel.HTTPS, count=100 * MIB, seconds=1.0)
    assert agenda.stretch_bytes(huge) is None


def test_no_stretch_is_taken_of_a_file_that_ended_while_it_was_prepared(agenda: Agenda) -> None:
    chosen = file(1, 8 * MIB)
    agenda.add(chosen)
    assert agenda.wants(chosen)
    chosen.verdict = Verdict(Decision(Next.PARK, Channel.HTTPS, 0.0), TransientFault("nothing came"))
    assert not agenda.wants(chosen)
    chosen.verdict = None
    agenda.remove(chosen)
    assert not agenda.wants(chosen)
