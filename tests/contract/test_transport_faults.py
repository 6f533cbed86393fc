"""What servers do wrong, byte by byte, and the fault that each of it becomes: the table is test and documentation."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import pytest

from contract.faulty_servers import Act, Faulty, FtpScript, Request, Script, faulty_ftp, faulty_http
from contract.transports_under_test import (
    all_outcomes,
    claim_of,
    collected,
    open_sockets,
    outcome_of,
    quick_hosts,
)
from empiar_mirror.transports.base import Transport
from empiar_mirror.transports.ftp import FtpTransport
from empiar_mirror.transports.https import HttpsTransport
from empiar_schema.faults import (
    ChangedUpstream,
    EmpiarMirrorError,
    HostileName,
    IntegrityFault,
    PermanentFault,
    RangesRefused,
    Stalled,
    TransientFault,
)
from empiar_schema.files import Validators
from empiar_schema.paths import RemotePath
from empiar_wire.hosts import Hosts

BODY = b"0123456789" * 100
ETAG = '"v1"'
DATE = "Sun, 13 Sep 2020 12:26:40 GMT"
HELD = Validators(size=1000, modified_at=1_600_000_000, etag=ETAG)
STALL_S = 0.15


def head(status: str, *lines: str) -> bytes:
    return ("\r\n".join([f"HTTP/1.1 {status}", f"Last-Modified: {DATE}", *lines]) + "\r\n\r\n").encode()


def ok(length: int = 1000, etag: str = ETAG) -> bytes:
    return head("200 OK", f"Content-Length: {length}", f"ETag: {etag}")


def part(text: str, length: int, etag: str = ETAG) -> bytes:
    return head(
        "206 Partial Content", f"Content-Range: bytes {text}", f"Content-Length: {length}", f"ETag: {etag}"
    )


def refusal(status: str, *lines: str) -> bytes:
    return head(status, "Content-Length: 5", *lines) + b"sorry"


@dataclass(frozen=True)
class Case:
    """One misbehaviour, the claim it meets, and how the claim must end."""

    script: Script
    fault: type[EmpiarMirrorError] | None
    says: str = ""
    start: int = 0
    stop: int | None = None
    kept: int | None = None
    head_script: Script = ()


HTTP: dict[str, Case] = {
    "a good answer": Case([ok() + BODY], None, kept=1000),
    "a good answer in single bytes": Case([bytes([b]) for b in ok(3) + b"abc"], None, kept=3),
    "an interim answer before it": Case([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok() + BODY], None, kept=1000),
    "chunked": Case(
        [head("200 OK", "Transfer-Encoding: chunked"), b"3e8\r\n" + BODY + b"\r\n", b"0\r\n\r\n"], None, kept=1000
    ),
    "no length, to the end of the connection": Case([head("200 OK") + BODY, Act.CLOSE], None, kept=1000),
    "a range to the end": Case([part("400-999/1000", 600) + BODY[400:]], None, start=400, kept=600),
    "nothing left, 416": Case(
        [refusal("416 Range Not Satisfiable")], None, start=1000, kept=0, head_script=[ok(1000)]
    ),
    "redirect on the same host": Case([], None, kept=1000),  # scripted in `respond`
    "chunked, cut": Case([head("200 OK", "Transfer-Encoding: chunked") + b"3e8\r\n" + BODY[:9], Act.CLOSE], TransientFault, "last chunk"),
    "chunked, garbage for a size": Case([head("200 OK", "Transfer-Encoding: chunked") + b"zz\r\n"], TransientFault, "broken chunks"),
    "a coding nobody asked for": Case([head("200 OK", "Transfer-Encoding: gzip") + BODY], TransientFault, "coding"),
    "recoded on the way": Case([head("200 OK", "Content-Encoding: gzip", "Transfer-Encoding: chunked") + b"0\r\n\r\n"], PermanentFault, "recoded"),
    "short body": Case([ok() + BODY[:300], Act.CLOSE], TransientFault, "700 bytes before the end", kept=300),
    "short body, reset": Case([ok() + BODY[:300], Act.RESET], TransientFault),
    "oversize body": Case([ok(900) + BODY], IntegrityFault, "more bytes than announced"),
    "no length and too long": Case([head("200 OK", "Connection: close") + BODY + b"x", Act.CLOSE], IntegrityFault, "more than", start=0, stop=None),
    "stall before the head": Case([Act.HANG], Stalled),
    "stall in the head": Case([b"HTTP/1.1 200 OK\r\n", Act.HANG], Stalled),
    "stall in the body": Case([ok() + BODY[:300], Act.HANG], Stalled, kept=300),
    "closed instead of an answer": Case([Act.CLOSE], TransientFault, "instead of answering"),
    "reset instead of an answer": Case([Act.RESET], TransientFault),
    "endless head": Case([b"HTTP/1.1 200 OK\r\n" + b"X-Filler: y\r\n" * 9000, Act.HANG], TransientFault, "without end"),
    "endless interim answers": Case([b"HTTP/1.1 100 Continue\r\n\r\n" * 50, Act.HANG], TransientFault, "without end"),
    "garbage": Case([b"SSH-2.0-OpenSSH_9.2\r\n", Act.HANG], TransientFault, "not HTTP"),
    "garbage behind the status line": Case([b"HTTP/1.1 200 OK\r\n\0\0: \xff\r\n\r\n", Act.HANG], TransientFault, "not HTTP"),
    "switching protocols": Case([b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", Act.HANG], TransientFault),
    "a length that is none": Case([head("200 OK", "Content-Length: -5")], TransientFault),
    "two lengths": Case([head("200 OK", "Content-Length: 5", "Content-Length: 6") + b"123456"], TransientFault),
    "length and chunks": Case([head("200 OK", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n"], TransientFault),
    "a part of the file for the whole": Case([part("0-99/1000", 100) + BODY[:100]], TransientFault, "a part"),
    "404": Case([refusal("404 Not Found")], PermanentFault, "404"),
    "410": Case([refusal("410 Gone")], PermanentFault, "410"),
    "403, as EBI says to the hasty": Case([refusal("403 Forbidden")], TransientFault, "403"),
    "500": Case([refusal("500 Oh")], TransientFault, "500"),
    "412": Case([refusal("412 Precondition Failed")], PermanentFault, "412"),
    "204": Case([head("204 No Content")], PermanentFault, "204"),
    "304": Case([head("304 Not Modified")], PermanentFault, "304"),
    "redirect elsewhere": Case([refusal("302 Found", "Location: http://elsewhere.example/x")], PermanentFault, "redirects elsewhere"),
    "redirect elsewhere without a scheme": Case([refusal("302 Found", "Location: //elsewhere.example/x")], PermanentFault, "redirects elsewhere"),
    "redirect with a password": Case([refusal("302 Found", "Location: http://user:secret@elsewhere.example/x")], PermanentFault, "redirects elsewhere"),
    "redirect to nowhere": Case([refusal("302 Found")], PermanentFault, "redirects elsewhere"),
    "redirect for ever": Case([refusal("302 Found", "Location: /again")], PermanentFault, "too many redirects"),
    "range ignored, same file": Case([ok() + BODY], RangesRefused, start=400),
    "range ignored, file changed": Case([ok(1000, '"v2"') + BODY], ChangedUpstream, "ETag", start=400),
    "range ignored, another length": Case([ok(999) + BODY[:999]], ChangedUpstream, "size", start=400),
    "range honoured though the file changed": Case([part("400-999/1000", 600, '"v2"') + BODY[400:]], ChangedUpstream, start=400),
    "range of another length of file": Case([part("400-998/999", 599) + BODY[400:999]], ChangedUpstream, start=400),
    "another range": Case([part("0-599/1000", 600) + BODY[:600]], RangesRefused, "bytes from 0", start=400),
    "a range beyond the one asked for": Case([part("400-999/1000", 600) + BODY[400:]], RangesRefused, start=400, stop=500),
    "a range without saying which": Case([head("206 Partial Content", "Content-Length: 600") + BODY[400:]], RangesRefused, start=400),
    "a range in nonsense": Case([part("999-400/1000", 600) + BODY[400:]], RangesRefused, start=400),
    "a range announced with another length": Case([part("400-999/1000", 500) + BODY[:500]], TransientFault, "announced", start=400),
    "a shorter range than asked for": Case([part("400-499/1000", 100) + BODY[400:500]], TransientFault, "100 of 600", start=400, kept=100),
    "416 though there is more": Case([refusal("416 Range Not Satisfiable")], RangesRefused, start=400, head_script=[ok()]),
    "416 because it changed": Case([refusal("416 Range Not Satisfiable")], ChangedUpstream, start=400, head_script=[ok(300)]),
    "416 and no HEAD": Case([refusal("416 Range Not Satisfiable")], TransientFault, "503", start=400, head_script=[head("503 No", "Content-Length: 0")]),
}  # fmt: skip


def responder(case: Case, name: str) -> Callable[[Request], Script]:
    def respond(request: Request) -> Script:
        if name == "redirect on the same host" and not request.target.startswith("/moved"):
            return [refusal("301 Moved", "Location: /moved/here%20.mrc")]
        if name == "redirect on the same host":
            return [ok() + BODY]
        return case.head_script if request.method == "HEAD" else case.script

    return respond


@asynccontextmanager
async def https_to(faulty: Faulty, *, hosts: Hosts | None = None) -> AsyncIterator[HttpsTransport]:
    transport = HttpsTransport(f"http://127.0.0.1:{faulty.port}", hosts or quick_hosts(), stall_s=STALL_S)
    try:
        yield transport
    finally:
        await transport.aclose()


@asynccontextmanager
async def ftp_to(faulty: Faulty, *, hosts: Hosts | None = None) -> AsyncIterator[FtpTransport]:
    transport = FtpTransport(f"ftp://127.0.0.1:{faulty.port}", hosts or quick_hosts(), stall_s=STALL_S)
    try:
        yield transport
    finally:
        await transport.aclose()


async def check(transport: Transport, case: Case) -> None:
    """The case's claim ends as it says, and every byte that the sink was given is a true one."""
    validators = HELD if case.start else None
    if case.says == "more than":
        validators = Validators(size=1000)
    claim = claim_of("data/x.mrc", start=case.start, stop=case.stop, validators=validators)
    outcome = await outcome_of(transport, claim)
    assert type(outcome.fault) is (case.fault or type(None)), outcome.fault
    assert case.says in str(outcome.fault)
    assert "secret" not in str(outcome.fault)
    data = bytes(collected(claim).data)
    assert outcome.bytes_moved == len(data)
    assert data == BODY[case.start :][: len(data)] or data == b"abc"
    if case.kept is not None:
        assert len(data) == case.kept


