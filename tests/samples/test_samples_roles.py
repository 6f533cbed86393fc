"""Roles on real names: CryoPPP's chosen micrographs and gain files, and whole listings, against a truth written by hand."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

from empiar_imaging.roles import classify
from empiar_schema.files import ListedFile
from empiar_schema.paths import suffix_of
from empiar_schema.states import Role
from role_measure import GAINS, IMAGES, PAGE, Tally, cryoppp, listings, measure, page
from role_truth import TRUTH, truth_of


def named(*names: str) -> list[ListedFile]:
    return [ListedFile(name, None, False, None, 1) for name in names]


def test_no_image_and_no_gain_of_any_listing_is_taken_for_something_else(samples: Path) -> None:
    images, gains, entries = Tally(), Tally(), 0
    for empiar_id, folders in listings(samples):
        tally = measure(empiar_id, folders)
        assert tally.mistakes == []
        images += tally.images
        gains += tally.gains
        entries += 1
    assert entries == 45
    assert (images.files, gains.files) == (11_336, 9)
    # What was promised; the stricter lines above are what holds today.
    assert images.right >= 0.99 * (images.right + images.wrong)
    assert gains.right >= 0.99 * (gains.right + gains.wrong)


def test_the_truth_agrees_with_cryoppp_and_so_do_the_rules(samples: Path) -> None:
    judged_right: Counter[str] = Counter()
    for empiar_id, folders in cryoppp(samples):
        for folder, chosen in folders.items():
            judged = classify([], folder, named(*(name for _, name in chosen)))
            for (word, name), found in zip(chosen, judged, strict=True):
                truth = truth_of(empiar_id, f"{folder}/{name}")
                assert truth in (GAINS if word == "gain" else IMAGES)
                # CryoPPP's TIFF entries were deposited as movies, its MRC ones as sums.
                if word == "micrograph":
                    assert truth is (Role.MOVIE if suffix_of(name) == ".tif" else Role.MICROGRAPH)
                assert found.role is truth, (empiar_id, folder, name, found)
                judged_right[word] += 1
    assert judged_right == {"micrograph": 7670, "gain": 6}


def test_folder_names_are_hardly_needed(samples: Path) -> None:
    """The same files, as if all lay in a folder that says nothing."""
    right = wrong = 0
    for empiar_id, folders in cryoppp(samples):
        for folder, chosen in folders.items():
            judged = classify([], "data", named(*(name for _, name in chosen)))
            for (_, name), found in zip(chosen, judged, strict=True):
                same = found.role is truth_of(empiar_id, f"{folder}/{name}")
                right, wrong = right + same, wrong + (not same)
    assert right >= 0.99 * (right + wrong), (right, wrong)


def test_any_gain_is_found_among_the_movies_of_any_entry(samples: Path) -> None:
    """References and movies of all entries, in all pairs: 11 names of gains, 6 folders of movies."""
    chosen = dict(cryoppp(samples))
    gains = [name for folders in chosen.values() for files in folders.values() for word, name in files if word == "gain"]  # fmt: skip
    gains += ["CountRef.dm4", "CountRef_TS_0001_0004_plus_0010.dm4", "norm-amibox05-0.mrc", "gain.mrc", "K2_gain_ref.tif"]  # fmt: skip
    pairs = 0
    for folders in chosen.values():
        for folder, files in folders.items():
            movies = [name for word, name in files if word == "micrograph" and suffix_of(name) == ".tif"]
            for gain in gains if movies else []:
                found = [judged.role for judged in classify([], folder, named(*movies, gain))]
                assert found == [Role.MOVIE] * len(movies) + [Role.GAIN], (folder, gain)
                pairs += 1
    assert pairs == 66


def test_the_page_shows_what_is_measured(samples: Path) -> None:
    text = PAGE.read_text()
    assert page(text, samples) == text, "run `python tests/role_measure.py`"


def test_the_page_holds_counts_and_no_listings(samples: Path) -> None:
    text = PAGE.read_text()
    for _, folders in listings(samples):
        for folder, files in folders.items():
            assert len(folder) < 8 or folder not in text
            assert not any(len(file.name) > 14 and file.name in text for file in files)


def test_every_line_of_the_truth_is_used(samples: Path) -> None:
    unused = set(TRUTH)
    for empiar_id, folders in listings(samples):
        for folder, files in folders.items():
            for file in files:
                path = f"{folder}/{file.name}" if folder else file.name
                unused -= _line_for(empiar_id, path)
    assert unused == set()


def _line_for(empiar_id: int, path: str) -> set[tuple[int, str, Role | None]]:
    fitting = (line for line in TRUTH if line[0] == empiar_id and fnmatchcase(path, line[1]))
    return {next(fitting)}
