"""The Globus channel against the stand-in, through the real SDK: every way that files can take."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.archive import ArchiveFile
from empiar_mirror.rehearsal.globus.faults import GlobusFault, GlobusFaultKind
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import Event, GlobusOut
from empiar_schema.faults import ConfigFault, StorageFault
from empiar_schema.states import Channel
from globus_mirrors import globus_settings, standing_in
from globus_syncs import ID, IMPATIENT, arrived_once, channels_used, small_entry, synced
from independent import assert_mirrored, assert_tidy
from mirrors import opened, rows

OBSOLETE = 10109
_K = GlobusFaultKind


@pytest.mark.parametrize("route", ["globus only", "automatic"])
async def test_the_whole_archive_comes_by_globus_byte_for_byte(tmp_path: Path, route: str) -> None:
    async with Rehearsal(globus=standing_in(tmp_path)) as rehearsal:
        channels = ("globus",) if route == "globus only" else ("globus", "https", "ftp")
        # The entries are small, so that the limit is in their middle.
        settings = globus_settings(rehearsal, tmp_path, channels=channels, globus='from_bytes = "5MB"')
        ids = sorted(set(rehearsal.archive.entries) - {OBSOLETE})
        events: list[Event] = []
        with opened(settings, events) as mirror:
            await mirror.crawl(None)
            report = await mirror.sync(ids)
            assert report.transfer.failed == ()
            again = await mirror.sync(ids)
            assert (again.transfer.arrived, again.transfer.bytes_moved) == (0, 0)
        for empiar_id in ids:
            assert_mirrored(rehearsal, tmp_path / "mirror", empiar_id)
        assert_tidy(tmp_path / "mirror")
        arrived_once(rehearsal, events)
        used = channels_used(tmp_path / "mirror")
        if route == "globus only":
            assert set(used) == {"globus"}
            assert rehearsal.bytes_served() == 0
        else:
            assert used["globus"] > 20
            assert used["https"] > 20
        assert set(rehearsal.globus.copies.values()) == {1}


async def test_many_tasks_keep_to_the_places_of_the_account(tmp_path: Path) -> None:
    entry = small_entry(60)
    async with Rehearsal([entry], globus=standing_in(tmp_path, rate=2e6)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path, globus="bundle_files = 7")
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                open_tasks = [t for t in rehearsal.globus.tasks if not t.ended]
                most = max(most, len(open_tasks))
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(watch())
        try:
            report = await synced(settings, [ID])
        finally:
            watching.cancel()
        assert report.transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert len(rehearsal.globus.submissions) == 9  # 61 files with the header XML
        assert most == 3
        labels = [submission.label for submission in rehearsal.globus.submissions]
        assert all(str(label).startswith(f"empiar-mirror EMPIAR-{ID}, 7 files") for label in labels[:-1])


#: Faults after which a run with another channel has to bring everything, each named after what it is in the issue's words.
async def test_globus_that_dies_half_way_leaves_the_rest_to_https(tmp_path: Path) -> None:
    faults = [GlobusFault(kind=_K.STATUS, match="*", value="503", times=None, after=60)]
    async with Rehearsal(
        [small_entry(200)], globus=standing_in(tmp_path, faults=faults, rate=5e6)
    ) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path, channels=("globus", "https"), globus=IMPATIENT)
        events: list[Event] = []
        report = await synced(settings, [ID], events=events)
        assert report.transfer.failed == ()
        assert [event for event in events if isinstance(event, GlobusOut)]
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        arrived_once(rehearsal, events)
        used = channels_used(tmp_path / "mirror")
        assert used["globus"] > 20
        assert used["https"] > 20
        # Nothing that came by Globus was asked for over HTTPS.
        with opened(settings) as mirror:
            by_globus = {str(p) for (p,) in rows(mirror, "SELECT path FROM copies WHERE channel = 'globus'")}
            open_bundles = rows(mirror, "SELECT count(*) FROM copies WHERE state = 'claimed'")
        assert open_bundles == [(0,)]
        assert all(rehearsal.bytes_served(f"{ID}/{path}") == 0 for path in by_globus)

        # The next run, once Globus is back, cancels what was left there.
        rehearsal.globus.book.clear()
        await synced(settings, [ID])
        await synced(settings, [ID])
        assert all(task.ended for task in rehearsal.globus.tasks)


async def test_a_stop_leaves_the_task_to_the_service_and_the_next_run_follows_it(tmp_path: Path) -> None:
    async with Rehearsal([small_entry(100)], globus=standing_in(tmp_path, rate=4e6)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path)
        events: list[Event] = []
        with opened(settings, events) as mirror:
            running = asyncio.create_task(mirror.sync([ID]))
            while not any(event.name == "file.arrived" for event in events):
                await asyncio.sleep(0.01)
            mirror.stop()
            assert (await running).transfer.stopped
        assert not rehearsal.globus.tasks[0].ended
        report = await synced(settings, [ID], events=events)
        assert report.transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        arrived_once(rehearsal, events)
        assert len(rehearsal.globus.submissions) == 1
        assert set(rehearsal.globus.copies.values()) == {1}


async def test_naming_another_channel_takes_the_files_back_and_the_task_is_cancelled_later(
    tmp_path: Path,
) -> None:
    async with Rehearsal([small_entry(100)], globus=standing_in(tmp_path, rate=2e6)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path)
        events: list[Event] = []
        with opened(settings, events) as mirror:
            running = asyncio.create_task(mirror.sync([ID]))
            while not any(event.name == "file.arrived" for event in events):
                await asyncio.sleep(0.01)
            mirror.stop()
            await running
        report = await synced(settings, [ID], channel=Channel.HTTPS, events=events)
        assert report.transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        arrived_once(rehearsal, events)
        await synced(settings, [ID], channel=Channel.GLOBUS)
        await synced(settings, [ID], channel=Channel.GLOBUS)
        assert rehearsal.globus.tasks[0].fatal_error is not None
        assert_tidy(tmp_path / "mirror")


async def test_the_other_known_path_of_the_archive_is_found_and_remembered(tmp_path: Path) -> None:
    async with Rehearsal(
        [small_entry()], globus=standing_in(tmp_path, archive_path="/empiar/world_availability")
    ) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path)
        old = settings.archive.model_copy(update={"globus_path": "/gridftp/empiar/world_availability"})
        settings = settings.model_copy(update={"archive": old})
        assert (await synced(settings, [ID])).transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        with opened(settings) as mirror:
            found = rows(mirror, "SELECT globus_url FROM files WHERE name = 'm_001.mrc'")
        assert str(found[0][0]).endswith(f"/empiar/world_availability/{ID}/data/m_001.mrc")
        assert "gridftp" not in str(found[0][0])


async def test_a_full_destination_ends_the_run_and_everything_comes_once_there_is_room(
    tmp_path: Path,
) -> None:
    faults = [GlobusFault(kind=_K.QUOTA, match="*m_020.mrc")]
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path, faults=faults)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path)
        with pytest.raises(StorageFault) as caught:
            await synced(settings, [ID])
        assert caught.value.full
        events: list[Event] = []
        assert (await synced(settings, [ID], events=events)).transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert_tidy(tmp_path / "mirror")


async def test_the_users_own_tasks_have_their_places(tmp_path: Path) -> None:
    async with Rehearsal([small_entry(60)], globus=standing_in(tmp_path, rate=3e6)) as rehearsal:
        foreign = [rehearsal.globus.add_foreign_task(f"mine {n}") for n in range(2)]
        settings = globus_settings(rehearsal, tmp_path, globus="bundle_files = 10")
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                open_tasks = [t for t in rehearsal.globus.tasks if not t.ended and t not in foreign]
                most = max(most, len(open_tasks))
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(watch())
        try:
            assert (await synced(settings, [ID])).transfer.failed == ()
        finally:
            watching.cancel()
        assert most == 1
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)


async def test_a_wrong_clock_here_or_there_is_no_deadline(tmp_path: Path) -> None:
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path)) as rehearsal:
        rehearsal.globus.clock_offset_s = 30 * 86_400.0
        settings = globus_settings(rehearsal, tmp_path)
        assert (await synced(settings, [ID])).transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)


# --- storage elsewhere --------------------------------------------------------------------------------------


async def test_storage_elsewhere_is_unverified_until_verify_is_run_where_it_is(tmp_path: Path) -> None:
    """`here` is where the service is driven from, `there` where the files are."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (there / "mirror").mkdir(parents=True)
    async with Rehearsal([small_entry()], globus=standing_in(there)) as rehearsal:
        settings = globus_settings(rehearsal, here, globus='storage = "elsewhere"')
        away = settings.globus.model_copy(update={"path": "/mirror"})
        settings = settings.model_copy(update={"globus": away})
        report = await synced(settings, [ID])
        assert report.transfer.failed == ()
        assert report.transfer.unverified == 41
        assert not (here / "mirror" / "archive" / str(ID)).exists()
        again = await synced(settings, [ID])
        assert len(rehearsal.globus.submissions) == 1
        assert again.transfer.unverified == 41

        # The catalogue goes to where the storage is; one file was spoilt meanwhile.
        (there / "mirror" / "empiar.db").write_bytes((here / "mirror" / "empiar.db").read_bytes())
        spoilt = next((there / "mirror" / "staging" / "globus").rglob("m_003.mrc"))
        spoilt.write_bytes(spoilt.read_bytes()[:-1])
        at_home = settings.model_copy(
            update={"root": there / "mirror", "globus": away.model_copy(update={"storage": "here"})}
        )
        with opened(at_home) as mirror:
            verified = await mirror.verify(None)
            states = rows(mirror, "SELECT state, count(*) FROM copies GROUP BY state ORDER BY 1")
        assert [file.path for file in verified.damaged] == [f"{ID}/data/m_003.mrc"]
        assert states == [("arrived", 40), ("wanted", 1)]
        assert (await synced(at_home, [ID])).transfer.failed == ()
        assert_mirrored(rehearsal, there / "mirror", ID)


