"""Whole transfers, ours beside the peers, on the same loopback servers in alternating rounds.

Ours runs `empiar-mirror sync` from nothing: metadata, listing, transfer, sha256 of every file, block ledger, flushes, manifest, layout.
The peers only fetch; aria2 and curl are even handed the list of addresses. Server data lie in memory (`--data`); every run has a fresh
destination, and what arrived is compared with what was served. Medians; the last column is ours ÷ the best peer.

    python benchmarks/transfer.py --rounds 5 --sets large,medium,small --protocols http,ftp
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from servers import ServedTree, nginx, vsftpd

ID = 10001


@dataclass(frozen=True)
class DataSet:
    """So many files of so many bytes, in so many folders."""

    name: str
    files: int
    size: int
    folders: int


SETS = {
    "large": DataSet("4 x 1 GiB", 4, 2**30, 1),
    "medium": DataSet("400 x 8 MiB", 400, 8 * 2**20, 4),
    "small": DataSet("10,000 x 64 KiB", 10_000, 64 * 2**10, 100),
}


def make_tree(root: Path, data: DataSet) -> None:
    """The entry's tree, and its API answer as a plain file beside it."""
    noise = os.urandom(2**20)
    for number in range(data.files):
        folder = root / str(ID) / "data" / f"grid_{number % data.folders:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"image_{number:05d}.bin").open("wb") as stream:
            left = data.size
            while left:
                piece = noise[: min(left, len(noise) - 8)] + number.to_bytes(8, "big")
                stream.write(piece[:left])
                left -= min(left, len(piece))
    metadata(root, data.name)


def metadata(root: Path, title: str) -> None:
    """The entry's API answer, as a file that any server can show."""
    api = root / "api" / "entry"
    api.mkdir(parents=True)
    entry = {"title": title, "status": "REL", "imagesets": [], "update_date": "2026-01-01"}
    (api / str(ID)).write_text(json.dumps({f"EMPIAR-{ID}": entry}))


def addresses(served: ServedTree) -> Iterator[tuple[str, Path]]:
    """Every file's address and its path below the entry."""
    base = served.tree / str(ID)
    for path in sorted(base.rglob("*")):
        if path.is_file():
            relative = path.relative_to(base)
            yield f"{served.url}/{ID}/{quote(str(relative))}", relative