@pytest.mark.parametrize("name", HTTP)
async def test_what_http_servers_do_wrong(name: str) -> None:
    """Each row of the table ends as it says, and leaves no socket behind."""
    sockets = open_sockets()
    async with faulty_http(responder(HTTP[name], name)) as faulty, https_to(faulty) as transport:
        await check(transport, HTTP[name])
    await asyncio.sleep(0)
    assert open_sockets() == sockets


FTP: dict[str, tuple[FtpScript, Case]] = {
    "a good server": (FtpScript(), Case([], None, kept=1000)),
    "from the middle": (FtpScript(), Case([], None, start=400, kept=600)),
    "a stretch": (FtpScript(), Case([], None, start=400, stop=500, kept=100)),
    "no SIZE": (FtpScript(replies={"SIZE": "502 no"}), Case([], None, kept=1000)),
    "no MDTM": (FtpScript(replies={"MDTM": "502 no"}), Case([], None, kept=1000)),
    "full at the greeting": (FtpScript(greeting="421 There are too many connected users"), Case([], TransientFault, "421")),
    "full at login": (FtpScript(replies={"PASS": "530 maximum number of clients"}), Case([], TransientFault, "530")),
    "no FTP": (FtpScript(greeting="HTTP/1.1 400 Bad Request"), Case([], EmpiarMirrorError)),
    "no such folder": (FtpScript(replies={"CWD": "550 Failed to change directory."}), Case([], PermanentFault, "550")),
    "no such file": (FtpScript(replies={"SIZE": "550 Could not get file size."}), Case([], PermanentFault, "550")),
    "unreadable file": (FtpScript(replies={"RETR": "550 Failed to open file."}), Case([], PermanentFault, "550")),
    "busy file": (FtpScript(replies={"RETR": "450 busy"}), Case([], TransientFault, "450")),
    "no data connection": (FtpScript(replies={"RETR": "425 Failed to establish connection."}), Case([], TransientFault, "425")),
    "REST refused": (FtpScript(replies={"REST": "502 no"}), Case([], RangesRefused, start=400)),
    "changed since": (FtpScript(replies={"MDTM": "213 20200913122641"}), Case([], ChangedUpstream, "time", start=400)),
    "another size": (FtpScript(size=999), Case([], ChangedUpstream, "size", start=400)),
    "aborted in the middle": (FtpScript(sends=lambda r: [BODY[r:300]], done="426 Failure writing network stream."), Case([], TransientFault, "426", kept=300)),
    "reset in the middle": (FtpScript(sends=lambda r: [BODY[r:300], Act.RESET], done="426 reset"), Case([], TransientFault)),
    "complete, it says, before all bytes": (FtpScript(sends=lambda r: [BODY[r:300]]), Case([], TransientFault, "300 of 1000", kept=300)),
    "more than SIZE": (FtpScript(size=900), Case([], IntegrityFault, "900", kept=900)),
    "stall in the middle": (FtpScript(sends=lambda r: [BODY[r:300], Act.HANG]), Case([], Stalled, kept=300)),
    "silence after the data": (FtpScript(done=None), Case([], Stalled, kept=1000)),
    "451 after the data": (FtpScript(done="451 local error"), Case([], TransientFault, "451", kept=1000)),
}  # fmt: skip


