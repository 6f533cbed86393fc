"""The rehearsal archive's servers, asked by clients that share no code with them or with the mirror."""

from __future__ import annotations

import asyncio
import contextlib
import ftplib
import json
import os
import re
import shutil
import signal
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

import aiohttp
import pytest
from yarl import URL

from empiar_mirror.rehearsal import content
from empiar_mirror.rehearsal.entries import (
    awkward_names,
    big_entry,
    hostile_entry,
    many_files_entry,
    standard_entries,
)
from empiar_mirror.rehearsal.faults import ERROR_TEXT, Fault, FaultKind, standard_faults
from empiar_mirror.rehearsal.link import Link
from empiar_mirror.rehearsal.server import Rehearsal

SIZE = 200_000
NAME = "10190/data/big.mrc"
DATA = content.read(NAME.encode(), SIZE, 0, SIZE)


def small() -> Rehearsal:
    """One entry with one file."""
    return Rehearsal([big_entry(10190, {"big.mrc": SIZE})])


@pytest.fixture
async def rehearsal() -> AsyncIterator[Rehearsal]:
    async with small() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as client:
        yield client


async def get(
    session: aiohttp.ClientSession, url: str, **headers: str
) -> tuple[int, bytes, Mapping[str, str]]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.get(URL(url, encoded=True), headers=given, allow_redirects=False) as response:
        return response.status, await response.read(), response.headers


def ftp_login(rehearsal: Rehearsal) -> ftplib.FTP:
    parts = urlsplit(rehearsal.ftp_url)
    assert parts.hostname is not None and parts.port is not None
    ftp = ftplib.FTP(timeout=5, encoding="latin-1")
    try:
        ftp.connect(parts.hostname, parts.port)
        ftp.login()
        ftp.cwd(parts.path)
    except BaseException:
        ftp.close()
        raise
    return ftp


def ftp_fetch(rehearsal: Rehearsal, path: str, *, rest: int | None = None) -> bytes:
    pieces: list[bytes] = []
    with contextlib.closing(ftp_login(rehearsal)) as ftp:
        ftp.retrbinary(f"RETR {path}", pieces.append, rest=rest)
    return b"".join(pieces)


def ftp_list(rehearsal: Rehearsal, folder: str, command: str = "LIST -a") -> list[str]:
    lines: list[str] = []
    with contextlib.closing(ftp_login(rehearsal)) as ftp:
        ftp.cwd(folder)
        ftp.retrlines(command, lines.append)
    return lines


# What it serves


async def test_the_api_answers_one_entry_ranges_search_and_unknown(session: aiohttp.ClientSession) -> None:
    async with Rehearsal() as rehearsal:
        for spelling in ("10101", "EMPIAR-10101", "EMPIAR-10101/"):
            _, body, _ = await get(session, f"{rehearsal.api_url}/entry/{spelling}")
            assert json.loads(body)["EMPIAR-10101"]["entry_doi"] == "10.6019/EMPIAR-10101"
        assert (await get(session, f"{rehearsal.api_url}/entry/10001"))[0] == 404
        async with session.post(f"{rehearsal.api_url}/entry/", data="10000-10102,10109") as response:
            assert list(await response.json()) == ["EMPIAR-10101", "EMPIAR-10102", "EMPIAR-10109"]
        _, body, _ = await get(session, f"{rehearsal.search_url}/*?rows=4&page=4")
        assert list(json.loads(body)) == ["EMPIAR-10113", "EMPIAR-10114", "EMPIAR-10115"]
        query = "database:EMPIAR%20AND%20update_date:%5B2023-01-01%20TO%202023-12-31%5D"
        _, body, _ = await get(session, f"{rehearsal.search_url}/{query}?rows=100&page=1")
        assert list(json.loads(body)) == ["EMPIAR-10103", "EMPIAR-10109"]
        _, body, _ = await get(session, f"{rehearsal.site_url}/EMPIAR-10101/dirStruct%3Dfull&list%3D1/0/")
        assert json.loads(body)[0]["size"] == 30 * 1_049_600


