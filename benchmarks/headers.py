"""Format checks a second and core: `inspect` beside mrcfile and tifffile, on files in a temporary folder.

Run by hand: ``python benchmarks/headers.py [--rounds N] [--folder DIR]``. Files are warm, processor time counts, the readers
alternate within each round, and the median counts. What each of them notices of a damaged file is printed too, because
speed is worth nothing alone. At the end: what `verify` reads beside its digest, in bytes a second.
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import gzip
import hashlib
import io
import logging
import os
import statistics
import struct
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import mrcfile
import numpy as np
import tifffile

from empiar_imaging.formats import mrc
from empiar_imaging.formats.error_body import scan
from empiar_imaging.formats.evidence import FileBytes
from empiar_imaging.formats.full_read import scan_of
from empiar_imaging.formats.inspect import inspect

Reader = Callable[[Path], bool]


def ours(path: Path) -> bool:
    """Whether `inspect` calls it sound."""
    return not inspect(path, name=path.name, size=path.stat().st_size).evidence


def header_facts(path: Path) -> bool:
    """The part of `inspect` that reads the header, without the search for error texts."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return not mrc.inspect_mrc(FileBytes(fd, os.fstat(fd).st_size)).evidence
    finally:
        os.close(fd)


def mrcfile_header(path: Path) -> bool:
    try:
        with mrcfile.open(path, header_only=True):
            return True
    except ValueError:
        return False


def mrcfile_validate(path: Path) -> bool:
    with contextlib.redirect_stdout(io.StringIO()):
        return bool(mrcfile.validate(path))


def tifffile_pages(path: Path) -> bool:
    try:
        with tifffile.TiffFile(path) as tiff:
            return all(page.dataoffsets is not None for page in tiff.pages)
    except (tifffile.TiffFileError, struct.error, ValueError):
        return False


def rate(reader: Reader, path: Path, *, seconds: float) -> float:
    """Calls a second."""
    count, begin = 0, time.process_time()
    while (passed := time.process_time() - begin) < seconds or count < 2:
        reader(path)
        count += 1
    return count / passed


def compare(path: Path, readers: Mapping[str, Reader], *, rounds: int, seconds: float) -> None:
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, reader in readers.items():
            rates[name].append(rate(reader, path, seconds=seconds))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    noticed = {name: not reader(path) for name, reader in readers.items()}
    path.write_bytes(whole)
    base = statistics.median(rates["inspect"])
    print(f"{path.name} ({len(whole):,} bytes)")
    for name in readers:
        median = statistics.median(rates[name])
        verdict = "notices" if noticed[name] else "misses"
        print(
            f"  {name:30} {median:>12,.0f} a second   inspect is {base / median:>8.1f} ×   {verdict} a cut at two thirds"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="a reader and round")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        mrc_readers = {
            "inspect": ours,
            "header facts alone": header_facts,
            "mrcfile.open(header_only=True)": mrcfile_header,
            "mrcfile.validate": mrcfile_validate,
        }
        for label, image in (("tiny.mrc", (16, 16)), ("small.mrc", (64, 64)), ("k2.mrc", (3838, 3710))):
            with mrcfile.new(folder / label, np.ones(image, "float32")) as written:
                written.voxel_size = 1.34
            compare(folder / label, mrc_readers, rounds=options.rounds, seconds=options.seconds)
        tiff_readers = {"inspect": ours, "tifffile, all pages": tifffile_pages}
        for label, shape, rows in (
            ("small.tif", (1, 64, 64), 64),
            ("movie.tif", (40, 512, 512), 1),
            ("frames.tif", (2000, 16, 16), 16),
        ):
            frames = np.random.default_rng(1).integers(0, 9, shape, "uint8")
            tifffile.imwrite(
                folder / label,
                frames,
                photometric="minisblack",
                metadata=None,
                compression="zlib",
                rowsperstrip=rows,
            )
            compare(folder / label, tiff_readers, rounds=options.rounds, seconds=options.seconds)
        small = (folder / "small.mrc").read_bytes()
        noisy = small[:1024] + np.random.default_rng(1).bytes(4 * 4096)
        for label, content in (
            ("small.mrc.gz", gzip.compress(noisy)),
            ("small.mrc.bz2", bz2.compress(noisy)),
            ("unknown.dm4", struct.pack(">IQI", 4, 10_000 - 24, 1) + bytes(10_000 - 16)),
        ):
            (folder / label).write_bytes(content)
            compare(folder / label, {"inspect": ours}, rounds=options.rounds, seconds=options.seconds)
        bulk = folder / "bulk.mrc"
        frames = np.random.default_rng(1).normal(size=(8, 2048, 2048)).astype("float32")
        with mrcfile.new(bulk, frames):
            pass
        begin = time.process_time()
        findings = scan(bulk)
        passed = time.process_time() - begin
        print(
            f"scan for error text: {bulk.stat().st_size / passed / 1e6:,.0f} MB/s, {len(findings)} findings in noise"
        )
        print(f"constant images and NaN: {read_through(bulk) / 1e6:,.0f} MB/s")
        print(f"sha256, for comparison: {digest(bulk) / 1e6:,.0f} MB/s")
        packed = folder / "bulk.mrc.gz"
        packed.write_bytes(gzip.compress(frames[:2].tobytes(), compresslevel=1))
        print(f"unpacking .gz: {read_through(packed) / 1e6:,.0f} MB/s of the compressed file")


def pieces(path: Path) -> Iterator[memoryview]:
    buffer = bytearray(2**20)
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(buffer):
            yield memoryview(buffer)[:got]


def read_through(path: Path) -> float:
    """Bytes a second of the check that `verify` makes of a file's content."""
    with path.open("rb") as file:
        content = scan_of(FileBytes(file.fileno(), path.stat().st_size), name=path.name)
    assert content is not None
    begin = time.process_time()
    for piece in pieces(path):
        content.feed(piece)
    assert content.end() == ()
    return path.stat().st_size / (time.process_time() - begin)


def digest(path: Path) -> float:
    """Bytes a second of SHA-256."""
    sha256 = hashlib.sha256()
    begin = time.process_time()
    for piece in pieces(path):
        sha256.update(piece)
    return path.stat().st_size / (time.process_time() - begin)


if __name__ == "__main__":
    main()
