"""What stands in the folder for deliveries and nobody waits for goes; what is awaited stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import claims
from empiar_mirror.globus.leftovers import clean
from empiar_mirror.staging import delivery_folder
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from globus_ledger import ID, NOW, Mirror


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:
        yield Mirror(catalogue)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    return tmp_path / "staging"


def put(staging: Path, *paths: str | bytes) -> None:
    for path in paths:
        file = os.path.join(os.fsencode(delivery_folder(staging)), os.fsencode(path))
        os.makedirs(os.path.dirname(file), exist_ok=True)
        Path(os.fsdecode(file)).write_bytes(b"x")


def left(staging: Path) -> list[str]:
    folder = delivery_folder(staging)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_without_a_folder_nothing_is_done(mirror: Mirror, staging: Path) -> None:
    assert clean(mirror.catalogue, staging) == 0
    assert not staging.exists()


def test_files_under_way_and_delivered_stay(mirror: Mirror, staging: Path) -> None:
    bundle_id = mirror.plan("data/b.mrc", "data/c.mrc", "a.xml")
    mirror.move(bundle_id, "data/c.mrc")
    mirror.do(lambda c: claims.claim(c, now=NOW, limit_files=1, limit_bytes=1, delivered_only=True))
    awaited = [f"{ID}/a.xml", f"{ID}/data/b.mrc", f"{ID}/data/c.mrc"]
    put(
        staging,
        *awaited,
        f"{ID}/data/deep/d.mrc",
        f"{ID}/unlisted",
        f"{ID}/data/.globus-b.mrc",
        "stray",
        "x/y/z",
    )
    assert clean(mirror.catalogue, staging) == 5
    assert left(staging) == awaited
    assert sorted(p.name for p in delivery_folder(staging).rglob("*") if p.is_dir()) == [str(ID), "data"]


def test_what_another_channel_has_brought_or_that_is_given_up_goes(mirror: Mirror, staging: Path) -> None:
    bundle_id = mirror.plan("data/b.mrc", "data/c.mrc")
    mirror.move(bundle_id, "data/b.mrc")
    mirror.withdraw("data/b.mrc")
    assert mirror.states()["data/b.mrc"] == "parked"
    mirror.do(
        lambda c: transfer.release(c, mirror.id("data/c.mrc"), not_before=0, error=None, keep_partial=False)
    )
    put(staging, f"{ID}/data/b.mrc", f"{ID}/a.xml")
    assert clean(mirror.catalogue, staging) == 2
    assert not delivery_folder(staging).exists()


def test_names_that_no_listing_could_hold_are_no_crash(mirror: Mirror, staging: Path) -> None:
    mirror.plan()
    hostile: list[str | bytes] = [
        "9" * 200 + "/a.xml", f"0{ID}/a.xml", f"-{ID}/a.xml", "\u0661\u0660/a.xml", f"{ID}x/a.xml", str(ID + 9) + "/a.xml",
        f"{ID}/\n", f"{ID}/%2F", f"{ID}/data/ b.mrc", f"{ID}/data/b.mrc ", f"{ID}/A.XML", b"%d/\xff\xfe" % ID, b"\xff/a",
    ]  # fmt: skip
    put(staging, *hostile, f"{ID}/a.xml")
    assert clean(mirror.catalogue, staging) == len(hostile)
    assert left(staging) == [f"{ID}/a.xml"]


def test_links_are_removed_and_never_followed(mirror: Mirror, staging: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "file").write_bytes(b"x")
    put(staging, f"{ID}/x")
    folder = delivery_folder(staging) / str(ID)
    (folder / "to_folder").symlink_to(outside)
    (folder / "to_file").symlink_to(outside / "deep" / "file")
    (folder / "to_nothing").symlink_to(outside / "none")
    (folder / "loop").symlink_to(folder)
    assert clean(mirror.catalogue, staging) == 5
    assert not delivery_folder(staging).exists()
    assert (outside / "deep" / "file").read_bytes() == b"x"


def test_a_folder_for_deliveries_that_is_a_link_is_left_alone(
    mirror: Mirror, staging: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"x")
    staging.mkdir()
    delivery_folder(staging).symlink_to(outside)
    assert clean(mirror.catalogue, staging) == 0
    assert (outside / "file").exists()


def test_a_tree_of_more_levels_than_python_calls_itself_is_removed(mirror: Mirror, staging: Path) -> None:
    deep = os.fsencode(delivery_folder(staging))
    put(staging, f"{ID}/x")
    for _ in range(1500):
        deep += b"/d"
        os.mkdir(deep)
    put(staging, deep + b"/x")
    assert clean(mirror.catalogue, staging) == 2
    assert not delivery_folder(staging).exists()


def test_a_folder_in_the_place_of_an_awaited_file_is_emptied(mirror: Mirror, staging: Path) -> None:
    mirror.plan("data/b.mrc")
    put(staging, f"{ID}/data/b.mrc/inside")
    assert clean(mirror.catalogue, staging) == 1
    assert not delivery_folder(staging).exists()