async def test_records_have_the_keys_of_a_real_answer_and_personal_data_to_drop() -> None:
    records = [entry.record for entry in standard_entries()]
    assert list(records[0])[:5] == [
        "imagesets",
        "workflow_file",
        "grant_references",
        "version_history",
        "title",
    ]
    shapes = {type(reference) for record in records for reference in record["cross_references"]}  # type: ignore[union-attr]  # lists in every record
    assert shapes == {str, dict}
    assert "[at]" in json.dumps(records)
    assert '"telephone": "+44' in json.dumps(records)


async def test_every_awkward_name_is_listed_and_served_alike_on_both_channels(
    session: aiohttp.ClientSession,
) -> None:
    async with Rehearsal() as rehearsal:
        folder = f"{rehearsal.https_url}/10105/data/odd%20names/"
        _, page, _ = await get(session, folder)
        hrefs = re.findall(rb'</a></td>|alt="\[(?!PARENT).{3}\]"></td><td><a href="([^"]+)"', page)
        listed = {
            unquote_to_bytes(href.replace(b"&amp;", b"&")).removeprefix(b"./") for href in hrefs if href
        }
        assert listed == set(awkward_names())
        lines = await asyncio.to_thread(ftp_list, rehearsal, "10105/data/odd names")
        assert {line[56:].encode("latin-1") for line in lines} - {b".", b".."} == set(awkward_names())
        assert all(re.match(r"[-d]rw[-rwx]{7} +\d+ ftp      ftp +\d+ Nov 17  2022 ", line) for line in lines)
        for name in awkward_names():
            status, body, _ = await get(session, folder + quote_from_bytes(name, safe=""))
            assert status == 200
            path = "10105/data/odd names/" + name.decode("latin-1")
            assert await asyncio.to_thread(ftp_fetch, rehearsal, path) == body, name


async def test_ranges_and_validators_behave_like_apaches(
    rehearsal: Rehearsal, session: aiohttp.ClientSession
) -> None:
    url = f"{rehearsal.https_url}/{NAME}"
    status, body, headers = await get(session, url, Range="bytes=1000-1999")
    assert (status, body) == (206, DATA[1000:2000])
    assert headers["Content-Range"] == f"bytes 1000-1999/{SIZE}"
    assert (await get(session, url, Range="bytes=-10"))[1] == DATA[-10:]
    beyond = await get(session, url, Range=f"bytes={SIZE}-")
    assert beyond[0] == 416
    assert "Content-Range" not in beyond[2]
    for kept in (headers["ETag"], headers["Last-Modified"]):
        assert (await get(session, url, Range="bytes=5-", If_Range=kept))[0] == 206
    rehearsal.archive.change_file(10190, b"data/big.mrc")
    status, body, changed = await get(session, url, Range="bytes=5-", If_Range=headers["ETag"])
    assert (status, len(body)) == (200, SIZE)
    assert body != DATA
    assert (await get(session, url, If_None_Match=changed["ETag"]))[0] == 304
    async with session.head(url) as response:
        assert response.content_length == SIZE
    assert rehearsal.bytes_served(NAME) == 1000 + 10 + 2 * (SIZE - 5) + SIZE


async def test_pipelined_requests_are_answered_in_order(rehearsal: Rehearsal) -> None:
    parts = urlsplit(rehearsal.https_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    request = f"GET {parts.path}/{NAME} HTTP/1.1\r\nHost: x\r\nRange: bytes=%d-%d\r\n\r\n"
    writer.write("".join(request % (n * 100, n * 100 + 99) for n in range(8)).encode())
    for n in range(8):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 206 " in head
        assert await reader.readexactly(100) == DATA[n * 100 : n * 100 + 100]
    writer.close()
    await writer.wait_closed()
    assert rehearsal.served.peak_connections["https"] == 1


@pytest.mark.parametrize("link", [Link(), Link(bytes_per_s=50_000)], ids=["direct", "through the link"])
@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_connections_count_while_both_ends_hold_them(link: Link, channel: str) -> None:
    """A client that is gone in the middle of an answer is gone, however much the servers have to do with it still."""
    async with Rehearsal([big_entry(10190, {"big.mrc": SIZE})], link=link) as rehearsal:
        parts = urlsplit(rehearsal.https_url if channel == "https" else rehearsal.ftp_url)
        ask = f"GET {parts.path}/{NAME} HTTP/1.1\r\nHost: x\r\n\r\n" if channel == "https" else "NOOP\r\n"
        for _ in range(3):
            both = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(2)]
            for reader, writer in both:
                writer.write(ask.encode())
                await reader.read(20)
            for _, writer in both:
                writer.transport.abort()
        assert rehearsal.served.peak_connections[channel] == 2


