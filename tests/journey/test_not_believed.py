"""What the archive serves while something is wrong there: not taken for the truth, neither at first sight nor in place of what was here."""

from __future__ import annotations

from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.faults import Fault
from empiar_mirror.rehearsal.faults import FaultKind as K
from empiar_mirror.rehearsal.server import Rehearsal
from independent import content
from mirrors import opened, rows, settings_for

ID = 10190
PATH = "data/a.mrc"
#: Below one proven block, which is fetched anew each time, and above, which is kept while it waits.
SIZES = {"small": 20_000, "large": 3 * 2**20}
COPY = f"SELECT state, sha256, error FROM copies WHERE path = '{PATH}'"


def error_text(times: int | None) -> Fault:
    """One and the same, by every channel."""
    return Fault(kind=K.ERROR_INSIDE, match=f"{ID}/*", at_byte=5000, times=times)


async def here(mirror: Mirror, rehearsal: Rehearsal) -> bytes:
    """The file has arrived; returns what it is."""
    assert (await mirror.sync([ID])).transfer.failed == ()
    right = content(rehearsal, ID, PATH.encode())
    assert local(mirror).read_bytes() == right
    return right


def local(mirror: Mirror) -> Path:
    return mirror.folders.archive / str(ID) / PATH


async def spoil(mirror: Mirror) -> None:
    """The disk has eaten a byte, and the mirror has seen it."""
    file = local(mirror)
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1])
    await mirror.verify([ID])
    assert rows(mirror, COPY)[0][0] == "damaged"


def fetches(rehearsal: Rehearsal) -> int:
    return sum(one.path == f"{ID}/{PATH}" and one.method in ("GET", "RETR") for one in rehearsal.log)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_an_error_text_by_all_channels_that_passes_is_not_taken(tmp_path: Path, size: int) -> None:
    async with Rehearsal([big_entry(ID, {"a.mrc": size})], faults=[error_text(2)]) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await here(mirror, rehearsal)
            assert rows(mirror, "SELECT problems FROM images") == [(None,)]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_an_error_text_that_stays_is_what_the_archive_holds(tmp_path: Path, size: int) -> None:
    async with Rehearsal([big_entry(ID, {"a.mrc": size})], faults=[error_text(None)]) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            assert (await mirror.sync([ID])).transfer.failed == ()
            assert rows(mirror, "SELECT problems FROM images") == [('["body.error_text"]',)]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_a_file_that_was_sound_does_not_come_back_damaged(tmp_path: Path, size: int) -> None:
    async with Rehearsal([big_entry(ID, {"a.mrc": size})]) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            right = await here(mirror, rehearsal)
            await spoil(mirror)
            rehearsal.book.add(error_text(3))
            repaired = await mirror.repair([ID])
            assert repaired.transfer.failed == ()
            assert local(mirror).read_bytes() == right
            assert rows(mirror, "SELECT path FROM changes WHERE field = 'sha256'") == []


async def test_damage_that_came_later_to_the_archive_is_kept_aside_with_both_digests(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, {"a.mrc": SIZES["small"]})]) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await here(mirror, rehearsal)
            [(_, sha256, _)] = rows(mirror, COPY)
            await spoil(mirror)
            rehearsal.book.add(error_text(None))
            await mirror.repair([ID])
            [(state, _, error)] = rows(mirror, COPY)
            assert state == "quarantined"
            assert str(sha256) in str(error)
            assert "body.error_text" in str(error)
            # What the disk had spoiled lies there, too.
            aside = [file.read_bytes() for file in (mirror.folders.quarantine / str(ID)).glob("*.bytes")]
            assert [b"<Error>" in content for content in aside].count(True) == 1
            assert not local(mirror).exists()
            # The archive has mended it; whoever asks again has it.
            rehearsal.book.clear()
            await mirror.repair([ID])
            assert rows(mirror, COPY)[0][:2] == ("arrived", sha256)


async def test_sound_bytes_that_are_others_come_twice_and_are_a_change(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, {"a.mrc": SIZES["small"]})]) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            right = await here(mirror, rehearsal)
            await spoil(mirror)
            other = right[:-4] + b"\1\2\3\4"
            rehearsal.archive.change_file(ID, PATH.encode(), body=other)
            before = fetches(rehearsal)
            await mirror.repair([ID])
            assert local(mirror).read_bytes() == other
            assert fetches(rehearsal) - before == 2
            assert rows(mirror, "SELECT path FROM changes WHERE field = 'sha256'") == [(PATH,)]


async def test_a_bit_that_flips_on_the_way_back_is_noticed(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, {"a.mrc": SIZES["small"]})]) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            right = await here(mirror, rehearsal)
            await spoil(mirror)
            # In the pixels, where no header and no length can tell: only what was here before does.
            rehearsal.book.add(Fault(kind=K.FLIP_BIT, match=f"{ID}/*", at_byte=15_000))
            await mirror.repair([ID])
            assert local(mirror).read_bytes() == right
