"""How files are cut into bundles, what a task is called, and by which items it names its files."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.globus.bundling import (
    LEAST_BYTES,
    LEAST_FILES,
    MOST_ENDINGS,
    RECURSIVE_FILES,
    Folders,
    Limits,
    cut,
    items_of,
    label,
)
from empiar_mirror.globus.places import Places
from empiar_schema.globus_bundles import BundleFile, Candidate
from empiar_schema.paths import RemotePath
from empiar_wire.globus_facts import LABEL_LENGTH, FilterRule, Submission, TransferItem
from empiar_wire.globus_submission import check_submission

ID = 10017
PLACES = Places("source", "/archive", "destination", "/mirror")


# --- cutting ------------------------------------------------------------------------------------------------


@given(
    st.lists(st.none() | st.integers(0, 300)),
    st.integers(1, 200),
    st.integers(1, 10),
)
def test_bundles_keep_order_and_limits(sizes: list[int | None], most_bytes: int, most_files: int) -> None:
    files = [Candidate(number, ID, "", f"{number}", size, 0) for number, size in enumerate(sizes)]
    bundles = list(cut(files, Limits(most_bytes, most_files)))
    assert [file for bundle in bundles for file in bundle] == files
    for bundle in bundles:
        assert 0 < len(bundle) <= most_files
        assert len(bundle) == 1 or sum(file.bytes or 0 for file in bundle) <= most_bytes
    for bundle, following in pairwise(bundles):
        # None is ended early.
        size = sum(file.bytes or 0 for file in [*bundle, following[0]])
        assert len(bundle) == most_files or size > most_bytes


@pytest.mark.parametrize(
    ("left", "tasks", "limits"),
    [
        ((10**15, 10**6), 3, Limits(2 * 10**12, 20_000)),
        ((3 * 10**12, 10**4), 3, Limits(10**12, 3_334)),
        ((10, 10), 3, Limits(LEAST_BYTES, LEAST_FILES)),
        ((3 * 10**11 + 1, 3_001), 3, Limits(10**11 + 1, 1_001)),
    ],
)
def test_a_little_is_shared_out_to_as_many_tasks_as_may_run(
    left: tuple[int, int], tasks: int, limits: Limits
) -> None:
    assert Limits(2 * 10**12, 20_000).shared(bytes=left[0], files=left[1], tasks=tasks) == limits


def test_a_limit_below_the_least_stays_the_limit() -> None:
    assert Limits(5, 7).shared(bytes=10**15, files=10**6, tasks=3) == Limits(5, 7)


# --- names of tasks -----------------------------------------------------------------------------------------


def test_a_label_says_what_is_in_the_task() -> None:
    assert label([ID], files=1234, size=284 * 2**30, mark="4f09ac12") == (
        "empiar-mirror EMPIAR-10017, 1234 files, 284 GiB, 4f09ac12"
    )
    assert label([ID, 10028, 10030], files=1, size=0, mark="m") == (
        "empiar-mirror EMPIAR-10017 and 2 more entries, 1 file, 0 B, m"
    )


@given(
    st.lists(st.integers(1, 99_999_999), min_size=1, max_size=3),
    st.integers(1, 10**8),
    st.integers(0, 2**63 - 1),
)
def test_the_service_takes_every_label_and_its_mark_is_never_cut(
    ids: list[int], files: int, size: int
) -> None:
    text = label(ids, files=files, size=size, mark="4f09ac12")
    assert text.endswith(", 4f09ac12")
    assert len(text) <= LABEL_LENGTH
    assert all(c.isalnum() or c in " ,.-" for c in text)
    check_submission(Submission("1", text, "a", "b", [TransferItem("/a", "/b")]))


# --- items --------------------------------------------------------------------------------------------------


def wanted(*paths: str) -> list[BundleFile]:
    return [BundleFile(n, RemotePath.parse(ID, path), 1) for n, path in enumerate(paths)]


def many(folder: str, count: int = RECURSIVE_FILES, suffix: str = ".mrc") -> list[str]:
    return [f"{folder}/{n}{suffix}" for n in range(count)]


def items(files: list[BundleFile], folders: Folders) -> tuple[list[tuple[str, bool]], list[str]]:
    found, filters = items_of(files, {ID: folders}, PLACES)
    assert all(
        item.destination == item.source.replace("/archive", "/mirror/staging/globus") for item in found
    )
    assert filters == [FilterRule("exclude", rule.name, "file") for rule in filters]
    sources = [(item.source.removeprefix(f"/archive/{ID}"), item.recursive) for item in found]
    return sources, [rule.name for rule in filters]


def test_a_folder_of_which_all_is_wanted_is_one_item() -> None:
    assert items(wanted(*many("data/m")), {"data/m": (), "data/n": None}) == ([("/data/m", True)], [])


def test_the_topmost_such_folder_counts_up_to_the_whole_entry() -> None:
    files = wanted(*many("data/m"), *many("data/n"))
    assert items(files, {"data/m": (), "data/n": (), "": None}) == ([("/data", True)], [])
    assert items(files, {"data/m": (), "data/n": ()}) == ([("", True)], [])


def test_a_folder_with_few_files_is_named_file_by_file() -> None:
    paths = many("m", RECURSIVE_FILES - 1)
    assert items(wanted(*paths), {"m": ()}) == ([(f"/{path}", False) for path in paths], [])


def test_small_folders_together_are_one_item() -> None:
    files = wanted(*many("m/a", 5), *many("m/b", 5))
    assert items(files, {"m/a": (), "m/b": (), "n": None}) == ([("/m", True)], [])


def test_a_folder_in_which_something_else_lies_deeper_is_no_item() -> None:
    paths = many("m")
    assert items(wanted(*paths), {"m": (), "m/deep/deeper": None})[0] == [
        (f"/{path}", False) for path in paths
    ]


def test_the_rest_of_a_folder_is_left_out_by_its_endings() -> None:
    folders: Folders = {"m": ("a.jpg", "b.jpg", "c.txt"), "": None}
    assert items(wanted(*many("m")), folders) == ([("/m", True)], ["*.jpg", "*.txt"])


@pytest.mark.parametrize(
    "other",
    [
        "x.mrc",
        "x.MRC",
        "noending",
        "x.",
        "x.[1]",
        "x.a*",
        "x.b?",
        "x.\\c",
        "x.%FF",
        "x.ü",
        "x.a b",
        ".",
        "a.!b",
    ],
)
def test_a_rest_that_no_safe_filter_tells_apart_makes_a_folder_named_file_by_file(other: str) -> None:
    paths = many("m")
    assert items(wanted(*paths), {"m": (other,), "": None}) == ([(f"/{path}", False) for path in paths], [])


@pytest.mark.parametrize("hidden", ["n/.jpg", "n/x.JPG", "n/x.mrc.jpg"])
def test_a_filter_never_leaves_out_a_wanted_file_of_another_folder(hidden: str) -> None:
    paths = many("m")
    found = items(wanted(*paths, hidden), {"m": ("a.jpg",), "n": None, "": None})
    assert found == ([(f"/{path}", False) for path in [*paths, hidden]], [])


def test_many_different_endings_are_no_filters() -> None:
    few = tuple(f"a.{n}" for n in range(MOST_ENDINGS))
    assert items(wanted(*many("m")), {"m": few, "": None})[0] == [("/m", True)]
    assert not any(recursive for _, recursive in items(wanted(*many("m")), {"m": (*few, "a.x"), "": None})[0])


def test_a_wanted_file_that_is_listed_no_more_does_not_stand_for_one_that_is_here() -> None:
    # As many wanted as listed; but one wanted is gone, and one listed is not wanted.
    paths = many("m")
    assert not any(recursive for _, recursive in items(wanted(*paths), {"m": ("old.mrc",), "": None})[0])


def test_entries_have_items_of_their_own() -> None:
    files = [BundleFile(n, RemotePath(ID + n % 2, "", f"{n}.mrc"), 1) for n in range(2 * RECURSIVE_FILES)]
    found, _ = items_of(files, {ID: {"": ()}, ID + 1: {"": None}}, PLACES)
    assert [item.source for item in found if item.recursive] == [f"/archive/{ID}"]
    assert len(found) == 1 + RECURSIVE_FILES
