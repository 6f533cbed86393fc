from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
import xxhash

from empiar_mirror.folders import Folders
from empiar_mirror.staging import OVERLAP_BYTES, BlockHasher, PartFile, StretchWriter, part_path
from empiar_mirror.stretches import BLOCK_BYTES, Stretch
from empiar_schema.faults import ChangedUpstream, IntegrityFault, StorageFault
from empiar_schema.transfer_store import Block

B = BLOCK_BYTES


def noise(count: int, seed: int = 1) -> bytes:
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(count)


@pytest.fixture
def part(tmp_path: Path) -> PartFile:
    folders = Folders.below(tmp_path)
    return PartFile(part_path(folders.staging, 10017, 5))


def test_sequential_writes_are_hashed_on_the_way(part: PartFile) -> None:
    data = noise(B + 77)
    writer = StretchWriter(part, Stretch(0, len(data)))
    blocks = writer.write(0, memoryview(data)[:1000]) + writer.write(1000, memoryview(data)[1000:])
    assert blocks == [Block(0, B, xxhash.xxh3_128_digest(data[:B]))]
    assert part.finish(len(data)) == hashlib.sha256(data).digest()
    assert part.path.read_bytes() == data
    part.close()


def test_stretches_written_in_any_order_give_the_same_hash(part: PartFile) -> None:
    data = noise(3 * B)
    later, first = StretchWriter(part, Stretch(B, 3 * B)), StretchWriter(part, Stretch(0, B))
    later.write(B, memoryview(data)[B:])
    first.write(0, memoryview(data)[:B])
    assert part.finish(3 * B) == hashlib.sha256(data).digest()
    part.close()


def test_blocks_of_pieces_of_any_size_prove_the_grid() -> None:
    data = noise(2 * B + 10)
    hasher = BlockHasher(B)
    blocks = [b for i in range(0, len(data), 70_001) for b in hasher.feed(memoryview(data)[i : i + 70_001])]
    assert [(b.start, b.length) for b in blocks] == [(B, B), (2 * B, B)]
    assert blocks[1].xxh3 == xxhash.xxh3_128_digest(data[B : 2 * B])


def test_recorded_blocks_are_believed_only_if_the_disk_agrees(part: PartFile) -> None:
    data = noise(3 * B)
    part.write(0, memoryview(data))
    part.close()
    blocks = [Block(i * B, B, xxhash.xxh3_128_digest(data[i * B : (i + 1) * B])) for i in range(3)]
    with part.path.open("r+b") as stream:
        stream.seek(B + 5)
        stream.write(b"\0\0\0\0")
    again = PartFile(part.path)
    held, lost = again.prove(blocks)
    assert [b.start for b in held] == [0, 2 * B]
    assert lost == [B]
    again.write(B, memoryview(data)[B : 2 * B])
    assert again.finish(3 * B) == hashlib.sha256(data).digest()
    again.close()


def test_a_block_beyond_the_end_of_a_torn_part_is_lost(part: PartFile) -> None:
    data = noise(B)
    part.write(0, memoryview(data)[: B // 2])
    assert part.prove([Block(0, B, xxhash.xxh3_128_digest(data))]) == ([], [0])
    part.close()


def test_bytes_fetched_again_must_be_those_that_are_kept(part: PartFile) -> None:
    data = noise(B)
    writer = StretchWriter(part, Stretch(0, B))
    writer.write(0, memoryview(data)[:40_000])
    assert writer.resume_at == 40_000 - OVERLAP_BYTES
    writer.write(30_000, memoryview(data)[30_000:50_000])
    assert writer.stretch.position == 50_000
    with pytest.raises(ChangedUpstream):
        writer.write(49_000, memoryview(noise(B, seed=2))[49_000:])
    assert part.path.read_bytes() == data[:50_000], "nothing of the other file was appended"
    part.close()


def test_more_bytes_than_the_stretch_are_refused(part: PartFile) -> None:
    writer = StretchWriter(part, Stretch(0, 100))
    with pytest.raises(IntegrityFault):
        writer.write(0, memoryview(bytes(101)))
    assert part.path.stat().st_size == 0
    part.close()


def test_a_gap_in_what_a_server_sends_is_refused(part: PartFile) -> None:
    with pytest.raises(IntegrityFault):
        StretchWriter(part, Stretch(0, 100)).write(10, memoryview(bytes(5)))
    part.close()


@pytest.mark.parametrize("actual", [99, 101])
def test_a_part_of_another_length_is_never_finished(part: PartFile, actual: int) -> None:
    part.write(0, memoryview(bytes(actual)))
    with pytest.raises(IntegrityFault):
        part.finish(100)
    part.close()


def test_a_resume_compares_before_the_first_missing_byte_when_that_is_proven(part: PartFile) -> None:
    assert StretchWriter(part, Stretch(B, 2 * B, after_proven=True)).resume_at == B - OVERLAP_BYTES
    assert StretchWriter(part, Stretch(B, 2 * B)).resume_at == B
    part.close()


def test_a_synced_part_is_read_only_and_as_old_as_upstream(part: PartFile) -> None:
    part.write(0, memoryview(b"x"))
    part.sync(1_400_000_000)
    status = part.path.stat()
    assert status.st_mtime == 1_400_000_000
    assert status.st_mode & 0o222 == 0
    part.discard()
    assert not part.path.exists()


def test_a_full_disk_is_told_from_a_broken_one(part: PartFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(code: int) -> None:
        def pwrite(fd: int, data: object, offset: int) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "pwrite", pwrite)

    refuse(errno.ENOSPC)
    with pytest.raises(StorageFault) as full:
        part.write(0, memoryview(b"x"))
    refuse(errno.EIO)
    with pytest.raises(StorageFault) as broken:
        part.write(0, memoryview(b"x"))
    assert (full.value.full, broken.value.full) == (True, False)
    assert full.value.hint
    part.close()


def test_a_symbolic_link_in_staging_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"precious")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "2.part").symlink_to(target)
    with pytest.raises(StorageFault):
        PartFile(tmp_path / "1" / "2.part")
    assert target.read_bytes() == b"precious"
