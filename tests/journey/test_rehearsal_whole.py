"""The rehearsal archive mirrored whole: what was served is what the catalogue's views and the disk hold, and damage is found and mended."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.faults import FaultKind, standard_faults
from empiar_mirror.rehearsal.listing import as_text
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.files import DAY_S
from empiar_schema.paths import text_from_bytes
from empiar_schema.states import CopyState
from empiar_schema.times import epoch
from independent import assert_mirrored, assert_tidy, content
from mirrors import opened, rows, settings_for

OBSOLETE = 10109
#: What no mirror may keep of the people behind an entry (rehearsal/records.py).
PERSONAL = (
    b"alex [at] rehearsal.invalid",
    b"rehearsal.invalid",
    b"+44 1223 00000",
    b"1 Loopback Lane",
)
#: What is wrong at the source and shows in the few bytes that are looked at when a file arrives.
SEEN_ON_ARRIVAL = {
    "10115/data/micrographs/mic_0004_DW.mrc": ["mrc.truncated"],
    "10115/data/micrographs/mic_0007_DW.mrc": ["body.error_text"],
    "10115/data/micrographs/mic_0008_DW.mrc.gz": ["mrc.suffix_but_not_mrc"],
    "10115/data/movies/mov_0002_frames.tif": ["tiff.truncated"],
}
PROBLEMS = "SELECT empiar_id || '/' || path, problems FROM images JOIN files USING (file_id) WHERE problems IS NOT NULL"


def only(*channels: str, stall_s: float = 0.6) -> str:
    """Settings with which listings and files come by these channels alone, and `stall_s` of silence ends an attempt."""
    names = ", ".join(f'"{name}"' for name in channels)
    return (
        f"[crawl]\nrequests_per_s = 2000\nlisting = [{names}]\n"
        f"[transfer]\nchannels = [{names}]\nrequests_per_s = 2000\nstall_s = {stall_s}\nretries = 4\nretry_wait_s = 0.01\n"
    )


def file_requests(rehearsal: Rehearsal) -> list[tuple[str, int]]:
    """Path and first byte wherever a file's bytes were asked for; the API's answers and the pages of folders are none, nor is the header XML, which is metadata."""
    return [
        (request.path, request.start_offset)
        for request in rehearsal.log
        if request.method in ("GET", "RETR")
        and request.channel != "api"
        and not request.path.endswith(("/", ".xml"))
    ]


def moved_more_than_once(rehearsal: Rehearsal) -> set[str]:
    """Files of which more bytes were sent than they have; every byte of the others was sent exactly once.

    What looks damaged is fetched again, to learn whether it is so at the source. Several requests for parts of a
    large file are none too many.
    """
    sent: Counter[str] = Counter()
    for request in rehearsal.log:
        if request.method in ("GET", "RETR"):
            sent[request.path] += request.bytes_sent
    sizes = {
        as_text(b"%d/%b" % (entry.empiar_id, path)): file.size
        for entry in rehearsal.archive.entries.values()
        for path, file in entry.walk()
        if path != b"%d.xml" % entry.empiar_id
    }
    assert [path for path, size in sizes.items() if sent[path] < size] == []
    return {path for path, size in sizes.items() if sent[path] > size}


#: Channels, whether FTP offers MLSD, and how exactly listings tell times: `ls` the day, Apache the minute.
WAYS = {
    "https, then ftp": (("https", "ftp"), False, 60),
    "https": (("https",), False, 60),
    "ftp": (("ftp",), False, DAY_S),
    "ftp with MLSD": (("ftp",), True, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
async def test_the_views_and_the_disk_hold_exactly_what_was_served(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels, mlsd, precision_s = WAYS[way]
    # A test machine under load answers late; second tries are not what is counted here.
    monkeypatch.setattr("empiar_mirror.transports.patience._SHORTEST_S", 60.0)
    async with Rehearsal(mlsd=mlsd) as rehearsal:
        # Nothing falls silent here: requests are counted, and a busy machine must not add any.
        settings = settings_for(rehearsal, tmp_path, patient=only(*channels, stall_s=20))
        ids = sorted(set(rehearsal.archive.entries) - {OBSOLETE})
        with opened(settings) as mirror:
            crawled = await mirror.crawl(None)
            assert (crawled.failed, crawled.listed) == ({}, len(ids))
            synced = await mirror.sync(ids)
            assert synced.crawl is None
            assert synced.transfer.failed == ()
            assert moved_more_than_once(rehearsal) == SEEN_ON_ARRIVAL.keys()
            assert_views(rehearsal, tmp_path / "mirror" / "empiar.db", precision_s=precision_s)
            problems = rows(mirror, PROBLEMS)
            assert {path: json.loads(str(codes)) for path, codes in problems} == SEEN_ON_ARRIVAL

            seen = len(rehearsal.log)
            again = await mirror.sync(ids)
            assert (again.transfer.arrived, again.transfer.bytes_moved) == (0, 0)
            assert len(rehearsal.log) == seen
            assert (await mirror.verify(None)).damaged == ()
        for empiar_id in ids:
            assert_mirrored(rehearsal, tmp_path / "mirror", empiar_id)
            assert_times(rehearsal, tmp_path / "mirror", empiar_id)
        assert_tidy(tmp_path / "mirror")
        assert_no_personal_data(tmp_path / "mirror" / "empiar.db")


def assert_times(rehearsal: Rehearsal, root: Path, empiar_id: int) -> None:
    """Files have the modification times of their originals, to the second."""
    base = os.fsencode(root / "archive" / str(empiar_id))
    for path, file in rehearsal.archive.entries[empiar_id].walk():
        assert os.stat(os.path.join(base, path)).st_mtime == file.mtime, path


def assert_views(rehearsal: Rehearsal, database: Path, *, precision_s: int) -> None:
    """Views, read by nothing but sqlite3, say what the archive holds, no more and no less."""
    conn = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        entries = rehearsal.archive.entries
        assert dict(conn.execute("SELECT empiar_id, title FROM entries")).keys() == entries.keys()
        for entry in entries.values():
            served = {text_from_bytes(path): file for path, file in entry.walk()}
            listed = conn.execute(
                "SELECT path, bytes, modified_at FROM files WHERE empiar_id = ?", (entry.empiar_id,)
            ).fetchall()
            assert {path: size for path, size, _ in listed} == {p: f.size for p, f in served.items()}
            assert [p for p, _, at in listed if not 0 <= served[p].mtime - epoch(at) < precision_s] == []
            record = entry.record
            assert isinstance(record["imagesets"], list)
            [facts] = conn.execute(
                "SELECT status, release_date, dataset_size, doi, imageset_count, coalesce(file_count, 0), coalesce(file_bytes, 0) "
                "FROM entries WHERE empiar_id = ?",
                (entry.empiar_id,),
            )
            stated = [record[key] for key in ("status", "release_date", "dataset_size", "entry_doi")]
            sizes = [file.size for file in served.values()]
            assert list(facts) == [*stated, len(record["imagesets"]), len(sizes), sum(sizes)]
        counted = conn.execute("SELECT empiar_id, count(*) FROM imagesets GROUP BY empiar_id")
        assert dict(counted) == {i: len(e.record["imagesets"]) for i, e in entries.items()}  # type: ignore[arg-type]
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        conn.close()


def assert_no_personal_data(database: Path) -> None:
    """Not one byte of addresses and numbers is in the file, in any page of it."""
    with sqlite3.connect(database) as conn:
        conn.execute("VACUUM")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    raw = database.read_bytes().lower()
    assert b"beispiel" in raw, "names of authors are kept, so this search would find what is there"
    assert [found for found in PERSONAL if found.lower() in raw] == []


async def test_damage_and_loss_are_found_named_and_mended(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        settings = settings_for(rehearsal, tmp_path)
        root = tmp_path / "mirror"
        with opened(settings) as mirror:
            await mirror.sync([10101])
            star = "data/particles/particles_selected.star"
            damaged, lost = sorted(
                path for path, _ in rehearsal.archive.entries[10101].walk() if path.endswith(b".mrc")
            )[3:5]
            spoil(root / "archive/10101" / os.fsdecode(damaged))
            (root / "archive/10101" / os.fsdecode(lost)).unlink()
            seen = len(rehearsal.log)

            report = await mirror.verify([10101])
            assert {(f.path, f.state) for f in report.damaged} == {
                (f"10101/{damaged.decode()}", CopyState.DAMAGED),
                (f"10101/{lost.decode()}", CopyState.DAMAGED),
            }
            assert len(rehearsal.log) == seen, "verify asks nobody"
            assert rows(mirror, "SELECT state FROM copies WHERE path = ?", [star]) == [("arrived",)]

            await mirror.sync([10101])
            assert len(rehearsal.log) == seen, "sync leaves damage to repair"
            repaired = await mirror.repair(None)
            assert (repaired.transfer.failed, repaired.transfer.arrived) == ((), 2)
            assert (await mirror.verify(None)).damaged == ()
        assert_mirrored(rehearsal, root, 10101)
        kept = [path.read_bytes() for path in (root / "quarantine").rglob("*") if path.is_file()]
        spoilt = bytearray(content(rehearsal, 10101, damaged))
        spoilt[len(spoilt) // 2] ^= 1
        assert bytes(spoilt) in kept


def spoil(path: Path) -> None:
    """One bit in the middle of the file is another, its size and time are as before."""
    stat = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [("https", "ftp"), ("https",), ("ftp",)], ids=" then ".join)
async def test_all_arrives_from_an_archive_that_misbehaves_with_few_requests_more(
    tmp_path: Path, channels: tuple[str, ...]
) -> None:
    faults = standard_faults()
    async with Rehearsal(faults=faults) as rehearsal:
        settings = settings_for(rehearsal, tmp_path, patient=only(*channels))
        ids = sorted(set(rehearsal.archive.entries) - {OBSOLETE})
        with opened(settings) as mirror:
            await mirror.crawl(None)
            report = await mirror.sync(ids)
            assert report.transfer.failed == ()
        for empiar_id in ids:
            assert_mirrored(rehearsal, tmp_path / "mirror", empiar_id)
        assert_tidy(tmp_path / "mirror")
        assert rehearsal.book.struck[FaultKind.DROP_AT] == 4
        files = sum(1 for i in ids for _ in rehearsal.archive.entries[i].walk())
        struck = sum(rehearsal.book.struck.values())
        assert struck >= 9
        # Each fault costs its own repetition, and may cost those that were under way on its connection theirs.
        assert len(file_requests(rehearsal)) <= files + 16 * struck
