"""The independent reader can fail: each kind of broken promise, planted into a sound mirror, is reported."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.history import History
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.subscriptions import Definition
from mirrors import opened, settings_for
from soak.reader import archive_promises, layout_promises, manner_promises
from soak.reader.journal import Journal
from soak.reader.mirror_seen import Seen, Violation
from soak.reader.truth import Key, Truth, Version

ID = 10301
KEY: Key = (ID, b"data/m_1.mrc")
ALL = "SELECT empiar_id FROM entries"


@dataclass
class Case:
    """A sound mirror, and what its archive served."""

    folder: Path
    truth: Truth

    @property
    def root(self) -> Path:
        return self.folder / "mirror"

    @property
    def seen(self) -> Seen:
        return Seen(self.root)

    @property
    def file(self) -> Path:
        return self.root / "archive" / str(ID) / "data" / "m_1.mrc"

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.root / "empiar.db")) as connection, connection:
            assert connection.execute(statement).rowcount > 0

    def write(self, data: bytes) -> None:
        """The file has these bytes, in the inode that it has."""
        self.file.chmod(0o644)
        self.file.write_bytes(data)

    def judged(self) -> list[Violation]:
        seen, truth = self.seen, self.truth
        return [
            *archive_promises.arrived_is_true(seen, truth),
            *archive_promises.nothing_unrecorded(seen, truth, restored=False),
            *archive_promises.listings_are_whole(seen, truth, {}),
            *archive_promises.silence_is_no_deletion(seen, truth),
            *archive_promises.changes_are_on_record(seen, truth),
            *archive_promises.all_that_is_wanted_is_here(seen, truth, strict=True),
            *archive_promises.nobody_waits_for_ever(seen),
            *layout_promises.layouts_hold_what_is_verified(seen),
            *layout_promises.layouts_are_complete(seen),
            *layout_promises.manifests_hold(seen),
        ]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: a mirror of two entries, and the history of their archive."""
    folder = tmp_path_factory.mktemp("sound")
    asyncio.run(_mirror(folder))
    return folder


async def _mirror(folder: Path) -> None:
    entries = [big_entry(ID + n, {f"m_{m}.mrc": 30_000 + m for m in range(3)}) for n in range(2)]
    async with Rehearsal(entries) as rehearsal:
        with (folder / "history.jsonl").open("w") as file:
            rehearsal.archive.watched_by(History(file))
            settings = settings_for(rehearsal, folder)
            with opened(settings) as mirror:
                await mirror.crawl(None)
                await mirror.sync([entry.empiar_id for entry in entries])
                await mirror.catalogue.write(_subscribe)


def _subscribe(conn: sqlite3.Connection) -> None:
    from empiar_schema import subscription_store

    subscription_store.add_subscription(conn, Definition(name="all", sql=ALL), now=1)


@pytest.fixture
def case(sound: Path, tmp_path: Path) -> Iterator[Case]:
    folder = tmp_path / "case"
    subprocess.run(["cp", "--archive", sound, folder], check=True)
    truth = Truth.read(folder / "history.jsonl")
    for versions in truth.versions.values():
        # As if everything had been there for long: only then a listing has to have it.
        versions[:] = [replace(version, at=version.at - 10_000) for version in versions]
    yield Case(folder, truth)
    shutil.rmtree(folder)


def test_a_sound_mirror_breaks_no_promise(case: Case) -> None:
    assert case.judged() == []


def _flip(case: Case) -> None:
    data = case.file.read_bytes()
    case.write(data[:-1] + bytes([data[-1] ^ 1]))


