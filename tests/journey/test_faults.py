from __future__ import annotations

from pathlib import Path

import pytest

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from independent import assert_mirrored, assert_tidy
from journey.fault_table import CASES, Case, render
from mirrors import opened, rows, settings_for

ID = 10190
RUNS = [pytest.param(case, group, id=f"{group}: {case.what}") for case in CASES for group in case.channels]


@pytest.mark.parametrize(("case", "channels"), RUNS)
async def test_fault_table(tmp_path: Path, case: Case, channels: str) -> None:
    entry = big_entry(ID, {"big.mrc": 3 * 2**20, "small.mrc": 70_000, "other.mrc": 2**20, "tiny.mrc": 5000})
    async with Rehearsal([entry]) as rehearsal:
        names = ", ".join(f'"{name}"' for name in channels.split(","))
        settings = settings_for(rehearsal, tmp_path, more=f"channels = [{names}]\n")
        with opened(settings) as mirror:
            await mirror.crawl([ID])
            rehearsal.book.add(*case.faults)
            await mirror.sync([ID])
            kinds = {fault.kind for fault in case.faults}
            assert kinds <= set(rehearsal.book.struck), "the fault never happened"
            states = {str(path): state for path, state in rows(mirror, "SELECT path, state FROM copies")}
            assert states.pop("data/big.mrc") == case.state
            assert set(states.values()) == {"arrived"}
            [(error,)] = rows(mirror, "SELECT error FROM copies WHERE path = 'data/big.mrc'")
            assert case.error in str(error or "")
            assert rows(mirror, "SELECT file_id, problems FROM images WHERE problems IS NOT NULL") == []
            if case.state != "arrived":
                rehearsal.book.clear()
                await mirror.sync([ID])
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert_tidy(tmp_path / "mirror")


def test_the_documentation_is_this_table() -> None:
    documented = Path(__file__).parents[2] / "docs" / "faults.md"
    assert documented.read_text() == render(), "run: python tests/journey/fault_table.py > docs/faults.md"
