"""What Globus cannot be used for, and what a person must do then."""

from __future__ import annotations

from pathlib import Path

import pytest

from empiar_mirror.rehearsal.globus.faults import GlobusFault, GlobusFaultKind
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import Event, GlobusOut
from empiar_schema.faults import AccountFault, EmpiarMirrorError
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from globus_mirrors import globus_settings, standing_in
from globus_syncs import ID, channels_used, small_entry, synced
from independent import assert_mirrored
from mirrors import opened


async def failing(rehearsal: Rehearsal, settings: Settings) -> EmpiarMirrorError:
    """What a sync by Globus alone ends with; the same with HTTPS beside it brings everything."""
    with opened(settings) as mirror:
        await mirror.crawl([ID])
        with pytest.raises(EmpiarMirrorError) as caught:
            await mirror.sync([ID], channel=Channel.GLOBUS)
    events: list[Event] = []
    report = await synced(settings, [ID], events=events)
    assert report.transfer.failed == ()
    assert [event for event in events if isinstance(event, GlobusOut)]
    assert set(channels_used(settings.root)) == {"https"}
    assert caught.value.hint
    return caught.value


async def test_a_destination_that_is_gone(tmp_path: Path) -> None:
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path)) as rehearsal:
        rehearsal.globus.destination.gone = True
        settings = globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus="from_bytes = 0")
        assert isinstance(await failing(rehearsal, settings), AccountFault)


async def test_a_destination_that_may_not_be_written(tmp_path: Path) -> None:
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path)) as rehearsal:
        rehearsal.globus.destination.read_only = True
        settings = globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus="from_bytes = 0")
        assert isinstance(await failing(rehearsal, settings), AccountFault)


async def test_a_destination_that_is_not_where_the_configuration_says(tmp_path: Path) -> None:
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path)) as rehearsal:
        (tmp_path / "elsewhere").mkdir()
        settings = globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus="from_bytes = 0")
        wrong = settings.globus.model_copy(
            update={"path": settings.globus.path.replace("mirror", "elsewhere")}
        )
        fault = await failing(rehearsal, settings.model_copy(update={"globus": wrong}))
        assert "globus.path" in fault.hint


async def test_a_destination_without_a_subscription_will_do(tmp_path: Path) -> None:
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path)) as rehearsal:
        rehearsal.globus.destination.managed = False
        assert (await synced(globus_settings(rehearsal, tmp_path), [ID])).transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)


async def test_a_consent_that_nobody_has_given(tmp_path: Path) -> None:
    faults = [GlobusFault(kind=GlobusFaultKind.CONSENT_REQUIRED, match="POST */transfer", times=None)]
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path, faults=faults)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus="from_bytes = 0")
        fault = await failing(rehearsal, settings)
        assert isinstance(fault, AccountFault)
        assert "consent" in str(fault)


async def test_no_collection_configured(tmp_path: Path) -> None:
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus="from_bytes = 0")
        without = settings.globus.model_copy(update={"collection": ""})
        fault = await failing(rehearsal, settings.model_copy(update={"globus": without}))
        assert "globus.collection" in fault.hint


async def test_nobody_logged_in(tmp_path: Path) -> None:
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus="from_bytes = 0")
        without = settings.globus.model_copy(update={"client_secret": None})
        fault = await failing(rehearsal, settings.model_copy(update={"globus": without}))
        assert "globus login" in fault.hint
