"""The three ways out: a real program, a real HTTP server, a real mail server."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from pydantic import SecretStr

from empiar_mirror.notify.command import CommandWay
from empiar_mirror.notify.gathering import Message
from empiar_mirror.notify.mail import MailWay
from empiar_mirror.notify.news import Notice
from empiar_mirror.notify.way import NotDelivered
from empiar_mirror.notify.webhook import WebhookWay
from empiar_schema.notify_settings import NoticeKind, NotifySettings

TITLE = "Ångström\r\nBcc: everybody@example.org"
MESSAGE = Message(
    NoticeKind.COMPLETE,
    "node1:/srv/empiar",
    1_767_225_600,
    (Notice(NoticeKind.COMPLETE, "EMPIAR-10017", TITLE),),
)
SECRET = "hush-hush"


# --- a program ----------------------------------------------------------------------------------------------


def program(folder: Path, text: str) -> tuple[str, str]:
    """A Python program as a command."""
    path = folder / "tell.py"
    path.write_text(text)
    return sys.executable, str(path)


async def test_a_program_gets_the_message_and_none_of_our_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPIAR_MIRROR_NOTIFY__OPS__URL", SECRET)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/none")
    command = program(
        tmp_path,
        f"import json, os, sys\nopen({str(tmp_path / 'got')!r}, 'w').write(json.dumps([json.load(sys.stdin), dict(os.environ)]))",
    )
    await CommandWay(command, timeout_s=60).send(MESSAGE)
    document, environment = json.loads((tmp_path / "got").read_text())
    assert document == MESSAGE.document()
    assert document["notices"] == [{"subject": "EMPIAR-10017", "text": TITLE}]
    assert "PATH" in environment
    assert "NOTIFY_SOCKET" not in environment
    assert SECRET not in json.dumps(environment)


async def test_a_program_that_reads_nothing_and_prints_much_is_nothing_to_wait_for(tmp_path: Path) -> None:
    await CommandWay(program(tmp_path, "print('x' * 10_000_000)"), timeout_s=60).send(MESSAGE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("raise SystemExit(3)", "exit code 3"), ("import os\nos.kill(os.getpid(), 9)", "signal 9")],
)
async def test_a_program_that_fails_is_told_by_its_end(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(NotDelivered, match=reason) as failed:
        await CommandWay(program(tmp_path, text), timeout_s=60).send(MESSAGE)
    assert not failed.value.again


async def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotDelivered, match="cannot be started: No such file"):
        await CommandWay([str(tmp_path / "none")], timeout_s=60).send(MESSAGE)


async def test_a_program_that_hangs_is_ended_with_all_it_has_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = program(
        tmp_path,
        f"import subprocess, time\nchild = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\ntime.sleep(600)",
    )
    with pytest.raises(NotDelivered, match="took longer than 3 s and was ended"):
        await CommandWay(command, timeout_s=3).send(MESSAGE)
    # A process that was killed dies when the system comes to it.
    async with asyncio.timeout(30):
        while alive(int(pid.read_text())):
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- a webhook ----------------------------------------------------------------------------------------------


@dataclass
class Hook:
    """A web server that takes messages, and answers as it is told to."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[str, object]] = field(default_factory=list)
    url: str = ""


@asynccontextmanager
async def webhook(**how: object) -> AsyncIterator[Hook]:
    hook = Hook(**how)  # type: ignore[arg-type]

    async def take(request: web.Request) -> web.Response:
        hook.got.append((request.path_qs, await request.json()))
        return web.Response(status=hook.status, headers=hook.headers, text=f"no {SECRET} here")

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        hook.url = f"http://{host}:{port}/services/{SECRET}?key={SECRET}"
        yield hook
    finally:
        await runner.cleanup()


async def test_a_webhook_gets_the_message_as_json() -> None:
    async with webhook(status=204) as hook:
        await WebhookWay(SecretStr(hook.url), timeout_s=30).send(MESSAGE)
    assert hook.got == [(f"/services/{SECRET}?key={SECRET}", MESSAGE.document())]


@pytest.mark.parametrize(
    ("status", "headers", "again", "after_s"),
    [
        (500, {}, True, None),
        (429, {"Retry-After": "7"}, True, 7.0),
        (503, {"Retry-After": "999999999"}, True, 300.0),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, True, None),
        (404, {}, False, None),
        (302, {"Location": "http://127.0.0.1:1/"}, False, None),
    ],
)
async def test_an_answer_says_whether_another_try_may_succeed(
    status: int, headers: dict[str, str], again: bool, after_s: float | None
) -> None:
    async with webhook(status=status, headers=headers) as hook:
        with pytest.raises(NotDelivered, match=f"answered HTTP {status}") as failed:
            await WebhookWay(SecretStr(hook.url), timeout_s=30).send(MESSAGE)
    assert (failed.value.again, failed.value.after_s) == (again, after_s)
    assert SECRET not in str(failed.value)
    assert len(hook.got) == 1


async def test_no_error_of_the_connection_holds_the_address() -> None:
    async with webhook() as hook:
        gone = hook.url
    for url in (gone, gone.replace("http:", "https:")):
        with pytest.raises(NotDelivered, match="cannot be reached") as failed:
            await WebhookWay(SecretStr(url), timeout_s=30).send(MESSAGE)
        assert failed.value.again
        assert SECRET not in str(failed.value) + repr(failed.value)
        assert failed.value.__suppress_context__


