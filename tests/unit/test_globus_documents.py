"""Documents of Globus in our words; what is lacking or odd is told, and never a crash."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_schema.faults import BadAnswer, PermanentFault
from empiar_wire.globus_documents import (
    Document,
    collection_of,
    event_of,
    identity_of,
    listed_of,
    moved_of,
    skipped_of,
    task_of,
)
from empiar_wire.globus_facts import FilterRule, Submission, TaskStatus, TransferItem
from empiar_wire.globus_paths import below, raw_name, shown_name
from empiar_wire.globus_submission import check_submission, transfer_document

TASK = {
    "task_id": "t",
    "status": "FAILED",
    "label": None,
    "nice_status": None,
    "is_paused": False,
    "bytes_transferred": 2**50,
    "files": 3,
    "faults": 1,
    "fatal_error": {"code": "CANCELED", "description": "by user"},
    "request_time": "2026-11-27T10:00:00+00:00",
    "deadline": "2026-11-27 11:00:00",
    "completion_time": None,
}
READERS = [task_of, listed_of, moved_of, skipped_of, event_of, collection_of, identity_of]

ODD: list[object] = [
    None, True, 0, -1, 7, 2**70, 1.5, float("nan"), "", "x", "OK", "ACTIVE", "file", "dir", "\ud800", "2026-11-27", "9999-99-99", "0001-01-01T00:00:00+14:00",
    [], [{}], [3], ["x"], {}, {"code": 3}, {"code": "x", "description": None},
]  # fmt: skip
keys = st.sampled_from(
    sorted({*TASK, "name", "type", "size", "last_modified", "source_path", "destination_path", "error_details",
            "time", "code", "is_error", "details", "id", "display_name", "sub", "preferred_username", "DATA", "next_marker"})
)  # fmt: skip


def test_a_task_document_is_read() -> None:
    task = task_of(Document("look", TASK))
    assert task.status is TaskStatus.FAILED
    assert (task.fatal_code, task.fatal_text, task.label) == ("CANCELED", "by user", "")
    assert (task.bytes_transferred, task.files_transferred) == (2**50, 0)
    assert task.submitted_at is not None
    assert task.deadline_at == task.submitted_at + 3600


@pytest.mark.parametrize(
    "change",
    [
        {"status": "DONE"}, {"status": 3}, {"task_id": None}, {"bytes_transferred": -1}, {"bytes_transferred": 2**63},
        {"bytes_transferred": 1.5}, {"files": True}, {"is_paused": "no"}, {"fatal_error": "CANCELED"},
        {"fatal_error": {"code": 7}}, {"deadline": "tomorrow"}, {"deadline": 5}, {"label": 5},
    ],
)  # fmt: skip
def test_an_odd_task_is_a_bad_answer_that_says_what_is_odd(change: dict[str, object]) -> None:
    with pytest.raises(BadAnswer, match="odd answer when asked to look"):
        task_of(Document("look", {**TASK, **change}))


def test_a_file_without_a_size_is_no_empty_file() -> None:
    with pytest.raises(BadAnswer, match="a file lacks its size"):
        listed_of(Document("list", {"name": "a", "type": "file", "size": None}))
    assert listed_of(Document("list", {"name": "a", "type": "dir", "size": None})).size == 0


@given(st.dictionaries(keys, st.sampled_from(ODD)))
def test_any_document_is_read_or_refused(fields: dict[str, object]) -> None:
    document = Document("look", fields)
    for read in READERS:
        try:
            read(document)
        except BadAnswer as fault:
            assert "odd answer when asked to look" in str(fault)
    for call in (lambda: list(document.items()), document.marker):
        with contextlib.suppress(BadAnswer):
            call()


@given(st.binary(min_size=1, max_size=30).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_every_name_comes_back_from_how_it_is_shown(raw: bytes) -> None:
    try:
        assert raw_name(shown_name(raw)) == raw
    except BadAnswer:
        assert (
            "\ufffd".encode() in raw
        )  # a name that holds the replacement character itself is refused, not guessed


@pytest.mark.parametrize("shown", ["a\ufffd.mrc", "\ufffd", "\ufffdplain", "\ufffd\u0416", "\udcff"])
def test_a_name_whose_bytes_cannot_be_told_is_refused(shown: str) -> None:
    with pytest.raises(BadAnswer):
        raw_name(shown)


def test_paths_have_one_slash_between_parts() -> None:
    assert below("/", "10101", "data") == "/10101/data"
    assert below("/a/", "b") == "/a/b"
    assert below("/a", "") == "/a"
    assert below("/", "") == "/"


SUBMISSION = Submission(
    submission_id="s",
    label="mirror 1",
    source_collection="a",
    destination_collection="b",
    items=(TransferItem("/x", "/y"), TransferItem("/d", "/e", recursive=True)),
    filters=(FilterRule("include", "*.mrc"), FilterRule("exclude", "*", type=None)),
    sync_level="checksum",
)


def test_every_option_of_a_transfer_is_stated() -> None:
    """What is left out the service decides: no checksums, no times, and mails to the account's owner."""
    from globus_sdk.transport.encoders import JSONRequestEncoder

    request = JSONRequestEncoder().encode("POST", "http://x", {}, transfer_document(SUBMISSION, 0.0), {})
    assert request.json == {
        "DATA_TYPE": "transfer",
        "submission_id": "s",
        "label": "mirror 1",
        "source_endpoint": "a",
        "destination_endpoint": "b",
        "sync_level": 3,
        "verify_checksum": True,
        "preserve_timestamp": True,
        "encrypt_data": False,
        "deadline": "1970-01-01T00:00:00+00:00",
        "skip_source_errors": True,
        "fail_on_quota_errors": True,
        "delete_destination_extra": False,
        "notify_on_succeeded": False,
        "notify_on_failed": False,
        "notify_on_inactive": False,
        "recursive_symlinks": "ignore",
        "store_base_path_info": True,
        "DATA": [
            {"DATA_TYPE": "transfer_item", "source_path": "/x", "destination_path": "/y", "recursive": False},
            {"DATA_TYPE": "transfer_item", "source_path": "/d", "destination_path": "/e", "recursive": True},
        ],
        "filter_rules": [
            {"DATA_TYPE": "filter_rule", "method": "include", "name": "*.mrc", "type": "file"},
            {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "*"},
        ],
    }


