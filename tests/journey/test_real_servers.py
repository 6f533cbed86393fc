"""The whole job against Debian's Apache, nginx and vsftpd: whatever serves an entry, the mirror of it is the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from empiar_mirror.rehearsal import content
from empiar_mirror.rehearsal.archive import FileTree
from empiar_mirror.rehearsal.content import mrc_size
from empiar_mirror.rehearsal.entries import big_entry
from empiar_schema.configuration import load
from independent import assert_manifest, assert_tidy
from mirrors import opened, rows
from servers import ServedTree, apache, awkward_tree, nginx, vsftpd

ID = 10001
BIG = mrc_size(2048, 2560, 1, 2)
SMALL = mrc_size(16, 16, 1, 2)

Launcher = Callable[[Path], AbstractContextManager[ServedTree]]


@dataclass(frozen=True)
class Served:
    """A folder with ``api/entry/10001`` beside ``world/10001/…``."""

    root: Path

    @property
    def entry(self) -> Path:
        return self.root / "world" / str(ID)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Served:
    root = tmp_path_factory.mktemp("served")
    world = root / "world"
    awkward_tree(world)
    entry = world / str(ID)
    write(entry / "data/large.mrc", content.read(b"large.mrc", BIG, 0, BIG))
    for number in range(300):
        name = f"data/squares/square_{number % 10:02}/hole_{number:04}.mrc"
        write(entry / name, content.read(name.encode(), SMALL, 0, SMALL))
    record = big_entry(ID, {"large.mrc": BIG})
    assert isinstance(record.tree, FileTree)
    header = record.tree.file(b"%d.xml" % ID)
    assert header is not None
    assert header.body is not None
    write(entry / f"{ID}.xml", header.body)
    write(root / f"api/entry/{ID}", json.dumps({f"EMPIAR-{ID}": record.record}).encode())
    return Served(root)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1_650_000_000, 1_650_000_000 + len(data) % 86_400))


def files_below(folder: Path) -> dict[bytes, tuple[int, int]]:
    """Size and modification time (whole seconds) of every file, by its name below `folder`."""
    base = os.fsencode(folder)
    found = {}
    for parent, _, names in os.walk(base):
        for name in names:
            stat = os.stat(os.path.join(parent, name))
            found[os.path.relpath(os.path.join(parent, name), base)] = (stat.st_size, int(stat.st_mtime))
    return found


def sha256sum(folder: Path, names: list[bytes]) -> list[bytes]:
    """GNU's own manifest of these files, its lines sorted."""
    done = subprocess.run(["sha256sum", "--", *names], cwd=folder, capture_output=True, check=True)
    return sorted(done.stdout.splitlines())


@dataclass(frozen=True)
class Case:
    """Who serves the files, and who lists them."""

    files: Launcher
    #: None: the same server.
    listing: Launcher | None = None
    #: nginx shows no name that begins with a dot, and says so in its documentation.
    dots_shown: bool = True


_WEAK_NGINX = "limit_rate 8m; limit_rate_after 64k; keepalive_requests 5;"
CASES = {
    "Apache": Case(apache),
    "nginx": Case(nginx, dots_shown=False),
    "nginx, listed by vsftpd": Case(nginx, listing=vsftpd),
    "nginx, slow, five requests a connection": Case(partial(nginx, extra=_WEAK_NGINX), dots_shown=False),
    "vsftpd": Case(vsftpd),
    "vsftpd with two places": Case(partial(vsftpd, max_per_ip=2)),
}


@pytest.fixture
def api(archive: Served) -> Iterator[str]:
    with nginx(archive.root) as server:
        yield f"{server.url}/api"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
async def test_every_server_gives_the_same_mirror_and_a_second_sync_moves_nothing(
    tmp_path: Path, archive: Served, api: str, name: str
) -> None:
    case = CASES[name]
    served = files_below(archive.entry)
    shown = {path: facts for path, facts in served.items() if case.dots_shown or b"/." not in path}
    assert len(served) - len(shown) in (0, 2)
    with case.files(archive.root) as server, lister(case, archive, server) as listing:
        settings = load(configured(tmp_path, server, listing, api), environ={}, cwd=tmp_path)
        with opened(settings) as mirror:
            report = await mirror.sync([ID])
            assert report.transfer.failed == ()
            assert rows(mirror, "SELECT DISTINCT state, channel FROM copies") == [
                ("arrived", channel(server))
            ]
            assert_same(archive, tmp_path / "mirror", shown)

            asked = len(server.requests())
            await mirror.crawl([ID])
            again = await mirror.sync([ID])
            assert again.transfer.bytes_moved == 0
            assert (again.transfer.arrived, again.transfer.already_here) == (0, len(shown))
            assert file_requests(server, server.requests()[asked:]) == []
            assert rows(mirror, "SELECT path, kind FROM changes WHERE kind != 'added'") == []
    assert_tidy(tmp_path / "mirror")


def lister(case: Case, archive: Served, server: ServedTree) -> AbstractContextManager[ServedTree]:
    return nullcontext(server) if case.listing is None else case.listing(archive.root)


def assert_same(archive: Served, root: Path, shown: dict[bytes, tuple[int, int]]) -> None:
    """Names, sizes, times and bytes are those of the served folder, and the manifest is the one that GNU sha256sum writes."""
    mirrored = root / "archive" / str(ID)
    assert files_below(mirrored) == shown
    for name in shown:
        assert read(mirrored, name) == read(archive.entry, name), name
    assert_manifest(root, ID)
    manifest = (root / f"manifests/{ID}/manifest-sha256.txt").read_bytes()
    assert sorted(manifest.splitlines()) == sha256sum(archive.entry, sorted(shown))


def read(folder: Path, name: bytes) -> bytes:
    with open(os.path.join(os.fsencode(folder), name), "rb") as stream:
        return stream.read()


def channel(server: ServedTree) -> str:
    return "ftp" if server.server == "vsftpd" else "https"


def configured(folder: Path, server: ServedTree, listing: ServedTree, api: str) -> Path:
    """A configuration whose files come from one server and whose listings from another, or the same."""
    urls = {"https": "http://127.0.0.1:9", "ftp": "ftp://127.0.0.1:9"}
    urls |= {channel(each): f"{each.url}/world" for each in (listing, server)}
    file = folder / "empiar-mirror.toml"
    file.write_text(
        f'root = "{folder}/mirror"\n[archive]\n'
        + "".join(f'{name}_url = "{api}"\n' for name in ("api", "search", "site"))
        + "".join(f'{name}_url = "{url}"\n' for name, url in urls.items())
        + f'[crawl]\nlisting = ["{channel(listing)}"]\nrequests_per_s = 2000\n'
        + f'[transfer]\nchannels = ["{channel(server)}"]\nrequests_per_s = 2000\nstall_s = 5\nretry_wait_s = 0.05\n'
    )
    return file


def file_requests(server: ServedTree, log: list[str]) -> list[str]:
    """Requests for a file's bytes."""
    if server.server == "vsftpd":
        return [line for line in log if '"RETR' in line]
    # Method, path (Apache unquotes it), status, bytes, range; the page of a folder ends in a slash and Apache's words for its order.
    paths = [line.partition(" ")[2].rsplit(" ", 3)[0] for line in log if line.startswith("GET ")]
    return [path for path in paths if not re.search(r"/(\?[A-Z]=[^/]*)?$", path)]
