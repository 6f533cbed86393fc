"""Listing 200,000 files in 2,021 folders, ours beside lftp and rclone, on nginx and vsftpd on loopback.

Ours is the whole of `empiar-mirror crawl`: metadata, listing, parsing, roles, merge into the catalogue; the peers only print names. Rows a second
and the peak memory of the process; alternating rounds, medians.

    python benchmarks/listing.py --rounds 3 --files 200000
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.transfer import ID, configured, metadata, program, rclone_remote
from servers import ServedTree, nginx, vsftpd

FOLDERS = 2021


def make_tree(root: Path, files: int) -> None:
    """Empty files, four folders deep."""
    for number in range(FOLDERS):
        folder = root / str(ID) / "data" / f"grid_{number % 7}" / f"square_{number:05d}" / "Data"
        folder.mkdir(parents=True)
        for image in range(number, files, FOLDERS):
            os.close(
                os.open(
                    folder / f"FoilHole_{24_000_000 + image:08d}_fractions.tiff", os.O_CREAT | os.O_WRONLY
                )
            )
    metadata(root, "many files")


def timed(command: list[str], output: Path) -> tuple[float, float, int]:
    """Seconds, peak MiB and lines printed."""
    began = time.perf_counter()
    with (
        output.open("wb") as stream,
        subprocess.Popen(command, stdout=stream, stderr=subprocess.DEVNULL) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {process.returncode}")
    return seconds, usage.ru_maxrss / 1024, output.read_bytes().count(b"\n")


def commands(served: ServedTree, api: ServedTree, target: Path) -> dict[str, list[str]]:
    """What is measured."""
    config = configured(served, api, target)
    remote = rclone_remote(served)
    return {
        "ours": [program(), "crawl", str(ID), "--config", str(config)],
        "lftp": ["lftp", "-c", f"open {served.url}; find {ID}"],
        "rclone": [
            "rclone",
            "lsf",
            "-R",
            "--files-only",
            "--checkers",
            "8",
            "--config",
            "/dev/null",
            *remote,
        ],
    }


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--protocols", default="http,ftp")
    parser.add_argument("--tools", default="ours,lftp,rclone")
    parser.add_argument("--data", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args()
    print(f"{'protocol':9} {'tool':8} {'median s':>9} {'files/s':>9} {'peak MiB':>9}")
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        os.chmod(folder, 0o755)
        tree = Path(folder) / "tree"
        tree.mkdir()
        make_tree(tree, options.files)
        with nginx(tree) as api, vsftpd(tree, log_ftp_protocol="NO") as ftp:
            for protocol in options.protocols.split(","):
                measure(api if protocol == "http" else ftp, api, protocol, options)


def measure(served: ServedTree, api: ServedTree, protocol: str, options: argparse.Namespace) -> None:
    """One block of the table."""
    results: dict[str, list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder)
            for tool, command in commands(served, api, target / "t").items():
                if tool in options.tools.split(","):
                    seconds, peak, lines = timed(command, target / tool)
                    if tool != "ours" and lines < options.files:
                        print(f"{tool}: only {lines} lines")
                    results.setdefault(tool, []).append((seconds, peak))
    for tool, runs in results.items():
        seconds, peak = (statistics.median(run[i] for run in runs) for i in (0, 1))
        print(f"{protocol:9} {tool:8} {seconds:9.2f} {options.files / seconds:9,.0f} {peak:9.0f}", flush=True)


if __name__ == "__main__":
    main()
