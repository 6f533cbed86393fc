"""Header facts in the catalogue: probes before download, findings at verify, contradictions with the metadata."""

from __future__ import annotations

import bz2
import gzip
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from empiar_imaging.agreement import FORMAT, FRAMES, KINDS, PIXEL, SIZE, VOXEL
from empiar_mirror import probe
from empiar_mirror.app import Mirror
from empiar_mirror.cli import main
from empiar_mirror.rehearsal.archive import ArchiveFile
from empiar_mirror.rehearsal.faults import Fault, FaultKind
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import DEFAULT_FILE
from mirrors import opened, rows, settings_for
from rehearsal_in_thread import rehearsal_in_thread

IDS = range(10101, 10110)
CONTRADICTORY = 10108
#: Damaged at the source, and contradictory on purpose; a case of its own.
DAMAGED = 10115
#: What entry 10108 is seeded with, and where its files are.
SEEDED = {
    (FORMAT, "TIFF", "mrc"),
    (VOXEL, "UNSIGNED 16 BIT INTEGER", "float32"),
    (PIXEL, "0.85 Å", "1.77 Å"),
    (SIZE, "4096 × 4096 pixels", "512 × 512 pixels"),
    (FRAMES, "40", "1"),
}


def contradictions(mirror: Mirror) -> list[tuple[object, ...]]:
    marks = ", ".join("?" * len(KINDS))
    return rows(
        mirror,
        f"SELECT empiar_id, what, stated, found, source, path FROM contradictions WHERE what IN ({marks})",
        KINDS,
    )


def assert_only_the_seeded(mirror: Mirror, *, source_ends: str) -> None:
    found = contradictions(mirror)
    assert {row[0] for row in found} == {CONTRADICTORY}
    assert {(row[1], row[2], row[3]) for row in found} == SEEDED
    assert len(found) == len(SEEDED)
    for row in found:
        assert str(row[4]).startswith("header of data/Micrographs/Session A/mic_00")
        assert str(row[4]).endswith(source_ends)
        assert row[5] == "data/micrographs"


def data_requests(rehearsal: Rehearsal) -> int:
    return sum(
        request.method in ("GET", "RETR") and "/data/" in request.path and not request.path.endswith("/")
        for request in rehearsal.log
    )


