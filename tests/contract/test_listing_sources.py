"""One contract for all listing sources, against the servers that EMPIAR and its mirrors run."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from empiar_crawler.parse.autoindex import apparent_size
from empiar_crawler.sources.base import BATCH_FILES, ListingSource
from empiar_crawler.sources.ftp_list import FtpListing
from empiar_crawler.sources.globus_ls import GlobusListing
from empiar_crawler.sources.https_index import HttpsListing
from empiar_mirror.rehearsal.faults import Fault, FaultKind
from empiar_mirror.rehearsal.globus import (
    ARCHIVE_COLLECTION,
    CLIENT_ID,
    CLIENT_SECRET,
    FolderStorage,
    GlobusConfig,
    GlobusFault,
    GlobusFaultKind,
)
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.faults import BadAnswer, PermanentFault, TransientFault, UnreachableFault
from empiar_schema.files import DAY_S, ListedFile
from empiar_schema.paths import RemotePath, bytes_from_text
from empiar_schema.settings import GlobusSettings
from empiar_wire.globus import TransferService
from empiar_wire.globus_account import GlobusAccount
from empiar_wire.globus_paths import KNOWN_BASES
from empiar_wire.hosts import Hosts
from empiar_wire.http import PoliteHttp
from rehearsal_in_thread import rehearsal_in_thread
from servers import ServedTree, apache, awkward_tree, nginx, vsftpd

FULL = 10_000


@dataclass(frozen=True, slots=True)
class Tree:
    """Entry 10001 of awkward names, entry 10002 of one full directory, entry 10003 empty."""

    root: Path
    awkward: dict[bytes, int]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = tmp_path_factory.mktemp("archive")
    full = root / "10002" / "data"
    full.mkdir(parents=True)
    for number in range(FULL):
        (full / f"m{number:05}.mrc").touch()
    (root / "10003" / "data").mkdir(parents=True)
    return Tree(root, awkward_tree(root))


@contextmanager
def globus(root: Path) -> Iterator[ServedTree]:
    """The archive's collection of a stand-in of Globus shows `root`."""
    with rehearsal_in_thread(Rehearsal([], globus=GlobusConfig())) as rehearsal:
        rehearsal.globus.archive_collection.storage = FolderStorage(root)
        yield ServedTree("globus", rehearsal.globus.url, 0, root, root / "no log")


@contextmanager
def globus_without_odd_folders(root: Path) -> Iterator[ServedTree]:
    """As `globus`, of `root` without the folders that Globus shows but does not find again."""

    def odd(folder: str, names: list[str]) -> set[str]:
        raw = {name: os.fsencode(name) for name in names}
        return {
            name for name in names if not is_utf8(raw[name]) and os.path.isdir(os.path.join(folder, name))
        }

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(root, copy, symlinks=True, copy_function=os.link, ignore=odd)
        with globus(copy) as served:
            yield served


def is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


Launcher = Callable[[Path], AbstractContextManager[ServedTree]]
LAUNCHERS: dict[str, Launcher] = {
    "vsftpd": vsftpd, "apache": apache, "nginx": nginx, "globus": globus_without_odd_folders
}  # fmt: skip


@pytest.fixture(scope="module", params=LAUNCHERS)
def served(request: pytest.FixtureRequest, tree: Tree) -> Iterator[ServedTree]:
    with LAUNCHERS[request.param](tree.root) as server:
        yield server


@asynccontextmanager
async def _opened(served: ServedTree) -> AsyncIterator[ListingSource]:
    hosts = Hosts(connections=4, requests_per_s=100_000, user_agent="empiar-mirror/test (+mailto:a@b.org)")
    http = PoliteHttp(hosts, stall_s=10)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(http.aclose)
        source: ListingSource
        if served.server == "globus":
            source = await _by_globus(stack, served.url, served.tree)
        elif served.url.startswith("ftp"):
            source = FtpListing(hosts, served.url)
        else:
            source = HttpsListing(http, served.url)
        stack.push_async_callback(source.aclose)
        yield source


async def _by_globus(stack: AsyncExitStack, url: str, root: Path) -> GlobusListing:
    settings = GlobusSettings(
        client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET), transfer_url=url, auth_url=url
    )
    service = TransferService(GlobusAccount(settings, root), requests_per_s=100_000)
    stack.push_async_callback(service.aclose)
    return GlobusListing(service, ARCHIVE_COLLECTION, KNOWN_BASES[1], sleep=_no_wait)


@pytest.fixture
async def source(served: ServedTree) -> AsyncIterator[ListingSource]:
    async with _opened(served) as opened:
        yield opened


