"""Whatever the archive says: nothing is written outside the root, other entries are unharmed, and what was wrong can be read afterwards."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.archive import ArchiveFile, Entry
from empiar_mirror.rehearsal.entries import big_entry, hostile_entry
from empiar_mirror.rehearsal.faults import Fault
from empiar_mirror.rehearsal.faults import FaultKind as K
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.syncing import SyncReport
from empiar_wire.hosts import Hosts
from empiar_wire.http import PoliteHttp
from independent import assert_mirrored, assert_tidy
from mirrors import opened, rows, settings_for
from rehearsal_in_thread import rehearsal_in_thread

VICTIM, NEIGHBOUR = 10106, 10108
FILES = {"a.mrc": 70_000, "b.mrc": 3 * 2**20, "c.mrc": 5_000}


def entries() -> list[Entry]:
    return [big_entry(VICTIM, FILES), big_entry(NEIGHBOUR, FILES)]


@dataclass(frozen=True)
class Way:
    """By which channels the mirror works, and how FTP lists."""

    channels: tuple[str, ...] = ("ftp", "https")
    mlsd: bool = False

    def __str__(self) -> str:
        return " and ".join(self.channels) + " with MLSD" * self.mlsd

    @property
    def toml(self) -> str:
        names = ", ".join(f'"{name}"' for name in self.channels)
        return (
            f"[crawl]\nrequests_per_s = 2000\nlisting = [{names}]\n[transfer]\nchannels = [{names}]\n"
            "requests_per_s = 2000\nstall_s = 0.6\nretries = 3\nretry_wait_s = 0.01\n"
        )


HTTPS, FTP, MLSD = Way(("https",)), Way(("ftp",)), Way(("ftp",), mlsd=True)
EACH = pytest.mark.parametrize("way", [HTTPS, FTP, MLSD], ids=str)


def names_below(folder: Path, *, but: str) -> set[str]:
    """Everything in `folder` but what is below `but`."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if but not in p.relative_to(folder).parts}


@contextmanager
def nothing_outside(folder: Path) -> Iterator[None]:
    """Beside the mirror nothing appears, disappears or changes."""
    canary = folder / "outside.mrc"
    canary.write_bytes(b"untouched")
    yield
    assert names_below(folder, but="mirror") <= {"outside.mrc", "empiar-mirror.toml"}
    assert canary.read_bytes() == b"untouched"
    top = {
        "empiar.db",
        "empiar.db-wal",
        "empiar.db-shm",
        "archive",
        "staging",
        "quarantine",
        "datasets",
        "manifests",
        "derived",
    }
    assert {p.name for p in (folder / "mirror").iterdir() if not p.name.startswith(".")} <= top
    assert {p.name for p in (folder / "mirror/archive").iterdir()} <= {str(VICTIM), str(NEIGHBOUR), "10150"}


@asynccontextmanager
async def suffering(
    folder: Path, way: Way, *faults: Fault, served: list[Entry] | None = None
) -> AsyncIterator[tuple[Rehearsal, Mirror]]:
    """A mirror of a victim and a neighbour; after the block the neighbour is here, whole, and nothing is anywhere else."""
    async with Rehearsal(served or entries(), faults=faults, mlsd=way.mlsd) as rehearsal:
        with nothing_outside(folder):
            settings = settings_for(rehearsal, folder, patient=way.toml)
            with opened(settings) as mirror:
                yield rehearsal, mirror
            assert_mirrored(rehearsal, folder / "mirror", NEIGHBOUR)
            assert_tidy(folder / "mirror")


def states(mirror: Mirror) -> dict[str, tuple[str, str]]:
    """State and error of the victim's copies by path."""
    found = rows(mirror, "SELECT path, state, coalesce(error, '') FROM copies WHERE empiar_id = ?", [VICTIM])
    return {str(path): (str(state), str(error)) for path, state, error in found}


def contradictions(mirror: Mirror) -> list[str]:
    return [str(what) for (what,) in rows(mirror, "SELECT what FROM contradictions ORDER BY what")]


