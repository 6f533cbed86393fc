"""Statements of completeness: the digest as documented, what is counted where, and reading what others wrote."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.app import Mirror
from empiar_mirror.attest import NAMED, statement_of
from empiar_mirror.statement import (
    Folder,
    Member,
    Statement,
    contradiction_in,
    digest_of_folders,
    digest_of_members,
)
from empiar_mirror.statement_file import document, read_statements
from empiar_schema.faults import ConfigFault
from empiar_schema.states import CopyState, Role
from entry_here import ID, NOW, opened, put_here

FILES = {
    "10017.xml": (Role.METADATA, b"<entry/>"),
    "data/b.mrc": (Role.MICROGRAPH, b"b" * 100),
    "data/a.mrc": (Role.MICROGRAPH, b"a" * 10),
    "data/a.mrc.bak": (Role.OTHER, b""),
    "data/Ångström 50%.mrc": (Role.MICROGRAPH, b"c"),
    "data/deep/x.mrc": (Role.MICROGRAPH, b"x" * 7),
}


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    root = tmp_path / "mirror"
    root.mkdir()
    put_here(root, FILES)
    with opened(root, "") as mirror:
        yield mirror


def stated(mirror: Mirror, *, with_files: bool = False) -> Statement:
    with mirror.catalogue.reader() as conn:
        return statement_of(conn, ID, with_files=with_files)


def change(mirror: Mirror, sql: str, *values: object) -> None:
    mirror.catalogue.write_now(lambda conn: conn.execute(sql, values))


def set_state(mirror: Mirror, name: str, state: int) -> None:
    change(
        mirror,
        "UPDATE copy SET state = ? WHERE file_id = (SELECT file_id FROM file WHERE name = ?)",
        state,
        name,
    )


def by_the_shell(folder: Path) -> str:
    """The digest of an entry's folder by find, sha256sum and sort, as docs/scrub.md says."""
    script = """
    export LC_ALL=C
    find . -type d | while IFS= read -r d; do
        path=${d#.}; path=${path#/}
        lines=$(mktemp)
        find "$d" -maxdepth 1 -type f -printf '%f\\n' | sort | while IFS= read -r name; do
            printf '%s\\0%s\\0%s\\n' "$name" "$(stat -c %s "$d/$name")" "$(sha256sum < "$d/$name" | cut -c1-64)"
        done > "$lines"
        test -s "$lines" && printf '%s\\0%s\\n' "$path" "$(sha256sum < "$lines" | cut -c1-64)"
        rm "$lines"
    done | sort | sha256sum | cut -c1-64
    """
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_digest_is_what_find_and_sha256sum_give(mirror: Mirror) -> None:
    found = stated(mirror)
    assert found.here.digest == by_the_shell(mirror.folders.archive / str(ID))
    assert found.complete
    assert (found.here.files, found.here.bytes) == (len(FILES), sum(len(data) for _, data in FILES.values()))
    assert (found.here.verified_from, found.here.verified_to) == ("2026-01-01T00:00:00Z",) * 2
    assert found.says == (
        "Listing by ftp of 2026-01-01T00:00:00Z: 6 files, 126 bytes; "
        "all of it here and verified between 2026-01-01T00:00:00Z and 2026-01-01T00:00:00Z"
    )


def test_names_count_by_their_bytes_not_by_their_text() -> None:
    odd = os.fsencode(b"a\xff\n%41.mrc".decode("utf-8", "surrogateescape"))
    line = b"%b\0003\0%b\n" % (odd, b"0" * 64)
    assert digest_of_members([Member("a%FF%0A%2541.mrc", 3, "0" * 64)]) == hashlib.sha256(line).hexdigest()


@given(
    st.permutations(
        [Member(name, n, f"{n:064x}") for n, name in enumerate(["a", "B", "a b", "é", "%FF", "a."])]
    )
)
def test_the_order_of_files_and_folders_does_not_matter(members: list[Member]) -> None:
    folders = [Folder(m.name, 1, m.size, m.sha256) for m in members]
    ordered = sorted(members)
    assert digest_of_members(members) == digest_of_members(ordered)
    assert digest_of_folders(folders) == digest_of_folders(sorted(folders, key=lambda f: f.path))


def test_what_is_missing_damaged_never_wanted_and_gone_is_told_apart(mirror: Mirror) -> None:
    whole = stated(mirror)
    set_state(mirror, "a.mrc", 0)
    set_state(mirror, "b.mrc", 7)
    change(mirror, "DELETE FROM copy WHERE file_id = (SELECT file_id FROM file WHERE name = 'a.mrc.bak')")
    change(
        mirror,
        "INSERT INTO file_absence SELECT file_id, ?1, ?2, ?2, ?2 FROM file WHERE name IN ('x.mrc', '10017.xml')",
        ID,
        NOW,
    )
    set_state(mirror, "x.mrc", 4)
    set_state(mirror, "10017.xml", 7)
    found = stated(mirror)
    assert not found.complete
    assert found.missing.named == (("data/a.mrc", CopyState.WANTED),)
    assert found.damaged.named == (("data/b.mrc", CopyState.DAMAGED),)
    assert (found.not_wanted.files, found.gone.files, found.gone.damaged) == (1, 1, 1)
    assert (found.here.files, found.here.digest != whole.here.digest) == (1, True)
    assert found.listing is not None
    assert (found.listing.files, found.listing.bytes) == (4, 111)
    for words in (
        "1 of it here",
        "1 file missing",
        "1 file damaged",
        "1 file never asked for",
        "lists no longer",
    ):
        assert words in found.says


