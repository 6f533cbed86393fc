"""What handing out costs: the same jobs and the same reading by processes of this machine and by workers of a Dask cluster on loopback.

The function does next to nothing, so that what is measured is the way there and back: lease, order, process, answer, placing. Workers and
local processes are equally many; each side runs once before it is measured, so that processes and imports are there.

    python benchmarks/cluster.py --jobs 200 --workers 2
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import maker_functions
from cluster_makers import maker
from dask_cluster import dask_cluster, until
from empiar_mirror.doctor_cluster import examine_cluster
from empiar_schema.states import Role
from entry_here import opened, put_here, settings_with

MIB = 2**20


def measure(root: Path, toml: str, jobs: int) -> tuple[float, float]:
    """Milliseconds a job, and megabytes a second of verification."""

    async def twice() -> tuple[float, float]:
        first = [maker(maker_functions.shout, loud=1)]
        second = [maker(maker_functions.shout, loud=2)]
        mirror.built_in = first
        assert (await mirror.make(None)).made == jobs
        mirror.built_in = second
        began = time.perf_counter()
        assert (await mirror.make(None)).made == jobs
        a_job = (time.perf_counter() - began) / jobs * 1000
        began = time.perf_counter()
        report = await mirror.verify(None)
        return a_job, report.bytes_read / 1e6 / (time.perf_counter() - began)

    with opened(root, toml) as mirror:
        return asyncio.run(twice())


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    movies = {f"data/{n:05}.tif": (Role.MOVIE, b"movie %d" % n) for n in range(options.jobs)}
    large = {f"data/{n}.dat": (Role.OTHER, bytes([n]) * (64 * MIB)) for n in range(8)}
    print(f"{'who':8} {'ms a job':>9} {'verify, MB/s':>13}")
    with (
        tempfile.TemporaryDirectory() as folder,
        dask_cluster(Path(folder) / "dask", workers=options.workers) as cluster,
    ):
        sides = {
            "local": f"[making]\nworkers = {options.workers}\n",
            "cluster": f'[cluster]\nscheduler = "{cluster.address}"\nparcel_bytes = "64MiB"\n',
        }
        probe = Path(folder) / "probe"
        probe.mkdir()
        settings = settings_with(probe, sides["cluster"])
        ready = f"{options.workers} of {options.workers}"
        until(lambda: asyncio.run(examine_cluster(settings))[0].sentence.startswith(ready), cluster.log)
        for number in range(options.rounds):
            for who, toml in sides.items():
                root = Path(folder) / f"{who}-{number}"
                root.mkdir()
                put_here(root, {**movies, **large})
                a_job, rate = measure(root, toml, options.jobs)
                print(f"{who:8} {a_job:9.1f} {rate:13.0f}", flush=True)


if __name__ == "__main__":
    main()
