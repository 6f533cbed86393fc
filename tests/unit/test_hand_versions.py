"""Versions on disk, what the catalogue knows of them, and what layouts and exports make of them."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from by_hand import picks, saved
from empiar_imaging.labels.by_hand import MOST_PICKS
from empiar_mirror.by_hand import versions
from empiar_mirror.by_hand.taking import take_in
from empiar_mirror.by_hand.versions import all_versions, current, entries_with_labels, remote_of, versions_of
from empiar_mirror.cli import main
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import BadLabels, StorageFault
from entry_here import ID, everything_below, opened, put_here, rows
from labelled_entry import (
    HEIGHT,
    PLACES,
    coordinates,
    entry,
    finish,
    image,
    label_set,
    labels,
    made,
    picks_on,
    read_csv,
    relion,
)

A = "data/a.mrc"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    star = relion([*picks_on("a.mrc", PLACES[:3]), *picks_on("b.mrc", PLACES[:4])])
    files = {A: image(), "data/b.mrc": image(seed=2), "data/p.star": labels(star)}
    put_here(folder, files, inspected=True)
    return folder


def names(root: Path, path: str = A) -> list[str]:
    return [file.path.name for file in versions_of(root, remote_of(ID, path))]


# --- files --------------------------------------------------------------------------------------------------


def test_each_save_is_a_version_of_its_own(root: Path) -> None:
    assert versions_of(root, remote_of(ID, A)) == ()
    for number in range(3):
        assert saved(root, A, picks((number, 2)), base=number).version == number + 1
    assert names(root) == ["v0001.json", "v0002.json", "v0003.json"]
    one = current(versions_of(root, remote_of(ID, A)))
    assert one is not None
    assert one.version.picks == picks((2, 2))
    assert one.file.path.stat().st_mode & 0o777 == 0o444
    assert [path.name for path in one.file.path.parent.iterdir() if path.name.startswith(".")] == []


def test_who_saves_second_stands_aside_and_both_are_kept(root: Path) -> None:
    saved(root, A, picks((1, 1)))
    saved(root, A, picks((2, 2)), base=1, author="Bob")
    third = saved(root, A, picks((3, 3)), base=1)
    assert (third.version, third.aside) == (3, True)
    assert saved(root, A, picks((3, 3)), base=1).version == 3  # said twice, kept once
    assert names(root) == ["v0001.json", "v0002.json", "v0003-aside.json"]
    one = current(versions_of(root, remote_of(ID, A)))
    assert one is not None
    assert one.version.author == "Bob"
    fourth = saved(root, A, picks((3, 3)), base=2)
    assert (fourth.version, fourth.aside) == (4, False)


def test_many_at_once_lose_nothing(root: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: saved(root, A, picks((n, n)), author=f"N{n}"), range(24)))
    assert sorted(version.version for version in found) == list(range(1, 25))
    assert sum(not version.aside for version in found) == 1


def test_a_version_that_stands_is_never_replaced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(root, A, picks((1, 1)))
    before = everything_below(root / "labels")
    monkeypatch.setattr(versions, "versions_of", lambda root, remote: ())
    with pytest.raises(StorageFault):
        saved(root, A, picks((2, 2)))
    assert everything_below(root / "labels") == before


def test_a_damaged_version_leaves_the_one_before_in_force_and_its_number_taken(root: Path) -> None:
    saved(root, A, picks((1, 1)))
    saved(root, A, picks((2, 2)), base=1)
    newest = versions_of(root, remote_of(ID, A))[-1].path
    newest.chmod(0o644)
    newest.write_bytes(newest.read_bytes()[:100])
    one = current(versions_of(root, remote_of(ID, A)))
    assert one is not None
    assert one.version.version == 1
    assert "v0002.json" in one.problems[0]
    assert saved(root, A, picks((3, 3)), base=2).version == 3


def test_versions_elsewhere_than_their_place_are_refused(root: Path) -> None:
    saved(root, A, picks((1, 1)))
    [file] = versions_of(root, remote_of(ID, A))
    other = versions.folder_of(root, remote_of(ID, "data/b.mrc"))
    other.mkdir(parents=True)
    (other / "v0001.json").write_bytes(file.raw())
    (file.path.parent / "v0007.json").write_bytes(file.raw())
    (file.path.parent / "v0008.json").symlink_to(file.path)
    os.mkfifo(file.path.parent / "v0009.json")
    for found in all_versions(root, ID):
        for one in found:
            if one.path != file.path:
                with pytest.raises(BadLabels):
                    one.read()


def test_nothing_is_saved_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / "labels").mkdir()
    (root / "labels" / str(ID)).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageFault, match="symbolic link"):
        saved(root, A, picks((1, 1)))
    assert everything_below(tmp_path / "elsewhere") == {}
    assert entries_with_labels(root) == {}


def test_odd_names_keep_their_bytes(root: Path) -> None:
    odd = "data/sb1 50% %FF pos.mrc"
    saved(root, odd, picks((1, 1)))
    [found] = all_versions(root, ID)
    assert found[0].remote.path == odd
    assert os.fsencode(found[0].path.parent).endswith(b"data/sb1 50% \xff pos.mrc")
    assert found[0].read().micrograph == odd


# --- the catalogue ------------------------------------------------------------------------------------------


def taken(root: Path) -> list[tuple[object, ...]]:
    with Catalogue.open(root / "empiar.db") as catalogue:
        asyncio.run(take_in(catalogue, root, ID))
        with catalogue.reader() as conn:
            return [
                tuple(row)
                for row in conn.execute(
                    "SELECT path, version_number, is_current, aside, author, kept, rejected, problem IS NULL, file_id IS NULL"
                    " FROM label_versions ORDER BY 1, 2"
                )
            ]


def test_the_catalogue_knows_every_version_and_what_became_of_it(root: Path) -> None:
    assert taken(root) == []
    saved(root, A, picks((1, 1), (2, 2, "rejected")))
    saved(root, A, picks((1, 1)), base=1, author="Bob")
    saved(root, A, picks((9, 9)), base=1)
    saved(root, "data/not_listed.mrc", picks((5, 5)))
    expected = [
        (A, 1, 0, 0, "Ann", 1, 1, 1, 0),
        (A, 2, 1, 0, "Bob", 1, 0, 1, 0),
        (A, 3, 0, 1, "Ann", 1, 0, 1, 0),
        ("data/not_listed.mrc", 1, 1, 0, "Ann", 1, 0, 1, 1),
    ]
    assert taken(root) == expected
    second = versions_of(root, remote_of(ID, A))[1].path
    aside = root / "kept"
    second.rename(aside)
    assert taken(root)[:2] == [(A, 1, 1, 0, "Ann", 1, 1, 1, 0), (A, 2, 0, 0, "Bob", 1, 0, 0, 0)]
    aside.rename(second)
    assert taken(root) == expected


def test_a_catalogue_that_was_lost_knows_all_versions_again(root: Path) -> None:
    saved(root, A, picks((1, 1)))
    before = taken(root)
    for name in ("empiar.db", "empiar.db-wal", "empiar.db-shm"):
        (root / name).unlink(missing_ok=True)
    put_here(root, {A: image()}, inspected=True)
    assert taken(root) == before


# --- layouts and exports ------------------------------------------------------------------------------------


def test_layouts_follow_each_version_and_imported_labels_stay(root: Path) -> None:
    finish(root)
    before = coordinates(root)
    assert before == {"a": list(PLACES[:3]), "b": list(PLACES[:4])}
    column, row = PLACES[0]
    saved(root, A, picks((column, row, "rejected"), *PLACES[1:3], source="imported") + picks((77, 11)))
    finish(root)
    assert coordinates(root) == {"a": [*PLACES[1:3], (77, 11)], "b": list(PLACES[:4])}
    truth = entry(root) / "ground_truth"
    [_, rejected] = read_csv(truth / "false_positives" / "a_false_positives.csv")
    assert rejected[:2] == [str(column), str(HEIGHT - row)]
    assert label_set(root)["sources"][-1]["path"] == "derived: hand_labels/current.json"  # type: ignore[index]
    saved(root, A, picks(*PLACES[:3], source="imported"), base=1)
    finish(root)
    assert coordinates(root) == before
    assert made(root, maker="hand_labels") == ["hand_labels/current.json"]


def test_when_all_versions_are_gone_the_other_labels_count_again(root: Path) -> None:
    saved(root, A, picks((77, 11)))
    finish(root)
    assert coordinates(root)["a"] == [(77, 11)]
    (root / "labels").rename(root.parent / "labels")
    finish(root)
    assert coordinates(root)["a"] == list(PLACES[:3])


def test_an_entry_without_any_other_labels_is_laid_out_from_those_by_hand(tmp_path: Path) -> None:
    put_here(tmp_path, {A: image()}, inspected=True)
    saved(tmp_path, A, picks((77, 11)), diameter=9)
    finish(tmp_path)
    assert coordinates(tmp_path) == {"a": [(77, 11)]}


def test_nothing_of_the_mirror_takes_versions_for_its_own_files(root: Path) -> None:
    saved(root, A, picks((77, 11)))
    with opened(root, "") as mirror:
        report = asyncio.run(mirror.verify([ID], quick=True))
        assert not report.strangers
        assert rows(mirror, "SELECT count(*) FROM copies WHERE path LIKE '%json'") == [(0,)]


def run(root: Path, *words: str) -> int:
    return main([*words, "--config", str(root / "empiar-mirror.toml")])


@pytest.fixture
def configured(root: Path) -> Path:
    (root / "empiar-mirror.toml").write_text(f'root = "{root}"\n')
    return root


def test_list_names_every_version_and_what_is_wrong_with_it(
    configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(configured, "labels", "list") == 0
    assert "there are no labels by hand" in capsys.readouterr().out
    saved(configured, A, picks((1, 1), (2, 2, "rejected")))
    saved(configured, A, picks((1, 1)), base=1, author="Bob")
    assert run(configured, "labels", "list", str(ID)) == 0
    out = capsys.readouterr().out
    assert "10017/data/a.mrc  v1  Ann, 2026-01-02T03:04:05Z: 1 kept, 1 rejected, 2 added" in out
    assert "v2 *  Bob" in out
    taken(configured)
    newest = versions_of(configured, remote_of(ID, A))[-1].path
    newest.chmod(0o644)
    newest.write_bytes(newest.read_bytes().replace(b"Bob", b"Eve"))
    assert run(configured, "labels", "list", "--json") == 5
    found = json.loads(capsys.readouterr().out)
    assert [one["problem"] is None for one in found] == [True, False]


def test_export_writes_what_counts_with_y_as_each_format_counts_it(
    configured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(configured, "labels", "export", str(ID), "x.star") == 2
    saved(configured, A, picks((10, 20), (30, 40, "rejected")))
    saved(configured, A, picks((11, 21), (30, 40, "rejected")), base=1)
    saved(configured, "data/b.mrc", picks((50, 60)))
    assert run(configured, "labels", "export", str(ID), str(tmp_path / "out"), "--to", "cryoppp") == 0
    assert read_csv(tmp_path / "out" / "a.csv")[1][:2] == ["11", "139"]
    assert read_csv(tmp_path / "out" / "b.csv")[1][:2] == ["50", "100"]
    one = str(tmp_path / "one.csv")
    options = ("--to", "cryoppp", "--micrograph", A)
    assert run(configured, "labels", "export", str(ID), one, *options, "--version", "1", "--rejected") == 0
    assert read_csv(Path(one))[1][:2] == ["30", "120"]
    star = str(tmp_path / "all.star")
    assert run(configured, "labels", "export", str(ID), star) == 0
    assert run(configured, "labels", "export", str(ID), star) == 2  # nothing is replaced
    assert run(configured, "convert", star, str(tmp_path / "t.txt"), "--to", "topaz") == 0
    assert "a\t11\t21" in (tmp_path / "t.txt").read_text()
    assert run(configured, "labels", "export", str(ID), star, "--version", "3") == 2
    assert run(configured, "labels", "export", str(ID), "y.star", "--micrograph", A, "--version", "9") == 2
    assert "labels list" in capsys.readouterr().err


def test_the_most_picks_fit_into_a_version(root: Path) -> None:
    many = picks(*((n % 120, n // 120 % 160) for n in range(MOST_PICKS)))
    assert saved(root, A, many).version == 1
    [file] = versions_of(root, remote_of(ID, A))
    assert len(file.read().picks) == MOST_PICKS