def reason(report: SyncReport) -> str:
    assert report.crawl is not None
    return report.crawl.failed.get(VICTIM, "")


@EACH
async def test_names_that_no_file_can_have_are_recorded_and_the_others_arrive(
    tmp_path: Path, way: Way
) -> None:
    fault = Fault(kind=K.HOSTILE_NAMES, match=f"{VICTIM}/*", times=None)
    async with suffering(tmp_path, way, fault) as (rehearsal, mirror):
        report = await mirror.sync([VICTIM, NEIGHBOUR])
        assert rehearsal.book.struck[K.HOSTILE_NAMES] > 0
        assert {"x" * 5000 in failed.path for failed in report.transfer.failed} == {True}
        assert all("longer than file systems allow" in failed.error for failed in report.transfer.failed)
        arrived = {path for path, (state, _) in states(mirror).items() if state == "arrived"}
        assert arrived == {f"{VICTIM}.xml", *(f"data/{name}" for name in FILES)}
        assert "unusable name" in contradictions(mirror)


@EACH
async def test_line_ends_in_names_never_make_a_file_of_another_name(tmp_path: Path, way: Way) -> None:
    served = [hostile_entry(10150), *entries()]
    async with suffering(tmp_path, way, served=served) as (rehearsal, mirror):
        report = await mirror.sync([10150, NEIGHBOUR])
        assert report.crawl is not None
        if way is HTTPS:
            assert report.transfer.failed == ()
            assert_mirrored(rehearsal, tmp_path / "mirror", 10150)
        else:  # FTP ends a name at the line's end, so nothing of this listing can be believed
            assert "cannot be read" in report.crawl.failed[10150]
            assert rows(mirror, "SELECT path FROM files WHERE empiar_id = 10150") == []


@EACH
async def test_twins_by_case_and_by_unicode_form_both_arrive_and_are_pointed_out(
    tmp_path: Path, way: Way
) -> None:
    served = entries()
    twins = ["Gain.mrc", "gain.mrc", "caf\u00e9.mrc", "cafe\u0301.mrc"]
    served[0] = big_entry(VICTIM, {name: 1024 + 10 * place for place, name in enumerate(twins)})
    async with suffering(tmp_path, way, served=served) as (rehearsal, mirror):
        report = await mirror.sync([VICTIM, NEIGHBOUR])
        assert report.transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", VICTIM)
        clashes = [what for what in contradictions(mirror) if what.startswith("name clash")]
        assert len(clashes) >= 2
        laid = list((tmp_path / f"mirror/datasets/cryoppp/{VICTIM}").rglob("*.mrc"))
        assert len({p.stat().st_ino for p in laid}) == len(laid)


@EACH
async def test_folders_without_end_are_refused_after_a_bounded_look(tmp_path: Path, way: Way) -> None:
    fault = Fault(kind=K.ENDLESS_FOLDERS, match=f"{VICTIM}/*", times=None)
    async with suffering(tmp_path, way, fault) as (rehearsal, mirror):
        report = await mirror.sync([VICTIM, NEIGHBOUR])
        assert re.search("deep|folders", reason(report))
        assert states(mirror) == {}
        assert len(rehearsal.log) < 500


@EACH
async def test_a_path_longer_than_the_system_allows_fails_alone_and_says_why(
    tmp_path: Path, way: Way
) -> None:
    served = entries()
    long = "/".join(["d" * 200] * 24) + "/x.mrc"
    served[0] = big_entry(VICTIM, {**FILES, long: 1000})
    async with suffering(tmp_path, way, served=served) as (_, mirror):
        await mirror.sync([VICTIM, NEIGHBOUR])
        found = states(mirror)
        state, error = found.pop(f"data/{long}")
        assert (state, "longer than file systems allow" in error) == ("parked", True)
        assert "name too long for a file system" in contradictions(mirror)
        assert {state for state, _ in found.values()} == {"arrived"}