def _mix(case: Case) -> None:
    """Half of one version, half of another; the catalogue has the digest of just that."""
    import hashlib

    data = case.file.read_bytes()
    case.write(mixed := data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    digest = hashlib.sha256(mixed).hexdigest()
    case.sql(f"UPDATE copy SET sha256 = x'{digest}' WHERE file_id = {file_id(case)}")


def file_id(case: Case) -> int:
    [row] = case.seen.rows("SELECT file_id FROM files WHERE empiar_id = ? AND path = 'data/m_1.mrc'", ID)
    assert isinstance(row["file_id"], int)
    return row["file_id"]


def _stranger(case: Case) -> None:
    (case.file.parent / "stranger.mrc").write_bytes(b"x")


def _link(case: Case) -> None:
    (case.file.parent / "link.mrc").symlink_to("/etc/hostname")


def _served_and_not_listed(case: Case) -> None:
    case.truth.versions[(ID, b"data/missed.mrc")] = [Version(0, "0" * 64, 5, 5)]


def _listed_and_not_served(case: Case) -> None:
    case.truth.versions[KEY] = [Version(1e12, case.truth.versions[KEY][0].sha256, 30_001, 5)]


def _called_gone(case: Case) -> None:
    case.sql(
        f"INSERT INTO file_absence (file_id, empiar_id, missing_at, gone_at) VALUES ({file_id(case)}, {ID},"
        " unixepoch() - 100, unixepoch())"
    )


def _changed_in_silence(case: Case) -> None:
    [first] = case.truth.versions[KEY]
    case.truth.versions[KEY] = [first, Version(first.at + 10, "0" * 64, first.size + 1, first.mtime + 900)]


def _not_here(case: Case) -> None:
    case.file.unlink()
    case.sql(f"UPDATE copy SET state = 0, sha256 = NULL, bytes_here = 0 WHERE file_id = {file_id(case)}")


def _for_ever(case: Case) -> None:
    _not_here(case)
    case.sql(f"UPDATE copy SET not_before = 4102444800 WHERE file_id = {file_id(case)}")


def _backwards(case: Case) -> None:
    case.sql("UPDATE attempt SET ended_at = started_at - 1000")


def _stranger_in_layout(case: Case) -> None:
    (case.root / "datasets" / "cryoppp" / str(ID) / "stranger.mrc").write_bytes(b"x")


def _copy_in_layout(case: Case) -> None:
    """The right name with an unverified copy instead of a link."""
    place = next(
        path for path in (case.root / "datasets" / "cryoppp" / str(ID)).rglob("*.mrc") if path.is_file()
    )
    data = place.read_bytes()
    place.unlink()
    place.write_bytes(data)


def _half_built(case: Case) -> None:
    folder = case.root / "datasets" / "cryoppp" / f".{ID}.tmp"
    folder.mkdir()
    (folder / "m.mrc").hardlink_to(case.file)


def _not_in_layout(case: Case) -> None:
    for path in (case.root / "datasets").rglob("*.mrc"):
        if path.samefile(case.file):
            path.unlink()


def _wrong_manifest(case: Case) -> None:
    manifest = case.root / "manifests" / str(ID) / "manifest-sha256.txt"
    text = manifest.read_text()
    manifest.chmod(0o644)
    manifest.write_text(("1" if text[0] == "0" else "0") + text[1:])


def _short_manifest(case: Case) -> None:
    manifest = case.root / "manifests" / str(ID) / "manifest-sha256.txt"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.chmod(0o644)
    manifest.write_text("".join(lines[1:]))


@pytest.mark.parametrize(
    ("plant", "word"),
    [
        (_flip, "has sha256"),
        (lambda case: case.file.unlink(), "not there"),
        (_mix, "no version that was ever served whole"),
        (_stranger, "its copy is None"),
        (_link, "no regular file"),
        (_served_and_not_listed, "is not in the listing"),
        (_listed_and_not_served, "was listed and not there"),
        (_called_gone, "is called gone, and was there"),
        (_called_gone, "is gone, and no row says so"),
        (_changed_in_silence, "no row says so"),
        (_served_and_not_listed, "is not even wanted"),
        (_not_here, "is wanted: None"),
        (_for_ever, "waits until 2100"),
        (_backwards, "ended before it began"),
        (_stranger_in_layout, "is no file of the archive's"),
        (_copy_in_layout, "is no file of the archive's"),
        (_half_built, "is left of a layout"),
        (_not_in_layout, "not in datasets/cryoppp"),
        (_wrong_manifest, "manifests hold"),
        (_short_manifest, "lines for"),
    ],
)
def test_a_planted_violation_is_reported(case: Case, plant: Callable[[Case], None], word: str) -> None:
    plant(case)
    assert [one for one in case.judged() if word in str(one)], case.judged()


# --- what is seen only by looking again --------------------------------------------------------------------


def _again(case: Case) -> None:
    """The same bytes, written anew."""
    data = case.file.read_bytes()
    case.file.unlink()
    case.file.write_bytes(data)


@pytest.mark.parametrize(
    ("plant", "word"),
    [(_again, "overwritten"), (_flip, "overwritten"), (lambda case: case.file.unlink(), "deleted"), (_stranger, "unverified")],
)  # fmt: skip
def test_what_happens_between_two_looks_is_reported(
    case: Case, plant: Callable[[Case], None], word: str
) -> None:
    journal = Journal(case.seen)
    journal.sample(case.truth)
    assert journal.violations == []
    plant(case)
    journal.sample(case.truth)
    assert [one for one in journal.violations if word in one.promise], journal.violations


def test_what_was_spoiled_on_purpose_may_be_replaced(case: Case) -> None:
    journal = Journal(case.seen, damaged={KEY})
    journal.sample(case.truth)
    _flip(case)
    journal.sample(case.truth)
    case.file.unlink()
    journal.sample(case.truth)
    assert journal.violations == []


# --- manners ------------------------------------------------------------------------------------------------


def asked(path: str, *, start: int = 0, begun: float = 10.0, agent: str = "mirror (a@b)") -> str:
    facts = {"channel": "https", "path": path, "method": "GET", "start_offset": start, "begun": begun}
    return json.dumps({**facts, "user_agent": agent}) + "\n"


def test_a_nameless_request_is_reported(tmp_path: Path) -> None:
    log = tmp_path / "served.jsonl"
    log.write_text(asked("1/a") + asked("1/b", agent="curl"))
    assert len(list(manner_promises.everybody_says_who_they_are(manner_promises.served(log), "a@b"))) == 1


def test_more_than_a_block_fetched_again_is_reported(tmp_path: Path) -> None:
    log, block = tmp_path / "served.jsonl", manner_promises.BLOCK
    log.write_text(asked("1/a", start=0) + asked("1/b", start=1) + asked("1/c", begun=30.0))
    requests = manner_promises.served(log)
    parts = {"1/a": block, "1/b": block + 2, "1/c": 2 * block}
    death = manner_promises.Death(at=5.0, parts=parts, until=20.0)
    [found] = manner_promises.little_is_fetched_again(requests, [death])
    assert "1/b" in found.what


def test_more_than_is_allowed_at_a_server_is_reported() -> None:
    assert not list(manner_promises.ceilings_are_kept({"https": 4}, {"https": 4, "ftp": 1}, "connections"))
    assert list(manner_promises.ceilings_are_kept({"https": 5}, {"https": 4}, "connections"))


def test_files_outside_and_secrets_are_reported(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "log").write_text("Authorization: sesame\n")
    assert list(manner_promises.no_secret(["sesame"], [root]))
    assert list(manner_promises.no_secret(["sesame"], [root / "log"]))
    assert not list(manner_promises.no_secret(["other"], [root]))
    assert not list(manner_promises.nothing_outside(root, (), tmp_path))
    (tmp_path / "root-2").write_text("")
    assert list(manner_promises.nothing_outside(root, (), tmp_path))
    assert not list(manner_promises.nothing_outside(root, [tmp_path / "root-2"], tmp_path))
