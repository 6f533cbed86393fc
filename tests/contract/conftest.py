"""The stand-in of Globus, and the mirror's way to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.globus import (
    GlobusConfig,
    GlobusStandIn,
)
from empiar_wire.globus import TransferService
from globus_mirrors import globus_archive, opened, settings_for


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[GlobusStandIn]:
    config = GlobusConfig(folder=tmp_path, page_size=3, history_while_running=False)
    async with globus_archive(config) as rehearsal:
        yield rehearsal.globus


@pytest.fixture
async def service(stand_in: GlobusStandIn, tmp_path: Path) -> AsyncIterator[TransferService]:
    async with opened(settings_for(stand_in, tmp_path)) as service:
        yield service
