"""Hooks and built-in makers together: images that a program makes, in layouts with labels and stacks."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from empiar_mirror.cli import main
from empiar_schema.configuration import load
from empiar_schema.faults import ConfigFault
from entry_here import ID, opened, put_here
from labelled_entry import (
    PLACES,
    coordinates,
    entry,
    finish,
    image,
    labels,
    makers,
    movie,
    picks_on,
    queried,
    relion,
)

FLOATS = [(float(x), float(y)) for x, y in PLACES]
PROGRAM = "import sys\nopen(sys.argv[2], 'wb').write(b'corrected ' + open(sys.argv[1], 'rb').read()[-9:])\n"
HOOK = """
[arrange]
views = ["corrected"]
[hook.correct]
roles = ["{role}"]
command = ["{python}", "{program}", "{{input}}", "{{output}}"]
outputs = [{{ path = "{{stem}}.mrc", kind = "micrograph" }}]
retries = 0
[view.corrected]
micrographs = "correct"
{more}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    files = {
        "data/movies/a.mrcs": movie(),
        "data/movies/b.mrcs": movie(PLACES[:2]),
        "data/p.star": labels(relion(picks_on("a.mrc"))),
    }
    put_here(folder, files, inspected=True)
    return folder


def hook(root: Path, program: str = PROGRAM, *, more: str = "", role: str = "movie") -> str:
    file = root.parent / "program.py"
    file.write_text(program)
    return HOOK.format(python=sys.executable, program=file, more=more, role=role)


def micrographs(root: Path) -> dict[str, bytes]:
    folder = entry(root, "corrected") / "micrographs"
    return {path.name: path.read_bytes()[:9] for path in sorted(folder.iterdir())}


def test_what_a_program_makes_of_movies_stands_for_them_with_the_labels(root: Path) -> None:
    assert finish(root, hook(root), view="corrected").failed == ()
    assert micrographs(root) == {"a.mrc": b"corrected", "b.mrc": b"corrected"}
    assert coordinates(root, "corrected") == {"a": FLOATS}


def test_deposited_movies_stand_beside_what_was_made_of_them_if_the_view_keeps_them(root: Path) -> None:
    finish(root, hook(root, more="keep_deposited = true"), view="corrected")
    assert set(micrographs(root)) == {"a.mrc", "a.mrcs", "b.mrc", "b.mrcs"}
    finish(root, hook(root), view="corrected")
    assert set(micrographs(root)) == {"a.mrc", "b.mrc"}


def notes(root: Path, toml: str) -> str:
    with opened(root, toml, built_in=[makers]) as mirror:
        return "\n".join(asyncio.run(mirror.arrange([ID]))[ID]["corrected"].notes)


def test_no_particles_are_cut_out_of_movies_under_a_program_and_the_layout_says_so(root: Path) -> None:
    toml = "[making]\nbox = 20\n" + hook(root, more='stacks = "extracted"')
    assert finish(root, toml, view="corrected").failed == ()
    assert queried(root, "SELECT * FROM derived WHERE kind = 'particle_stack'") == []
    assert not (entry(root, "corrected") / "particles_stack").exists()
    assert "no particles are cut out of 2 movies, whose frames are not aligned" in notes(root, toml)


def test_particles_beside_images_that_a_program_made_are_those_of_the_deposited_ones_and_the_layout_says_so(
    tmp_path: Path,
) -> None:
    root = tmp_path / "other"
    root.mkdir()
    files = {"data/a.mrc": image(), "data/p.star": labels(relion(picks_on("a.mrc")))}
    put_here(root, files, inspected=True)
    toml = "[making]\nbox = 20\n" + hook(root, more='stacks = "extracted"', role="micrograph")
    assert finish(root, toml, view="corrected").failed == ()
    assert (entry(root, "corrected") / "particles_stack/a_particles.mrc").is_file()
    assert "cut out of the deposited micrographs, not of what correct made" in notes(root, toml)


def test_a_program_that_fails_shows_in_status_and_why_and_in_the_layouts_notes(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = "import sys\nsys.exit('no such gain') if 'b.mrcs' in sys.argv[1] else None\n" + PROGRAM
    toml = hook(root, failing)
    [failed] = finish(root, toml, view="corrected").failed
    assert failed.path == f"{ID}/data/movies/b.mrcs"
    assert micrographs(root) == {"a.mrc": b"corrected"}
    assert "1 images are not made yet by correct" in notes(root, toml)
    config = root / "empiar-mirror.toml"
    capsys.readouterr()
    assert main(["status", "--config", str(config), str(ID)]) in (0, 1)
    assert "correct" in capsys.readouterr().out
    assert main(["why", "--config", str(config), f"{ID}/data/movies/b.mrcs"]) in (0, 1)
    told = capsys.readouterr().out
    assert "correct" in told
    assert "exit" in told


@pytest.mark.parametrize(
    "name",
    ["labels", "jpeg", "jpeg_sigma_80", "frame_average", "thumbnails", "split_stacks", "imported_labels"],
)
def test_a_hook_cannot_be_called_like_a_maker_of_this_product_in_force_or_not(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / "empiar-mirror.toml"
    file.write_text(
        f'[hook.{name}]\ncommand = ["x", "{{input}}"]\noutputs = [{{ path = "y", kind = "micrograph" }}]\n'
    )
    with pytest.raises(ConfigFault, match=f"hook.{name}: a maker of this product has this name"):
        load(file, environ={}, cwd=tmp_path)
