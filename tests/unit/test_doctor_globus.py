"""The doctor finds what keeps a mirror from Globus, and says whom to ask for what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from empiar_mirror.doctor import concerns_globus, exit_code
from empiar_mirror.doctor_globus import examine_globus
from empiar_mirror.findings import Finding, Verdict
from empiar_mirror.rehearsal.globus import (
    DESTINATION_COLLECTION,
    GlobusConfig,
    GlobusFault,
    GlobusFaultKind,
    GlobusStandIn,
)
from empiar_mirror.rehearsal.globus.collections import FolderStorage
from empiar_schema.faults import ExitCode
from empiar_schema.settings import GlobusSettings, Settings
from empiar_schema.states import Channel
from empiar_schema.transfer_settings import TransferSettings
from empiar_wire.globus_account import GlobusAccount
from globus_mirrors import globus_archive, person, settings_for


@dataclass(frozen=True, slots=True)
class Patient:
    """A mirror in a folder of the stand-in's destination collection."""

    stand_in: GlobusStandIn
    settings: Settings

    def with_globus(self, **changes: object) -> Settings:
        globus = self.settings.globus.model_copy(update=changes)
        return self.settings.model_copy(update={"globus": globus})

    @property
    def staging(self) -> Path:
        return self.settings.root / "staging"


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Patient]:
    root = tmp_path / "disk" / "mirror"
    (root / "staging").mkdir(parents=True)
    config = GlobusConfig(folder=tmp_path / "disk", folder_path="/project")
    async with globus_archive(config) as rehearsal:
        yield Patient(rehearsal.globus, settings_for(rehearsal.globus, root))


async def no_wait(_seconds: float) -> None:
    await asyncio.sleep(0)


async def bad(settings: Settings) -> dict[str, Finding]:
    found = await examine_globus(settings, sleep=no_wait)
    assert all(bool(one.remedy) == (one.verdict is not Verdict.OK) for one in found)
    return {one.check: one for one in found if one.verdict is not Verdict.OK}


async def test_a_sound_mirror_is_proven_both_ways_and_nothing_is_left(patient: Patient) -> None:
    assert patient.settings.globus.path == "/project/mirror"
    found = await examine_globus(patient.settings, sleep=no_wait)
    assert {one.verdict for one in found} == {Verdict.OK}
    checks = [one.check for one in found]
    assert checks == [
        "globus ids", "globus tokens", "globus login", "globus archive", "globus collection", "globus round trip", "globus writing"
    ]  # fmt: skip
    assert list(patient.staging.iterdir()) == []


async def test_a_wrong_path_does_not_pass_for_the_mirror(patient: Patient) -> None:
    (patient.settings.root.parent / "staging").mkdir()
    found = await bad(patient.with_globus(path="/project"))
    assert "does not show in the collection at /project/staging" in found["globus round trip"].sentence
    assert "set globus.path" in found["globus round trip"].remedy
    assert "does not appear in" in found["globus writing"].sentence
    assert list(patient.staging.iterdir()) == []


@pytest.mark.parametrize("said", ["400 NotSupported", "403 EndpointPermissionDenied"])
async def test_a_server_that_cannot_or_does_not_look_at_one_path(patient: Patient, said: str) -> None:
    patient.stand_in.book.add(
        GlobusFault(
            kind=GlobusFaultKind.ERROR, match=f"*{DESTINATION_COLLECTION}/stat", times=None, value=said
        )
    )
    found = await bad(patient.settings)
    if "NotSupported" in said:
        assert found == {}
    else:
        assert list(found) == ["globus round trip"]
        assert "set globus.path" in found["globus round trip"].remedy


async def test_another_storage_at_the_same_path_does_not_pass(patient: Patient, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "mirror" / "staging").mkdir(parents=True)
    patient.stand_in.destination.storage = FolderStorage(other)
    found = await bad(patient.settings)
    assert set(found) == {"globus round trip", "globus writing"}
    assert 'globus.storage = "elsewhere"' in found["globus round trip"].remedy


async def test_a_storage_elsewhere_is_written_to_and_called_unverifiable(
    patient: Patient, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / "mirror").mkdir(parents=True)
    patient.stand_in.destination.storage = FolderStorage(other)
    found = await bad(patient.with_globus(storage="elsewhere"))
    assert list(found) == ["globus storage"]
    assert found["globus storage"].verdict is Verdict.WARN
    assert (other / "mirror" / "staging").is_dir()


