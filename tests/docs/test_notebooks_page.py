"""The blocks of docs/notebooks.md run one after the other, as in a notebook beside a mirror, and what they make is right."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryoppp_loader import brightness
from empiar_mirror.cli import main
from empiar_mirror.rehearsal.entries import standard_entries
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import DEFAULT_FILE, PREFIX
from rehearsal_files import BRIGHT, RELION, places
from rehearsal_in_thread import rehearsal_in_thread

# The first import of torch reads hundreds of megabytes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = (Path(__file__).parents[2] / "docs" / "notebooks.md").read_text()
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LABELLED = 7


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the page's blocks have defined."""
    folder = tmp_path_factory.mktemp("notebook")
    names: dict[str, Any] = {"__name__": "notebook"}
    with pytest.MonkeyPatch.context() as patch, rehearsal_in_thread(_archive()) as archive:
        patch.chdir(folder)
        for key in ("ROOT", "CONFIG"):
            patch.delenv(f"{PREFIX}{key}", raising=False)
        (folder / DEFAULT_FILE).write_text(archive.settings_toml("empiar"))
        assert main(["init", "--config", "other.toml"]) == 0
        assert main(["sync", str(RELION)]) == 0
        before = (folder / "empiar" / "empiar.db").read_bytes()
        for kind, block in BLOCK.findall(PAGE):
            if kind == "console":
                for line in block.splitlines():
                    words = shlex.split(line)
                    assert words[:2] == ["$", "empiar-mirror"], line
                    assert main(words[2:]) == 0
            else:
                exec(compile(block, "docs/notebooks.md", "exec"), names)
        # What is read later is read while the folder is the current one.
        names["items"] = [names["dataset"][index] for index in range(len(names["dataset"]))]
        assert (folder / "empiar" / "empiar.db").read_bytes() == before
        names["catalogue"].close()
    return names


def _archive() -> Rehearsal:
    return Rehearsal([entry for entry in standard_entries() if entry.empiar_id == RELION])


def test_sql_gives_each_annotated_micrograph_with_its_picks(notebook: dict[str, Any]) -> None:
    labelled = notebook["labelled"]
    assert len(labelled) == LABELLED
    for image, picks in zip(labelled["image"], labelled["picks"], strict=True):
        assert Path(image).stem == Path(picks).stem


def test_picks_lie_on_particles_and_would_not_if_y_were_the_row(notebook: dict[str, Any]) -> None:
    first, table = notebook["labelled"].iloc[0], notebook["table"]
    picks = table[["column", "row"]].to_numpy(dtype=np.float64)
    drawn = places(RELION, f"data/micrographs/{first['name']}")
    assert sorted(map(tuple, picks)) == sorted((float(x), float(y)) for x, y in drawn)
    image = notebook["image"].astype("float64")
    assert brightness(image, picks).min() > BRIGHT
    assert brightness(image, table[["X-Coordinate", "Y-Coordinate"]].to_numpy()).max() < BRIGHT


def test_parquet_says_the_same_in_duckdb_and_pandas(notebook: dict[str, Any]) -> None:
    files, roles = notebook["files"], notebook["roles"]
    assert roles["files"].sum() == len(files) == 15
    assert roles["bytes"].sum() == files["bytes"].sum()
    [row] = notebook["sizes"].to_dict("records")
    assert (row["empiar_id"], row["micrographs"]) == (RELION, 9)


def test_the_data_set_has_images_with_picks_on_their_particles(notebook: dict[str, Any]) -> None:
    assert len(notebook["items"]) == LABELLED
    for (image, picks), (micrograph, _) in zip(notebook["items"], notebook["dataset"].pairs, strict=True):
        pixels, places_ = image[0].numpy().astype("float64"), picks.numpy().astype("float64")
        assert (pixels.ndim, str(image.dtype)) == (2, "torch.float32")
        drawn = places(RELION, f"data/micrographs/{micrograph.name}")
        assert sorted(map(tuple, places_[:, :2])) == sorted((float(x), float(y)) for x, y in drawn)
        assert brightness(pixels, places_).min() > BRIGHT
        places_[:, 1] = pixels.shape[0] - places_[:, 1]
        assert brightness(pixels, places_).max() < BRIGHT, "Y is not the row"


def test_a_batch_holds_images_of_one_shape_and_picks_of_any_number(notebook: dict[str, Any]) -> None:
    assert tuple(notebook["images"].shape) == (2, 1, 431, 509)
    assert [len(picks.shape) for picks in notebook["picks"]] == [2, 2]
