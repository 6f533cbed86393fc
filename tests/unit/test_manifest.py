"""Manifests: what `sha256sum -c` accepts, and where files came from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tracemalloc
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claims import claim
from empiar_mirror.folders import Folders
from empiar_mirror.manifest import (
    CHECKSUMS,
    PROVENANCE,
    checksum_line,
    write_entry_manifests,
    write_manifest,
    write_provenance,
)
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import StorageFault
from empiar_schema.files import ListedFile, Validators
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.paths import bytes_from_text, text_from_bytes
from empiar_schema.provenance_store import ArrivedFile, Input, MadeFile
from empiar_schema.states import Channel
from empiar_schema.transfer_store import Arrival, record_arrivals, want_entry

NAMES = (
    b"data/plain.mrc",
    b"data/with space [1], and 'quote'.mrc",
    b"data/back\\slash.mrc",
    b"data/line\nend.mrc",
    b"data/carriage\rreturn.mrc",
    b"data/\\n.mrc",
    b"data/\xff\xfe.mrc",
    "data/Å µ.mrc".encode(),
    b"data/%41 50%.mrc",
    b"data/#comment",
    b"-starts-with-dash",
    b"data/ trailing ",
)


def fill(root: Path) -> list[tuple[str, str]]:
    rows = []
    for raw in NAMES:
        path = root / "archive/10017" / os.fsdecode(raw)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw * 3)
        rows.append((text_from_bytes(raw), hashlib.sha256(raw * 3).hexdigest()))
    return sorted(rows)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def check(root: Path) -> subprocess.CompletedProcess[bytes]:
    sha256sum = shutil.which("sha256sum")
    if sha256sum is None:
        pytest.skip("there is no sha256sum on this machine")
    manifest = root / "manifests/10017" / CHECKSUMS
    command = [sha256sum, "--strict", "-c", str(manifest)]
    return subprocess.run(command, cwd=root / "archive/10017", capture_output=True, check=False)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    Folders.below(tmp_path)


def test_sha256sum_accepts_every_name(tmp_path: Path) -> None:
    assert write_manifest(tmp_path, 10017, fill(tmp_path))
    result = check(tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.count(b": OK\n") == len(NAMES)


def test_sha256sum_names_the_file_that_changed(tmp_path: Path) -> None:
    write_manifest(tmp_path, 10017, fill(tmp_path))
    (tmp_path / "archive/10017/data/plain.mrc").write_bytes(b"other")
    result = check(tmp_path)
    assert result.returncode == 1
    assert b"data/plain.mrc: FAILED" in result.stdout


def test_lines_are_those_that_sha256sum_itself_writes(tmp_path: Path) -> None:
    fill(tmp_path)
    sha256sum = shutil.which("sha256sum")
    if sha256sum is None:
        pytest.skip("there is no sha256sum on this machine")
    for raw in NAMES:
        command = [os.fsencode(sha256sum), b"--", raw]
        theirs = subprocess.run(
            command, cwd=tmp_path / "archive/10017", capture_output=True, check=True
        ).stdout
        assert checksum_line(raw, hashlib.sha256(raw * 3).hexdigest()) == theirs


def test_an_unchanged_manifest_is_not_written_again(tmp_path: Path) -> None:
    rows = fill(tmp_path)
    write_manifest(tmp_path, 10017, rows)
    manifest = tmp_path / "manifests/10017" / CHECKSUMS
    before = manifest.stat()
    assert not write_manifest(tmp_path, 10017, rows)
    assert (manifest.stat().st_ino, manifest.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert write_manifest(tmp_path, 10017, rows[1:])
    assert manifest.stat().st_ino != before.st_ino
    assert names(manifest.parent) == [CHECKSUMS]


def test_no_files_no_manifest(tmp_path: Path) -> None:
    assert not write_manifest(tmp_path, 10017, [])
    write_manifest(tmp_path, 10017, [("a", "0" * 64)])
    assert write_manifest(tmp_path, 10017, [])
    assert list((tmp_path / "manifests/10017").iterdir()) == []


def test_a_failure_half_way_leaves_the_old_manifest(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[str, str]]:
        yield "a", "1" * 64
        raise OSError(28, "No space left on device")

    write_manifest(tmp_path, 10017, [("a", "0" * 64)])
    with pytest.raises(StorageFault) as caught:
        write_manifest(tmp_path, 10017, failing())
    assert caught.value.full
    folder = tmp_path / "manifests/10017"
    assert (folder / CHECKSUMS).read_text() == f"{'0' * 64}  a\n"
    assert names(folder) == [CHECKSUMS]


def test_a_leftover_of_a_crash_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "manifests/10017"
    folder.mkdir(parents=True)
    (folder / f".{CHECKSUMS}.new").write_text("half")
    assert write_manifest(tmp_path, 10017, [("a", "0" * 64)])
    assert names(folder) == [CHECKSUMS]


def arrived(path: str, **facts: object) -> ArrivedFile:
    names = [field.name for field in fields(ArrivedFile)]
    known: dict[str, object] = {"path": path, "role": "micrograph", "sha256": "cd" * 32}
    return ArrivedFile(**dict.fromkeys(names) | known | facts)  # type: ignore[arg-type]


def test_provenance_is_one_document_with_a_line_a_file(tmp_path: Path) -> None:
    rows = [
        arrived(
            "data/a.mrc",
            source_url="https://h/10017/data/a.mrc",
            role_confidence=0.9,
            role_reason="its folder holds images of one size",
            validator_bytes=4,
            validator_etag='"e"',
        ),
        arrived("data/%FF.mrc"),
    ]
    assert write_provenance(tmp_path, 10017, rows)
    text = (tmp_path / "manifests/10017" / PROVENANCE).read_text()
    document = json.loads(text)
    assert document["entry"] == "EMPIAR-10017"
    assert document["tool"].startswith("empiar-mirror ")
    assert document["files"][0]["validators"] == {"bytes": 4, "etag": '"e"'}
    assert document["files"][0]["role_reason"] == "its folder holds images of one size"
    assert document["files"][1] == {"path": "data/%FF.mrc", "sha256": "cd" * 32, "role": "micrograph"}
    assert "derived" not in document
    assert len(text.splitlines()) == 4
    assert not write_provenance(tmp_path, 10017, rows)


def test_provenance_names_parent_command_and_version_of_what_was_derived(tmp_path: Path) -> None:
    product = MadeFile(
        "jpeg/a.jpg", "rendition", "a", "data/a.mrc", 9, "ef" * 32, "2026-01-02T00:00:00Z", "jpeg", "r1",
        "to-jpeg --quality 90", "1.2", None, 2, (Input("gain", "data/gain.mrc", None), Input("mask", None, "m/a.png")),
    )  # fmt: skip
    write_provenance(tmp_path, 10017, [arrived("data/a.mrc")], [product, product])
    document = json.loads((tmp_path / "manifests/10017" / PROVENANCE).read_text())
    assert document["derived"][1] == {
        "path": "jpeg/a.jpg",
        "kind": "rendition",
        "stem": "a",
        "parent": "data/a.mrc",
        "bytes": 9,
        "sha256": "ef" * 32,
        "made_at": "2026-01-02T00:00:00Z",
        "maker": "jpeg",
        "recipe": "r1",
        "command": "to-jpeg --quality 90",
        "version": "1.2",
        "input_count": 2,
        "inputs": [{"role": "gain", "path": "data/gain.mrc"}, {"role": "mask", "product": "m/a.png"}],
    }
    assert not write_provenance(tmp_path, 10018, [], [product])


def test_memory_does_not_grow_with_the_entry(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        write_manifest(tmp_path, 10017, ((f"data/{n:09}.mrc", "0" * 64) for n in range(50_000)))
        write_provenance(
            tmp_path,
            10017,
            (arrived(f"{n:09}", source_url="u" * 90, channel="ftp", bytes=n) for n in range(20_000)),
        )
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert len(json.loads((tmp_path / "manifests/10017" / PROVENANCE).read_text())["files"]) == 20_000


def test_the_catalogue_of_an_entry_becomes_its_manifests(tmp_path: Path) -> None:
    fill(tmp_path)
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:

        def list_files(conn: sqlite3.Connection) -> None:
            listing = begin_listing(conn, 10017, source="ftp", now=1)
            for raw in (*NAMES, b"data/never-came.mrc"):
                directory, _, name = text_from_bytes(raw).rpartition("/")
                add_to_listing(
                    conn, listing, directory, [ListedFile(name, len(raw) * 3, True, 1_500_000_000, 1)]
                )
            complete_listing(conn, listing, now=2)

        catalogue.write_now(
            lambda conn: conn.execute("INSERT INTO entry (empiar_id, discovered_at) VALUES (10017, 1)")
        )
        catalogue.write_now(list_files)
        catalogue.write_now(lambda conn: want_entry(conn, 10017, now=3))
        works = catalogue.write_now(lambda conn: claim(conn, now=4, limit_files=50, limit_bytes=10_000))
        arrivals = [
            Arrival(
                work.file_id, len(raw) * 3, hashlib.sha256(raw * 3).digest(), Channel.HTTPS,
                Validators(len(raw) * 3, 1_500_000_000, '"tag"'),
            )
            for work in works
            if (raw := bytes_from_text(work.remote.path)) in NAMES
        ]  # fmt: skip
        catalogue.write_now(lambda conn: record_arrivals(conn, arrivals, now=1_763_848_800))
        with catalogue.reader() as conn:
            write_entry_manifests(conn, tmp_path, 10017)
    assert check(tmp_path).returncode == 0
    files = json.loads((tmp_path / "manifests/10017" / PROVENANCE).read_text())["files"]
    assert [file["path"] for file in files] == sorted(text_from_bytes(raw) for raw in NAMES)
    plain = next(file for file in files if file["path"] == "data/plain.mrc")
    assert plain == {
        "path": "data/plain.mrc",
        "source_url": "https://ftp.ebi.ac.uk/empiar/world_availability/10017/data/plain.mrc",
        "channel": "https",
        "bytes": 42,
        "modified_at": "2017-07-14T02:40:00Z",
        "sha256": hashlib.sha256(b"data/plain.mrc" * 3).hexdigest(),
        "first_seen_at": "1970-01-01T00:00:02Z",
        "arrived_at": "2025-11-22T22:00:00Z",
        "validators": {"bytes": 42, "modified_at": "2017-07-14T02:40:00Z", "etag": '"tag"'},
        "role": "other",
    }


@given(st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw))
def test_every_name_takes_one_line_and_comes_back(raw: bytes) -> None:
    line = checksum_line(raw, "0" * 64)
    assert line.count(b"\n") == 1
    escaped = line.startswith(b"\\")
    name = line.removeprefix(b"\\")[66:-1]
    if escaped:
        name = (
            name.replace(b"\\\\", b"\0").replace(b"\\n", b"\n").replace(b"\\r", b"\r").replace(b"\0", b"\\")
        )
    assert name == raw
