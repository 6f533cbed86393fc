"""What Globus brings is counted once against the quota, and is verified when nothing more fits."""

from __future__ import annotations

from pathlib import Path

from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.server import Rehearsal
from globus_mirrors import globus_settings, standing_in
from independent import assert_mirrored

ID = 10101

#: More than the coordinates and previews of the entry take, which the quota counts, too.
MADE_OF_IT = 8 * 2**20


async def test_a_quota_that_holds_the_entry_once_lets_all_of_it_arrive(tmp_path: Path) -> None:
    async with Rehearsal(globus=standing_in(tmp_path)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path)
        with Mirror.open(settings, observer=lambda event: None, create=True) as mirror:
            await mirror.crawl([ID])
            with mirror.catalogue.reader() as conn:
                (size,) = conn.execute("SELECT file_bytes FROM entries WHERE empiar_id = ?", (ID,)).fetchone()
        quota = size + MADE_OF_IT
        assert quota < 2 * size
        tight = settings.model_copy(update={"disk": settings.disk.model_copy(update={"quota": quota})})
        with Mirror.open(tight, observer=lambda event: None) as mirror:
            report = await mirror.sync([ID], channel=None)
        assert report.transfer.failed == ()
        assert_mirrored(rehearsal, tmp_path / "mirror", ID)
