"""The rule of names holds for all names there are."""

import os
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_schema.faults import HostileName
from empiar_schema.paths import RemotePath, bytes_from_text, checked_name, text_from_bytes

# Bytes that the rule treats specially come often.
pieces = st.sampled_from(
    [
        b"%",
        b"%2",
        b"%41",
        b"%2F",
        b"4",
        b"F",
        b"/",
        b"\0",
        b".",
        b"..",
        b"\n",
        b"\xff",
        b"\xc2",
        b"\x85",
        "Å".encode(),
    ]
)
raw_names = st.lists(pieces | st.binary(max_size=4), max_size=8).map(b"".join)
texts = st.lists(
    st.sampled_from(["%", "%41", "%2F", "%2E", "%00", "..", ".", "/", "A", "Å", "\udcff", "\ud800"])
    | st.text(max_size=4),
    max_size=8,
).map("".join)


@given(raw_names)
def test_every_run_of_bytes_survives_as_text(raw: bytes) -> None:
    text = text_from_bytes(raw)
    assert bytes_from_text(text) == raw
    text.encode()
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)


@given(raw_names, raw_names)
def test_two_names_have_one_text_only_if_they_are_one_name(first: bytes, second: bytes) -> None:
    assert (text_from_bytes(first) == text_from_bytes(second)) is (first == second)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="%"), max_size=20))
def test_ordinary_text_reads_as_it_is(text: str) -> None:
    assert text_from_bytes(text.encode()) == text


@given(raw_names)
def test_exactly_the_impossible_names_are_refused(raw: bytes) -> None:
    impossible = raw in (b"", b".", b"..") or b"/" in raw or b"\0" in raw
    if impossible:
        with pytest.raises(HostileName):
            checked_name(raw)
    else:
        assert bytes_from_text(checked_name(raw)) == raw


@given(texts)
def test_no_text_parses_to_a_path_outside_its_entry(text: str) -> None:
    try:
        path = RemotePath.parse(10017, text)
    except HostileName:
        return
    root = b"/srv/archive/10017"
    assert os.path.normpath(root + b"/" + path.raw) == root + b"/" + path.raw
    assert b"\0" not in path.raw


@given(texts)
def test_a_parsed_path_is_in_its_one_spelling_and_parses_to_itself(text: str) -> None:
    try:
        path = RemotePath.parse(10017, text)
    except HostileName:
        return
    assert path.path == text_from_bytes(path.raw)
    assert RemotePath.parse(10017, path.path) == path


@given(raw_names)
def test_a_url_gives_back_the_very_bytes(raw: bytes) -> None:
    try:
        path = RemotePath(10017, "data", checked_name(raw))
    except HostileName:
        return
    assert path.url_path.isascii()
    assert unquote_to_bytes(path.url_path) == b"10017/data/" + raw
