"""Scrubbing of a mirror on disk: order, budget, damage, and a disk that is away."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.reports import ScrubEnd
from empiar_mirror.scrub import Scrubber
from empiar_schema.events import Event, FileDamaged, ScrubStepTaken
from empiar_schema.faults import CatalogueFault, StorageFault
from empiar_schema.settings import ScrubSettings
from empiar_schema.states import CopyState, Role
from entry_here import ID, NOW, opened, put_here, rows
from image_files import mrc_bytes

DAY = 86_400
FILES = {
    f"data/{name}.mrc": (Role.MICROGRAPH, f"micrograph {name} ".encode() * 20_000) for name in "abcdefghijklm"
}
SIZE = len(FILES["data/a.mrc"][1])
LATER = NOW + 100 * DAY


class Clock:
    """Both clocks of a scrubber, and its sleep: time goes on by resting, and by one second a look if asked to."""

    def __init__(self, now: float = LATER) -> None:
        self.now = now
        self.timer = 0.0
        self.rests: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.timer += seconds
        self.now += seconds


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def mirror(tmp_path: Path, events: list[Event]) -> Iterator[Mirror]:
    root = tmp_path / "mirror"
    root.mkdir()
    put_here(root, FILES)
    with opened(root, "", events) as mirror:
        yield mirror


@pytest.fixture
def clock() -> Clock:
    return Clock()


def scrubber(mirror: Mirror, clock: Clock, **settings: object) -> Scrubber:
    made = mirror.scrubber(ScrubSettings.model_validate(settings))
    made._clock = lambda: clock.now
    made._timer = lambda: clock.timer
    made._sleep = clock.sleep
    mirror.clock = made._clock
    return made


def never() -> bool:
    return False


def verified_at(mirror: Mirror) -> dict[str, int]:
    with mirror.catalogue.reader() as conn:
        query = "SELECT f.name, c.verified_at FROM copy c JOIN file f ON f.file_id = c.file_id"
        return dict(conn.execute(query).fetchall())


def set_proof(mirror: Mirror, name: str, at: int) -> None:
    mirror.catalogue.write_now(
        lambda conn: conn.execute(
            "UPDATE copy SET verified_at = ? WHERE file_id = (SELECT file_id FROM file WHERE name = ?)",
            (at, name),
        )
    )


def read_names(mirror: Mirror, events: list[Event]) -> list[str]:
    with mirror.catalogue.reader() as conn:
        names = dict(conn.execute("SELECT file_id, name FROM file").fetchall())
    read = [names[e.file_id] for e in events if isinstance(e, ScrubStepTaken) and e.step == "read"]
    return list(dict.fromkeys(read))


def path_of(mirror: Mirror, name: str) -> Path:
    return mirror.folders.archive / str(ID) / "data" / name


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def states(mirror: Mirror) -> dict[str, str]:
    return {
        str(path).rpartition("/")[2]: str(state)
        for path, state in rows(mirror, "SELECT path, state FROM copies")
    }


# --- order ---------------------------------------------------------------------------------------------------


async def test_the_oldest_proof_comes_first_and_young_ones_wait(
    mirror: Mirror, clock: Clock, events: list[Event]
) -> None:
    for age, name in enumerate("dbca"):
        set_proof(mirror, f"{name}.mrc", NOW - 10 * DAY + age)
    for name in "efghijklm":
        set_proof(mirror, f"{name}.mrc", LATER - 10 * DAY)
    report = await scrubber(mirror, clock).run(never)
    assert read_names(mirror, events) == ["d.mrc", "b.mrc", "c.mrc", "a.mrc"]
    assert (report.checked, report.bytes_read, report.damaged) == (4, 4 * SIZE, ())
    assert report.ended is ScrubEnd.NOTHING_DUE
    assert {name for name, at in verified_at(mirror).items() if at == LATER} == {f"{n}.mrc" for n in "abcd"}
    assert (await scrubber(mirror, clock).run(never)).checked == 0


async def test_only_the_entries_asked_for(mirror: Mirror, clock: Clock) -> None:
    assert (await scrubber(mirror, clock).run(never, ids=[ID + 1])).checked == 0
    assert (await scrubber(mirror, clock).run(never, ids=[ID])).checked == len(FILES)


async def test_a_clock_that_was_ahead_leaves_no_file_unread(
    mirror: Mirror, clock: Clock, events: list[Event]
) -> None:
    for name in FILES:
        set_proof(mirror, name.rpartition("/")[2], LATER - DAY)
    set_proof(mirror, "c.mrc", LATER + 4000 * DAY)
    set_proof(mirror, "d.mrc", LATER + 60)
    await scrubber(mirror, clock).run(never)
    assert read_names(mirror, events) == ["c.mrc"], "a minute ahead is no reason to read again"
    assert verified_at(mirror)["c.mrc"] == LATER


async def test_a_clock_that_jumps_back_in_mid_run_ends_all_the_same(mirror: Mirror, clock: Clock) -> None:
    def jump() -> bool:
        clock.now -= 30 * DAY
        return False

    report = await scrubber(mirror, clock, period="1s").run(jump)
    assert report.checked == len(FILES)


# --- budget --------------------------------------------------------------------------------------------------


async def test_the_rate_holds_also_within_a_file(mirror: Mirror, clock: Clock) -> None:
    report = await scrubber(mirror, clock, bytes_per_s=40_000).run(never)
    assert report.checked == len(FILES)
    # What was read first needs no rest before it: the last piece is free.
    assert clock.timer >= (report.bytes_read - 10_000) / 40_000
    assert clock.timer <= report.bytes_read / 40_000
    assert max(clock.rests) <= 0.5


async def test_a_stop_waits_for_no_more_than_a_piece(mirror: Mirror, clock: Clock) -> None:
    scrub = scrubber(mirror, clock, bytes_per_s=40_000)
    report = await scrub.run(lambda: clock.timer >= 1.0)
    assert report.ended is ScrubEnd.ASKED
    assert clock.timer <= 1.5
    assert report.bytes_read <= 40_000 * 1.5 + 10_000 < SIZE, "in the middle of the first file"
    assert report.checked == 0
    assert set(verified_at(mirror).values()) == {NOW}
    assert open_files(mirror) == []


def open_files(mirror: Mirror) -> list[str]:
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [target for target in targets if target.startswith(str(mirror.folders.archive))]


async def test_hours_that_close_in_mid_file_interrupt_it_and_the_next_run_goes_on_there(
    mirror: Mirror, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    closes = LATER + 2.0
    monkeypatch.setattr("empiar_mirror.scrub.hours_open", lambda now, hours: now < closes)
    scrub = scrubber(mirror, clock, bytes_per_s=100_000)
    first = await scrub.run(never)
    assert first.ended is ScrubEnd.HOURS
    assert 0 < first.bytes_read < SIZE
    assert (await scrub.run(never)).bytes_read == 0
    closes = float("inf")
    second = await scrub.run(never)
    assert first.bytes_read + second.bytes_read == len(FILES) * SIZE, "nothing was read twice"
    assert second.checked == len(FILES)
    assert open_files(mirror) == []


async def test_a_file_that_was_replaced_while_hours_were_closed_is_read_from_its_beginning(
    mirror: Mirror, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    closes = LATER + 2.0
    monkeypatch.setattr("empiar_mirror.scrub.hours_open", lambda now, hours: now < closes)
    scrub = scrubber(mirror, clock, bytes_per_s=100_000)
    await scrub.run(never)
    other = path_of(mirror, "other")
    shutil.copy(path_of(mirror, "a.mrc"), other)
    flip(other)
    other.replace(path_of(mirror, "a.mrc"))
    closes = float("inf")
    assert [f.path for f in (await scrub.run(never)).damaged] == [f"{ID}/data/a.mrc"]


async def test_a_rate_too_slow_for_the_period_is_said(mirror: Mirror, clock: Clock) -> None:
    assert (await scrubber(mirror, clock, bytes_per_s=10**6, period="2s").run(never)).too_slow
    assert not (await scrubber(mirror, clock, bytes_per_s=10**6).run(never)).too_slow


async def test_a_disk_that_turns_out_slow_has_its_files_read_earlier(
    mirror: Mirror, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("empiar_mirror.scrub_budget._MEASURED_BYTES", SIZE)
    monkeypatch.setattr("empiar_mirror.scrub._GROUP_FILES", 4)
    for age, name in enumerate("abcdefghijklm"):
        set_proof(mirror, f"{name}.mrc", LATER - 90 * DAY + (age // 4) * 3600)
    scrub = scrubber(mirror, clock)
    assert (await scrub.run(never)).checked == 4, "an hour is long for a quick disk"

    def slow() -> float:
        clock.timer += 600
        return clock.timer

    for name in "abcd":
        set_proof(mirror, f"{name}.mrc", LATER - 90 * DAY)
    scrub = scrubber(mirror, clock)
    scrub._timer = slow
    assert (await scrub.run(never)).checked == 12, "a pass takes more than two hours, as it turns out"


async def test_what_held_is_recorded_every_half_minute_however_slow_reading_is(
    mirror: Mirror, clock: Clock
) -> None:
    proven: list[int] = []

    def look() -> bool:
        proven.append(sum(at > NOW for at in verified_at(mirror).values()))
        return False

    await scrubber(mirror, clock, bytes_per_s=40_000).run(look)
    assert set(proven) == {0, 5, 10}, "not only at the end"


# --- damage --------------------------------------------------------------------------------------------------


async def test_damage_leaves_the_layout_stands_in_quarantine_and_is_wanted_again(
    mirror: Mirror, clock: Clock, events: list[Event]
) -> None:
    await mirror.arrange([ID])
    shown = mirror.folders.datasets / "cryoppp" / str(ID)
    assert list(shown.rglob("c.mrc"))
    flip(path_of(mirror, "c.mrc"))
    wrong = path_of(mirror, "c.mrc").read_bytes()
    path_of(mirror, "e.mrc").unlink()
    report = await scrubber(mirror, clock).run(never)
    assert [(f.path, f.state) for f in report.damaged] == [
        (f"{ID}/data/c.mrc", CopyState.WANTED),
        (f"{ID}/data/e.mrc", CopyState.WANTED),
    ]
    assert report.checked == len(FILES)
    assert not list(shown.rglob("c.mrc"))
    assert not path_of(mirror, "c.mrc").exists()
    [kept] = mirror.folders.quarantine.rglob("*.bytes")
    assert kept.read_bytes() == wrong
    reason = json.loads(kept.with_suffix(".json").read_text())
    assert reason["path"] == "data/c.mrc"
    assert "sha256" in reason["reason"]
    assert {name for name, state in states(mirror).items() if state == "wanted"} == {"c.mrc", "e.mrc"}
    assert len([e for e in events if isinstance(e, FileDamaged)]) == 2


async def test_a_mismatch_that_the_second_reading_does_not_show_is_none(
    mirror: Mirror, clock: Clock, events: list[Event]
) -> None:
    victim = path_of(mirror, "a.mrc")
    good = victim.read_bytes()
    flip(victim)
    scrub = scrubber(mirror, clock)
    seen = scrub._observer

    def heal(event: Event) -> None:
        seen(event)
        victim.write_bytes(good)

    scrub._observer = heal
    report = await scrub.run(never)
    assert report.damaged == ()
    assert report.bytes_read == (len(FILES) + 1) * SIZE
    assert set(states(mirror).values()) == {"arrived"}


async def test_what_the_archive_lists_no_longer_stays_where_it_is(mirror: Mirror, clock: Clock) -> None:
    mirror.catalogue.write_now(
        lambda conn: conn.execute(
            "INSERT INTO file_absence SELECT file_id, ?, ?, ?, ? FROM file WHERE name = 'a.mrc'",
            (ID, NOW, NOW, NOW),
        )
    )
    mirror.catalogue.write_now(
        lambda conn: conn.execute(
            "UPDATE copy SET state = 4 WHERE file_id = (SELECT file_id FROM file WHERE name = 'a.mrc')"
        )
    )
    flip(path_of(mirror, "a.mrc"))
    [damaged] = (await scrubber(mirror, clock).run(never)).damaged
    assert (damaged.path, damaged.state) == (f"{ID}/data/a.mrc", CopyState.DAMAGED)
    assert path_of(mirror, "a.mrc").exists(), "these bytes may be the last there are"
    assert not list(mirror.folders.quarantine.rglob("*.bytes"))
    assert (await scrubber(mirror, clock).run(never)).damaged == (), "it is not read again and again"
    assert len(FILES) - 1 == sum(state == "arrived" for state in states(mirror).values())


async def test_what_verify_found_damaged_is_restored_or_replaced(mirror: Mirror, clock: Clock) -> None:
    good = path_of(mirror, "a.mrc").read_bytes()
    flip(path_of(mirror, "a.mrc"))
    flip(path_of(mirror, "b.mrc"))
    assert len((await mirror.verify([ID])).damaged) == 2
    path_of(mirror, "a.mrc").write_bytes(good)
    clock.now = NOW + DAY
    report = await scrubber(mirror, clock).run(never)
    assert report.restored == 1
    assert [f.path for f in report.damaged] == [f"{ID}/data/b.mrc"]
    assert (states(mirror)["a.mrc"], states(mirror)["b.mrc"]) == ("arrived", "wanted")


async def test_findings_of_a_full_reading_are_kept(tmp_path: Path, clock: Clock) -> None:
    root = tmp_path / "other"
    root.mkdir()
    flat = mrc_bytes(np.full(4096, 3, np.float32).tobytes(), shape=(64, 64, 1), mode=2)
    put_here(
        root,
        {"data/flat.mrc": (Role.MICROGRAPH, flat), "data/b.mrc": FILES["data/b.mrc"]},
        inspected=True,
    )
    with opened(root, "") as mirror:
        before = rows(
            mirror,
            "SELECT problems FROM images i JOIN copies c USING (file_id) WHERE c.path = 'data/flat.mrc'",
        )
        await scrubber(mirror, clock).run(never)
        after = rows(
            mirror,
            "SELECT problems FROM images i JOIN copies c USING (file_id) WHERE c.path = 'data/flat.mrc'",
        )
    assert before == [(None,)]
    assert "constant" in str(after)


# --- the disk is away ----------------------------------------------------------------------------------------


def unmount_root(mirror: Mirror) -> None:
    mirror.folders.root.rename(mirror.folders.root.with_name("away"))


def unmount_archive(mirror: Mirror) -> None:
    mirror.folders.archive.rename(mirror.folders.root / "away")
    mirror.folders.archive.mkdir()


def lose_folder(mirror: Mirror) -> None:
    path_of(mirror, "").rename(mirror.folders.root / "away")


def empty_folder(mirror: Mirror) -> None:
    lose_folder(mirror)
    path_of(mirror, "").mkdir()


def many_damaged(mirror: Mirror) -> None:
    for name in "defghijk":
        flip(path_of(mirror, f"{name}.mrc"))


@pytest.mark.parametrize("leave", [unmount_root, unmount_archive, lose_folder, empty_folder, many_damaged])
async def test_a_disk_that_is_away_is_one_fault_and_nothing_is_marked(
    mirror: Mirror, clock: Clock, leave: Callable[[Mirror], None], events: list[Event]
) -> None:
    leave(mirror)
    with pytest.raises((StorageFault, CatalogueFault)) as caught:
        await scrubber(mirror, clock).run(never)
    assert caught.value.hint
    away = mirror.folders.root.with_name("away")
    if away.exists():
        away.rename(mirror.folders.root)
    assert set(states(mirror).values()) == {"arrived"}
    assert not [e for e in events if isinstance(e, FileDamaged)]
    assert not list(mirror.folders.quarantine.rglob("*"))
    if leave is many_damaged:
        assert sum(at == LATER for at in verified_at(mirror).values()) == 3, "what held before is recorded"


async def test_seven_damaged_in_a_row_are_damage(mirror: Mirror, clock: Clock) -> None:
    for name in "defghij":
        flip(path_of(mirror, f"{name}.mrc"))
    assert len((await scrubber(mirror, clock).run(never)).damaged) == 7


async def test_a_file_that_may_not_be_opened_is_no_damage(
    mirror: Mirror, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "x" * 300  # too long for the file system, which is an error of no single file's bytes
    mirror.catalogue.write_now(
        lambda conn: conn.execute("UPDATE file SET name = ? WHERE name = 'a.mrc'", (name,))
    )
    with pytest.raises(StorageFault, match="was not checked"):
        await scrubber(mirror, clock).run(never)
    assert set(states(mirror).values()) == {"arrived"}