@EACH
async def test_a_file_that_becomes_a_folder_keeps_our_file_and_says_why(tmp_path: Path, way: Way) -> None:
    async with suffering(tmp_path, way) as (rehearsal, mirror):
        await mirror.sync([VICTIM, NEIGHBOUR])
        kept = tmp_path / f"mirror/archive/{VICTIM}/data/a.mrc"
        before = kept.read_bytes()
        rehearsal.archive.remove_file(VICTIM, b"data/a.mrc")
        rehearsal.archive.add_file(VICTIM, b"data/a.mrc/inner.mrc", ArchiveFile(2_000, 1_650_000_000))
        await mirror.crawl([VICTIM])
        await mirror.sync([VICTIM, NEIGHBOUR])
        assert kept.read_bytes() == before
        state, error = states(mirror)["data/a.mrc/inner.mrc"]
        assert state == "quarantined"
        assert f"{kept}: File exists" in error


async def test_one_truncated_listing_takes_nothing_away(tmp_path: Path) -> None:
    async with suffering(tmp_path, FTP) as (rehearsal, mirror):
        await mirror.sync([VICTIM, NEIGHBOUR])
        rehearsal.book.add(Fault(kind=K.TRUNCATED_LISTING, match=f"{VICTIM}/data/", channel="ftp"))
        await mirror.crawl([VICTIM])
        assert rehearsal.book.struck[K.TRUNCATED_LISTING] == 1
        await mirror.sync([VICTIM])
        await mirror.crawl([VICTIM])
        assert (await mirror.sync([VICTIM])).transfer.bytes_moved == 0
        assert rows(mirror, "SELECT path FROM files WHERE gone_at IS NOT NULL") == []
        assert_mirrored(rehearsal, tmp_path / "mirror", VICTIM)


async def test_a_back_end_that_lags_withdraws_a_copy_and_takes_no_file(tmp_path: Path) -> None:
    async with suffering(tmp_path, Way()) as (rehearsal, mirror):
        await mirror.sync([VICTIM, NEIGHBOUR])
        place = f"{VICTIM}/data/"
        rehearsal.book.add(Fault(kind=K.MISSING_NAME, match=place, channel="ftp", value="b.mrc", times=None))
        seen = []
        for _ in range(2):
            await mirror.crawl([VICTIM])
            seen.append(states(mirror)["data/b.mrc"][0])
        assert seen == ["arrived", "withdrawn"]
        rehearsal.book.clear()
        await mirror.crawl([VICTIM])
        again = await mirror.sync([VICTIM])
        assert again.transfer.bytes_moved == 0
        assert_mirrored(rehearsal, tmp_path / "mirror", VICTIM)


@pytest.mark.parametrize("kind", [K.HTML_PAGE, K.BROKEN_JSON, K.DEEP_JSON, K.STALL_AT])
async def test_senseless_json_is_replaced_by_the_header_xml(
    tmp_path: Path, kind: K, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("empiar_mirror.crawling.PoliteHttp", quick_http)
    fault = Fault(kind=kind, match=f"entry/{VICTIM}", channel="api", times=None)
    async with suffering(tmp_path, Way(), fault) as (rehearsal, mirror):
        report = await mirror.sync([VICTIM, NEIGHBOUR])
        assert report.transfer.failed == ()
        assert rows(mirror, "SELECT empiar_id, record_source FROM entries") == [
            (VICTIM, "xml"),
            (NEIGHBOUR, "api"),
        ]
        assert_mirrored(rehearsal, tmp_path / "mirror", VICTIM)


def quick_http(hosts: Hosts) -> PoliteHttp:
    """The client that the mirror uses, with less patience."""
    return PoliteHttp(hosts, stall_s=0.5, tries=2)


async def test_an_entity_bomb_in_the_only_metadata_fails_its_entry_with_a_sentence(tmp_path: Path) -> None:
    faults = [
        Fault(kind=K.HTML_PAGE, match=f"entry/{VICTIM}", channel="api", times=None),
        Fault(kind=K.ENTITY_BOMB, match=f"*{VICTIM}.xml", times=None),
    ]
    async with suffering(tmp_path, Way(), *faults) as (_, mirror):
        report = await mirror.sync([VICTIM, NEIGHBOUR])
        assert re.search("XML|entit", reason(report))
        assert len(reason(report)) < 1000


@pytest.mark.parametrize("what", ["entry/10106", "10106/data/", "10106/data/b.mrc"])
async def test_redirects_to_another_host_are_not_followed(tmp_path: Path, what: str) -> None:
    async with elsewhere() as (port, visits):
        fault = Fault(kind=K.REDIRECT, match=what, value=f"http://localhost:{port}/x", times=None)
        async with suffering(tmp_path, HTTPS, fault) as (rehearsal, mirror):
            report = await mirror.sync([VICTIM, NEIGHBOUR])
            assert rehearsal.book.struck[K.REDIRECT] > 0
            told = f"{reason(report)} {states(mirror).get('data/b.mrc')}"
            assert "redirect" in told or rows(
                mirror, "SELECT record_source FROM entries WHERE empiar_id = ?", [VICTIM]
            ) == [("xml",)]
        assert visits == []


@asynccontextmanager
async def elsewhere() -> AsyncIterator[tuple[int, list[str]]]:
    """A server that nobody should visit: its port, and who did."""
    visits: list[str] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append((await reader.readline()).decode("latin-1"))
        writer.close()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], visits