async def test_a_server_that_says_nothing_is_given_up() -> None:
    left = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotDelivered, match=r"did not answer within 0\.3 s") as failed:
            await WebhookWay(SecretStr(f"http://127.0.0.1:{port}/"), timeout_s=0.3).send(MESSAGE)
        await left.wait()
    assert failed.value.again


# --- e-mail -------------------------------------------------------------------------------------------------


@dataclass
class Post:
    """A mail server's handler: takes e-mails, or refuses as it is told to."""

    refuse: dict[str, str] = field(default_factory=dict)
    answer: str = "250 taken"
    taken: list[Envelope] = field(default_factory=list)
    logged_in: list[bool] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 taken"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.taken.append(envelope)
        self.logged_in.append(session.authenticated is True)
        return self.answer


def logs_in(
    _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object
) -> AuthResult:
    good = getattr(data, "login", b"") == b"me" and getattr(data, "password", b"") == SECRET.encode()
    return AuthResult(success=good, handled=False)


class _Controller(Controller):
    """On a free port, which the library's own check of the start cannot find."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def mail_server(post: Post, **how: Any) -> Iterator[int]:
    controller = _Controller(post, hostname="127.0.0.1", port=0, **how)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]
    command += ["-days", "2", "-subj", "/CN=mail", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


def mail_way(port: int, **how: object) -> MailWay:
    values = {
        "kind": "email",
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "mirror@example.org",
        "recipients": ["a@example.org", "b@example.org"],
        **how,
    }
    return MailWay(NotifySettings.model_validate(values))


async def test_an_e_mail_comes_with_a_header_that_nobody_forges() -> None:
    post = Post()
    with mail_server(post) as port:
        await mail_way(port).send(MESSAGE)
    [envelope] = post.taken
    assert envelope.mail_from == "mirror@example.org"
    assert envelope.rcpt_tos == ["a@example.org", "b@example.org"]
    assert isinstance(envelope.content, bytes)
    mail = message_from_bytes(envelope.content, policy=policy.default)
    assert mail["Subject"] == "empiar-mirror on node1:/srv/empiar: entries complete"
    assert mail["Bcc"] is None
    assert mail["Date"] == "Thu, 01 Jan 2026 00:00:00 +0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "Ångström" in mail.get_content()


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_login_goes_over_an_encrypted_connection(
    security: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    context = server_context(certificate)
    how: dict[str, Any] = {"authenticator": logs_in}
    how |= (
        {"tls_context": context, "require_starttls": True}
        if security == "starttls"
        else {"ssl_context": context, "auth_require_tls": False}
    )
    post = Post()
    with mail_server(post, **how) as port:
        await mail_way(port, security=security, user="me", password=SECRET).send(MESSAGE)
        assert post.logged_in == [True]
        with pytest.raises(NotDelivered, match="refuses the login") as failed:
            await mail_way(port, security=security, user="me", password="wrong-one").send(MESSAGE)
    assert "wrong-one" not in str(failed.value)
    assert not failed.value.again
    assert len(post.taken) == 1


async def test_a_certificate_that_nobody_vouches_for_ends_the_try(certificate: tuple[Path, Path]) -> None:
    post = Post()
    with (
        mail_server(post, tls_context=server_context(certificate)) as port,
        pytest.raises(NotDelivered, match="certificate is not trusted"),
    ):
        await mail_way(port, security="starttls").send(MESSAGE)
    assert post.taken == []


async def test_a_server_without_encryption_is_not_spoken_to_in_clear() -> None:
    post = Post()
    with mail_server(post) as port, pytest.raises(NotDelivered, match="offers no login or no encryption"):
        await mail_way(port, security="starttls", user="me", password=SECRET).send(MESSAGE)
    assert post.taken == []


@pytest.mark.parametrize(("answer", "again"), [("451 later", True), ("554 never", False)])
async def test_what_the_server_says_of_the_mail_decides_about_another_try(answer: str, again: bool) -> None:
    with mail_server(Post(answer=answer)) as port, pytest.raises(NotDelivered) as failed:
        await mail_way(port).send(MESSAGE)
    assert str(failed.value) == f"the mail server answered SMTP {answer[:3]}"
    assert failed.value.again is again


async def test_recipients_that_are_refused_are_told_and_nobody_gets_it_twice() -> None:
    post = Post(refuse={"b@example.org": "550 unknown"})
    with (
        mail_server(post) as port,
        pytest.raises(NotDelivered, match="refused 1 of the recipients") as failed,
    ):
        await mail_way(port).send(MESSAGE)
    assert not failed.value.again
    assert len(post.taken) == 1
    nobody = Post(refuse=dict.fromkeys(("a@example.org", "b@example.org"), "450 full"))
    with (
        mail_server(nobody) as port,
        pytest.raises(NotDelivered, match=r"no recipient \(SMTP 450\)") as failed,
    ):
        await mail_way(port).send(MESSAGE)
    assert failed.value.again


async def test_a_mail_server_that_is_away_is_tried_again() -> None:
    with mail_server(Post()) as port:
        pass
    with pytest.raises(NotDelivered, match="cannot be reached: Connection refused") as failed:
        await mail_way(port).send(MESSAGE)
    assert failed.value.again