async def _listed(source: ListingSource, empiar_id: int) -> dict[bytes, ListedFile]:
    found = {}
    async for batch in source.walk(empiar_id):
        assert len(batch.files) <= BATCH_FILES
        assert list(batch.refused) == []
        for file in batch.files:
            path = f"{batch.directory}/{file.name}" if batch.directory else file.name
            found[bytes_from_text(path)] = file
    return found


async def test_every_awkward_name_is_listed_byte_for_byte_with_its_exact_size(
    source: ListingSource, served: ServedTree, tree: Tree
) -> None:
    found = await _listed(source, 10001)
    expected = tree.awkward
    if served.server == "nginx":  # it never shows names that begin with a dot
        expected = {path: size for path, size in expected.items() if b"/." not in path}
    if served.server == "globus":
        expected = {path: size for path, size in expected.items() if is_utf8(path.rpartition(b"/")[0])}
        assert any(not is_utf8(path) for path in expected)
    assert {path: file.bytes for path, file in found.items()} == expected
    assert all(file.bytes_exact for file in found.values())


async def test_times_are_right_to_their_stated_grain(source: ListingSource, served: ServedTree) -> None:
    for path, file in (await _listed(source, 10001)).items():
        truth = int((served.tree / "10001" / os.fsdecode(path)).stat().st_mtime)
        assert file.modified_at is not None
        assert file.modified_at == truth // file.modified_unit_s * file.modified_unit_s
        assert file.modified_unit_s <= DAY_S


async def test_a_recent_time_without_a_year_is_taken_for_the_latest_past(
    source: ListingSource, served: ServedTree
) -> None:
    found = await _listed(source, 10002)
    newest = found[b"data/m00000.mrc"]
    assert newest.modified_at is not None
    assert abs(time.time() - newest.modified_at) < 600


async def test_a_directory_of_ten_thousand_files_is_listed_whole(source: ListingSource) -> None:
    assert len(await _listed(source, 10002)) == FULL


async def test_an_entry_without_files_is_listed_as_empty(source: ListingSource) -> None:
    assert await _listed(source, 10003) == {}


async def test_a_missing_entry_is_absent_and_not_empty(source: ListingSource) -> None:
    with pytest.raises(PermanentFault) as caught:
        await _listed(source, 19999)
    assert caught.value.absent


async def test_a_walk_may_be_left_early_and_another_begun(source: ListingSource) -> None:
    walk = source.walk(10002)
    async for _batch in walk:
        break
    await walk.aclose()
    assert len(await _listed(source, 10002)) == FULL


@pytest.fixture(scope="module")
def apache_server(tree: Tree) -> Iterator[ServedTree]:
    with apache(tree.root) as server:
        yield server


@asynccontextmanager
async def _http() -> AsyncIterator[PoliteHttp]:
    http = PoliteHttp(Hosts(connections=2, requests_per_s=100_000, user_agent="x"), tries=1)
    try:
        yield http
    finally:
        await http.aclose()


def _heads(server: ServedTree) -> int:
    return sum(line.startswith("HEAD ") for line in server.requests())


async def test_known_sizes_that_fit_the_page_need_no_head(apache_server: ServedTree) -> None:
    known: dict[str, dict[str, tuple[int, int | None]]] = {}
    async with _http() as http:
        async for batch in HttpsListing(http, apache_server.url).walk(10001):
            known[batch.directory] = {file.name: (file.bytes or 0, file.modified_at) for file in batch.files}

        async def remembered(empiar_id: int, directory: str) -> dict[str, tuple[int, int | None]]:
            assert empiar_id == 10001
            return known[directory]

        before = _heads(apache_server)
        assert before > 20
        again = await _listed(HttpsListing(http, apache_server.url, known=remembered), 10001)
        assert _heads(apache_server) == before
        assert all(file.bytes_exact for file in again.values())

        size, modified_at = known["data"]["GAIN.MRC"]
        known["data"]["GAIN.MRC"] = (size * 2, modified_at)
        known["data"]["gain.mrc"] = (known["data"]["gain.mrc"][0], 1)
        changed = await _listed(HttpsListing(http, apache_server.url, known=remembered), 10001)
        assert _heads(apache_server) == before + 2
        assert changed == again


async def test_heads_beyond_the_budget_leave_estimates(apache_server: ServedTree, tree: Tree) -> None:
    before = _heads(apache_server)
    async with _http() as http:
        found = await _listed(HttpsListing(http, apache_server.url, exact_sizes=3), 10001)
    assert _heads(apache_server) == before + 3
    assert found.keys() == tree.awkward.keys()
    estimates = {path: file for path, file in found.items() if not file.bytes_exact}
    assert len(estimates) > 20
    for path, file in estimates.items():
        assert file.bytes == apparent_size(tree.awkward[path])