LIES = [K.SHORT_BODY, K.LONG_STATED, K.OVERSIZE_BODY, K.ERROR_BODY, K.DROP_AT]


@pytest.mark.parametrize(
    ("way", "kind"),
    [(way, kind) for way in (Way(), HTTPS, FTP) for kind in LIES] + [(HTTPS, K.HTML_PAGE)],
    ids=str,
)
async def test_a_server_that_lies_about_one_file_for_ever_costs_that_file_and_few_requests(
    tmp_path: Path, way: Way, kind: K
) -> None:
    path = f"{VICTIM}/data/b.mrc"
    async with suffering(tmp_path, way) as (rehearsal, mirror):
        await mirror.crawl([VICTIM, NEIGHBOUR])
        rehearsal.book.add(Fault(kind=kind, match=path, at_byte=100, times=None))
        report = await mirror.sync([VICTIM, NEIGHBOUR])
        assert [failed.path for failed in report.transfer.failed] == [path]
        found = states(mirror)
        state, error = found.pop("data/b.mrc")
        assert state in ("parked", "quarantined")
        assert 20 < len(error) < 500
        assert {state for state, _ in found.values()} == {"arrived"}
        asked = sum(request.path == path for request in rehearsal.log)
        assert asked <= 40
        assert not (tmp_path / f"mirror/archive/{path}").exists()
        rehearsal.book.clear()
        await mirror.repair([VICTIM])
        assert_mirrored(rehearsal, tmp_path / "mirror", VICTIM)


@pytest.mark.slow
@pytest.mark.parametrize("way", [HTTPS, FTP], ids=str)
def test_json_of_200_megabytes_costs_no_memory(tmp_path: Path, way: Way) -> None:
    fault = Fault(kind=K.HUGE_JSON, match=f"entry/{VICTIM}", channel="api", times=None)
    with rehearsal_in_thread(Rehearsal(entries(), faults=[fault])) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path, patient=way.toml)):
            pass  # the catalogue is made
        command = [sys.executable, "-c", MEASURED, "sync", str(VICTIM), str(NEIGHBOUR)]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        peak_mib = int(run.stdout.splitlines()[-1])
        assert peak_mib < 300
        for empiar_id in (VICTIM, NEIGHBOUR):
            assert_mirrored(rehearsal, tmp_path / "mirror", empiar_id)


# The peak since exec: `ru_maxrss` would count the memory of the test process that forked it.
MEASURED = """
import re, sys
from empiar_mirror.cli import main
code = main(sys.argv[1:])
print(int(re.search(r"VmHWM:\\s*([0-9]+) kB", open("/proc/self/status").read()).group(1)) // 1024)
sys.exit(code)
"""
