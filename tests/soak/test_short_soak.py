"""A minute of the soak, with a fixed seed; `make soak` does ten."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak.soak import soak


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_minute_of_everything_breaks_no_promise(tmp_path: Path) -> None:
    result = await soak(tmp_path, seconds=60, seed=3)
    assert result.violations == [], "\n".join(map(str, result.violations))
    assert result.deeds.total() > 0
    assert result.figures["looks"]