@pytest.mark.parametrize("name", FTP)
async def test_what_ftp_servers_do_wrong(name: str) -> None:
    """Each row of the table ends as it says, and leaves no socket behind."""
    script, case = FTP[name]
    sockets = open_sockets()
    async with faulty_ftp(script) as faulty, ftp_to(faulty) as transport:
        if case.fault is EmpiarMirrorError:
            outcome = await outcome_of(transport, claim_of("data/x.mrc"))
            assert isinstance(outcome.fault, EmpiarMirrorError)
        else:
            await check(transport, case)
    await asyncio.sleep(0)
    assert open_sockets() == sockets


async def test_a_name_with_a_line_end_is_refused_over_ftp_and_others_arrive() -> None:
    async with faulty_ftp(FtpScript()) as faulty, ftp_to(faulty) as transport:
        ended = await all_outcomes(transport, [claim_of("data/a%0D%0ADELE b"), claim_of("data/x.mrc")])
        assert isinstance(ended[0].fault, HostileName)
        assert ended[1].fault is None
        assert not any("DELE" in command for command in faulty.commands)


async def test_ftp_asks_about_the_next_file_before_the_current_one_has_ended() -> None:
    async with faulty_ftp(FtpScript()) as faulty, ftp_to(faulty) as transport:
        claims = [claim_of(f"data/{n}.mrc") for n in range(4)]
        ended = await all_outcomes(transport, claims)
        assert [o.fault for o in ended] == [None] * 4
        assert all(collected(c).data == BODY for c in claims)
        questions = [command for command in faulty.commands if command.startswith(("SIZE", "RETR"))]
        assert questions == [f"{verb} {n}.mrc" for n in range(4) for verb in ("SIZE", "RETR")]
        assert faulty.connections == 1


