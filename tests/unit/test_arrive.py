from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from empiar_mirror.arrive import Verified, archive_path, link_parts, put_aside
from empiar_mirror.folders import Folders
from empiar_mirror.staging import PartFile, part_path
from empiar_schema.paths import RemotePath


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    Folders.below(tmp_path)


def verified(root: Path, path: str, data: bytes, file_id: int = 1) -> Verified:
    remote = RemotePath.parse(10017, path)
    part = PartFile(part_path(root / "staging", 10017, file_id))
    part.write(0, memoryview(data))
    return Verified(file_id, remote, part, len(data), hashlib.sha256(data).digest(), None)


def test_a_part_stands_at_its_final_path_under_its_exact_name(tmp_path: Path) -> None:
    file = verified(tmp_path, "data/%E0 [1].mrc", b"abc")
    [placed] = link_parts(tmp_path / "archive", [file])
    assert placed.conflict is None
    assert (tmp_path / "archive/10017/data/\udce0 [1].mrc").read_bytes() == b"abc"
    file.part.discard()


def test_linking_twice_is_harmless(tmp_path: Path) -> None:
    file = verified(tmp_path, "data/a.mrc", b"abc")
    link_parts(tmp_path / "archive", [file])
    [placed] = link_parts(tmp_path / "archive", [file])
    assert placed.conflict is None
    file.part.discard()


def test_equal_bytes_that_stand_there_already_are_adopted(tmp_path: Path) -> None:
    file = verified(tmp_path, "data/a.mrc", b"abc")
    final = archive_path(tmp_path / "archive", file.remote)
    final.parent.mkdir(parents=True)
    final.write_bytes(b"abc")
    [placed] = link_parts(tmp_path / "archive", [file])
    assert placed.conflict is None
    file.part.discard()


@pytest.mark.parametrize("kind", ["file", "folder", "symlink"])
def test_whatever_else_stands_there_is_never_touched(tmp_path: Path, kind: str) -> None:
    file = verified(tmp_path, "data/a.mrc", b"abc")
    final = archive_path(tmp_path / "archive", file.remote)
    final.parent.mkdir(parents=True)
    match kind:
        case "file":
            final.write_bytes(b"somebody's")
        case "folder":
            final.mkdir()
        case _:
            final.symlink_to(tmp_path / "nowhere")
    [placed] = link_parts(tmp_path / "archive", [file])
    assert placed.conflict is not None
    assert final.is_symlink() or final.is_dir() or final.read_bytes() == b"somebody's"
    file.part.discard()


def test_without_hard_links_the_part_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*args: object, **kwargs: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    file = verified(tmp_path, "data/a.mrc", b"abc")
    [placed] = link_parts(tmp_path / "archive", [file])
    assert placed.conflict is None
    assert archive_path(tmp_path / "archive", file.remote).read_bytes() == b"abc"
    file.part.discard()


def test_rejected_bytes_stand_aside_with_their_reason(tmp_path: Path) -> None:
    remote = RemotePath.parse(10017, "data/a.mrc")
    for count in (1, 2):
        rejected = tmp_path / "x"
        rejected.write_bytes(b"bad%d" % count)
        where = put_aside(tmp_path / "quarantine", remote, rejected=rejected, reason="because", now=0)
        assert where.read_bytes() == b"bad%d" % count
        reason = json.loads(where.with_suffix(".json").read_text())
        assert reason["path"] == "data/a.mrc"
        assert reason["reason"] == "because"
    assert len(list((tmp_path / "quarantine/10017").glob("*.bytes"))) == 2
