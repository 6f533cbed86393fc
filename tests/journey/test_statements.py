"""`attest` and `compare`: mirrors that hold the same say the same, whatever their history, and one flipped byte is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from empiar_mirror.cli import main
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.catalogue import Catalogue
from empiar_schema.configuration import DEFAULT_FILE
from empiar_schema.faults import ExitCode
from empiar_schema.states import Role
from entry_here import ID, put_here
from mirrors import opened, settings_for
from rehearsal_in_thread import rehearsal_in_thread

FILES = {f"data/{name}.mrc": (Role.MICROGRAPH, name.encode() * 5000) for name in "abcd"} | {
    "data/labels/a.star": (Role.PARTICLE_COORDINATES, b"data_\n")
}
Said = Callable[..., tuple[int, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Exit code and standard output of a command on the mirror in a folder."""

    def run(home: Path, *words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main([words[0], "--config", str(home / DEFAULT_FILE), *words[1:]])
        return code, capsys.readouterr().out

    return run


def mirror_of(home: Path, files: Mapping[str, tuple[Role, bytes]], *, empiar_id: int = ID) -> Path:
    (home / "mirror").mkdir(parents=True, exist_ok=True)
    (home / DEFAULT_FILE).write_text(f'root = "{home / "mirror"}"\n')
    put_here(home / "mirror", files, empiar_id=empiar_id)
    return home


def flipped(path: str) -> dict[str, tuple[Role, bytes]]:
    """The files, one byte of this one being another: what a mirror has that fetched damaged bytes and believes them."""
    role, data = FILES[path]
    return {**FILES, path: (role, bytes([data[0] ^ 1]) + data[1:])}


def attest(said: Said, home: Path, name: str, *options: str) -> Path:
    file = home.parent / f"{name}.json"
    assert said(home, "attest", "-o", str(file), *options) == (ExitCode.OK, "")
    return file


def test_two_mirrors_made_in_different_orders_state_the_same(tmp_path: Path, said: Said) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    entries = [
        big_entry(10190, {f"m{n}.mrc": 70_000 + n for n in range(12)}),
        big_entry(10191, {"deep/a.mrc": 5, "b.mrc": 2**20}),
    ]
    with rehearsal_in_thread(Rehearsal(entries)) as archive:
        for home, ids, channel in ((first, ("10190", "10191"), "https"), (second, ("10191", "10190"), "ftp")):
            home.mkdir()
            with opened(settings_for(archive, home, more=f'channels = ["{channel}"]\n')):
                pass
            for empiar_id in ids:
                assert said(home, "sync", empiar_id)[0] == ExitCode.OK
    for options in ((), ("--files",)):
        ours, theirs = (json.loads(said(home, "attest", *options)[1])["entries"] for home in (first, second))
        assert all(entry["complete"] for entry in ours)
        assert [entry["here"]["digest"] for entry in ours] == [entry["here"]["digest"] for entry in theirs]
        assert [entry["folders"] for entry in ours] == [entry["folders"] for entry in theirs]
    assert said(first, "attest") == said(first, "attest")
    code, text = said(first, "compare", str(attest(said, second, "other")))
    assert code == ExitCode.OK
    assert text.count("equal (here, other)") == 2


def test_one_flipped_byte_is_named_where_files_are_stated(tmp_path: Path, said: Said) -> None:
    ours, theirs = mirror_of(tmp_path / "a", FILES), mirror_of(tmp_path / "b", flipped("data/c.mrc"))
    code, text = said(ours, "compare", str(attest(said, theirs, "peer", "--files")), "--json")
    assert code == ExitCode.DAMAGE_FOUND
    [entry] = json.loads(text)
    assert (entry["verdict"], entry["sides"], entry["majority"]) == ("differs", ["here", "peer"], [])
    [difference] = entry["differences"]
    assert (difference["path"], difference["kind"]) == ("data/c.mrc", "same size, other bytes")
    assert "data/c.mrc  same size, other bytes" in said(ours, "compare", str(tmp_path / "peer.json"))[1]


def test_without_files_the_folder_is_named(tmp_path: Path, said: Said) -> None:
    ours, theirs = mirror_of(tmp_path / "a", FILES), mirror_of(tmp_path / "b", flipped("data/c.mrc"))
    code, text = said(ours, "compare", str(attest(said, theirs, "peer")))
    assert code == ExitCode.DAMAGE_FOUND
    assert "data/  folder differs" in text
    assert "data/labels" not in text
    assert "attest --files" in text


def test_of_three_the_majority_is_named(tmp_path: Path, said: Said) -> None:
    odd = mirror_of(tmp_path / "a", flipped("data/c.mrc"))
    peers = [
        attest(said, mirror_of(tmp_path / name, FILES), f"peer-{name}", "--files") for name in ("b", "c")
    ]
    code, text = said(odd, "compare", str(peers[0]), "--with", str(peers[1]), "--json")
    assert code == ExitCode.DAMAGE_FOUND
    [entry] = json.loads(text)
    assert entry["majority"] == ["peer-b", "peer-c"]
    assert entry["differences"][0]["majority"] == ["peer-b", "peer-c"]


def test_more_files_on_one_side_are_named_and_are_no_damage(tmp_path: Path, said: Said) -> None:
    fewer = {
        path: content for path, content in FILES.items() if path not in ("data/b.mrc", "data/labels/a.star")
    }
    ours, theirs = mirror_of(tmp_path / "a", FILES), mirror_of(tmp_path / "b", fewer)
    code, text = said(ours, "compare", str(attest(said, theirs, "peer", "--files")))
    assert code == ExitCode.OK
    assert "equal in what both have" in text
    assert "data/b.mrc  not everywhere: here" in text
    assert "data/labels/a.star  not everywhere" in text
    assert "data/a.mrc" not in text


def test_another_size_is_told_from_other_bytes(tmp_path: Path, said: Said) -> None:
    longer = {**FILES, "data/a.mrc": (Role.MICROGRAPH, b"a" * 5001)}
    ours, theirs = mirror_of(tmp_path / "a", FILES), mirror_of(tmp_path / "b", longer)
    code, text = said(ours, "compare", str(attest(said, theirs, "peer", "--files")))
    assert code == ExitCode.DAMAGE_FOUND
    assert "data/a.mrc  other size" in text


def test_entries_that_only_one_side_has(tmp_path: Path, said: Said) -> None:
    ours, theirs = mirror_of(tmp_path / "a", FILES), mirror_of(tmp_path / "b", FILES, empiar_id=10028)
    peer = attest(said, theirs, "peer")
    code, text = said(ours, "compare", str(peer))
    assert code == ExitCode.OK
    assert text.splitlines() == ["EMPIAR-10017: only here (here)", "EMPIAR-10028: only peer (peer)"]
    assert said(ours, "compare", str(peer), "EMPIAR-10028")[1] == "EMPIAR-10028: only peer (peer)\n"
    assert said(ours, "compare", str(peer), "12345")[1] == "EMPIAR-12345: nowhere\n"


def test_what_the_archive_lists_no_longer_is_no_difference_while_its_bytes_are_the_same(
    tmp_path: Path, said: Said
) -> None:
    ours, theirs = mirror_of(tmp_path / "a", FILES), mirror_of(tmp_path / "b", FILES)
    with opened_catalogue(theirs) as catalogue:
        catalogue.write_now(
            lambda conn: conn.execute(
                "INSERT INTO file_absence SELECT file_id, ?, 1, 1, 1 FROM file WHERE name = 'd.mrc'", (ID,)
            )
        )
        catalogue.write_now(
            lambda conn: conn.execute(
                "UPDATE copy SET state = 4 WHERE file_id = (SELECT file_id FROM file WHERE name = 'd.mrc')"
            )
        )
    code, text = said(ours, "compare", str(attest(said, theirs, "peer", "--files")))
    assert (code, text) == (ExitCode.OK, "EMPIAR-10017: equal in what both have (here, peer)\n")


def opened_catalogue(home: Path) -> Catalogue:
    return Catalogue.open(home / "mirror" / "empiar.db")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("attest", "99999"), "not in the catalogue"),
        (("attest", "-o", "mirror/x.json"), "lies in the mirror itself"),
        (("attest", "-o", "there.json"), "exists"),
        (("compare", "nothing.json"), "cannot be read"),
        (("compare", "there.json"), "no statement"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    tmp_path: Path,
    words: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mirror_of(tmp_path, FILES)
    (tmp_path / "there.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert main([*words]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert sentence in error
    assert "→" in error


def test_attest_replaces_a_file_only_when_told(tmp_path: Path, said: Said) -> None:
    home = mirror_of(tmp_path / "a", FILES)
    file = attest(said, home, "mine")
    first = file.read_bytes()
    attest(said, home, "mine", "--force")
    assert file.read_bytes() == first, "the same state, the same bytes"
