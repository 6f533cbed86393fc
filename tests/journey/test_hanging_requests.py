"""Requests that are never answered, on a line whose answers take tens of milliseconds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.link import Hangs, Link
from empiar_mirror.rehearsal.server import Rehearsal
from independent import assert_mirrored
from mirrors import opened, rows, settings_for

ID = 10190
STALL_S = 60
FILES = 150
SHARE = 0.04


@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_a_request_that_hangs_is_made_again_long_before_the_limit(tmp_path: Path, channel: str) -> None:
    hangs = Hangs(SHARE)
    assert any(hangs.next() for _ in range(FILES)), "nothing will hang, so nothing would be shown"
    entry = big_entry(ID, {f"{n:03d}.mrc": 20_000 for n in range(FILES)})
    async with Rehearsal([entry], link=Link(rtt_s=0.03, hang_share=SHARE)) as rehearsal:
        patient = f'[crawl]\nrequests_per_s = 1000\n[transfer]\nchannels = ["{channel}"]\nstall_s = {STALL_S}\nrequests_per_s = 1000\n'
        with opened(settings_for(rehearsal, tmp_path, patient=patient)) as mirror:
            await mirror.crawl([ID])
            began = time.monotonic()
            await mirror.sync([ID])
            seconds = time.monotonic() - began
            assert seconds < STALL_S
            assert rows(mirror, "SELECT DISTINCT outcome FROM transfers") == [("done",)]
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
