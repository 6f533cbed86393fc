"""Error messages in the place of content, and float data that only look like them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_imaging.formats import error_body
from empiar_imaging.formats.error_body import Scanner, in_edges, printable_share, scan
from empiar_imaging.formats.evidence import FileBytes
from empiar_imaging.formats.inspect import inspect

STORAGE_ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>ConnectionClosedException</Code>'
    b"<Message>Premature end of Content-Length delimited message body</Message></Error>"
)
HTML_ERROR = b"<!DOCTYPE html>\n<html><head><title>503 Service Unavailable</title></head><body>Try later</body></html>\n"
EER_METADATA = b'<?xml version="1.0"?><metadata><item name="exposureTime" unit="s">3.03</item></metadata>'


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


def look(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return [item.code for item in inspect(path, name=path.name, size=len(content)).evidence]


@pytest.mark.parametrize(
    "name", ["a.mrc", "a.tif", "a.eer", "a.mrc.bz2", "a.zip", "a.dm4", "a.star", "a.mdoc", "a.box"]
)
@pytest.mark.parametrize("body", [STORAGE_ERROR, HTML_ERROR, b'{"error": "not found", "status": 404}'])
def test_a_body_that_is_a_message_is_found_whatever_the_name_promises(
    tmp_path: Path, name: str, body: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(body)
    found = inspect(path, name=name, size=len(body))
    assert [item.code for item in found.evidence] == ["body.error_text"]
    assert found.facts is not None
    assert found.facts.problems == ("body.error_text",)
    assert found.evidence[0].start == 0
    assert found.evidence[0].length == len(body)


@pytest.mark.parametrize("name", ["10017.xml", "session.dm", "notes.txt", "README", "a.csv"])
def test_names_that_may_hold_markup_must_show_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert (
        look(path, b'<?xml version="1.0" encoding="UTF-8"?>\n<entry accessionCode="EMPIAR-10017"></entry>\n')
        == []
    )
    assert look(path, b"<html><head><title>How the data were collected</title></head></html>") == []
    assert look(path, STORAGE_ERROR) == ["body.error_text"]
    assert look(path, HTML_ERROR) == ["body.error_text"]


@pytest.mark.parametrize("where", ["head", "tail", "cut by the end"])
def test_a_message_in_the_edges_of_the_data_is_found_on_arrival(tmp_path: Path, where: str) -> None:
    data = noise(300_000)
    start = {"head": 5000, "tail": 299_000, "cut by the end": 299_900}[where]
    content = (data[:start] + STORAGE_ERROR + data[start + len(STORAGE_ERROR) :])[: len(data)]
    path = tmp_path / "a.raw"
    path.write_bytes(content)
    (found,) = inspect(path, name="a.raw", size=len(content)).evidence
    assert (found.code, found.start) == ("body.error_text", start)
    assert "ConnectionClosedException" in found.detail


@pytest.mark.parametrize("start", [0, 1, 65_000, 131_071, 131_072 - 3, 131_072 - 70, 200_000, 299_850])
@pytest.mark.parametrize("piece_bytes", [1000, 131_072, 1024 * 1024])
def test_a_full_scan_finds_a_message_wherever_it_stands(tmp_path: Path, start: int, piece_bytes: int) -> None:
    data = noise(300_000, seed=7)
    content = (data[:start] + STORAGE_ERROR + data[start + len(STORAGE_ERROR) :])[: len(data)]
    path = tmp_path / "a.mrc"
    path.write_bytes(content)
    (found,) = scan(path, piece_bytes=piece_bytes)
    assert (found.code, found.start) == ("body.error_text", start)
    # Random bytes behind the text can be printable for a while.
    assert min(len(STORAGE_ERROR), 300_000 - start) <= found.length < len(STORAGE_ERROR) + 40


def test_a_scan_says_the_same_of_every_division_into_pieces(tmp_path: Path) -> None:
    data = bytearray(noise(60_000, seed=3))
    for start in (100, 20_000, 39_990, 59_800):
        data[start : start + len(STORAGE_ERROR)] = STORAGE_ERROR
    path = tmp_path / "a.mrc"
    path.write_bytes(data[:60_000])
    results = {scan(path, piece_bytes=piece) for piece in (1, 63, 64, 4096, 4097, 60_000)}
    assert len(results) == 1
    assert [item.start for item in results.pop()] == [100, 20_000, 39_990, 59_800]


def test_markers_that_occur_by_chance_are_not_reported(tmp_path: Path) -> None:
    data = bytearray(noise(200_000, seed=11))
    for start in range(0, 200_000, 997):
        data[start : start + 5] = b"<?xml"
        data[start + 300 : start + 307] = b"<Error>"
    path = tmp_path / "a.raw"
    path.write_bytes(data)
    assert inspect(path, name="a.raw", size=len(data)).evidence == ()
    path = path.rename(tmp_path / "a.mrc")
    assert scan(path) == ()


def test_eight_bit_pixels_that_are_all_printable_are_not_a_message(tmp_path: Path) -> None:
    rng = random.Random(5)
    data = bytearray(rng.choices(range(40, 122), k=50_000))
    data[1000:1005] = b"<?xml"
    path = tmp_path / "a.mrc"
    path.write_bytes(b"\0" + data)
    assert scan(path) == ()


def test_xml_that_belongs_into_a_format_is_not_a_message(tmp_path: Path) -> None:
    for name in ("a.tif", "a.eer", "a.h5", "a.zip"):
        path = tmp_path / name
        path.write_bytes(noise(1000) + EER_METADATA + noise(1000, seed=2))
        assert scan(path) == ()
        path.write_bytes(noise(1000) + STORAGE_ERROR + noise(1000, seed=2))
        assert [item.start for item in scan(path)] == [1000]


def test_many_messages_give_a_bounded_answer(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes((noise(5000) + STORAGE_ERROR) * 100)
    assert len(scan(path)) == 16


def test_a_scanner_fed_by_someone_elses_reads_agrees_with_a_scan(tmp_path: Path) -> None:
    content = noise(100_000) + STORAGE_ERROR + noise(50_000, seed=2)
    path = tmp_path / "a.mrc"
    path.write_bytes(content)
    scanner = Scanner("a.mrc")
    buffer = bytearray(8192)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            scanner.feed(memoryview(buffer)[:count])
    scanner.end()
    assert tuple(scanner.findings) == scan(path)


@given(st.binary(max_size=2000), st.sampled_from(["a.mrc", "a.tif", "a.star", "a.txt", "a", "a.xml"]))
def test_any_bytes_give_an_answer(raw: bytes, name: str) -> None:
    found = error_body.whole_body(raw, name=name)
    assert found is None or found.start + found.length <= len(raw)
    assert 0 <= printable_share(raw) <= 1


@pytest.mark.parametrize("name", ["10304.xml", "README.txt", "a.star", "b.csv"])
def test_a_storage_error_written_into_text_is_found_and_quoted_markup_is_none(
    tmp_path: Path, name: str
) -> None:
    error = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code><Message>x</Message></Error>'
    text = b"first line\n" * 30
    file = tmp_path / name
    for content, wrong in (
        (text[:1] + error + text, True),
        (text + error, True),
        (text + b'<?xml version="1.0"?>\n<entry><Error>none</Error></entry>', False),
        (text + b"a page of <html> about <Error><Code> of storage", False),
    ):
        file.write_bytes(content)
        assert bool(scan(file)) is wrong
        with file.open("rb") as opened:
            assert bool(in_edges(FileBytes(opened.fileno(), len(content)), name=name)) is wrong
