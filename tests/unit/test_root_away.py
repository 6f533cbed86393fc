"""Where the mirror's disk is away, nothing is made in its place: no root, and nothing in the empty folder at which it is mounted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from by_hand import picks, saved
from empiar_imaging.pixels.durable import write_durably
from empiar_mirror.app import Mirror
from empiar_mirror.arrange import arrange_entry
from empiar_mirror.arrive import Verified, link_parts, put_aside
from empiar_mirror.cluster.leases import _make as make_lease_folder
from empiar_mirror.documents.view import documents_folder
from empiar_mirror.documents.writing import write_document
from empiar_mirror.folders import Folders
from empiar_mirror.globus.keeper import _remove_empty
from empiar_mirror.layout import LaidFile, plan_layout
from empiar_mirror.makers.folder import job_folder
from empiar_mirror.makers.folder import make_folder as make_job_folder
from empiar_mirror.manifest import write_manifest
from empiar_mirror.pacing_note import PacingNote
from empiar_mirror.staging import PartFile, delivery_folder, part_path
from empiar_mirror.web.snapshots import Snapshots
from empiar_schema.disk import make_folder
from empiar_schema.events import nobody
from empiar_schema.faults import CatalogueFault, StorageFault
from empiar_schema.paths import RemotePath
from empiar_schema.settings import Settings
from empiar_schema.states import Role

REMOTE = RemotePath.parse(10017, "data/a/b.mrc")


@dataclass(frozen=True)
class Away:
    """A mirror whose root is at `root` no longer; it had a part file open, which stands in `elsewhere`."""

    folders: Folders
    elsewhere: Path
    part: PartFile

    @property
    def root(self) -> Path:
        return self.folders.root


@pytest.fixture(params=["nothing", "an empty folder"])
def away(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Away]:
    root, elsewhere = tmp_path / "disk/empiar", tmp_path / "elsewhere"
    folders = Folders.below(root)
    part = PartFile(part_path(root / "staging", 10017, 1))
    os.write(part.fileno(), b"abc")
    root.rename(elsewhere)
    if request.param == "an empty folder":
        root.mkdir()
    yield Away(folders, elsewhere, part)
    part.close()


def _arrange(away: Away) -> None:
    file = LaidFile.of(1, "data/a/b.mrc", Role.MICROGRAPH, bytes(32))
    # Its source was there a moment ago: what follows is what a disk that goes away in between meets.
    arrange_entry(away.root, 10017, view="cryoppp", plan=plan_layout([file]), mode="auto", rebuild=True)


def _new_part(away: Away) -> None:
    PartFile(part_path(away.folders.staging, 10017, 2))


WRITERS: dict[str, Callable[[Away], object]] = {
    "an arrival": lambda a: link_parts(a.folders.archive, [Verified(1, REMOTE, a.part, 3, bytes(32), None)]),
    "a rejected file": lambda a: put_aside(
        a.folders.quarantine, REMOTE, rejected=a.elsewhere / ".lock", reason="because", now=0
    ),
    "a new part file": _new_part,
    "a manifest": lambda a: write_manifest(a.root, 10017, [("a", "0" * 64)]),
    "a document of a view": lambda a: write_document(
        documents_folder(a.root, 10017, "cryoppp") / "x", [b"x"], root=a.root
    ),
    "a job's folder": lambda a: make_job_folder(job_folder(a.folders.staging, 1)),
    "a lease's folder": lambda a: make_lease_folder(a.folders.staging / "leases" / "1-x"),
    "a folder for Globus": lambda a: _remove_empty(delivery_folder(a.folders.staging)),
    "a picture": lambda a: write_durably(job_folder(a.folders.staging, 1) / "a.jpg", b"x"),
    "labels by hand": lambda a: saved(a.root, "data/a.mrc", picks((1, 2))),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_is_made_in_the_place_of_a_root_that_is_away(away: Away, writer: str) -> None:
    with pytest.raises(StorageFault) as caught:
        WRITERS[writer](away)
    assert not list(away.root.parent.rglob("empiar/*"))
    assert not caught.value.full
    assert caught.value.hint


@pytest.mark.parametrize("writer", ["a layout", "a note of connections"])
def test_what_has_nothing_to_say_makes_nothing_either(
    away: Away, writer: Literal["a layout", "a note of connections"]
) -> None:
    if writer == "a layout":
        _arrange(away)
    else:
        PacingNote(away.root).write({"https": (3, "example.org")})
    assert not list(away.root.parent.rglob("empiar/*"))


def test_neither_a_mirror_nor_its_web_page_begins_there(away: Away) -> None:
    with pytest.raises(CatalogueFault, match="there is no catalogue"):
        Mirror.open(Settings(root=away.root), observer=nobody)
    with (
        pytest.raises(CatalogueFault, match="there is no catalogue"),
        Snapshots(away.root, lambda conn: None),
    ):
        pass
    assert not list(away.root.parent.rglob("empiar/*"))


def test_a_folder_is_made_below_what_stands_and_never_beside_it(tmp_path: Path) -> None:
    top = tmp_path / "archive"
    with pytest.raises(FileNotFoundError):
        make_folder(top / "10017/data", within=top)
    assert not top.exists()
    top.mkdir()
    assert make_folder(top / "10017/data", within=top) == {top, top / "10017"}
    assert make_folder(top / "10017/data", within=top) == set()
    assert make_folder(top, within=top) == set()