@pytest.mark.slow
async def test_probes_tell_the_facts_and_the_seeded_contradictions_of_all_entries(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.crawl(list(IDS))
            assert contradictions(mirror) == []
            report = await mirror.probe(list(IDS))
            assert report.failed == {}
            assert report.families == report.probed == rows(mirror, "SELECT count(*) FROM probes")[0][0]
            assert report.bytes_read == rows(mirror, "SELECT sum(bytes_read) FROM probes")[0][0]
            assert_only_the_seeded(mirror, source_ends=", 6 files named alike")
            facts = {
                row[0]: row[1:]
                for row in rows(
                    mirror,
                    "SELECT family, family_files, role, format, width, height, frames, mode, pixel_size_angstrom"
                    " FROM probes WHERE problems IS NULL",
                )
            }
            slices = "data/FIB-SEM dataset/slice_0.tif.gz"
            stacks = "data/FIB-SEM dataset/stack_0.mrc.bz2"
            movies = "data/Movies/Dataset0/atp_0-0_0_Apr0_0.0.0.tif"
            assert facts[slices] == (8, "micrograph", "tiff.gz", 384, 384, 1, "uint8", None)
            assert facts[stacks] == (3, "micrograph", "mrc.bz2", 256, 256, 1, "float32", 1.77)
            assert facts[movies] == (8, "movie", "tiff", 256, 256, 8, "uint8", None)
            assert len(facts) == report.families


@pytest.mark.slow
async def test_arrived_files_tell_the_same_contradictions_and_verify_adds_no_problem(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            ids = sorted(set(rehearsal.archive.entries) - {10109, DAMAGED})
            await mirror.probe(ids)  # nothing is listed yet: nothing to look at
            assert (await mirror.sync(ids)).transfer.failed == ()
            assert_only_the_seeded(mirror, source_ends=", 6 files alike")
            await mirror.sync(ids)
            assert_only_the_seeded(mirror, source_ends=", 6 files alike")
            assert (await mirror.verify(None)).damaged == ()
            assert rows(mirror, "SELECT file_id, problems FROM images WHERE problems IS NOT NULL") == []
            asked = data_requests(rehearsal)
            report = await mirror.probe(ids)
            assert (report.bytes_read, data_requests(rehearsal)) == (0, asked)


async def test_probes_hold_while_nothing_changes_and_follow_what_does(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.crawl([10102])
            first = await mirror.probe([10102])
            assert first.probed == 3
            before = rows(mirror, "SELECT * FROM probes ORDER BY family")
            asked = data_requests(rehearsal)
            again = await mirror.probe([10102])
            assert (again.families, again.probed, again.bytes_read) == (3, 0, 0)
            assert data_requests(rehearsal) == asked
            assert rows(mirror, "SELECT * FROM probes ORDER BY family") == before

            ((path,),) = rows(mirror, "SELECT path FROM probes WHERE role = 'movie'")
            folder = b"data/Movies/Dataset0/"
            rehearsal.archive.change_file(10102, str(path).encode(), size=8 + 3 * (126 + 100 * 100))
            rehearsal.archive.remove_file(10102, folder + b"CountRef.dm4")
            for _ in range(2):  # one listing's silence is not a deletion
                await mirror.crawl([10102], full=True)
            third = await mirror.probe([10102])
            assert (third.families, third.probed) == (2, 1)
            assert rows(mirror, "SELECT width, frames FROM probes WHERE role = 'movie'") == [(100, 3)]


async def test_another_channel_helps_and_a_file_that_none_serves_is_named(tmp_path: Path) -> None:
    faults = [
        Fault(kind=FaultKind.STATUS, channel="https", match="10102/*.tif", value="404", times=None),
        Fault(kind=FaultKind.STATUS, channel="https", match="10102/*.dm4", value="404", times=None),
        Fault(kind=FaultKind.FTP_550, channel="ftp", match="10102/*.dm4", times=None),
    ]
    async with Rehearsal(faults=faults) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.crawl([10102])
            report = await mirror.probe([10102])
            assert list(report.failed) == ["10102/data/Movies/Dataset0/CountRef.dm4"]
            assert rows(mirror, "SELECT role, width FROM probes ORDER BY role") == [
                ("gain", 256),
                ("movie", 256),
            ]


async def test_a_probe_reads_no_more_of_an_entry_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "MOST_ENTRY_BYTES", 3 * 2**20)
    block = bz2.compress(np.random.default_rng(1).bytes(1_500_000))
    async with Rehearsal() as rehearsal:
        for number in range(9):
            file = ArchiveFile(len(block), 1_600_000_000, body=block)
            rehearsal.archive.add_file(10101, b"data/packed%c/a.mrc.bz2" % (97 + number), file)
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.crawl([10101])
            report = await mirror.probe([10101])
            assert report.families == 10
            assert 2 * 2**20 < report.bytes_read <= 3 * 2**20


def mrc(frames: Sequence[object]) -> bytes:
    data = np.stack([np.broadcast_to(np.asarray(frame, "f4"), (8, 8)) for frame in frames]).astype("<f4")
    raw = bytearray(1024)
    struct.pack_into("<4i", raw, 0, 8, 8, len(data), 2)
    raw[104:108] = b"SERI"
    struct.pack_into("<i", raw, 92, 16)
    raw[208:216] = b"MAP \x44\x44\0\0"
    return bytes(raw) + bytes(16) + data.tobytes()


async def test_verify_finds_what_only_reading_through_shows_and_the_files_stay_sound(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(size=(8, 8))
    damaged = bytearray(gzip.compress(np.random.default_rng(2).bytes(300_000), mtime=0))
    damaged[-6] ^= 1  # the checksum
    bodies = {
        "constant.mrc": mrc([3, 3]),
        "blank frame.mrc": mrc([noise, 0, noise]),
        "nan.mrc": mrc([np.where(noise > 1, np.nan, noise)]),
        "sound.mrc": mrc([noise, noise]),
        "table.star.gz": bytes(damaged),
    }
    async with Rehearsal() as rehearsal:
        for name, body in bodies.items():
            rehearsal.archive.add_file(
                10108, f"data/x/{name}".encode(), ArchiveFile(len(body), 1_600_000_000, body=body)
            )
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            assert (await mirror.sync([10108])).transfer.failed == ()
            query = (
                "SELECT name, problems, extended_header FROM images JOIN files USING (file_id)"
                " WHERE directory = 'data/x' AND problems IS NOT NULL"
            )
            assert rows(mirror, query) == []
            for _ in range(2):
                report = await mirror.verify([10108])
                assert report.damaged == ()
                assert {row[0]: (json.loads(str(row[1])), row[2]) for row in rows(mirror, query)} == {
                    "constant.mrc": (["image.constant"], "SERI"),
                    "blank frame.mrc": (["image.constant_frames"], "SERI"),
                    "nan.mrc": (["image.not_finite"], "SERI"),
                    "table.star.gz": (["gzip.damaged"], None),
                }
            states = "SELECT DISTINCT state FROM copies WHERE empiar_id = 10108"
            assert rows(mirror, states) == [("arrived",)]


async def test_a_correction_of_the_metadata_ends_the_contradiction(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.crawl([10108])
            await mirror.probe([10108])
            assert len(contradictions(mirror)) == len(SEEDED)
            record = rehearsal.archive.entries[10108].record
            assert isinstance(record["imagesets"], list)
            (imageset,) = record["imagesets"]
            assert isinstance(imageset, dict)
            imageset |= {
                "pixel_width": 1.77,
                "pixel_height": 1.77,
                "image_width": "512",
                "image_height": "512",
            }
            await mirror.crawl([10108], full=True)
            assert {row[1] for row in contradictions(mirror)} == {FORMAT, VOXEL, FRAMES}


def test_the_command_probes_and_the_plan_explains_a_line_a_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with rehearsal_in_thread() as rehearsal:
        (tmp_path / DEFAULT_FILE).write_text(rehearsal.settings_toml("empiar"))
        assert main(["init", "--config", "other.toml"]) == 0
        (tmp_path / "other.toml").unlink()
        assert main(["crawl", "--probe"]) == 2
        assert "no entry was named" in capsys.readouterr().err
        assert main(["crawl", "10102", "--probe"]) == 0
        assert "3 families of images, 3 looked at, " in capsys.readouterr().out
        assert main(["crawl", "10102", "--probe", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["probe"]["families"] == 3
        assert main(["plan", "10102", "--explain"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert (
            "  8 × data/Movies/Dataset0/atp_0-0_0_Apr0_0.0.0.tif (movie): tiff, 256 × 256, 8 frames, uint8"
            in lines
        )