async def test_a_refused_head_leaves_the_estimate(tree: Tree) -> None:
    refuse = """<Location "/10001/data/GAIN.MRC">
Require expr %{REQUEST_METHOD} != "HEAD"
</Location>"""
    with apache(tree.root, extra=refuse) as server:
        async with _http() as http:
            found = await _listed(HttpsListing(http, server.url), 10001)
    assert found[b"data/GAIN.MRC"].bytes == apparent_size(tree.awkward[b"data/GAIN.MRC"])
    assert not found[b"data/GAIN.MRC"].bytes_exact
    assert found[b"data/gain.mrc"].bytes_exact


@pytest.mark.parametrize("launch", [vsftpd, globus])
async def test_links_to_files_are_files_and_other_links_are_refused(tmp_path: Path, launch: Launcher) -> None:
    data = tmp_path / "10001" / "data"
    data.mkdir(parents=True)
    (data / "a.mrc").write_bytes(b"12345")
    (data / "to file").symlink_to("a.mrc")
    (data / "to nothing").symlink_to("b.mrc")
    (data / "loop").symlink_to(".")
    refused: list[bytes] = []
    found: dict[str, int | None] = {}
    with launch(tmp_path) as server:
        async with _opened(server) as source:
            async for batch in source.walk(10001):
                refused += batch.refused
                found |= {file.name: file.bytes for file in batch.files}
    assert found == {"a.mrc": 5, "to file": 5}
    assert sorted(refused) == [b"loop", b"to nothing"]


@pytest.mark.parametrize(("admitted", "allowed"), [(1, 4), (4, 1)])
async def test_fewer_connections_than_readers_are_enough(tree: Tree, admitted: int, allowed: int) -> None:
    with vsftpd(tree.root, max_clients=admitted) as server:
        hosts = Hosts(connections=allowed, requests_per_s=100_000, user_agent="x", sleep=_no_wait)
        source = FtpListing(hosts, server.url, readers=3, sleep=_no_wait)
        found = await _listed(source, 10001)
        await source.aclose()
    assert {path: file.bytes for path, file in found.items()} == tree.awkward


async def _no_wait(_seconds: float) -> None:
    """Time is not what this is about."""
    await asyncio.sleep(0)


WAYS = ("ftp", "ftp by MLSD", "https")
GLOBUS = "globus"


@asynccontextmanager
async def _rehearsed(way: str, *faults: Fault) -> AsyncIterator[tuple[ListingSource, Rehearsal]]:
    config = GlobusConfig() if way == GLOBUS else None
    async with (
        Rehearsal(faults=faults, mlsd=way == "ftp by MLSD", globus=config) as rehearsal,
        AsyncExitStack() as stack,
    ):
        hosts = Hosts(connections=4, requests_per_s=100_000, user_agent="x", sleep=_no_wait)
        http = PoliteHttp(hosts, stall_s=2, sleep=_no_wait)
        stack.push_async_callback(http.aclose)
        source: ListingSource
        if way == GLOBUS:
            source = await _by_globus(stack, rehearsal.globus.url, Path())
        elif way == "https":
            source = HttpsListing(http, rehearsal.https_url, sleep=_no_wait)
        else:
            source = FtpListing(hosts, rehearsal.ftp_url, stall_s=2, sleep=_no_wait)
        stack.push_async_callback(source.aclose)
        yield source, rehearsal


def _served(rehearsal: Rehearsal, empiar_id: int) -> dict[bytes, int]:
    return {path: file.size for path, file in rehearsal.archive.entries[empiar_id].walk()}


@pytest.mark.parametrize("way", WAYS)
async def test_all_entries_of_the_rehearsal_archive_are_listed_exactly_side_by_side(way: str) -> None:
    async with _rehearsed(way) as (source, rehearsal):
        ids = [entry.empiar_id for entry in rehearsal.archive.entries.values() if entry.tree is not None]
        listings = await asyncio.gather(*(_listed(source, empiar_id) for empiar_id in ids))
        for empiar_id, found in zip(ids, listings, strict=True):
            assert {path: file.bytes for path, file in found.items()} == _served(rehearsal, empiar_id)


