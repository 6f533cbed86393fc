"""An export that is killed leaves a hidden folder; the next one beside it removes that, and nothing else."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from empiar_mirror.export.beside import built_beside
from empiar_mirror.export.exporting import Wish, export_all, export_table, table_named
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings
from lives import lived
from small_mirror import make_small_mirror

WORKER = Path(__file__).with_name("export_worker.py")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("mirror")
    make_small_mirror(root)
    return Settings(root=root)


def killed(settings: Settings, out: Path, *, at: str) -> None:
    status, errors = lived(WORKER, str(settings.root), str(out), "--at", at)
    assert status == -signal.SIGKILL, errors


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_next_export_removes_what_a_kill_has_left(settings: Settings, tmp_path: Path) -> None:
    killed(settings, tmp_path / "out", at="table")
    [left] = tmp_path.iterdir()
    assert names(left) == ["catalogue.db", "lock", "tree"]
    export_all(settings, tmp_path / "out", Wish("csv"))
    assert names(tmp_path) == ["out"]


def test_a_kill_between_two_names_loses_neither_the_old_export(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_table(settings, table_named("authors"), tmp_path / "authors.csv", Wish("csv"))
    export_all(settings, out, Wish("csv"))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    killed(settings, out, at="between")
    assert not out.exists(), "it was killed where it hurts"
    with pytest.raises(ConfigFault, match="exists"):
        export_all(settings, out, Wish("csv"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert names(tmp_path) == ["authors.csv", "out"]


def test_a_kill_while_it_tidies_up_leaves_the_export_and_what_the_next_knows_as_its_own(
    settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_all(settings, out, Wish("csv"))
    killed(settings, out, at="removing")
    assert len(names(tmp_path)) == 2
    export_table(settings, table_named("authors"), tmp_path / "authors.csv", Wish("csv"))
    assert names(tmp_path) == ["authors.csv", "out"]


def test_an_export_that_works_and_strange_folders_are_left_alone(settings: Settings, tmp_path: Path) -> None:
    strange = tmp_path / ".empiar-export-thesis"
    strange.mkdir()
    (strange / "chapter.txt").write_text("mine")
    (tmp_path / ".empiar-export-link").symlink_to(strange)
    out = tmp_path / "authors.csv"
    with built_beside(out) as working:
        (working / "table").write_text("half")
        export_table(settings, table_named("authors"), out, Wish("csv"))
        assert (working / "table").read_text() == "half"
    assert names(tmp_path) == [".empiar-export-link", strange.name, out.name]
    assert (strange / "chapter.txt").read_text() == "mine"