# --- what need not wait, and what must ----------------------------------------------------------------------


async def test_a_task_whose_submission_id_is_no_longer_good_is_found_by_its_label(tmp_path: Path) -> None:
    """The answer was lost, and when it was asked for again the service had forgotten the id."""
    faults = [
        GlobusFault(kind=_K.LOSE_ANSWER, match="POST */transfer"),
        GlobusFault(kind=_K.ERROR, match="POST */transfer", value="400 ClientError.BadRequest", times=None),
    ]
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path, faults=faults)) as rehearsal:
        assert (await synced(globus_settings(rehearsal, tmp_path), [ID])).transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert len(rehearsal.globus.submissions) == len(rehearsal.globus.tasks) == 1
        assert rehearsal.bytes_served() == 0


async def test_a_task_that_goes_on_with_what_nobody_asked_for_is_not_waited_for(tmp_path: Path) -> None:
    """A folder is copied as a whole, and holds a file that no listing named, and that cannot be read."""
    faults = [GlobusFault(kind=_K.WITHHOLD, match="*unlisted.mrc", times=None)]
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path, faults=faults)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.crawl([ID])
            rehearsal.archive.add_file(ID, b"data/unlisted.mrc", ArchiveFile(5000, 1_700_000_000))
            assert (await mirror.sync([ID])).transfer.failed == ()
            states = rows(mirror, "SELECT state, cancelled_because FROM globus_tasks")
        assert states[0][0] in ("abandoned", "ended")
        assert "all that was wanted" in str(states[0][1])
        assert channels_used(tmp_path / "mirror") == {"globus": 41}
        assert not (tmp_path / "mirror" / "archive" / str(ID) / "data" / "unlisted.mrc").exists()