async def test_read_access_alone_is_told_with_whom_to_ask(patient: Patient) -> None:
    patient.stand_in.destination.read_only = True
    found = await bad(patient.settings)
    assert list(found) == ["globus writing"]
    assert "may not make the folder" in found["globus writing"].sentence
    assert "ask your Globus administrator to let this account write there" in found["globus writing"].remedy
    elsewhere = await bad(patient.with_globus(storage="elsewhere"))
    assert "may not make the folder" in elsewhere["globus writing"].sentence
    assert list(patient.staging.iterdir()) == []


async def test_a_collection_that_is_gone_or_sleeps(patient: Patient) -> None:
    patient.stand_in.destination.reachable = False
    found = await bad(patient.settings)
    assert list(found) == ["network globus"]
    patient.stand_in.destination.gone = True
    found = await bad(patient.settings)
    assert "no Globus collection" in found["globus collection"].sentence


async def test_an_archive_that_has_moved_is_told(patient: Patient) -> None:
    patient.stand_in.archive_collection.base_path = b"/third"
    found = await bad(patient.settings)
    assert list(found) == ["globus archive"]
    assert "set archive.globus_path" in found["globus archive"].remedy


async def test_an_unreachable_service_is_a_matter_of_the_network(patient: Patient) -> None:
    patient.stand_in.book.add(GlobusFault(kind=GlobusFaultKind.DROP_REQUEST, times=None))
    found = await bad(patient.settings)
    assert list(found) == ["network globus"]
    assert exit_code(list(found.values())) is ExitCode.UNREACHABLE


async def test_a_login_that_lacks_and_tokens_that_others_may_read(patient: Patient) -> None:
    settings = settings_for(patient.stand_in, patient.settings.root, person=True)
    found = await bad(settings)
    assert "not logged in" in found["globus login"].sentence
    assert "globus login" in found["globus login"].remedy

    account = GlobusAccount(settings.globus, settings.root)
    try:
        await asyncio.to_thread(account.log_in, *person(patient.stand_in))
    finally:
        account.close()
    assert await bad(settings) == {}
    assert account.token_file is not None
    account.token_file.chmod(0o640)
    found = await bad(settings)
    assert list(found) == ["globus tokens"]
    assert "is open to others (-rw-r-----)" in found["globus tokens"].sentence

    patient.stand_in.destination.entity_type = "GCSv5_guest_collection"
    found = await bad(settings)
    assert "set globus.token_file to a place outside of root" in found["globus tokens"].remedy


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"client_id": ""}, "globus.client_id is not set"),
        ({"client_id": "me"}, "globus.client_id = 'me' is no UUID"),
        ({"collection": "ours"}, "globus.collection = 'ours' is no UUID"),
    ],
)
async def test_ids_are_checked_before_anything_is_asked(
    patient: Patient, changes: dict[str, object], words: str
) -> None:
    found = await bad(patient.with_globus(**changes))
    assert found["globus ids"].sentence == words
    assert not patient.stand_in.requests


async def test_a_place_for_tokens_that_is_not_there(patient: Patient) -> None:
    settings = settings_for(patient.stand_in, patient.settings.root, person=True)
    globus = settings.globus.model_copy(update={"token_file": Path("/nowhere/at/all")})
    found = await bad(settings.model_copy(update={"globus": globus}))
    assert "the folder /nowhere/at for the tokens is not there" in found["globus tokens"].sentence


async def test_a_mirror_without_staging_is_sent_to_init(patient: Patient) -> None:
    patient.staging.rmdir()
    found = await bad(patient.settings)
    assert "empiar-mirror init" in found["globus round trip"].remedy


async def test_a_mirror_that_does_not_mean_to_use_globus_is_not_asked_about_it(tmp_path: Path) -> None:
    assert not concerns_globus(Settings(root=tmp_path))
    for settings in (
        Settings(root=tmp_path, transfer=TransferSettings(channels=(Channel.GLOBUS,))),
        Settings(root=tmp_path, globus=GlobusSettings(collection="x")),
    ):
        assert concerns_globus(settings)
    globus_channel = Settings(root=tmp_path, transfer=TransferSettings(channels=(Channel.GLOBUS,)))
    (found,) = [one for one in (await bad(globus_channel)).values() if one.check == "globus ids"]
    assert "globus.collection is not set" in found.sentence
