"""Roles on real names: CryoPPP's chosen micrographs and gain files, and whole listings."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_imaging.roles import classify
from empiar_schema.files import ListedFile
from empiar_schema.paths import suffix_of
from empiar_schema.states import Role

IMAGES = {Role.MICROGRAPH, Role.MOVIE}


def cryoppp_folders(samples: Path) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Entry, folder below it, and the (role, name) pairs that CryoPPP chose there."""
    with (samples / "cryoppp-catalogue.csv").open(newline="") as lines:
        links = {row["empiar_id"]: row for row in csv.DictReader(lines)}
    for path in sorted((samples / "cryoppp-files").glob("*.csv")):
        folders: dict[str, list[tuple[str, str]]] = defaultdict(list)
        with path.open(newline="") as lines:
            for row in csv.DictReader(lines):
                link = links[path.stem]["gain_link" if row["role"] == "gain" else "data_link"]
                folders[link.partition("/")[2].strip("/")].append((row["role"], row["name"]))
        for folder, chosen in folders.items():
            yield path.stem, folder, chosen


def test_all_of_cryoppp_is_told_apart_by_name_alone(samples: Path) -> None:
    wrong: list[tuple[str, str, Role]] = []
    right: Counter[str] = Counter()
    for entry, folder, chosen in cryoppp_folders(samples):
        judged = classify([], folder, [ListedFile(name, None, False, None, 1) for _, name in chosen])
        for (truth, name), (role, _, _) in zip(chosen, judged, strict=True):
            if role in ({Role.GAIN} if truth == "gain" else IMAGES):
                right[truth] += 1
            else:
                wrong.append((entry, name, role))
    assert wrong == []
    assert right == {"micrograph": 7670, "gain": 6}


def test_deposited_movies_are_not_taken_for_micrographs(samples: Path) -> None:
    for entry, folder, chosen in cryoppp_folders(samples):
        names = [name for truth, name in chosen if truth == "micrograph"]
        judged = classify([], folder, [ListedFile(name, None, False, None, 1) for _, name in chosen])
        found = {
            role for (role, _, _), (truth, _) in zip(judged, chosen, strict=True) if truth == "micrograph"
        }
        # CryoPPP's TIFF entries were deposited as movies, its MRC ones as sums.
        expected = Role.MOVIE if names and suffix_of(names[0]) == ".tif" else Role.MICROGRAPH
        assert found <= {expected}, entry


def listing(samples: Path, name: str) -> dict[str, list[ListedFile]]:
    folders: dict[str, list[ListedFile]] = defaultdict(list)
    with (samples / "listings" / name).open(newline="") as lines:
        for row in csv.DictReader(lines):
            folder, _, file = row["path"].rpartition("/")
            size = int(row["size"]) if row["size"] else None
            folders[folder].append(ListedFile(file, size, True, None, 1))
    return folders


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10002.csv", {"metadata": 1, "movie": 260}),
        (
            "10988.csv",
            {
                "movie": 1020,
                "gain": 3,
                "tilt_series": 20,
                "volume": 115,
                "metadata": 83,
                "particle_coordinates": 42,
            },
        ),
        ("11392.csv", {"volume": 7, "tilt_series": 7, "metadata": 7}),
        ("11415.csv", {"micrograph": 59, "metadata": 1, "preview": 1, "volume": 5}),
        ("11449.csv", {"micrograph": 1984}),
    ],
)
def test_whole_listings_are_understood(samples: Path, name: str, expected: dict[str, int]) -> None:
    found: Counter[str] = Counter()
    for folder, files in listing(samples, name).items():
        found.update(judged.role.value for judged in classify([], folder, files))
    assert found == expected
