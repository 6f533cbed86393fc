from __future__ import annotations

import hashlib
import io
import json
import os
from datetime import UTC, datetime

import pytest

from empiar_mirror.rehearsal.archive import RehearsalArchive
from empiar_mirror.rehearsal.changing import FIRST_ID, Changes
from empiar_mirror.rehearsal.history import History


def lived(
    seed: int, steps: int = 40, *, watched: bool = False
) -> tuple[RehearsalArchive, list[str], list[dict[str, object]]]:
    """An archive after so many changes, what they were, and its history if it was watched."""
    archive, written = RehearsalArchive(), io.StringIO()
    if watched:
        archive.watched_by(History(written))
    changes = Changes(archive, seed=seed)
    said = [changes.step() for _ in range(steps)]
    changes.settle()
    return archive, said, [json.loads(line) for line in written.getvalue().splitlines()]


def test_the_same_seed_gives_the_same_changes_and_another_gives_others() -> None:
    assert lived(1)[1] == lived(1)[1]
    assert lived(1)[1] != lived(2)[1]


def test_everything_that_the_real_archive_does_happens() -> None:
    said = " ".join(lived(3, steps=200)[1])
    for what in (
        "is new, with",
        "has changed",
        "is gone",
        "another title",
        "obsolete",
        "vanished",
        "is back",
    ):
        assert what in said


@pytest.mark.parametrize("seed", [1, 4])
def test_the_history_ends_with_what_is_there_and_its_digests_are_of_what_is_served(seed: int) -> None:
    archive, _, history = lived(seed, watched=True)
    last = {(line["entry"], line["path"]): line for line in history}
    there = {
        (entry.empiar_id, os.fsdecode(path)): (path, file)
        for entry in archive.entries.values()
        for path, file in entry.walk()
    }
    assert {key for key, line in last.items() if line["sha256"] is not None} == there.keys()
    for (entry_id, shown), (path, file) in there.items():
        served = archive.read(entry_id, path, file, 0, file.size)
        assert last[entry_id, shown]["sha256"] == hashlib.sha256(served).hexdigest()
        assert last[entry_id, shown]["size"] == len(served)
    assert min(archive.entries) >= FIRST_ID


def test_an_entry_that_is_obsolete_has_a_record_and_no_files() -> None:
    archive, said, _ = lived(3, steps=200)
    gone = {int(line.split()[1]) for line in said if line.endswith("is obsolete")}
    assert gone
    for empiar_id in gone:
        entry = archive.entries[empiar_id]
        assert entry.record["status"] == "OBS"
        assert entry.record["obsolete_date"] == datetime.now(UTC).date().isoformat()
        assert list(entry.walk()) == []