async def test_a_refused_ftp_file_does_not_spoil_the_one_asked_about_ahead() -> None:
    async with faulty_ftp(FtpScript(unreadable=("0.mrc", "2.mrc"))) as faulty, ftp_to(faulty) as transport:
        claims = [claim_of(f"data/{n}.mrc") for n in range(4)]
        ended = await all_outcomes(transport, claims)
        assert [type(o.fault) for o in ended] == [PermanentFault, type(None)] * 2
        assert all(collected(c).data == BODY for c in claims[1::2])
        assert faulty.connections == 1


async def test_an_ftp_server_that_takes_questions_for_an_abort_is_asked_none_during_transfers() -> None:
    async with faulty_ftp(FtpScript(takes_commands_for_abort=True)) as faulty, ftp_to(faulty) as transport:
        claims = [claim_of(f"data/{n}.mrc") for n in range(6)]
        ended = await all_outcomes(transport, claims)
        assert [type(o.fault) for o in ended] == [TransientFault] * 2 + [type(None)] * 4
        assert all(collected(c).data == BODY for c in claims[2:])


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_retry_after_reaches_the_outcome_and_the_whole_host_rests(form: str, status: str) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    clock = [0.0]
    hosts = Hosts(
        connections=2,
        requests_per_s=1e6,
        user_agent="test",
        clock=lambda: clock[0],
        sleep=sleep,
    )
    wish = "120" if form == "seconds" else formatdate(time.time() + 120, usegmt=True)
    scripts: list[Script] = [[refusal(status, f"Retry-After: {wish}")], [ok() + BODY]]
    async with faulty_http(lambda r: scripts[r.number]) as faulty, https_to(faulty, hosts=hosts) as transport:
        first = await outcome_of(transport, claim_of("data/a.mrc"))
        assert isinstance(first.fault, TransientFault)
        assert first.fault.retry_after_s == pytest.approx(120, abs=3)
        assert slept == []
        second = await outcome_of(transport, claim_of("data/b.mrc"))
        assert second.fault is None
        assert sum(slept) == pytest.approx(120, abs=3)