PASSING = [
    FaultKind.CUT_PAGE, FaultKind.STALL_AT, FaultKind.FTP_421, FaultKind.FTP_530, FaultKind.FTP_425, FaultKind.FTP_450, FaultKind.WRONG_PASV
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", PASSING)
async def test_a_passing_fault_does_not_show_in_the_listing(way: str, kind: FaultKind) -> None:
    async with _rehearsed(way, Fault(kind=kind)) as (source, rehearsal):
        found = await _listed(source, 10101)
        assert {path: file.bytes for path, file in found.items()} == _served(rehearsal, 10101)


@pytest.mark.parametrize("way", WAYS)
async def test_endless_folders_end_as_a_fault(way: str) -> None:
    async with _rehearsed(way, Fault(kind=FaultKind.ENDLESS_FOLDERS, times=None)) as (source, _):
        with pytest.raises((BadAnswer, TransientFault), match=r"endless|vanished"):
            await _listed(source, 10101)


@pytest.mark.parametrize("way", WAYS)
async def test_hostile_names_are_set_aside_and_the_others_listed(way: str) -> None:
    refused: set[bytes] = set()
    found: dict[bytes, int | None] = {}
    async with _rehearsed(way, Fault(kind=FaultKind.HOSTILE_NAMES, times=None)) as (source, rehearsal):
        async for batch in source.walk(10101):
            refused |= set(batch.refused)
            found |= {RemotePath(10101, batch.directory, file.name).raw: file.bytes for file in batch.files}
        served = _served(rehearsal, 10101)
    assert len(refused) >= 3
    assert served.items() <= found.items()
    # What else is listed is long or odd, but a file can have the name.
    for path in found.keys() - served.keys():
        assert all(part not in (b"", b".", b"..") for part in path.split(b"/"))
        assert b"\0" not in path


# --- by Globus --------------------------------------------------------------------------------------------------

G = GlobusFaultKind


async def test_all_entries_of_the_rehearsal_archive_are_listed_by_globus_exactly_or_not_at_all() -> None:
    """A folder whose name is not UTF-8 is shown, but not found again."""
    whole = 0
    async with _rehearsed(GLOBUS) as (source, rehearsal):
        for entry in rehearsal.archive.entries.values():
            if entry.tree is None:
                continue
            served = _served(rehearsal, entry.empiar_id)
            if all(is_utf8(path.rpartition(b"/")[0]) for path in served):
                found = await _listed(source, entry.empiar_id)
                assert {path: file.bytes for path, file in found.items()} == served
                whole += 1
            else:
                with pytest.raises(TransientFault, match="vanished"):
                    await _listed(source, entry.empiar_id)
    assert whole > 3


@pytest.mark.parametrize(
    "fault",
    [
        GlobusFault(kind=G.DROP_REQUEST), GlobusFault(kind=G.STATUS, value="503 1"), GlobusFault(kind=G.GARBAGE), GlobusFault(kind=G.EXPIRE_TOKENS),
        GlobusFault(kind=G.MAINTENANCE, value="1"),
    ],
)  # fmt: skip
async def test_a_passing_fault_of_globus_does_not_show_in_the_listing(fault: GlobusFault) -> None:
    async with _rehearsed(GLOBUS) as (source, rehearsal):
        rehearsal.globus.book.add(replace(fault, match="*/ls", after=1))
        found = await _listed(source, 10101)
        assert {path: file.bytes for path, file in found.items()} == _served(rehearsal, 10101)
        assert rehearsal.globus.book.struck[fault.kind] == 1


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("502 ExternalError.DirListingFailed.SizeLimit", BadAnswer),
        ("403 PermissionDenied", TransientFault),
        ("401 AuthenticationFailed", UnreachableFault),
        ("404 ClientError.NotFound", TransientFault),
        ("502 ExternalError.DirListingFailed.GCDisconnected", TransientFault),
    ],
)
async def test_a_folder_that_globus_does_not_list_makes_no_short_listing(
    said: str, kind: type[Exception]
) -> None:
    async with _rehearsed(GLOBUS) as (source, rehearsal):
        rehearsal.globus.book.add(GlobusFault(kind=G.ERROR, match="*/ls", after=1, times=None, value=said))
        with pytest.raises(kind):
            await _listed(source, 10101)


async def test_an_entry_is_not_called_absent_when_the_whole_tree_has_moved() -> None:
    async with _rehearsed(GLOBUS) as (source, rehearsal):
        before = await _listed(source, 10101)
        with pytest.raises(PermanentFault) as caught:
            await _listed(source, 19999)
        assert caught.value.absent
        rehearsal.globus.archive_collection.base_path = KNOWN_BASES[1].encode()
        with pytest.raises(TransientFault, match="has moved"):
            await _listed(source, 10101)
        assert await _listed(source, 10101) == before
        rehearsal.globus.archive_collection.base_path = b"/third"
        with pytest.raises(UnreachableFault, match="shows the file tree neither"):
            await _listed(source, 10101)


async def test_a_name_whose_bytes_globus_cannot_show_makes_no_listing(tmp_path: Path) -> None:
    data = tmp_path / "10001" / "data"
    data.mkdir(parents=True)
    (data / "a\ufffd.mrc").write_bytes(b"12345")
    with globus(tmp_path) as server:
        async with _opened(server) as source:
            with pytest.raises(BadAnswer, match="cannot show the bytes"):
                await _listed(source, 10001)
