"""In reality HTTPS and FTP are one machine with one limit of connections: neither channel may keep the places that the other waits for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.archive import ArchiveFile, FileTree
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.faults import Fault
from empiar_mirror.rehearsal.faults import FaultKind as K
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_wire.hosts import HostGate, Hosts
from independent import assert_mirrored, assert_tidy
from mirrors import opened, rows, settings_for

ID = 10190
FILES = {f"{kind}{n}.mrc": size for kind, size in (("small", 20_000), ("large", 3 * 2**20)) for n in range(6)}
#: More than the engine verifies side by side.
ODD_FILES = 150
#: Far more than any of these takes; a dead-lock would last for ever.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Case:
    """Why files change from one channel to the other, or need both."""

    faults: tuple[Fault, ...] = ()
    channels: tuple[str, ...] = ("https", "ftp")
    places: tuple[int, ...] = (1,)
    odd_files: int = 0


CASES = {
    "every other file is absent on one channel": Case(
        (Fault(kind=K.STATUS, match="*[024].mrc", channel="https", value="404", times=None),)
    ),
    "files hang on the first channel": Case(
        (Fault(kind=K.STALL_AT, match="*.mrc", channel="https", at_byte=1000, times=None),), places=(4,)
    ),
    "sizes contradict the listing, so that both channels are asked": Case(
        (Fault(kind=K.ERROR_BODY, match="*.mrc", channel="https", times=12),)
    ),
    "listings fail on the first channel": Case(
        (Fault(kind=K.FTP_550, match="*/", channel="ftp", times=None),), channels=("ftp", "https")
    ),
    "all headers are odd, so that they are asked for again": Case(odd_files=ODD_FILES, places=(4,)),
    "all headers are odd, and there is but one channel": Case(
        odd_files=ODD_FILES, channels=("https",), places=(1, 4)
    ),
    "all headers are odd, and there is but FTP": Case(odd_files=ODD_FILES, channels=("ftp",), places=(4,)),
}


def archive(case: Case) -> Rehearsal:
    """Files, and as many more that are no images in spite of their names, as the archive holds some."""
    entry = big_entry(ID, FILES)
    assert isinstance(entry.tree, FileTree)
    for number in range(case.odd_files):
        odd = ArchiveFile(3_000, 1_650_000_000, body=bytes([number]) * 3_000)
        entry.tree.put(b"data/odd%03d.mrc" % number, odd)
    return Rehearsal([entry], faults=case.faults)


@pytest.fixture
def one_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """All addresses are of one host."""
    of_host = Hosts.gate

    def gate(self: Hosts, host: str) -> HostGate:
        assert host.startswith("127.0.0.1")
        return of_host(self, "ftp.ebi.ac.uk")

    monkeypatch.setattr(Hosts, "gate", gate)


@pytest.mark.slow
@pytest.mark.usefixtures("one_gate")
@pytest.mark.parametrize(("name", "places"), [(name, n) for name, case in CASES.items() for n in case.places])
async def test_nobody_waits_for_ever_for_a_place_that_another_keeps(
    tmp_path: Path, name: str, places: int
) -> None:
    case = CASES[name]
    names = ", ".join(f'"{channel}"' for channel in case.channels)
    toml = (
        f"[crawl]\nrequests_per_s = 2000\nconnections = {places}\nlisting = [{names}]\n"
        f"[transfer]\nrequests_per_s = 2000\nconnections = {places}\nchannels = [{names}]\n"
        "stall_s = 0.4\nretries = 4\nretry_wait_s = 0.01\n"
    )
    async with archive(case) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path, patient=toml)) as mirror:
            async with asyncio.timeout(PATIENCE_S):
                report = await mirror.sync([ID])
            assert report.transfer.failed == ()
            odd = rows(mirror, "SELECT count(*) FROM images WHERE problems IS NOT NULL")
            assert odd == [(case.odd_files,)]
        assert {fault.kind for fault in case.faults} <= set(rehearsal.book.struck)
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert_tidy(tmp_path / "mirror")
