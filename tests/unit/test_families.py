"""Families of files: alike but for digits; one representative, whatever the order of the listing."""

from __future__ import annotations

import random

from empiar_mirror.families import MOST_FAMILIES, families
from empiar_schema.files import RoledFile
from empiar_schema.states import Role


def file(name: str, *, directory: str = "data", role: Role = Role.MOVIE, size: int | None = 10) -> RoledFile:
    return RoledFile(hash((directory, name)), directory, name, size, True, None, role)


MOVIES = [file(f"atp_{n}-{n}_{n:04d}_Apr13.tif") for n in range(50)]


def test_files_that_differ_in_digits_only_are_one_family() -> None:
    (family,) = families(MOVIES)
    assert (family.name, family.files, family.bytes) == ("data/atp_0-0_0_Apr0.tif", 50, 500)


def test_folder_suffix_and_role_set_families_apart() -> None:
    others = [
        file("atp_1-1_0001_Apr13.mrc"),
        file("atp_1-1_0001_Apr13.tif", directory="data/2"),
        file("atp_1-1_0001_Apr13.tif", role=Role.GAIN),
        file("atp_1-1_0001_Apr13.mrc.bz2"),
    ]
    assert len(families([*MOVIES, *others])) == 5
    assert {f.name for f in families([file("a_17.dm4"), file("a_17.mrc.bz2")])} == {
        "data/a_0.dm4",
        "data/a_0.mrc.bz2",
    }


def test_the_representative_does_not_depend_on_the_order_of_the_listing() -> None:
    chosen = {families(random.Random(seed).sample(MOVIES, len(MOVIES)))[0].chosen for seed in range(20)}
    assert len(chosen) == 1


def test_an_empty_file_represents_only_empty_ones() -> None:
    empty = [file(f"a_{n}.mrc", size=0) for n in range(30)]
    full = file("a_99.mrc")
    assert families([*empty, full])[0].chosen == full
    assert families(empty)[0].chosen in empty


def test_files_of_other_kinds_have_no_family() -> None:
    names = ("particles.star", "10017.xml", "a.zip", "README", "a.mrc.mdoc", "x.png")
    assert families([file(name, role=Role.METADATA) for name in names]) == []


def test_the_biggest_families_are_taken_up_to_a_bound() -> None:
    files = [file("a.mrc", directory=f"data/{n:04d}", size=n) for n in range(200)]
    found = families(files)
    assert [family.bytes for family in found] == list(range(199, 199 - MOST_FAMILIES, -1))