async def test_ftp_speaks_vsftpds_dialect(rehearsal: Rehearsal) -> None:
    def talk() -> None:
        with contextlib.closing(ftp_login(rehearsal)) as ftp:
            assert ftp.getwelcome().startswith("220-Welcome")
            assert "MLSD" not in ftp.sendcmd("FEAT")
            assert ftp.sendcmd("SYST") == "215 UNIX Type: L8"
            assert ftp.size(NAME) == SIZE
            assert ftp.sendcmd(f"MDTM {NAME}") == "213 20221117090000"
            with pytest.raises(ftplib.error_perm, match="550 Failed to change directory"):
                ftp.cwd("10190/nothing")
            with pytest.raises(ftplib.error_perm, match="550 Failed to open file"):
                ftp.retrbinary("RETR 10190/nothing", bytes)
            # A trap of the real server: LIST of what is not there is empty and well.
            lines: list[str] = []
            assert ftp.retrlines("LIST 10190/nothing", lines.append).startswith("226")
            assert lines == []
            assert ftp.sendcmd("ABOR").startswith("225")

    await asyncio.to_thread(talk)
    assert await asyncio.to_thread(ftp_fetch, rehearsal, NAME) == DATA
    assert await asyncio.to_thread(ftp_fetch, rehearsal, NAME, rest=150_000) == DATA[150_000:]
    assert await asyncio.to_thread(ftp_fetch, rehearsal, NAME, rest=SIZE + 5) == b""


async def test_ftp_takes_pipelined_commands(rehearsal: Rehearsal) -> None:
    parts = urlsplit(rehearsal.ftp_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"USER anonymous\r\nPASS x\r\nEPSV\r\nRETR " + f"{parts.path}/{NAME}\r\nEPSV\r\n".encode())
    ports: list[int] = []
    data = b""
    while len(ports) < 2:
        line = await reader.readline()
        if found := re.match(rb"229 .*\|\|\|(\d+)\|", line):
            ports.append(int(found[1]))
            if len(ports) == 1:
                data_reader, data_writer = await asyncio.open_connection("127.0.0.1", ports[0])
                data = await data_reader.read()
                data_writer.close()
    assert data == DATA
    writer.close()
    await writer.wait_closed()


async def test_a_full_ftp_server_turns_clients_away_at_the_greeting() -> None:
    async with Rehearsal([big_entry(10190, {"big.mrc": SIZE})], ftp_sessions=1) as rehearsal:
        first = await asyncio.to_thread(ftp_login, rehearsal)
        with pytest.raises(ftplib.error_temp, match="421 There are too many"):
            await asyncio.to_thread(ftp_login, rehearsal)
        first.close()


async def test_mlsd_can_be_offered() -> None:
    async with Rehearsal([big_entry(10190, {"big.mrc": SIZE})], mlsd=True) as rehearsal:
        lines = await asyncio.to_thread(ftp_list, rehearsal, "10190/data", "MLSD")
        assert lines == [f"type=file;size={SIZE};modify=20221117090000; big.mrc"]


@pytest.mark.parametrize("tool", ["curl", "lftp"])
async def test_real_clients_fetch_the_same_bytes(tool: str, rehearsal: Rehearsal, tmp_path: Path) -> None:
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"{tool} is not installed")
    for number, base in enumerate((rehearsal.https_url, rehearsal.ftp_url)):
        to = tmp_path / f"{number}.mrc"
        words = (
            ["-sS", "-o", str(to), f"{base}/{NAME}"]
            if tool == "curl"
            else ["-c", f"get {base}/{NAME} -o {to}"]
        )
        process = await asyncio.create_subprocess_exec(program, *words)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        assert to.read_bytes() == DATA


