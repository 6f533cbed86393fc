"""The archive changes after we mirrored it: what is new comes, what changed or went is on record, and ours stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.archive import ArchiveFile
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.states import CopyState
from independent import assert_manifest, assert_mirrored, content
from mirrors import opened, rows, settings_for

ID = 10101
CHANGED, REMOVED, ADDED = "data/README.txt", "data/micrographs/stack_0002_2x_SumCorr.mrc", "data/new.mrc"
#: An old file, so that `ls` shows the day of its change only.
NEW_FILE = ArchiveFile(70_000, 1_650_000_000)


@contextmanager
def mirrored(rehearsal: Rehearsal, folder: Path, channel: str) -> Iterator[Mirror]:
    """A mirror that lists and fetches by this channel."""
    more = f'channels = ["{channel}"]\n'
    patient = f'[crawl]\nrequests_per_s = 2000\nlisting = ["{channel}"]\n[transfer]\nrequests_per_s = 2000\nstall_s = 1\n'
    with opened(settings_for(rehearsal, folder, patient=patient, more=more)) as mirror:
        yield mirror


def states(mirror: Mirror) -> dict[object, object]:
    found = rows(mirror, "SELECT path, state FROM copies")
    return {path: state for path, state, *_ in found}


def changes(mirror: Mirror, path: str | None) -> list[tuple[object, ...]]:
    """Kinds and fields of the changes of a file, or of the entry itself, since it was first seen."""
    return rows(
        mirror, "SELECT kind, field FROM changes WHERE path IS ? AND kind != 'added' ORDER BY rowid", [path]
    )


def change_upstream(rehearsal: Rehearsal) -> None:
    archive = rehearsal.archive
    archive.touch_record(ID, time.strftime("%Y-%m-%d", time.gmtime()))
    archive.add_file(ID, ADDED.encode(), NEW_FILE)
    archive.change_file(
        ID, CHANGED.encode(), body=b"another text, and a longer one than it was before, by far\n"
    )
    archive.remove_file(ID, REMOVED.encode())


@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_new_files_come_and_ours_stay_whatever_happens_upstream(tmp_path: Path, channel: str) -> None:
    async with Rehearsal() as rehearsal:
        ours = {path: content(rehearsal, ID, path.encode()) for path in (CHANGED, REMOVED)}
        with mirrored(rehearsal, tmp_path, channel) as mirror:
            await mirror.crawl(None)
            await mirror.sync([ID])
            here = len(states(mirror))
            change_upstream(rehearsal)

            report = await mirror.crawl(None)
            assert (report.enumerated_by, report.failed) == ("search", {})
            assert ("changed", "update_date") in changes(mirror, None)
            assert rows(mirror, "SELECT kind FROM changes WHERE path = ?", [ADDED]) == [("added",)]
            assert {kind for kind, _ in changes(mirror, CHANGED)} == {"changed"}
            assert changes(mirror, REMOVED) == [], "one listing's silence is no deletion"

            seen = len(rehearsal.log)
            synced = await mirror.sync([ID])
            assert (synced.transfer.arrived, synced.transfer.failed) == (1, ())
            assert synced.transfer.already_here == here
            asked = {r.path for r in rehearsal.log[seen:] if r.method in ("GET", "RETR")}
            assert asked == {f"{ID}/{ADDED}"}
            assert_ours(tmp_path / "mirror", ours)
            assert states(mirror)[REMOVED] == CopyState.ARRIVED

            await mirror.crawl([ID])
            assert states(mirror)[REMOVED] == CopyState.WITHDRAWN
            assert [kind for kind, _ in changes(mirror, REMOVED)] == ["removed"]
            again = await mirror.sync([ID])
            assert (again.transfer.arrived, again.transfer.failed) == (0, ())
            assert_ours(tmp_path / "mirror", ours)
            assert (await mirror.verify([ID])).damaged == ()
            assert_manifest(tmp_path / "mirror", ID)


def assert_ours(root: Path, ours: dict[str, bytes]) -> None:
    """The files are on disk as they came."""
    for path, data in ours.items():
        assert (root / "archive" / str(ID) / path).read_bytes() == data


@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_a_withdrawn_file_that_returns_is_arrived_again_without_a_byte(
    tmp_path: Path, channel: str
) -> None:
    async with Rehearsal() as rehearsal:
        with mirrored(rehearsal, tmp_path, channel) as mirror:
            await mirror.sync([ID])
            gone = rehearsal.archive.file(ID, REMOVED.encode())
            assert gone is not None
            rehearsal.archive.remove_file(ID, REMOVED.encode())
            for _ in range(2):
                await mirror.crawl([ID])
            assert states(mirror)[REMOVED] == CopyState.WITHDRAWN
            rehearsal.archive.add_file(ID, REMOVED.encode(), gone)
            await mirror.crawl([ID])
            report = await mirror.sync([ID])
            assert report.transfer.bytes_moved == 0
            assert set(states(mirror).values()) == {CopyState.ARRIVED}
            assert rows(mirror, "SELECT gone_at FROM files WHERE path = ?", [REMOVED]) == [(None,)]
            assert [kind for kind, _ in changes(mirror, REMOVED)] == ["removed", "returned"]


@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_a_file_that_goes_before_it_came_is_no_failure_and_comes_if_it_returns(
    tmp_path: Path, channel: str
) -> None:
    async with Rehearsal() as rehearsal:
        with mirrored(rehearsal, tmp_path, channel) as mirror:
            await mirror.crawl([ID])
            gone = rehearsal.archive.file(ID, REMOVED.encode())
            assert gone is not None
            rehearsal.archive.remove_file(ID, REMOVED.encode())
            first = await mirror.sync([ID])
            assert [failed.path for failed in first.transfer.failed] == [f"{ID}/{REMOVED}"]
            for _ in range(2):
                await mirror.crawl([ID])
            assert (await mirror.sync([ID])).transfer.failed == ()
            rehearsal.archive.add_file(ID, REMOVED.encode(), replace(gone, mtime=gone.mtime + 86_400 * 40))
            await mirror.crawl([ID])
            last = await mirror.sync([ID])
            assert (last.transfer.arrived, last.transfer.failed) == (1, ())
            assert states(mirror)[REMOVED] == CopyState.ARRIVED


async def test_an_entry_that_vanishes_leaves_our_files_and_its_record(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        ours = {path: content(rehearsal, ID, path.encode()) for path in (CHANGED, REMOVED)}
        with mirrored(rehearsal, tmp_path, "https") as mirror:
            await mirror.sync([ID])
            rehearsal.archive.remove_entry(ID)
            for _ in range(3):
                report = await mirror.crawl([ID])
                assert (report.absent, report.failed) == (1, {})
            assert_ours(tmp_path / "mirror", ours)
            assert set(states(mirror).values()) <= {CopyState.ARRIVED, CopyState.WITHDRAWN}
            assert rows(mirror, "SELECT title IS NOT NULL FROM entries WHERE empiar_id = ?", [ID]) == [(1,)]
            assert (await mirror.verify([ID])).damaged == ()


@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_a_file_that_changed_between_crawl_and_sync_comes_as_it_is_now(
    tmp_path: Path, channel: str
) -> None:
    async with Rehearsal() as rehearsal:
        with mirrored(rehearsal, tmp_path, channel) as mirror:
            await mirror.crawl([ID])
            rehearsal.archive.change_file(ID, CHANGED.encode(), body=b"shorter\n")
            report = await mirror.sync([ID])
            assert report.crawl is None
            assert report.transfer.failed == ()
            assert rows(mirror, "SELECT path, what FROM contradictions") == [(CHANGED, "size")]
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)


@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_repair_of_a_file_that_has_changed_upstream_brings_the_new_one_and_keeps_the_damaged_one_aside(
    tmp_path: Path, channel: str
) -> None:
    async with Rehearsal() as rehearsal:
        with mirrored(rehearsal, tmp_path, channel) as mirror:
            await mirror.sync([ID])
            rehearsal.archive.change_file(ID, CHANGED.encode(), body=b"another text, and a shorter one\n")
            await mirror.crawl([ID])
            ours = tmp_path / "mirror" / "archive" / str(ID) / CHANGED
            ours.chmod(0o644)
            ours.write_bytes(b"spoilt")
            [damaged] = (await mirror.verify([ID])).damaged
            assert damaged.path == f"{ID}/{CHANGED}"
            assert (await mirror.repair([ID])).transfer.failed == ()
            assert (await mirror.verify([ID])).damaged == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        aside = [path.read_bytes() for path in (tmp_path / "mirror/quarantine").rglob("*.bytes")]
        assert aside == [b"spoilt"]
