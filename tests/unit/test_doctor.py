"""The doctor finds what is wrong with a machine, and says what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_mirror.doctor import examine, exit_code, file_system_of
from empiar_mirror.findings import Finding, Verdict, fail, ok, warn
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.faults import ExitCode
from empiar_schema.settings import ArchiveSettings, ArrangeSettings, CrawlSettings, DiskSettings, Settings
from rehearsal_in_thread import rehearsal_in_thread
from small_mirror import make_small_mirror

MOUNTS = "/dev/sda1 / ext4 rw 0 0\nserver:/x /data nfs4 rw 0 0\n/dev/sdb /data/my\\040disk xfs rw 0 0\n"


@pytest.fixture(scope="module")
def archive() -> Iterator[ArchiveSettings]:
    with rehearsal_in_thread() as served:
        yield addresses(served)


def addresses(served: Rehearsal) -> ArchiveSettings:
    return ArchiveSettings.model_validate(served.urls())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_small_mirror(tmp_path)
    return tmp_path


async def findings(settings: Settings, **also: Path) -> dict[str, Finding]:
    return {finding.check: finding for finding in await examine(settings, **also)}


async def test_a_sound_mirror_has_only_good_findings(
    root: Path, archive: ArchiveSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mounts = tmp_path_factory.mktemp("proc") / "mounts"
    mounts.write_text(MOUNTS)
    settings = Settings(
        root=root,
        archive=archive,
        crawl=CrawlSettings(contact="me@example.org"),
        disk=DiskSettings(high_watermark=1, low_watermark=1),
    )
    found = await findings(settings, mounts=mounts)
    assert {f.check: f.sentence for f in found.values() if f.verdict is not Verdict.OK} == {}
    assert {"config", "space", "fsync", "links", "names", "mount", "catalogue", "limits"} < set(found)
    assert sum(name.startswith("network") for name in found) == 4
    assert exit_code(list(found.values())) is ExitCode.OK
    assert not [path for path in root.iterdir() if path.name.startswith(".doctor")]


async def test_the_programs_of_hooks_are_looked_for(
    root: Path, archive: ArchiveSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = [{"path": "x", "kind": "y"}]
    hooks = {
        "there": {"command": ["true"], "outputs": outputs},
        "not_there": {"command": ["no-such-program"], "outputs": outputs},
        "off": {"command": ["no-such-program"], "outputs": outputs, "enabled": False},
    }
    settings = Settings.model_validate({"root": root, "archive": archive, "hook": hooks})
    monkeypatch.setattr("empiar_mirror.doctor.landlock_version", lambda: 0)
    found = await findings(settings)
    assert found["hook there"].verdict is Verdict.OK
    assert (found["hook not_there"].verdict, found["fence"].verdict) == (Verdict.WARN, Verdict.WARN)
    assert "no-such-program" in found["hook not_there"].sentence
    assert "hook off" not in found


async def test_an_archive_out_of_reach_alone_is_exit_3(root: Path) -> None:
    nowhere = "http://127.0.0.1:9/x"
    archive = ArchiveSettings(
        api_url=nowhere, search_url=nowhere, https_url=nowhere, ftp_url="ftp://127.0.0.1:9/x"
    )
    found = await findings(
        Settings(root=root, archive=archive, disk=DiskSettings(high_watermark=1, low_watermark=1))
    )
    assert found["network archive.api_url"].verdict is Verdict.FAIL
    assert "archive.api_url" in found["network archive.api_url"].remedy
    assert found["network archive.ftp_url"].verdict is Verdict.WARN
    assert exit_code(list(found.values())) is ExitCode.UNREACHABLE


async def test_a_mirror_that_was_never_made_is_told_to_init(tmp_path: Path, archive: ArchiveSettings) -> None:
    found = await findings(Settings(root=tmp_path / "none", archive=archive))
    assert found["root"].verdict is found["catalogue"].verdict is Verdict.FAIL
    assert "init" in found["root"].remedy
    assert not (tmp_path / "none").exists()
    assert exit_code(list(found.values())) is ExitCode.SOME_FILES_FAILED


async def test_a_damaged_catalogue_is_found(root: Path, archive: ArchiveSettings) -> None:
    path = root / "empiar.db"
    content = bytearray(path.read_bytes())
    for page in range(8192, len(content), 4096):
        content[page : page + 200] = os.urandom(200)
    path.write_bytes(content)
    found = await findings(Settings(root=root, archive=archive))
    assert found["catalogue"].verdict is Verdict.FAIL
    assert found["catalogue"].remedy


async def test_a_link_mode_that_the_disk_cannot_do_is_found(root: Path, archive: ArchiveSettings) -> None:
    found = await findings(Settings(root=root, archive=archive, arrange=ArrangeSettings(link="reflink")))
    able = "reflink" in found["links"].sentence and found["links"].verdict is Verdict.OK
    assert able or "arrange.link = 'reflink' does not work here" in found["links"].sentence


async def test_a_full_disk_is_found(root: Path, archive: ArchiveSettings) -> None:
    found = await findings(
        Settings(root=root, archive=archive, disk=DiskSettings(high_watermark=1e-9, low_watermark=1e-9))
    )
    assert found["space"].verdict is Verdict.FAIL
    assert "disk.high_watermark" in found["space"].sentence


async def test_no_contact_and_a_network_disk_are_warnings(
    root: Path, archive: ArchiveSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mounts = tmp_path_factory.mktemp("proc") / "mounts"
    mounts.write_text(f"server:/x {root} nfs4 rw 0 0\n")
    found = await findings(Settings(root=root, archive=archive), mounts=mounts)
    assert found["config"].verdict is Verdict.WARN
    assert "nfs4" in found["mount"].sentence
    assert found["mount"].verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home", "ext4"), ("/data/x", "nfs4"), ("/data/my disk/y", "xfs"), ("/database", "ext4")],
)
def test_the_longest_mount_point_tells_the_file_system(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system_of(Path(path), mounts) == kind
    assert file_system_of(Path(path), tmp_path / "nothing") is None


def test_warnings_do_not_fail() -> None:
    assert exit_code([ok("a", "x"), warn("b", "x", "y")]) is ExitCode.OK
    assert exit_code([fail("root", "x", "y"), fail("network a", "x", "y")]) is ExitCode.SOME_FILES_FAILED
