"""Contradictions between what an entry states and what its listing shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from empiar_crawler import checks
from empiar_crawler.checks import Contradiction, EntryCheck, falling_together, folded, folded_key
from empiar_schema.entry import ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.states import Role

GIB = 2**30


def imageset(directory: str | None, count: int | None = None, **more: object) -> ImageSet:
    return ImageSet.model_validate(
        {
            "position": 0,
            "directory": directory,
            "image_count": count,
            "category": "micrographs - single frame",
            "data_format": "MRC",
            **more,
        }
    )


def listed(name: str, size: int | None = 1000, *, exact: bool = True) -> ListedFile:
    return ListedFile(name, size, exact, None, 1)


def check(
    folders: Mapping[str, Sequence[ListedFile]],
    imagesets: Sequence[ImageSet] = (),
    *,
    dataset_size: str | None = None,
    role: Role = Role.MICROGRAPH,
) -> list[Contradiction]:
    it = EntryCheck(10017, imagesets, dataset_size=dataset_size)
    it.folders(folders)
    for directory, files in folders.items():
        it.files(directory, files, [role] * len(files))
        seen: set[int] = set()
        twice: set[int] = set()
        falling_together((file.name for file in files), seen, twice)
        it.clashes(directory, [file.name for file in files if folded_key(file.name) in twice])
    return it.contradictions()


@pytest.mark.parametrize(
    ("stated", "found_bytes", "contradicts"),
    [
        # EMPIAR-10988: 305.456 GiB are stated as 305.5 GB.
        ("305.5 GB", 327_980_789_226, False),
        ("305.5 GB", 327_980_789_226 - GIB // 5, True),
        ("1.9 TB", 19 * 2**40 // 10 + 2**40 // 25, False),
        ("1.9 TB", 18 * 2**40 // 10, True),
        ("1000 B", 1000, False),
        ("0 B", 0, False),
        ("a lot", 5, False),
        (None, 5, False),
    ],
)
def test_stated_size_may_differ_by_its_rounding_and_no_more(
    stated: str | None, found_bytes: int, contradicts: bool
) -> None:
    found = check({"data": [listed("a.mrc", found_bytes)]}, dataset_size=stated)
    assert [c.what for c in found] == ([checks.SIZE] if contradicts else [])


def test_estimated_sizes_widen_the_tolerance_and_unknown_ones_forbid_a_verdict() -> None:
    rough = [listed("a.mrc", 100 * GIB, exact=False)]
    assert check({"data": rough}, dataset_size="103.0 GB") == []
    assert [c.what for c in check({"data": rough}, dataset_size="110.0 GB")] == [checks.SIZE]
    assert check({"data": [*rough, listed("b.mrc", None)]}, dataset_size="110.0 GB") == []


def test_image_set_directory_is_looked_for_with_its_letters_and_in_any_depth() -> None:
    files = [listed("a.mrc")]
    sets = [imageset("data/Tiff"), imageset("data/tiff"), imageset("data/none"), imageset("data")]
    found = check({"data/Tiff/deep/er": files}, sets)
    assert found == [
        Contradiction(checks.DIRECTORY, "data/none", "data/none", "no files there"),
        Contradiction(checks.DIRECTORY, "data/tiff", "data/tiff", "differs in letters: data/Tiff"),
    ]


def test_image_count_is_compared_with_the_images_of_the_stated_format_in_and_below_the_folder() -> None:
    folders = {
        "data/a": [listed("1.mrc"), listed("2.MRC"), listed("x.xml")],
        "data/a/b": [listed("3.mrc.bz2"), listed("y.tif")],
    }
    assert check(folders, [imageset("data/a", 3)]) == []
    (found,) = check(folders, [imageset("data/a", 4)])
    assert found == Contradiction(checks.COUNT, "data/a", "4 images", found.found)
    assert (found.found or "").startswith("3 image files")


def test_image_count_may_count_files_volumes_or_slices() -> None:
    slices = [listed(f"{n}.mrc") for n in range(12)]
    assert check({"data": slices}, [imageset("data", 2, frames_per_image=6)]) == []
    assert check({"data": slices}, [imageset("data", 12, frames_per_image=6)]) == []


def test_image_sets_of_one_folder_are_counted_together_and_nested_ones_apart() -> None:
    folders = {"data": [listed("1.mrc")], "data/sub": [listed("2.mrc"), listed("3.mrc")]}
    assert check(folders, [imageset("data", 1), imageset("data/sub", 1), imageset("data/sub", 1)]) == []


@pytest.mark.parametrize("category", ["picked particles - single frame - processed", "tilt series", None])
def test_what_is_not_one_file_an_image_is_not_counted(category: str | None) -> None:
    files = [listed("1.mrc"), listed("2.mrc")]
    assert check({"data": files}, [imageset("data", 5000, category=category)]) == []


def test_references_are_no_images_of_the_count() -> None:
    assert check({"data": [listed("gain.mrc")]}, [imageset("data", 7)], role=Role.GAIN) == []


def test_names_that_a_storage_without_case_or_unicode_form_confuses_are_named() -> None:
    nfc, nfd = "caf\u00e9.mrc", "cafe\u0301.mrc"
    found = check(
        {"data": [listed(n) for n in ("A.mrc", "a.mrc", "b.mrc", nfc, nfd)], "Data": [listed("A.mrc")]}
    )
    clashes = {(c.path, c.found) for c in found if c.what == checks.CLASH}
    assert clashes == {("data/a.mrc", "like A.mrc"), (f"data/{nfd}", f"like {nfc}"), ("Data", "like data")}
    assert folded("STRASSE") == folded("stra\u00dfe")


def test_folders_that_fall_together_are_named_though_no_file_lies_in_them() -> None:
    found = check({"data/A/x": [listed("1.mrc")], "data/a/y": [listed("2.mrc")]})
    assert found == [Contradiction(checks.CLASH, "data/a", None, "like data/A")]


def test_names_too_long_for_a_file_system_are_named() -> None:
    found = check({"data": [listed("x" * 255), listed("y" * 256), listed("\u00e9" * 128)]})
    assert [(c.what, (c.path or "")[5]) for c in found] == [
        (checks.TOO_LONG, "y"),
        (checks.TOO_LONG, "\u00e9"),
    ]


def test_name_of_escaped_bytes_is_measured_by_its_bytes() -> None:
    assert check({"data": [listed("%E0" * 250)]}) == []


def test_thousands_of_findings_are_counted_and_fifty_named() -> None:
    it = EntryCheck(10017, [], dataset_size=None)
    it.refused("data", [b".."] * 3000)
    found = it.contradictions()
    assert len(found) == checks.NAMED + 1
    assert found[-1] == Contradiction(checks.UNUSABLE, None, None, "3000 in all, 50 are named")


def test_entry_without_files_contradicts_nothing() -> None:
    assert check({}, [imageset("data", 12)], dataset_size="43.2 GB") == []