async def test_small_entries_come_without_a_word_to_globus(tmp_path: Path) -> None:
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path, channels=("globus", "https"))
        assert (await synced(settings, [ID])).transfer.failed == ()
        assert channels_used(tmp_path / "mirror") == {"https": 41}
        assert rehearsal.globus.requests == {}


async def test_probes_say_that_globus_reads_no_parts_of_files(tmp_path: Path) -> None:
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path)) as rehearsal:
        with opened(globus_settings(rehearsal, tmp_path)) as mirror:
            await mirror.crawl([ID])
            with pytest.raises(ConfigFault) as caught:
                await mirror.probe([ID])
        assert "https or ftp" in caught.value.hint


async def test_a_file_that_a_network_file_system_shows_late_is_waited_for(tmp_path: Path) -> None:
    """Globus says that it is there before this machine can see it."""
    async with Rehearsal([small_entry()], globus=standing_in(tmp_path)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path, globus="retries = 0")
        own = settings.globus.model_copy(update={"poll": 4.0})
        settings = settings.model_copy(update={"globus": own})
        delivered = tmp_path / "mirror" / "staging" / "globus" / str(ID) / "data" / "m_005.mrc"
        hidden = tmp_path / "hidden"
        with opened(settings) as mirror:
            running = asyncio.create_task(mirror.sync([ID]))
            while not rehearsal.globus.tasks or not rehearsal.globus.tasks[0].ended:
                await asyncio.sleep(0.01)
            delivered.rename(hidden)
            while not rows(
                mirror, "SELECT 1 FROM copies WHERE path = 'data/m_005.mrc' AND error IS NOT NULL"
            ):
                await asyncio.sleep(0.05)
            hidden.rename(delivered)
            assert (await running).transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
        assert len(rehearsal.globus.submissions) == 1