def run(command: list[str], *, env: dict[str, str] | None = None) -> None:
    """The command's end, or its complaint."""
    done = subprocess.run(command, capture_output=True, env={**os.environ, **(env or {})}, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed ({done.returncode}): {done.stderr.decode()[-2000:]}")


def program() -> str:
    """The installed command."""
    return str(Path(sys.executable).with_name("empiar-mirror"))


def configured(served: ServedTree, api: ServedTree, target: Path) -> Path:
    """A new mirror of the served tree below `target`; returns its configuration file."""
    channel = "ftp" if served.url.startswith("ftp") else "https"
    run([program(), "init", str(target)])
    config = target / "empiar-mirror.toml"
    config.write_text(
        f'root = "{target}/empiar"\n[archive]\napi_url = "{api.url}/api"\n{channel}_url = "{served.url}"\n'
        f'[crawl]\nlisting = ["{channel}"]\nrequests_per_s = 10000\nconnections = 8\n'
        f'[transfer]\nchannels = ["{channel}"]\nconnections = 8\nrequests_per_s = 100000\n'
        "[disk]\nhigh_watermark = 1.0\n"
    )
    return config


def ours(served: ServedTree, api: ServedTree, target: Path) -> Path:
    """`empiar-mirror init` and `sync`."""
    run([program(), "sync", str(ID), "--config", str(configured(served, api, target))])
    return target / "empiar" / "archive" / str(ID)


def lftp(served: ServedTree, api: ServedTree, target: Path) -> Path:
    """`lftp mirror`, 8 files at once."""
    target.mkdir(parents=True)
    run(["lftp", "-c", f"open {served.url}; mirror --parallel=8 {ID} {target}/{ID}"])
    return target / str(ID)


def rclone(served: ServedTree, api: ServedTree, target: Path) -> Path:
    """`rclone copy`, 8 transfers."""
    target.mkdir(parents=True)
    options = ["--transfers", "8", "--multi-thread-streams", "0", "--checkers", "8", "--config", "/dev/null"]
    source, *login = rclone_remote(served)
    run(["rclone", "copy", source, str(target / str(ID)), *login, *options])
    return target / str(ID)


def rclone_remote(served: ServedTree) -> list[str]:
    """The entry as rclone addresses it, and the options that say where."""
    if not served.url.startswith("ftp"):
        return [f":http:{ID}", "--http-url", served.url + "/"]
    obscured = subprocess.run(["rclone", "obscure", "x"], capture_output=True, check=True, text=True).stdout
    login = ["--ftp-host", "127.0.0.1", "--ftp-port", str(served.port), "--ftp-user", "anonymous"]
    return [f":ftp:{ID}", *login, "--ftp-pass", obscured.strip()]


def aria2(served: ServedTree, api: ServedTree, target: Path) -> Path:
    """`aria2c` with the list of addresses, 8 at once."""
    target.mkdir(parents=True)
    listing = target / "list"
    listing.write_text(
        "".join(f"{url}\n  dir={target / str(ID) / path.parent}\n" for url, path in addresses(served))
    )
    run(["aria2c", "-q", "-j8", "-x1", "--file-allocation=none", "-i", str(listing)])
    return target / str(ID)


def wget2(served: ServedTree, api: ServedTree, target: Path) -> Path:
    """`wget2` with the list of addresses, 8 threads."""
    target.mkdir(parents=True)
    listing = target / "list"
    listing.write_text("".join(f"{url}\n" for url, _ in addresses(served)))
    run(["wget2", "-q", "--max-threads=8", "-x", "-nH", "-P", str(target), "--no-robots", "-i", str(listing)])
    return target / str(ID)


PEERS: dict[str, dict[str, Callable[[ServedTree, ServedTree, Path], Path]]] = {
    "http": {"lftp": lftp, "rclone": rclone, "aria2": aria2, "wget2": wget2},
    "ftp": {"lftp": lftp, "rclone": rclone, "aria2": aria2},
}


def same(served: Path, arrived: Path) -> bool:
    """Whether every served file arrived byte for byte."""
    for path in (served / "data").rglob("*"):
        if path.is_file() and not filecmp.cmp(path, arrived / path.relative_to(served), shallow=False):
            return False
    return True


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sets", default="large,medium,small")
    parser.add_argument("--protocols", default="http,ftp")
    parser.add_argument("--data", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--target", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument(
        "--without",
        default="",
        help="peers to leave out (aria2 takes minutes over FTP with many small files, and is left out there anyway)",
    )
    options = parser.parse_args()
    print(f"{'data':18} {'protocol':9} {'tool':8} {'median s':>9} {'min':>7} {'max':>7}  ours/best")
    for name in options.sets.split(","):
        with tempfile.TemporaryDirectory(dir=options.data) as folder:
            os.chmod(folder, 0o755)
            tree = Path(folder) / "tree"
            tree.mkdir()
            make_tree(tree, SETS[name])
            for protocol in options.protocols.split(","):
                measure(SETS[name], protocol, tree, options)


def measure(data: DataSet, protocol: str, tree: Path, options: argparse.Namespace) -> None:
    """One block of the table."""
    without = options.without.split(",")
    if protocol == "ftp" and data.files > 1000:
        without.append("aria2")  # 27 small files a second
    tools = {"ours": ours} | {k: v for k, v in PEERS[protocol].items() if k not in without}
    seconds: dict[str, list[float]] = {tool: [] for tool in tools}
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(nginx(tree))
        served = api if protocol == "http" else stack.enter_context(vsftpd(tree, log_ftp_protocol="NO"))
        for number in range(options.rounds):
            for tool, fetch in tools.items():
                target = Path(tempfile.mkdtemp(dir=options.target)) / "t"
                began = time.perf_counter()
                arrived = fetch(served, api, target)
                seconds[tool].append(time.perf_counter() - began)
                if number == 0 and not same(tree / str(ID), arrived):
                    print(f"{tool}: WRONG CONTENT")
                shutil.rmtree(target.parent)
    best = min(statistics.median(times) for tool, times in seconds.items() if tool != "ours")
    for tool, times in seconds.items():
        ratio = f"{statistics.median(times) / best:9.2f}" if tool == "ours" else ""
        print(
            f"{data.name:18} {protocol:9} {tool:8} {statistics.median(times):9.2f} {min(times):7.2f} {max(times):7.2f}  {ratio}",
            flush=True,
        )


if __name__ == "__main__":
    main()
