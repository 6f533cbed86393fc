"""Pictures and stacks: processor time of what is made of one micrograph, beside the plain way with mrcfile, numpy and Pillow.

Files lie in the page cache, and one process does one thing at a time, as a worker of the pool does.
"""

from __future__ import annotations

import argparse
import io
import os
import struct
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage

from empiar_imaging.pixels.contrast import METHODS, find_limits, to_grey
from empiar_imaging.pixels.jpeg import encode_jpeg
from empiar_imaging.pixels.render import (
    AverageRequest,
    ExtractRequest,
    JpegRequest,
    SplitRequest,
    ThumbnailRequest,
    make_extracted_stack,
    make_frame_average,
    make_jpeg,
    make_split_stack,
    make_thumbnail,
)
from empiar_imaging.pixels.source import read_image
from empiar_imaging.pixels.spectrum import power_spectrum
from empiar_imaging.pixels.stacks import BoxOptions, StackSlice
from empiar_imaging.pixels.thumbnail import PickLayer, render_thumbnail

SIDE = 4096


def cpu_ms(work: Callable[[], object], rounds: int) -> float:
    """The least processor time of several rounds: others' work on the same cores only ever adds."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best * 1000


def plain_jpeg(source: Path, target: Path) -> None:
    """What one writes without thinking of speed."""
    with mrcfile.open(source) as mrc:
        data = np.asarray(mrc.data, "float32")
    low, high = np.percentile(data, (0.5, 99.5))
    grey = np.clip((data - low) / (high - low) * 255, 0, 255).astype("uint8")
    Image.fromarray(np.flipud(grey)).save(target, quality=90)


def plain_thumbnail(source: Path) -> bytes:
    with mrcfile.open(source) as mrc:
        data = np.asarray(mrc.data, "float32")
    small = data.reshape(512, SIDE // 512, 512, SIDE // 512).mean(axis=(1, 3))
    low, high = np.percentile(small, (0.5, 99.5))
    out = io.BytesIO()
    Image.fromarray(np.clip((small - low) / (high - low) * 255, 0, 255).astype("uint8")[::-1]).save(
        out, "PNG"
    )
    return out.getvalue()


def plain_spectrum(image: np.ndarray) -> np.ndarray:
    power = np.fft.fftshift(np.log(np.abs(np.fft.fft2(image - image.mean())) ** 2 + 1e-9))
    small: np.ndarray = power.reshape(512, SIDE // 512, 512, SIDE // 512).mean(axis=(1, 3))
    return small


def micrograph() -> np.ndarray:
    """Noise with a spectrum that falls off as that of dose-weighted micrographs does, and some particles."""
    noise = np.random.default_rng(1).normal(size=(SIDE, SIDE)).astype("float32")
    image: np.ndarray = ndimage.gaussian_filter(noise, 0.8) * np.float32(3) + np.float32(20)
    image[::200, ::200] -= 5
    return image


def eer_file(path: Path, frames: int, events: int) -> None:
    """A BigTIFF whose frames hold `events` electrons each, evenly at 7 bits of gap and 4 of place."""
    pixels = SIDE * SIDE
    gap = pixels // events - 1
    assert 0 < gap < 127
    word = gap | 5 << 7
    bits = np.unpackbits(np.array([word], "<u2").view("u1"), bitorder="little")[:11]
    rest = pixels - events * (gap + 1)
    tail = [127] * (rest // 127) + [rest % 127]
    tail_bits = np.unpackbits(np.array(tail, "u1")[:, None], axis=1, bitorder="little")[:, :7].ravel()
    stream = np.packbits(np.concatenate([np.tile(bits, events), tail_bits]), bitorder="little").tobytes()
    stream += b"\0" * (len(stream) % 2)
    with path.open("wb") as file:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16))
        for number in range(frames):
            tags = [(256, 4, SIDE), (257, 4, SIDE), (258, 3, 1), (259, 3, 65001), (262, 3, 1), (273, 16, 0),
                    (277, 3, 1), (278, 4, SIDE), (279, 16, len(stream))]  # fmt: skip
            data_at = file.tell() + 8 + 20 * len(tags) + 8
            file.write(struct.pack("<Q", len(tags)))
            for tag, kind, value in tags:
                file.write(struct.pack("<HHQQ", tag, kind, 1, data_at if tag == 273 else value))
            file.write(struct.pack("<Q", data_at + len(stream) if number + 1 < frames else 0) + stream)


def pictures(folder: Path, rounds: int) -> None:
    image = micrograph()
    source = folder / "m.mrc"
    with mrcfile.new(source, image) as mrc:
        mrc.voxel_size = 1.06
    for method in METHODS:
        request = JpegRequest(source=source, target=folder / "m.jpg", method=method)
        print(f"| JPEG, {method} | {cpu_ms(lambda r=request: make_jpeg(r), rounds):.0f} | |")  # type: ignore[misc]
    grey, _ = to_grey(image, find_limits(image, "percentile"), flip=True)
    plain = cpu_ms(lambda: plain_jpeg(source, folder / "plain.jpg"), rounds)
    print(f"| the same by mrcfile, numpy.percentile, Pillow | | {plain:.0f} |")
    for quality in (75, 90, 95):
        took = cpu_ms(lambda q=quality: encode_jpeg(grey, quality=q), rounds)  # type: ignore[misc]
        size = len(encode_jpeg(grey, quality=quality)) / 1e6
        print(f"| of that the JPEG encoder alone, quality {quality} ({size:.1f} MB) | {took:.0f} | |")
    even = cpu_ms(lambda: encode_jpeg(np.zeros_like(grey), quality=90), rounds)
    print(f"| the encoder on an even grey of that size | {even:.0f} | |")
    picks = np.random.default_rng(2).uniform(0, SIDE, (2, 500))
    layer = PickLayer(tuple(picks[0]), tuple(picks[1]), 180.0)
    mine = cpu_ms(lambda: render_thumbnail(read_image(source), [layer]), rounds)
    print(
        f"| thumbnail of 512 pixels, 500 picks | {mine:.0f} | {cpu_ms(lambda: plain_thumbnail(source), rounds):.0f} (no picks) |"
    )
    mine = cpu_ms(lambda: power_spectrum(image), rounds)
    print(f"| power spectrum, 512 pixels | {mine:.0f} | {cpu_ms(lambda: plain_spectrum(image), 2):.0f} |")
    both = ThumbnailRequest(
        source=source, target=folder / "t.png", spectrum_target=folder / "s.png", layers=(layer,)
    )
    print(f"| both, written | {cpu_ms(lambda: make_thumbnail(both), rounds):.0f} | |")


def movies(folder: Path, rounds: int) -> None:
    eer = folder / "m.eer"
    eer_file(eer, frames=40, events=200_000)
    took = cpu_ms(lambda: read_image(eer), rounds)
    print(f"| EER, 40 frames of 200,000 electrons, sum | {took:.0f} ({took / 40:.1f} a frame) | |")
    gain = (1 / np.random.default_rng(3).normal(1, 0.1, (SIDE, SIDE)).clip(0.5, 2)).astype("float32")
    frames = np.random.default_rng(4).poisson(2 / gain, (10, SIDE, SIDE)).astype("uint8")
    with mrcfile.new(folder / "gain.mrc", np.ascontiguousarray(gain[::-1])):
        pass
    path = folder / "m.tif"
    average = AverageRequest(movie=path, target=folder / "a.mrc")
    for name, compression in (("uncompressed", None), ("LZW", "lzw")):
        tifffile.imwrite(path, frames, photometric="minisblack", metadata=None, compression=compression)
        took = cpu_ms(lambda: make_frame_average(average), rounds)
        plain = cpu_ms(lambda: tifffile.imread(path).mean(axis=0), 2)
        print(f"| average of 10 frames, TIFF {name} | {took:.0f} | {plain:.0f} (whole movie in memory) |")
    corrected = AverageRequest(movie=folder / "m.tif", target=folder / "a.mrc", gain=folder / "gain.mrc")
    print(
        f"| the same with a gain reference whose orientation is found | {cpu_ms(lambda: make_frame_average(corrected), rounds):.0f} | |"
    )
    tracemalloc.start()
    make_frame_average(corrected)
    peak = tracemalloc.get_traced_memory()[1] / 1024**2
    tracemalloc.stop()
    print(f"peak of its allocations: {peak:.0f} MiB; a float32 frame has 64 MiB")


def stacks(folder: Path, rounds: int) -> None:
    picks = np.random.default_rng(2).uniform(200, SIDE - 200, (2, 500))
    for options, what in (
        (BoxOptions(box=256), "normalised"),
        (BoxOptions(box=256, normalise=False), "as they are"),
    ):
        request = ExtractRequest(
            micrograph=folder / "m.mrc",
            target=folder / "p.mrc",
            x=tuple(picks[0]),
            y=tuple(picks[1]),
            options=options,
        )
        took = cpu_ms(lambda r=request: make_extracted_stack(r), rounds)  # type: ignore[misc]
        print(f"| 500 particles of 256² cut out, {what} | {took:.0f} ({500 / took * 1000:,.0f} a second) | |")
    deposited = folder / "all.mrcs"
    with mrcfile.new(deposited, np.random.default_rng(5).normal(size=(1000, 256, 256)).astype("float32")):
        pass
    slices = tuple(
        StackSlice(int(n), deposited) for n in np.random.default_rng(6).permutation(1000)[:500] + 1
    )
    split = SplitRequest(slices=slices, target=folder / "q.mrc")
    took = cpu_ms(lambda: make_split_stack(split), rounds)
    print(
        f"| 500 of 1,000 particles split off, in any order | {took:.0f} ({500 / took * 1000:,.0f} a second) | |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        print(
            f"{SIDE} × {SIDE} float32, {os.cpu_count()} cores; least processor time of {options.rounds} rounds, ms"
        )
        print("| what | ours | plain |\n| --- | --- | --- |")
        pictures(folder, options.rounds)
        movies(folder, options.rounds)
        stacks(folder, options.rounds)


if __name__ == "__main__":
    main()