async def test_requests_say_who_we_are_and_what_we_hold() -> None:
    answers: list[Script] = [[part("400-999/1000", 600) + BODY[400:]]] * 2
    async with faulty_http(lambda r: answers[r.number]) as faulty, https_to(faulty) as transport:
        by_date = Validators(size=1000, modified_at=1_600_000_000)
        await outcome_of(transport, claim_of("data/à b.mrc", start=400, validators=HELD))
        await outcome_of(transport, claim_of("data/x.mrc", start=400, stop=1000, validators=by_date))
    first, second = faulty.requests
    assert first.target == "/10002/data/%C3%A0%20b.mrc"
    assert first.headers["Range"] == "bytes=400-"
    assert first.headers["If-Range"] == ETAG
    assert first.headers["Accept-Encoding"] == "identity"
    assert first.headers["User-Agent"].startswith("empiar-mirror/")
    assert second.headers["Range"] == "bytes=400-999"
    assert second.headers["If-Range"] == DATE


async def test_a_weak_etag_proves_nothing() -> None:
    async with faulty_http(lambda _: [ok(1000, f"W/{ETAG}") + BODY]) as faulty, https_to(faulty) as transport:
        outcome = await outcome_of(transport, claim_of("data/x.mrc"))
    assert outcome.found == Validators(size=1000, modified_at=1_600_000_000, etag=None)


async def test_requests_are_sent_ahead_of_the_answers() -> None:
    """The server answers nothing until it has three requests."""
    held: list[Request] = []

    def respond(request: Request) -> Script:
        held.append(request)
        if len(held) < 3:
            return []
        return [(ok() + BODY) * 3] if len(held) == 3 else [ok() + BODY]

    claims = [claim_of(f"data/{n}.mrc") for n in range(5)]
    async with faulty_http(respond) as faulty, https_to(faulty) as transport:
        ended = await all_outcomes(transport, claims)
    assert [o.fault for o in ended] == [None] * 5
    assert faulty.connections == 1


async def test_a_server_that_closes_after_every_answer_still_serves_all_and_gets_one_request_at_a_time() -> (
    None
):
    seen: list[int] = []

    def respond(request: Request) -> Script:
        seen.append(request.connection)
        return [ok() + BODY, Act.CLOSE]

    async with faulty_http(respond) as faulty, https_to(faulty) as transport:
        for _ in range(3):
            ended = await all_outcomes(transport, [claim_of(f"data/{n}.mrc") for n in range(6)])
            assert [o.fault for o in ended] == [None] * 6
        assert transport.depth == 1


