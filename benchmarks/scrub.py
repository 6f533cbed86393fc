"""How quickly scrubbing reads what is here, beside `sha256sum` of the same files.

Large files and small ones, of a suffix without content checks (`.dat`) and MRC, which scrubbing also looks through for NaN and constant
images. The page cache is warm, which is the hardest case: nothing hides what the program costs.

    python benchmarks/scrub.py --rounds 3
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from empiar_schema.states import Role
from entry_here import ID, opened, put_here
from image_files import mrc_bytes

MIB = 2**20


def files(kind: str) -> dict[str, tuple[Role, bytes]]:
    """Paths and bytes of one set."""
    rng = np.random.default_rng(1)
    if kind == "small":
        return {f"data/{n:05}.dat": (Role.OTHER, rng.bytes(20_000)) for n in range(5000)}
    if kind == "mrc":
        pixels = rng.normal(size=16 * MIB // 4).astype(np.float32).tobytes()
        data = mrc_bytes(pixels, shape=(2048, 2048, 1), mode=2)
        return {f"data/{n:03}.mrc": (Role.MICROGRAPH, data) for n in range(32)}
    data = rng.bytes(256 * MIB)
    return {f"data/{n}.dat": (Role.OTHER, data) for n in range(4)}


def measure(kind: str, rounds: int) -> tuple[float, float, int]:
    """Median seconds of ours and of `sha256sum`, and bytes."""
    ours: list[float] = []
    peer: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        content = files(kind)
        total = sum(len(data) for _, data in content.values())
        put_here(root, content)
        folder_of = root / "archive" / str(ID) / "data"
        with opened(root, '[scrub]\nperiod = "1s"\n') as mirror:
            for _ in range(rounds):
                subprocess.run("cat * > /dev/null", shell=True, cwd=folder_of, check=True)
                began = time.perf_counter()
                subprocess.run("ls | xargs sha256sum > /dev/null", shell=True, cwd=folder_of, check=True)
                peer.append(time.perf_counter() - began)
                began = time.perf_counter()
                report = asyncio.run(mirror.scrub(None))
                ours.append(time.perf_counter() - began)
                assert (report.checked, report.bytes_read) == (len(content), total), report
                time.sleep(2)  # so that all is due again
    return statistics.median(ours), statistics.median(peer), total


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'set':6} {'MB':>6} {'ours, s':>8} {'sha256sum, s':>13} {'ours / peer':>12}")
    for kind in ("large", "mrc", "small"):
        ours, peer, total = measure(kind, options.rounds)
        print(f"{kind:6} {total / 1e6:6.0f} {ours:8.2f} {peer:13.2f} {ours / peer:12.2f}", flush=True)


if __name__ == "__main__":
    main()