def test_a_filter_that_does_neither_is_refused() -> None:
    from dataclasses import replace

    with pytest.raises(PermanentFault, match="includes or excludes"):
        check_submission(replace(SUBMISSION, filters=(FilterRule("forget", "*"),)))
    check_submission(SUBMISSION)


# --- the token file ---------------------------------------------------------------------------------------------


def test_the_token_file_is_for_its_owner_alone_and_replaced_in_whole(tmp_path: Path) -> None:
    from empiar_schema.faults import ConfigFault
    from empiar_wire.globus_tokens import TokenFile

    path = tmp_path / "tokens.json"
    path.write_text('{"data": {}, "format_version": "2.0", "globus-sdk.version": "4"}')
    path.chmod(0o644)
    tokens = TokenFile(path, client_id="me")
    assert path.stat().st_mode & 0o777 == 0o600

    before = path.stat().st_ino
    path.chmod(0o666)
    (tmp_path / "tokens.json.new").write_text("what a crash left")
    umask = os.umask(0)
    try:
        with tokens.user_only_umask():
            current = os.umask(0)
            assert current == 0  # other threads create files meanwhile
            Path(tokens.filepath).write_text("{}")
    finally:
        os.umask(umask)
    assert path.read_text() == "{}"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_ino != before
    assert [one.name for one in tmp_path.iterdir()] == ["tokens.json"]

    with pytest.raises(RuntimeError), tokens.user_only_umask():
        raise RuntimeError("killed while writing")
    assert path.read_text() == "{}"
    assert tokens.filepath == str(path)

    with pytest.raises(ConfigFault, match="is not there"):
        TokenFile(tmp_path / "nowhere" / "tokens.json", client_id="me")
    assert not (tmp_path / "nowhere").exists()


def test_a_mirror_without_globus_does_not_load_its_sdk() -> None:
    """It takes 130 ms, at every command."""
    modules = "empiar_mirror.app, empiar_mirror.doctor, empiar_mirror.cli.globus, empiar_mirror.globus_access"
    code = (
        f"import sys, {modules}; raise SystemExit('globus_sdk' in sys.modules or 'requests' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
