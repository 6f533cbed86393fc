"""Stems, and names without what cryoSPARC added."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_schema.paths import suffix_of
from empiar_schema.stems import PATCH_MOTION, cryoppp_name, stem_of

UID = "012345678901234567890"


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.mrc", "a"),
        ("Urease_Jan11_17.50.40.tif", "Urease_Jan11_17.50.40"),
        ("x.frames.tif", "x.frames"),
        ("x.mrc.bz2", "x"),
        ("none", "none"),
        (".mrc", ".mrc"),
    ],
)
def test_the_stem_loses_the_last_suffix_and_a_compressors(name: str, stem: str) -> None:
    assert stem_of(name) == stem


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("20210903_100_000_patch_aligned_doseweighted.mrc", "20210903_100_000.mrc"),
        (f"{UID}_stack_0002{PATCH_MOTION}_particles.mrc", "stack_0002_particles.mrc"),
        ("x_patch_aligned.mrc", "x_patch_aligned.mrc"),
        (f"{UID[1:]}_a.mrc", f"{UID[1:]}_a.mrc"),
        (f"a_{UID}_b.mrc", f"a_{UID}_b.mrc"),
        (f"{UID}_.mrc", f"{UID}_.mrc"),
        (f"{PATCH_MOTION}.mrc", f"{PATCH_MOTION}.mrc"),
        (f"a_patch_aligned{PATCH_MOTION}_doseweighted.mrc", "a.mrc"),
    ],
)
def test_a_name_loses_what_cryosparc_added_and_nothing_else(name: str, cleaned: str) -> None:
    assert cryoppp_name(name) == cleaned


@given(st.lists(st.sampled_from([UID, "_", "a", ".", ".mrc", PATCH_MOTION, "_patch_aligned"])).map("".join))
def test_cleaning_a_name_twice_changes_nothing(name: str) -> None:
    once = cryoppp_name(name)
    assert cryoppp_name(once) == once
    assert once or not name


@given(st.lists(st.sampled_from(["a", ".", ".mrc", ".TIFF", ".gz", ".bz2", "/", "longer"])).map("".join))
def test_a_stem_and_its_suffix_make_the_name(name: str) -> None:
    assert stem_of(name) + suffix_of(name) == stem_of(name) + name[len(stem_of(name)) :].lower()
