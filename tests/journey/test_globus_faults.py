"""The Globus channel against the stand-in, through the real SDK: every way in which it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.globus.faults import REQUEST_KINDS, GlobusFault, GlobusFaultKind
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import Event, GlobusOut
from globus_mirrors import globus_settings, standing_in
from globus_syncs import ID, IMPATIENT, arrived_once, channels_used, small_entry, synced
from independent import assert_mirrored, assert_tidy

_K = GlobusFaultKind


FAULTS: dict[str, list[GlobusFault]] = {
    "the answer to a submission is lost": [GlobusFault(kind=_K.LOSE_ANSWER, match="POST */transfer")],
    "a submission is dropped": [GlobusFault(kind=_K.DROP_REQUEST, match="POST */transfer")],
    "429 with Retry-After": [GlobusFault(kind=_K.STATUS, match="GET */task/*", value="429 1")],
    "503 with Retry-After": [GlobusFault(kind=_K.STATUS, match="GET */task/*", value="503 1")],
    "502": [GlobusFault(kind=_K.STATUS, match="GET *", value="502", times=3, after=2)],
    "maintenance": [GlobusFault(kind=_K.MAINTENANCE, match="GET */task/*", value="0.5", times=2)],
    "garbage": [GlobusFault(kind=_K.GARBAGE, match="GET *", times=2, after=4)],
    "tokens expire": [GlobusFault(kind=_K.EXPIRE_TOKENS, match="GET */task/*", after=1)],
    "a file vanishes": [GlobusFault(kind=_K.VANISH, match="*m_005.mrc", at_byte=1000)],
    "a file changes": [GlobusFault(kind=_K.CHANGE, match="*m_010.mrc", at_byte=1000)],
    "a file changes without a sign": [GlobusFault(kind=_K.CHANGE_SILENTLY, match="*m_015.mrc", at_byte=1000)],
    "a checksum fails once": [GlobusFault(kind=_K.CHECKSUM, match="*m_020.mrc")],
    "a checksum fails always": [GlobusFault(kind=_K.CHECKSUM, match="*m_025.mrc", times=None)],
    "the task is paused for ever": [GlobusFault(kind=_K.PAUSE, match="*m_030.mrc")],
    "the task is paused for a while": [GlobusFault(kind=_K.PAUSE, match="*m_035.mrc", value="0.5")],
    "credentials run out": [GlobusFault(kind=_K.DEACTIVATE, match="*m_040.mrc")],
    "a file is withheld": [GlobusFault(kind=_K.WITHHOLD, match="*m_045.mrc", times=None)],
    "the destination refuses a file": [GlobusFault(kind=_K.PERMISSION, match="*m_050.mrc", times=None)],
    "somebody cancels": [GlobusFault(kind=_K.CANCEL, match="*m_055.mrc", at_byte=1000)],
    "the task fails": [GlobusFault(kind=_K.FAIL, match="*m_060.mrc", at_byte=1000)],
    "the task fails always": [GlobusFault(kind=_K.FAIL, match="*m_065.mrc", at_byte=1000, times=None)],
    "a file is cut short": [GlobusFault(kind=_K.CUT_SHORT, match="*m_070.mrc", at_byte=1000)],
    "a file is missing in the history": [GlobusFault(kind=_K.FORGET, match="*m_075.mrc")],
    "the history is deleted": [GlobusFault(kind=_K.HISTORY_DELETED)],
}


@pytest.mark.parametrize("name", FAULTS)
async def test_whatever_globus_does_the_entry_comes_and_nothing_twice(tmp_path: Path, name: str) -> None:
    async with Rehearsal(
        [small_entry(80)], globus=standing_in(tmp_path, faults=FAULTS[name], page_size=7)
    ) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus=IMPATIENT)
        events: list[Event] = []
        report = await synced(settings, [ID], events=events)
        assert rehearsal.globus.book.struck.total() > 0
        lost = [f"{ID}/data/m_005.mrc"] if name == "a file vanishes" else []
        assert [file.path for file in report.transfer.failed] == lost
        if not lost:
            assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert_tidy(tmp_path / "mirror")
        arrived_once(rehearsal, events)
        assert channels_used(tmp_path / "mirror")["globus"] >= 12


async def test_every_fault_in_one_run(tmp_path: Path) -> None:
    elsewhere = {"a file vanishes", "the task fails always", "the history is deleted"}
    found = [fault for name, faults in FAULTS.items() if name not in elsewhere for fault in faults]
    # One after the other: all at once, at the beginning, Globus would count as out.
    faults = [
        replace(fault, after=fault.after + 4 * n)
        if fault.kind in REQUEST_KINDS and "GET" in fault.match
        else fault
        for n, fault in enumerate(found, start=2)
    ]
    async with Rehearsal([small_entry(100)], globus=standing_in(tmp_path, faults=faults)) as rehearsal:
        more = IMPATIENT.replace("20", "5").replace("2s", "6s")  # a bundle each, or one fault hides another
        settings = globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus=more)
        events: list[Event] = []
        report = await synced(settings, [ID], events=events)
        assert report.transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert_tidy(tmp_path / "mirror")
        arrived_once(rehearsal, events)
        assert set(rehearsal.globus.book.struck) == {fault.kind for fault in faults}
        assert not [event for event in events if isinstance(event, GlobusOut)]


async def test_globus_alone_survives_what_can_be_survived(tmp_path: Path) -> None:
    kinds = ["the answer to a submission is lost", "tokens expire", "a file changes", "a checksum fails once"]
    kinds += [
        "the task fails",
        "a file is cut short",
        "a file is missing in the history",
        "429 with Retry-After",
    ]
    faults = [fault for name in kinds for fault in FAULTS[name]]
    async with Rehearsal([small_entry(80)], globus=standing_in(tmp_path, faults=faults)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path, globus=IMPATIENT)
        events: list[Event] = []
        report = await synced(settings, [ID], events=events)
        assert report.transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        arrived_once(rehearsal, events)
        assert rehearsal.bytes_served() == 0


async def test_what_globus_alone_cannot_bring_is_parked_with_its_word(tmp_path: Path) -> None:
    faults = [GlobusFault(kind=_K.VANISH, match="*m_007.mrc", at_byte=1000)]
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path, faults=faults)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path, globus=IMPATIENT)
        report = await synced(settings, [ID])
        assert [(file.path, file.state) for file in report.transfer.failed] == [
            (f"{ID}/data/m_007.mrc", "parked")
        ]
        assert "FILE_NOT_FOUND" in report.transfer.failed[0].error
