"""Views from end to end: a trial costs what it needs, and layouts follow from the catalogue alone."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from empiar_mirror import asking
from empiar_mirror.app import Mirror
from empiar_mirror.arrange import MAPPING
from empiar_mirror.cli import main
from empiar_mirror.rehearsal.faults import Fault, FaultKind
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.why import why_entry, why_path
from empiar_schema.products import Kind
from empiar_schema.settings import Settings
from mirrors import opened, rows, settings_for
from rehearsal_in_thread import rehearsal_in_thread

#: 30 micrographs with a STAR file; and two folders of 8 sums with equal names, and their movies.
PICKED, TWO_PARTS = 10101, 10106
TRIAL = {f"data/micrographs/stack_{number:04d}_2x_SumCorr.mrc" for number in range(2, 12)}
LABELS = {"data/particles/particles_selected.star"}


def here(mirror: Mirror, empiar_id: int = PICKED) -> set[object]:
    found = rows(mirror, "SELECT path FROM copies WHERE empiar_id = ? AND state = 'arrived'", [empiar_id])
    return {path for (path,) in found}


def snapshot(folder: Path) -> dict[str, object]:
    """Every name below `folder` with the inode or target that it stands for; mappings with their bytes."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = path.read_bytes() if path.name == MAPPING else path.stat().st_ino
    return found


async def test_a_trial_fetches_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            report = await mirror.sync([PICKED], view="trial")
            assert report.transfer.failed == ()
            assert report.transfer.arranged == {"cryoppp": 22, "trial": 22}
            assert here(mirror) == TRIAL | LABELS
            with mirror.catalogue.reader() as conn:
                [whole] = why_entry(conn, PICKED, worker=None, settings=mirror.settings, now=0)
                assert "11 files" in whole.sentence
                listed = len(rows(mirror, "SELECT 1 FROM files WHERE empiar_id = ?", [PICKED]))
                assert f"{listed - 11} others are listed, but nobody asked for them" in whole.sentence
                [other] = why_path(
                    conn,
                    PICKED,
                    "data/micrographs/stack_0012_2x_SumCorr.mrc",
                    worker=None,
                    settings=mirror.settings,
                    now=0,
                )
                assert "nobody asked for it" in other.sentence
            again = await mirror.sync([PICKED], view="trial")
            assert (again.transfer.arrived, again.transfer.bytes_moved) == (0, 0)


async def test_a_view_brings_what_an_earlier_sync_of_the_whole_had_given_up(tmp_path: Path) -> None:
    wanted = "data/micrographs/stack_0005_2x_SumCorr.mrc"
    gone = Fault(kind=FaultKind.STATUS, match=f"{PICKED}/{wanted}", value="404", times=None)
    async with Rehearsal(faults=[gone]) as rehearsal:
        settings = settings_for(rehearsal, tmp_path, more='channels = ["https"]\n')
        with opened(settings) as mirror:
            first = await mirror.sync([PICKED])
            assert [file.path for file in first.transfer.failed] == [f"{PICKED}/{wanted}"]
            rehearsal.book.clear()
            assert (await mirror.sync([PICKED], view="trial")).transfer.failed == ()
            assert wanted in here(mirror)


