"""The archive's real link, emulated: share of connections x rate that ours and the peers reach.

100 ms round trip, 1.5 MB/s a connection, 8 connections, one request in thirty that never answers: the rehearsal archive's `Link.real()`. Every
run has a fresh server, so that the same requests hang, and a fresh destination. The listing is made before (aria2 and curl are handed the
addresses). Peers get a 2 s limit and retries; with their defaults none of them ends within minutes.

    python benchmarks/link.py --rounds 3 --sets short,long --protocols http,ftp
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.link import Link
from empiar_mirror.rehearsal.server import Rehearsal

ID = 10190
CONNECTIONS = 8
MIB = 2**20
SETS = {
    "short": {
        f"s{n:03d}.mrc": size
        for n, size in enumerate([32 * MIB] * 2 + [6 * MIB] * 10 + [int(0.4 * MIB)] * 110)
    },
    "long": {f"l{n:03d}.mrc": size for n, size in enumerate([64 * MIB] * 4 + [8 * MIB] * 64)},
}
LIMIT_S = 240


async def serve(name: str, log: Path) -> None:
    """The archive with one entry, until the process is ended."""
    async with Rehearsal([big_entry(ID, SETS[name])], link=Link.real(), log_file=log) as rehearsal:
        sys.stdout.write(json.dumps({**rehearsal.urls(), "toml": rehearsal.settings_toml("ROOT")}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


@contextlib.contextmanager
def served(name: str, log: Path) -> Iterator[dict[str, str]]:
    """Its addresses, while it serves."""
    command = [sys.executable, __file__, "--serve", name, "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def bytes_sent(log: Path) -> int:
    """Payload bytes of files that the server has sent."""
    return sum(json.loads(line)["bytes_sent"] for line in log.read_text().splitlines())


def ours(urls: dict[str, str], protocol: str, target: Path, name: str) -> list[str]:
    """`sync` of an entry that was crawled before."""
    channel = "https" if protocol == "http" else "ftp"
    program = str(Path(sys.executable).with_name("empiar-mirror"))
    subprocess.run([program, "init", str(target)], capture_output=True, check=True)
    config = target / "empiar-mirror.toml"
    config.write_text(
        urls["toml"].replace('"ROOT"', json.dumps(str(target / "empiar")))
        + "[crawl]\nrequests_per_s = 1000\n"
        + f'[transfer]\nchannels = ["{channel}"]\nconnections = {CONNECTIONS}\n'
    )
    crawl = [program, "crawl", str(ID), "--config", str(config)]
    subprocess.run(crawl, capture_output=True, check=True)
    return [program, "sync", str(ID), "--config", str(config)]


def lftp(urls: dict[str, str], protocol: str, target: Path, name: str) -> list[str]:
    """`lftp mirror`."""
    settings = (
        "set net:timeout 2; set net:max-retries 50; set net:reconnect-interval-base 0.1; set net:reconnect-interval-max 1; "
        "set ftp:use-mdtm no; set http:set-cookies no"
    )
    options = f"--parallel={CONNECTIONS} --use-pget-n=1 --continue"
    return ["lftp", "-c", f"{settings}; mirror {options} {_base(urls, protocol)}/{ID}/data {target}"]


def rclone(urls: dict[str, str], protocol: str, target: Path, name: str) -> list[str]:
    """`rclone copy`."""
    options = ["--transfers", str(CONNECTIONS), "--multi-thread-streams", "0", "--config", "/dev/null"]
    options += ["--timeout", "2s", "--contimeout", "2s", "--low-level-retries", "20", "--retries", "10"]
    if protocol == "http":
        return [
            "rclone",
            "copy",
            f":http:{ID}/data",
            str(target),
            "--http-url",
            urls["https_url"] + "/",
            *options,
        ]
    parts = urlsplit(urls["ftp_url"])
    password = subprocess.run(["rclone", "obscure", "x"], capture_output=True, check=True, text=True).stdout
    login = ["--ftp-host", "127.0.0.1", "--ftp-port", str(parts.port), "--ftp-user", "anonymous"]
    login += ["--ftp-pass", password.strip()]
    return ["rclone", "copy", f":ftp:{parts.path}/{ID}/data", str(target), *login, *options]


def aria2(urls: dict[str, str], protocol: str, target: Path, name: str) -> list[str]:
    """`aria2c`, large files first."""
    target.with_suffix(".list").write_text("\n".join(_addresses(urls, protocol, name)))
    limits = [
        "--timeout=2",
        "--connect-timeout=2",
        "--max-tries=0",
        "--retry-wait=0",
        "--file-allocation=none",
    ]
    return [
        "aria2c",
        "-q",
        f"-j{CONNECTIONS}",
        "-x1",
        "-d",
        str(target),
        *limits,
        "-i",
        str(target.with_suffix(".list")),
    ]


def curl(urls: dict[str, str], protocol: str, target: Path, name: str) -> list[str]:
    """`curl --parallel`, large files first."""
    lines = [
        f'url = "{url}"\noutput = "{target / url.rpartition("/")[2]}"'
        for url in _addresses(urls, protocol, name)
    ]
    target.with_suffix(".list").write_text("\n".join(lines))
    limits = [
        "--speed-time",
        "2",
        "--speed-limit",
        "1",
        "--retry",
        "20",
        "--retry-delay",
        "0",
        "--retry-all-errors",
    ]
    parallel = ["--parallel", "--parallel-max", str(CONNECTIONS)]
    return ["curl", "-s", *parallel, *limits, "-C", "-", "--config", str(target.with_suffix(".list"))]


def _base(urls: dict[str, str], protocol: str) -> str:
    return urls["https_url"] if protocol == "http" else urls["ftp_url"]


def _addresses(urls: dict[str, str], protocol: str, name: str) -> list[str]:
    sizes = SETS[name]
    return [f"{_base(urls, protocol)}/{ID}/data/{file}" for file in sorted(sizes, key=lambda f: -sizes[f])]


TOOLS = {"ours": ours, "lftp": lftp, "rclone": rclone, "aria2": aria2, "curl": curl}


def missing(target: Path, name: str) -> int:
    """Files that are not there in full."""
    found = {path.name: path.stat().st_size for path in target.rglob("*.mrc") if path.is_file()}
    return sum(found.get(file) != size for file, size in SETS[name].items())


def measure(tool: str, name: str, protocol: str, folder: Path) -> tuple[float, float, str]:
    """Share of connections x rate, bytes sent / bytes needed, and what went wrong."""
    log, target = folder / "log.jsonl", folder / "target"
    needed = sum(SETS[name].values())
    with served(name, log) as urls:
        target.mkdir()
        command = TOOLS[tool](urls, protocol, target, name)
        before = bytes_sent(log)
        began = time.perf_counter()
        try:
            status = subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_S).returncode
        except subprocess.TimeoutExpired:
            status = -1
        seconds = time.perf_counter() - began
        time.sleep(0.5)  # the server logs a request when it has ended
        sent = bytes_sent(log) - before
    there = target / "empiar" / "archive" if tool == "ours" else target
    absent = missing(there, name)
    rate = Link.real().bytes_per_s or 0.0
    wrong = f"exit {status}, {absent} files missing" if status or absent else ""
    return needed / (CONNECTIONS * rate) / seconds, sent / needed, wrong


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", default="short")
    parser.add_argument("--protocols", default="http,ftp")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.log))
        return
    print(f"{'set':6} {'protocol':8} {'tool':8} {'share':>7} {'sent/needed':>12}")
    for name in options.sets.split(","):
        for protocol in options.protocols.split(","):
            results: dict[str, list[tuple[float, float, str]]] = {}
            for _ in range(options.rounds):
                for tool in options.tools.split(","):
                    with tempfile.TemporaryDirectory() as folder:
                        results.setdefault(tool, []).append(measure(tool, name, protocol, Path(folder)))
            for tool, runs in results.items():
                share = statistics.median(run[0] for run in runs)
                sent = statistics.median(run[1] for run in runs)
                wrong = "; ".join(sorted({run[2] for run in runs} - {""}))
                print(f"{name:6} {protocol:8} {tool:8} {share:7.1%} {sent:12.3f}  {wrong}", flush=True)


if __name__ == "__main__":
    main()