def test_a_gone_file_changes_the_statement_of_what_is_listed_and_nothing_is_lost(mirror: Mirror) -> None:
    change(
        mirror,
        "INSERT INTO file_absence SELECT file_id, ?1, ?2, ?2, ?2 FROM file WHERE name = 'x.mrc'",
        ID,
        NOW,
    )
    set_state(mirror, "x.mrc", 4)
    found = stated(mirror, with_files=True)
    assert found.complete
    assert found.gone.members == (Member("data/deep/x.mrc", 7, hashlib.sha256(b"x" * 7).hexdigest()),)
    assert "data/deep" not in {folder.path for folder in found.folders}


def test_an_entry_that_was_never_listed_is_not_complete(mirror: Mirror) -> None:
    with mirror.catalogue.reader() as conn:
        found = statement_of(conn, 99_999)
    assert (found.complete, found.listing, found.here.files) == (False, None, 0)
    assert "never listed" in found.says


def test_names_are_cut_unless_all_files_are_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    files = {f"data/{n:04}.mrc": (Role.MICROGRAPH, b"") for n in range(NAMED + 5)}
    put_here(root, files, absent=list(files))
    with opened(root, "") as mirror:
        assert len(stated(mirror).missing.named) == NAMED
        assert stated(mirror).missing.files == NAMED + 5
        assert len(stated(mirror, with_files=True).missing.named) == NAMED + 5


# --- as a file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_files", [False, True])
def test_the_document_is_json_the_same_each_time_and_reads_back(
    mirror: Mirror, tmp_path: Path, with_files: bool
) -> None:
    first = "".join(document([stated(mirror, with_files=with_files)]))
    assert "".join(document([stated(mirror, with_files=with_files)])) == first
    [entry] = json.loads(first)["entries"]
    assert entry["folders"][1]["path"] == "data"
    file = tmp_path / "peer.json"
    file.write_text(first)
    assert read_statements(file) == {ID: stated(mirror, with_files=with_files)}
    assert contradiction_in(stated(mirror, with_files=with_files)) is None


def test_no_statements_are_a_document_too(tmp_path: Path) -> None:
    file = tmp_path / "peer.json"
    file.write_text("".join(document([])))
    assert read_statements(file) == {}


SPOILED: dict[str, Callable[[str], str]] = {
    "not JSON": lambda text: text[:-20],
    "empty": lambda text: "",
    "another version": lambda text: text.replace("statement 1", "statement 2"),
    "a digest of another folder": lambda text: text.replace(hashlib.sha256(b"a" * 10).hexdigest(), "0" * 64),
    "a size": lambda text: text.replace('"a.mrc", 10', '"a.mrc", 11'),
    "a missing member": lambda text: text.replace('\n   ["a.mrc.bak"', '\n   ["b.mrc"'),
    "a number that is none": lambda text: text.replace('"a.mrc", 10', '"a.mrc", -10'),
    "a name that moves the cursor": lambda text: text.replace("a.mrc.bak", "\\u001b[2J"),
    "an entry that is none": lambda text: text.replace("EMPIAR-10017", "../10017"),
    "not a document": lambda text: "[1, 2]",
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_statement_that_was_changed_or_is_none_is_refused_in_a_sentence(
    mirror: Mirror, tmp_path: Path, spoil: str
) -> None:
    text = "".join(document([stated(mirror, with_files=True)]))
    spoiled = SPOILED[spoil](text)
    assert spoiled != text
    file = tmp_path / "peer.json"
    file.write_text(spoiled)
    with pytest.raises(ConfigFault) as caught:
        read_statements(file)
    assert caught.value.hint
    assert "\x1b" not in str(caught.value)


def test_a_folder_of_statements_is_read_whole_and_an_entry_twice_is_refused(
    mirror: Mirror, tmp_path: Path
) -> None:
    folder = tmp_path / "peer"
    folder.mkdir()
    with pytest.raises(ConfigFault, match="holds no statements"):
        read_statements(folder)
    text = "".join(document([stated(mirror)]))
    (folder / "1.json").write_text(text)
    (folder / "2.json").write_text("".join(document([])))
    assert list(read_statements(folder)) == [ID]
    (folder / "2.json").write_text(text)
    with pytest.raises(ConfigFault, match="twice"):
        read_statements(folder)
    with pytest.raises(ConfigFault, match="cannot be read"):
        read_statements(tmp_path / "nothing.json")