async def test_what_was_asked_for_before_is_no_more_than_the_view(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.sync([PICKED], view="trial")
            assert (await mirror.sync_as_before([PICKED])).transfer.arrived == 0
            with mirror.catalogue.reader() as conn:
                wanted = asking.files_asked_for(conn, PICKED, mirror.settings)
            assert wanted is not None
            assert len(wanted) == 11
            await mirror.sync([PICKED], view="small")
            assert len(here(mirror)) == 21
            await mirror.sync([PICKED])
            assert len(here(mirror)) == len(rows(mirror, "SELECT 1 FROM files WHERE empiar_id = ?", [PICKED]))
            with mirror.catalogue.reader() as conn:
                assert asking.files_asked_for(conn, PICKED, mirror.settings) is None


async def test_a_whole_entry_that_waits_goes_on_waiting_while_a_view_is_fetched(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.crawl([PICKED])
            await mirror.catalogue.write(functools.partial(asking.ask_for_whole, empiar_id=PICKED, now=1))
            report = await mirror.sync([PICKED], view="trial")
            assert report.transfer.failed == ()
            assert here(mirror) == TRIAL | LABELS
            assert (await mirror.sync_as_before([PICKED])).transfer.arrived > 20


async def test_two_machines_choose_the_same_whatever_way_they_list(tmp_path: Path) -> None:
    view = '[view.some]\nimages = 5\nchoose = "random"\nstratify = true\nimages_role = "both"\n'
    chosen = []
    async with Rehearsal() as rehearsal:
        for channel in ("ftp", "https"):
            more = f'[crawl]\nlisting = ["{channel}"]\n{view}'
            folder = tmp_path / channel
            folder.mkdir()
            with opened(settings_for(rehearsal, folder, more=more, patient="")) as mirror:
                await mirror.sync([TWO_PARTS], view="some")
                chosen.append(here(mirror, TWO_PARTS))
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 5
    assert len({str(path).rpartition("/")[0] for path in chosen[0]}) == 2


def record_products(conn: sqlite3.Connection, root: Path, empiar_id: int) -> None:
    """Labels, a stack and a rendition of every other micrograph, as if jobs had made them."""
    images = conn.execute(
        "SELECT file_id, name, path FROM files WHERE empiar_id = ? AND role = 'micrograph' ORDER BY path",
        (empiar_id,),
    ).fetchall()
    _product(conn, root, empiar_id, "labels", Kind.SELECTED_STAR, "all.star", None, None)
    _product(conn, root, empiar_id, "labels", Kind.SELECTED_CSV, "all.csv", None, None)
    for file_id, name, path in images[::2]:
        stem = name.removesuffix(".mrc")
        unique = path.replace("/", "+")
        for maker, kind, end in (
            ("labels", Kind.PARTICLE_COORDINATES, "csv"),
            ("particle_stacks", Kind.PARTICLE_STACK, "mrc"),
            ("jpeg", Kind.RENDITION, "jpg"),
        ):
            parent = None if kind == Kind.PARTICLE_STACK and empiar_id == PICKED else file_id
            _product(conn, root, empiar_id, maker, kind, f"{unique}.{end}", stem, parent)


def _product(
    conn: sqlite3.Connection,
    root: Path,
    empiar_id: int,
    maker: str,
    kind: str,
    name: str,
    stem: str | None,
    parent: int | None,
) -> None:
    path = f"{maker}/{name}"
    file = root / "derived" / str(empiar_id) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(path)
    key = (empiar_id, maker, parent)
    conn.execute(
        "INSERT INTO job (empiar_id, maker, file_id, state, recipe, wanted_at) VALUES (?, ?, ?, 2, '', 1)"
        " ON CONFLICT DO NOTHING",
        key,
    )
    job = conn.execute(
        "SELECT job_id FROM job WHERE empiar_id = ? AND maker = ? AND file_id IS ?", key
    ).fetchone()[0]
    conn.execute(
        "INSERT INTO product (job_id, empiar_id, path, kind, stem, parent_file_id, bytes, sha256, made_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
        (job, empiar_id, path, kind, stem, parent, len(path), hashlib.sha256(path.encode()).digest()),
    )


@pytest.mark.parametrize("link", ["auto", "symlink"])
async def test_deleted_layouts_come_back_identical_from_the_catalogue_alone(
    tmp_path: Path, link: str
) -> None:
    more = f'[arrange]\nviews = ["cryoppp", "trial", "lite", "relion"]\nlink = "{link}"\n'
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path, more=more)) as mirror:
            await mirror.sync([PICKED, TWO_PARTS])
            for empiar_id in (PICKED, TWO_PARTS):
                await mirror.catalogue.write(
                    functools.partial(record_products, root=mirror.folders.root, empiar_id=empiar_id)
                )
            await mirror.arrange(None)
            before = snapshot(mirror.folders.datasets)
            shutil.rmtree(mirror.folders.datasets)
            reports = await mirror.arrange(None, rebuild=True)
            assert snapshot(mirror.folders.datasets) == before
            assert all(not report.missing for views in reports.values() for report in views.values())
            kept = await mirror.arrange(None)
            assert all(report.linked == 0 for views in kept.values() for report in views.values())
            assert snapshot(mirror.folders.datasets) == before
    names = {name for name, what in before.items() if what != "folder"}
    picked = "stack_0002_2x_SumCorr"
    assert {
        f"cryoppp/{PICKED}/micrographs/{picked}.mrc",
        f"cryoppp/{PICKED}/ground_truth/empiar-{PICKED}_particles_selected.star",
        f"cryoppp/{PICKED}/ground_truth/empiar-{PICKED}_particles_selected.csv",
        f"cryoppp/{PICKED}/ground_truth/particle_coordinates/{picked}.csv",
        f"cryoppp/{PICKED}/particles_stack/{picked}_particles.mrc",
        f"relion/{PICKED}/particles_stack/{picked}_particles.mrcs",
        f"lite/{PICKED}/micrographs/{picked}.jpg",
        f"cryoppp/{TWO_PARTS}/micrographs/Micrographs_part1__061.mrc",
        f"cryoppp/{TWO_PARTS}/ground_truth/particle_coordinates/Micrographs_part1__061.csv",
        f"relion/{TWO_PARTS}/movies/Micrographs_part1__061_movie.mrcs",
    } <= names
    assert not [
        name for name in names if name.startswith(f"lite/{PICKED}") and name.endswith((".mrc", ".mrcs"))
    ]
    assert (
        len([name for name in names if name.startswith(f"trial/{PICKED}/ground_truth/particle_coord")]) == 10
    )


