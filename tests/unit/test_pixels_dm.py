"""DM3 and DM4 as pixels: the image and not the thumbnail, in both byte orders."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dm_files import DmFile, dm_file
from empiar_imaging.pixels.source import open_image, read_image
from empiar_schema.faults import UnreadableImage
from image_files import asymmetric

DTYPES = {"int16": "i2", "float32": "f4", "uint8": "u1", "uint16": "u2", "int32": "i4"}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("frames", [1, 3])
def test_the_image_reads_as_it_was_written(
    tmp_path: Path, version: int, order: str, kind: str, frames: int
) -> None:
    data = asymmetric(frames * 5, 7, DTYPES[kind]).reshape(frames, 5, 7)
    writer = DmFile(version, order)
    raw = data.astype(f"{order}{DTYPES[kind]}").tobytes()
    shape = (7, 5) if frames == 1 else (7, 5, frames)
    path = tmp_path / f"a.dm{version}"
    path.write_bytes(writer.file(writer.thumbnail(), writer.image(shape, kind, raw, scale=0.1, units="nm")))
    with open_image(path) as source:
        assert source.pixel_size_angstrom == pytest.approx(1.0)
        np.testing.assert_array_equal(np.stack(list(source)), data)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_cut_file_is_one_sentence(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.dm4"
    path.write_bytes(dm_file(shape=(70, 50)))
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(UnreadableImage, match=r"^a\.dm4: "):
        read_image(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_wrong_byte_reads_or_is_told(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(dm_file())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.dm4"
    path.write_bytes(raw)
    try:
        assert read_image(path).ndim == 2
    except UnreadableImage:
        return
