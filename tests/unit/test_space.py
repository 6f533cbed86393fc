from __future__ import annotations

from pathlib import Path

from empiar_mirror.space import DiskUse, Space
from empiar_schema.settings import DiskSettings

FOLDER = Path()


def space(*, free: int, total: int = 1000, quota: int | None = None, held: int = 0) -> Space:
    settings = DiskSettings(high_watermark=0.9, low_watermark=0.5, quota=quota)
    return Space(FOLDER, settings, held_bytes=held, measure=lambda _: DiskUse(total, free))


def test_room_ends_at_the_high_watermark() -> None:
    assert space(free=300).reserve(1, 200) is None
    assert "do not fit" in (space(free=300).reserve(1, 201) or "")


def test_reservations_add_up_and_are_given_back() -> None:
    disk = space(free=300)
    assert disk.reserve(1, 150) is None
    assert disk.reserve(2, 100) is not None
    disk.release(1)
    assert disk.reserve(2, 100) is None


def test_written_bytes_are_not_counted_twice() -> None:
    free = [300]
    settings = DiskSettings(high_watermark=0.9)
    disk = Space(FOLDER, settings, measure=lambda _: DiskUse(1000, free[0]))
    assert disk.reserve(1, 150) is None
    disk.wrote(1, 150)
    free[0] = 150
    assert disk.reserve(2, 50) is None
    assert disk.reserve(3, 1) is not None


def test_the_quota_counts_what_is_held() -> None:
    disk = space(free=1000, quota=500, held=450)
    assert disk.reserve(1, 50) is None
    assert "quota" in (disk.reserve(2, 1) or "")


def test_work_goes_on_below_the_low_watermark() -> None:
    assert space(free=600).below_low_watermark
    assert not space(free=400).below_low_watermark


def test_what_somebody_else_writes_already_is_reserved_once_whether_or_not_it_fits() -> None:
    disk = space(free=300)
    disk.reserve_known(-1, 500)
    assert "500 of them reserved" in (disk.reserve(1, 1) or "")
    disk.wrote(-1, 400)
    # Told again in every round, with what was missing at first.
    disk.reserve_known(-1, 500)
    assert disk.reserve(1, 100) is None
    assert disk.reserve(2, 1) is not None
    disk.release(-1)
    assert disk.reserve(2, 100) is None


def test_a_known_reservation_never_replaces_one_that_was_made_and_shrinks_to_nothing() -> None:
    disk = space(free=300, quota=1000)
    assert disk.reserve(-1, 50) is None
    disk.reserve_known(-1, 200)
    assert disk.reserve(1, 150) is None
    disk.wrote(-1, 60)
    assert disk.reserve(2, 50) is None
    assert disk.reserve(3, 1) is not None
