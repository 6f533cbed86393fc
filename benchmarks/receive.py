"""How fast bytes come off the wire: ours, aiohttp, aioftp and curl, from nginx and vsftpd on loopback, into nothing.

Run ``python benchmarks/receive.py``; it needs nginx, vsftpd and curl. Only ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import aioftp
import aiohttp
from yarl import URL

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from empiar_mirror.transports.base import Claim, Transport
from empiar_mirror.transports.ftp import FtpTransport
from empiar_mirror.transports.https import HttpsTransport
from empiar_schema.files import Validators
from empiar_schema.paths import RemotePath
from empiar_wire.hosts import Hosts
from servers import nginx, vsftpd

Client = Callable[[str, Sequence[str], int], Awaitable[None]]
SETS = {"4 x 256 MiB": (4, 2**28, 4), "2,000 x 64 KiB": (2000, 2**16, 8)}


class Nothing:
    """A sink that forgets."""

    async def begin(self, found: Validators, *, start: int) -> None:
        """Nothing is recorded."""

    async def write(self, offset: int, data: memoryview) -> None:
        """Nothing is kept."""


def _ours(make: Callable[[str, Hosts], Transport]) -> Client:
    async def run(url: str, names: Sequence[str], connections: int) -> None:
        hosts = Hosts(connections=connections, requests_per_s=1e6, user_agent="benchmark")
        transport = make(url, hosts)
        claims = [Claim(RemotePath(10001, "", name), Nothing()) for name in names]
        batches = (
            [claims[i : i + 50] for i in range(0, len(claims), 50)]
            if len(claims) > 50
            else [[c] for c in claims]
        )

        async def work() -> None:
            while batches:
                async with aclosing(transport.fetch(batches.pop())) as outcomes:
                    async for outcome in outcomes:
                        if outcome.fault is not None:
                            raise outcome.fault

        await asyncio.gather(*(work() for _ in range(connections)))
        await transport.aclose()

    return run


async def _aiohttp(url: str, names: Sequence[str], connections: int) -> None:
    queue = list(names)

    async def work(session: aiohttp.ClientSession) -> None:
        while queue:
            async with session.get(URL(f"{url}/10001/{queue.pop()}", encoded=True)) as answer:
                async for _ in answer.content.iter_any():
                    pass

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(work(session) for _ in range(connections)))


async def _aioftp(url: str, names: Sequence[str], connections: int) -> None:
    queue = list(names)

    async def work() -> None:
        async with aioftp.Client.context("127.0.0.1", URL(url).port or 21) as client:
            while queue:
                async with client.download_stream(f"/10001/{queue.pop()}") as stream:
                    async for _ in stream.iter_by_block(2**20):
                        pass

    await asyncio.gather(*(work() for _ in range(connections)))


async def _curl(url: str, names: Sequence[str], connections: int) -> None:
    config = "".join(f'url = "{url}/10001/{name}"\noutput = "/dev/null"\n' for name in names)
    command = [
        "curl",
        "-s",
        "--no-progress-meter",
        "--parallel",
        "--parallel-max",
        str(connections),
        "--config",
        "-",
    ]
    done = await asyncio.to_thread(subprocess.run, command, input=config.encode(), check=False)
    if done.returncode:
        raise RuntimeError(f"curl: exit {done.returncode}")


HTTP: dict[str, Client] = {"ours": _ours(HttpsTransport), "aiohttp": _aiohttp, "curl": _curl}
FTP: dict[str, Client] = {"ours": _ours(FtpTransport), "aioftp, 1 MiB blocks": _aioftp, "curl": _curl}


def _tree(folder: Path) -> dict[str, list[str]]:
    block = random.Random(1).randbytes(2**20)
    names: dict[str, list[str]] = {}
    (folder / "10001").mkdir(mode=0o755)
    for number, (label, (count, size, _)) in enumerate(SETS.items()):
        names[label] = [f"{number}_{index}.mrc" for index in range(count)]
        for name in names[label]:
            with (folder / "10001" / name).open("wb") as file:
                for offset in range(0, size, len(block)):
                    file.write(block[: min(len(block), size - offset)])
    return names


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _measure(url: str, names: dict[str, list[str]], clients: dict[str, Client], rounds: int) -> None:
    for label, (count, size, connections) in SETS.items():
        walls: dict[str, list[float]] = {name: [] for name in clients}
        cpus: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(rounds):
            for name, client in clients.items():
                wall, cpu = time.perf_counter(), _cpu_s()
                asyncio.run(_run(client, url, names[label], connections))
                walls[name].append(time.perf_counter() - wall)
                cpus[name].append(_cpu_s() - cpu)
        ours = statistics.median(walls["ours"])
        for name in clients:
            wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
            rate = count * size / wall / 2**20
            print(f"{url.split(':')[0]:5} {label:15} {name:21} {wall:6.2f} s  {rate:6.0f} MiB/s  "
                  f"cpu {cpu:5.2f} s  ours/this {ours / wall:.2f}", flush=True)  # fmt: skip


async def _run(client: Client, url: str, names: Sequence[str], connections: int) -> None:
    await client(url, names, connections)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=Path("/dev/shm"), help="where the data stand meanwhile"
    )  # tmpfs, so that no disk is measured
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        os.chmod(folder, 0o755)
        names = _tree(folder)
        with nginx(folder) as served:
            _measure(served.url, names, HTTP, options.rounds)
        with vsftpd(folder) as served:
            _measure(served.url, names, FTP, options.rounds)


if __name__ == "__main__":
    main()