async def test_a_folder_of_many_files_is_listed_without_holding_them(session: aiohttp.ClientSession) -> None:
    async with Rehearsal([many_files_entry(10191, 20_000, 4)]) as rehearsal:
        _, page, _ = await get(session, f"{rehearsal.https_url}/10191/data/grid_000/square_0003/")
        assert page.count(b'alt="[   ]"') == 5_000
        lines = await asyncio.to_thread(ftp_list, rehearsal, "10191/data/grid_000/square_0003", "LIST")
        assert len(lines) == 5_000


async def test_a_newline_in_a_name_breaks_the_ftp_line_as_it_does_on_vsftpd() -> None:
    async with Rehearsal([hostile_entry()]) as rehearsal:
        lines = await asyncio.to_thread(ftp_list, rehearsal, "10150/data")
        assert "break.mrc" in lines


# What it does wrong on request


async def drained(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[bytes, str]:
    """The bytes that came, and how it ended."""
    data = b""
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with session.get(url, headers=given, timeout=aiohttp.ClientTimeout(sock_read=0.3)) as response:
            async for piece in response.content.iter_any():
                data += piece
            return data, str(response.status)
    except aiohttp.ClientPayloadError:
        return data, "cut"
    except TimeoutError:
        return data, "stalled"


FLIPPED = DATA[:70_000] + bytes([DATA[70_000] ^ 1]) + DATA[70_001:]
INSIDE = DATA[:70_000] + ERROR_TEXT + DATA[70_000 + len(ERROR_TEXT) :]

HTTP_FAULTS: list[tuple[Fault, bytes, str]] = [
    (Fault(kind=FaultKind.DROP_AT, at_byte=70_000), DATA[:70_000], "cut"),
    (Fault(kind=FaultKind.STALL_AT, at_byte=70_000), DATA[:70_000], "stalled"),
    (Fault(kind=FaultKind.SLOW_DRIP, at_byte=70_000, value="0.6"), DATA[:70_000], "stalled"),
    (Fault(kind=FaultKind.FLIP_BIT, at_byte=70_000), FLIPPED, "200"),
    (Fault(kind=FaultKind.ERROR_BODY), ERROR_TEXT, "200"),
    (Fault(kind=FaultKind.ERROR_INSIDE, at_byte=70_000), INSIDE, "200"),
    (Fault(kind=FaultKind.SHORT_BODY), DATA[:-1000], "200"),
    (Fault(kind=FaultKind.LONG_STATED), DATA, "cut"),
    (Fault(kind=FaultKind.OVERSIZE_BODY), DATA + bytes(1000), "200"),
]


@pytest.mark.parametrize(
    ("fault", "data", "ending"), HTTP_FAULTS, ids=[str(row[0].kind) for row in HTTP_FAULTS]
)
async def test_a_fault_in_a_body_strikes_once_over_http(
    fault: Fault, data: bytes, ending: str, rehearsal: Rehearsal, session: aiohttp.ClientSession
) -> None:
    rehearsal.book.add(fault)
    url = f"{rehearsal.https_url}/{NAME}"
    assert await drained(session, url) == (data, ending)
    assert await drained(session, url) == (DATA, "200")
    assert rehearsal.book.struck[fault.kind] == 1


async def test_statuses_redirects_and_range_faults_over_http(
    rehearsal: Rehearsal, session: aiohttp.ClientSession
) -> None:
    rehearsal.book.add(
        Fault(kind=FaultKind.STATUS, value="429 30"),
        Fault(kind=FaultKind.REDIRECT, value="http://elsewhere.invalid/x"),
        Fault(kind=FaultKind.REFUSE_RANGES),
        Fault(kind=FaultKind.WRONG_CONTENT_RANGE),
        Fault(kind=FaultKind.CHANGED_FILE, after=1),
    )
    url = f"{rehearsal.https_url}/{NAME}"
    status, _, headers = await get(session, url)
    assert (status, headers["Retry-After"]) == (429, "30")
    status, _, headers = await get(session, url)
    assert (status, headers["Location"]) == (302, "http://elsewhere.invalid/x")
    status, body, _ = await get(session, url, Range="bytes=10-")
    assert (status, body) == (200, DATA)
    status, _, headers = await get(session, url, Range="bytes=10-")
    assert (status, headers["Content-Range"]) == (206, f"bytes 4106-{SIZE - 1}/{SIZE}")
    assert (await get(session, url))[1] == DATA
    assert (await get(session, url))[1] != DATA


FTP_FAULTS: list[tuple[Fault, bytes | None, str]] = [
    (Fault(kind=FaultKind.DROP_AT, at_byte=70_000), DATA[:70_000], "EOFError"),
    (Fault(kind=FaultKind.FTP_426, at_byte=70_000), DATA[:70_000], "426"),
    (Fault(kind=FaultKind.EARLY_226, at_byte=70_000), DATA[:70_000], "226"),
    (Fault(kind=FaultKind.SHORT_BODY), DATA[:-1000], "226"),
    (Fault(kind=FaultKind.OVERSIZE_BODY), DATA + bytes(1000), "226"),
    (Fault(kind=FaultKind.FLIP_BIT, at_byte=70_000), FLIPPED, "226"),
    (Fault(kind=FaultKind.ERROR_BODY), ERROR_TEXT, "226"),
    (Fault(kind=FaultKind.STALL_AT, at_byte=70_000), DATA[:70_000], "TimeoutError"),
    (Fault(kind=FaultKind.FTP_425), b"", "425"),
    (Fault(kind=FaultKind.FTP_450), b"", "450"),
    (Fault(kind=FaultKind.FTP_550), b"", "550"),
    (Fault(kind=FaultKind.FTP_421), None, "421"),
    (Fault(kind=FaultKind.FTP_530), None, "530"),
]


@pytest.mark.parametrize(
    ("fault", "data", "ending"), FTP_FAULTS, ids=[str(row[0].kind) for row in FTP_FAULTS]
)
async def test_a_fault_strikes_once_over_ftp(
    fault: Fault, data: bytes | None, ending: str, rehearsal: Rehearsal
) -> None:
    def fetch() -> tuple[bytes | None, str]:
        try:
            ftp = ftp_login(rehearsal)
        except ftplib.Error as error:
            return None, str(error)[:3]
        pieces: list[bytes] = []
        with contextlib.closing(ftp):
            ftp.timeout = 0.3
            assert ftp.sock is not None
            ftp.sock.settimeout(0.3)
            try:
                reply = ftp.retrbinary(f"RETR {NAME}", pieces.append)
            except ftplib.Error as error:
                reply = str(error)
            except (EOFError, TimeoutError) as error:
                return b"".join(pieces), type(error).__name__
        return b"".join(pieces), reply[:3]

    rehearsal.book.add(fault)
    assert await asyncio.to_thread(fetch) == (data, ending)
    assert await asyncio.to_thread(fetch) == (DATA, "226")


async def test_listing_faults_are_the_same_on_both_channels(session: aiohttp.ClientSession) -> None:
    names = {f"{number}.mrc": 2_000 for number in range(10)}
    async with Rehearsal([big_entry(10190, names)]) as rehearsal:
        url = f"{rehearsal.https_url}/10190/data/"

        def row_count() -> int:
            return len(ftp_list(rehearsal, "10190/data", "LIST"))

        rehearsal.book.add(Fault(kind=FaultKind.TRUNCATED_LISTING, times=2))
        assert (await get(session, url))[1].count(b".mrc</a>") == await asyncio.to_thread(row_count) == 5
        rehearsal.book.add(Fault(kind=FaultKind.MISSING_NAME, value="7.mrc", times=2))
        assert (await get(session, url))[1].count(b".mrc</a>") == await asyncio.to_thread(row_count) == 9
        rehearsal.book.add(Fault(kind=FaultKind.HOSTILE_NAMES, channel="https"))
        page = (await get(session, url))[1]
        assert b'href="/etc/passwd"' in page
        assert b'href=".."' in page
        rehearsal.book.add(Fault(kind=FaultKind.ENDLESS_FOLDERS, times=None))
        assert b"deeper/" in (await get(session, url + "deeper/deeper/deeper/"))[1]
        rehearsal.book.clear()
        assert (await get(session, url))[1].count(b".mrc</a>") == await asyncio.to_thread(row_count) == 10


async def test_metadata_faults(rehearsal: Rehearsal, session: aiohttp.ClientSession) -> None:
    url = f"{rehearsal.api_url}/entry/10190"
    rehearsal.book.add(
        Fault(kind=FaultKind.HTML_PAGE, channel="api"),
        Fault(kind=FaultKind.BROKEN_JSON),
        Fault(kind=FaultKind.DEEP_JSON),
        Fault(kind=FaultKind.HUGE_JSON, value="3000000"),
        Fault(kind=FaultKind.DROP_AT, channel="api"),
        Fault(kind=FaultKind.ENTITY_BOMB, match="*.xml"),
    )
    assert (await get(session, url))[1].startswith(b"<!DOCTYPE html>")
    with pytest.raises(json.JSONDecodeError):
        json.loads((await get(session, url))[1])
    assert (await get(session, url))[1].startswith(b"[" * 1000)
    assert len((await get(session, url))[1]) > 3_000_000
    with pytest.raises(aiohttp.ClientPayloadError):
        await get(session, url)
    assert "EMPIAR-10190" in json.loads((await get(session, url))[1])
    assert b"<!ENTITY" in (await get(session, f"{rehearsal.https_url}/10190/10190.xml"))[1]


# How it is on the real link, and on its own


async def test_the_link_delays_requests_and_limits_the_rate(session: aiohttp.ClientSession) -> None:
    link = Link(rtt_s=0.05, bytes_per_s=1e6)
    async with Rehearsal([big_entry(10190, {"big.mrc": SIZE})], link=link) as rehearsal:
        for fetch in ("https", "ftp"):
            started = time.monotonic()
            if fetch == "https":
                data = (await get(session, f"{rehearsal.https_url}/{NAME}"))[1]
            else:
                data = await asyncio.to_thread(ftp_fetch, rehearsal, NAME)
            assert data == DATA
            # One round trip to connect, one to ask, and 0.2 s of bytes less the first chunk.
            assert time.monotonic() - started > 0.1 + 0.12


async def test_requests_that_hang_stay_silent_until_the_client_gives_up(
    session: aiohttp.ClientSession,
) -> None:
    link = Link(hang_share=1.0)
    async with Rehearsal([big_entry(10190, {"big.mrc": SIZE})], link=link) as rehearsal:
        assert await drained(session, f"{rehearsal.https_url}/{NAME}") == (b"", "stalled")
        assert (await get(session, f"{rehearsal.https_url}/10190/data/"))[0] == 200


def test_standard_faults_name_files_that_exist() -> None:
    paths = {
        f"{entry.empiar_id}/{path.decode('utf-8', 'replace')}"
        for entry in standard_entries()
        for path, _ in entry.walk()
    }
    for fault in standard_faults():
        concerns_a_file = "." in fault.match
        assert not concerns_a_file or any(fnmatchcase(path, fault.match) for path in paths), fault


async def test_it_runs_on_its_own_and_logs_what_it_served(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    ports, log = tmp_path / "ports.json", tmp_path / "served.jsonl"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "empiar_mirror.rehearsal", "--port-file", str(ports), "--log", str(log), "--big", "70000000",
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    urls = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
    assert json.loads(ports.read_text()) == urls
    path = "10190/data/big_0001.mrc"
    _, body, _ = await get(session, f"{urls['https_url']}/{path}", Range="bytes=0-99")
    assert len(body) == 100
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
    served = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["path"], line["bytes_sent"], line["status"]) for line in served] == [(path, 100, 206)]


async def test_the_settings_file_is_toml_with_every_address(rehearsal: Rehearsal) -> None:
    settings = tomllib.loads(rehearsal.settings_toml('/data/"odd" place'))
    assert settings["root"] == '/data/"odd" place'
    assert settings["archive"] == rehearsal.urls()