def test_the_commands_take_views(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with rehearsal_in_thread(Rehearsal()) as rehearsal:
        config = tmp_path / "empiar-mirror.toml"
        settings: Settings = settings_for(rehearsal, tmp_path)
        common = ["--config", str(config)]
        with opened(settings):
            pass
        assert main(["crawl", str(PICKED), *common]) == 0
        capsys.readouterr()
        assert main(["plan", str(PICKED), "--view", "trial", "--explain", *common]) == 0
        planned = capsys.readouterr().out
        assert "11 files to move" in planned
        assert "the view takes 10 images (first 10 of 30), no gain reference (all), 1 label file" in planned
        assert main(["sync", str(PICKED), "--view", "trial", *common]) == 0
        assert "11 files arrived" in capsys.readouterr().out
        assert main(["plan", *common]) == 0
        assert "0 files to move" in capsys.readouterr().out
        assert main(["sync", *common]) == 0
        assert "0 files arrived" in capsys.readouterr().out
        assert main(["arrange", "--view", "refined", *common]) == 0
        assert "20 of the 30 images that the view takes are not here" in capsys.readouterr().out
        for command in ("sync", "plan", "arrange"):
            assert main([command, str(PICKED), "--view", "trail", *common]) == 2
            assert "did you mean trial?" in capsys.readouterr().err


async def test_damage_leaves_every_layout_at_once_and_comes_back_repaired(tmp_path: Path) -> None:
    path = "data/micrographs/stack_0003_2x_SumCorr.mrc"
    name = path.rpartition("/")[2]
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.sync([PICKED], view="trial")
            archive = mirror.folders.archive / str(PICKED) / path
            sound = archive.read_bytes()
            archive.chmod(0o644)
            with archive.open("r+b") as file:
                file.seek(5_000)
                file.write(b"spoilt")
            report = await mirror.verify(None)
            assert [file.path for file in report.damaged] == [f"{PICKED}/{path}"]
            shown = sorted(mirror.folders.datasets.glob(f"*/{PICKED}/micrographs"))
            assert [folder.parts[-3] for folder in shown] == ["cryoppp", "trial"]
            assert not any((folder / name).exists() for folder in shown)
            # Views that the configuration does not name, and that somebody asked for once, follow a repair, too.
            assert (await mirror.repair(None)).transfer.arranged == {"cryoppp": 22, "trial": 22}
            assert [(folder / name).read_bytes() == sound for folder in shown] == [True, True]


async def test_derived_files_that_are_damaged_or_lost_leave_the_layouts_and_are_made_again(
    tmp_path: Path,
) -> None:
    coordinates = "ground_truth/particle_coordinates/stack_0003_2x_SumCorr.csv"
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.sync([PICKED], view="trial")
            shown = [
                mirror.folders.datasets / view / str(PICKED) / coordinates for view in ("cryoppp", "trial")
            ]
            sound = shown[0].read_bytes()
            derived = mirror.folders.root / "derived" / str(PICKED) / "labels"
            spoilt, lost = (
                derived / "particle_coordinates" / f"stack_000{number}_2x_SumCorr.csv" for number in (3, 4)
            )
            spoilt.chmod(0o644)
            spoilt.write_bytes(sound[:-2] + b"9\n")
            lost.unlink()
            assert [f.error for f in (await mirror.verify(None, quick=True)).damaged] == ["it is missing"]
            report = await mirror.verify([PICKED])
            assert [(f.path, f.error[:13]) for f in report.damaged] == [
                (f"{PICKED}/derived/labels/particle_coordinates/{spoilt.name}", "its sha256 is")
            ]
            assert report.derived == 12
            assert not any(file.exists() for file in shown)
            again = await mirror.repair(None)
            assert (again.transfer.arrived, again.transfer.making.made) == (0, 1)
            assert [file.read_bytes() for file in shown] == [sound, sound]
            assert lost.is_file()
            assert (await mirror.verify(None)).damaged == ()


def test_a_number_that_nobody_knows_is_no_silent_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rehearsal_in_thread(Rehearsal()) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)):
            pass
        for command in ("verify", "repair", "make", "arrange"):
            assert main([command, "10999", "--config", str(tmp_path / "empiar-mirror.toml")]) == 2
            assert "EMPIAR-10999 is not in the catalogue" in capsys.readouterr().err