async def test_a_server_that_announces_its_closing_is_still_sent_requests_ahead() -> None:
    last = head("200 OK", "Content-Length: 1000", "Connection: close") + BODY
    async with (
        faulty_http(lambda r: [last, Act.CLOSE] if r.number % 3 == 2 else [ok() + BODY]) as faulty,
        https_to(faulty) as transport,
    ):
        for _ in range(5):
            ended = await all_outcomes(transport, [claim_of(f"data/{n}.mrc") for n in range(7)])
            assert [o.fault for o in ended] == [None] * 7
        assert transport.depth > 1


async def test_one_bad_answer_does_not_spoil_those_asked_for_ahead() -> None:
    def respond(request: Request) -> Script:
        if request.target.endswith("/1.mrc"):
            return [ok() + BODY[:10], Act.RESET]
        if request.target.endswith("/3.mrc"):
            return [refusal("404 Not Found")]
        if request.target.endswith("/5.mrc"):
            return [head("404 Not Found", "Content-Length: 900000") + bytes(900000)]
        return [ok() + BODY]

    claims = [claim_of(f"data/{n}.mrc") for n in range(7)]
    async with faulty_http(respond) as faulty, https_to(faulty) as transport:
        ended = await all_outcomes(transport, claims)
    assert [type(o.fault) for o in ended] == [
        type(None), TransientFault, type(None), PermanentFault, type(None), PermanentFault, type(None)
    ]  # fmt: skip
    assert all(collected(c).data == BODY for c in claims[::2])


async def test_an_idle_connection_that_the_server_closed_is_no_fault_of_the_file() -> None:
    """The server closes every connection shortly after the first answer on it."""

    def respond(request: Request) -> Script:
        first = all(r.connection != request.connection for r in faulty.requests[:-1])
        return [ok() + BODY] if first else [Act.CLOSE]

    async with faulty_http(respond) as faulty, https_to(faulty) as transport:
        for _ in range(3):
            assert (await outcome_of(transport, claim_of("data/x.mrc"))).fault is None
        assert faulty.connections == 3


async def test_an_idle_ftp_connection_that_the_server_closed_is_no_fault_of_the_file() -> None:
    async with faulty_ftp(FtpScript(leaves_after_a_file=True)) as faulty, ftp_to(faulty) as transport:
        for path in ("data/a.mrc", "data/b.mrc", "data/c.mrc"):
            assert (await outcome_of(transport, claim_of(path))).fault is None, path
        assert faulty.connections == 2


async def test_a_host_that_refuses_connections_fails_every_claim_of_the_batch_once(
    unused_tcp_port: int,
) -> None:
    for transport in (
        HttpsTransport(f"http://127.0.0.1:{unused_tcp_port}", quick_hosts(), stall_s=1),
        FtpTransport(f"ftp://127.0.0.1:{unused_tcp_port}", quick_hosts(), stall_s=1),
    ):
        ended = await all_outcomes(transport, [claim_of(f"data/{n}.mrc") for n in range(20)])
        faults = [o.fault for o in ended]
        assert all(isinstance(fault, TransientFault) and fault.host_down for fault in faults)
        assert faults[0] is faults[-1]
        with pytest.raises(TransientFault):
            await transport.facts(RemotePath.parse(10002, "x"))
        await transport.aclose()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, crt = folder / "key.pem", folder / "crt.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-keyout", str(key), "-out", str(crt), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return crt, key


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_is_verified(certificate: tuple[Path, Path], trusted: bool) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    client = ssl.create_default_context(cafile=certificate[0]) if trusted else None
    big = BODY * 5000
    async with faulty_http(lambda _: [ok(len(big)) + big], tls=server) as faulty:
        transport = HttpsTransport(f"https://localhost:{faulty.port}", quick_hosts(), stall_s=5, tls=client)
        claims = [claim_of(f"data/{n}.mrc") for n in range(3)]
        ended = await all_outcomes(transport, claims)
        await transport.aclose()
    if trusted:
        assert [o.fault for o in ended] == [None] * 3
        assert all(collected(c).data == big for c in claims)
    else:
        assert all(isinstance(o.fault, TransientFault) and "certificate" in str(o.fault) for o in ended)
        assert faulty.requests == []
