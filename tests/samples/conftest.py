"""Real samples of the archive's answers; they are no part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[2].parent / "shared" / "empiar-samples"
_ABSENT = "no EMPIAR samples: put them at ../shared/empiar-samples beside the checkout, or name their folder in $EMPIAR_SAMPLES"


def samples_folder() -> Path | None:
    """The folder of the samples, if there is one."""
    folder = Path(os.environ.get("EMPIAR_SAMPLES") or _BESIDE_THE_CHECKOUT)
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the samples; without it the test skips."""
    folder = samples_folder()
    if folder is None:
        pytest.skip(_ABSENT)
    return folder


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `api_sample` or `xml_sample` runs once a file of that kind."""
    for fixture, pattern in (("api_sample", "api/**/*.json"), ("xml_sample", "xml/*.xml")):
        if fixture in metafunc.fixturenames:
            folder = samples_folder()
            files = sorted(folder.glob(pattern)) if folder else []
            absent = pytest.param(None, marks=pytest.mark.skip(reason=_ABSENT), id="absent")
            named = [pytest.param(file, id=str(file.relative_to(folder))) for file in files if folder]
            metafunc.parametrize(fixture, named or [absent])
