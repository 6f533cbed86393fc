"""Answers that no Globus gives: endless, dripping, deep, of other kinds. Each ends as a clear fault, soon, and harms nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from empiar_schema.faults import AccountFault, BadAnswer, EmpiarMirrorError, TransientFault
from empiar_schema.settings import GlobusSettings
from empiar_wire.globus import TransferService
from empiar_wire.globus_account import GlobusAccount
from empiar_wire.globus_transport import tame

SOMEBODY = "00000000-0000-4000-8000-000000000001"
SECRET = "the-secret-of-the-application"
TOKENS = {
    "access_token": "the-access-token",
    "scope": "urn:globus:auth:scope:transfer.api.globus.org:all",
    "resource_server": "transfer.api.globus.org",
    "expires_in": 3600,
    "token_type": "Bearer",
    "other_tokens": [],
}
#: Writes an answer to the token request, or to any other one.
Script = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, body: bytes, kind: str = "application/json", **headers: str) -> Script:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        sent = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        for name, value in sent.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return write


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * 65_536)
    except OSError:
        handler.close_connection = True


def cut(handler: BaseHTTPRequestHandler) -> None:
    answer(200, b'{"value"', Content_Length="5000")(handler)
    handler.close_connection = True


GOOD_TOKENS = answer(200, json.dumps(TOKENS).encode())
GOOD_ID = answer(200, b'{"value": "an id"}')


@contextmanager
def serving(tokens: Script, others: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Silent."""

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            (tokens if self.path.endswith("/oauth2/token") else others)(self)

        do_POST = do_GET  # noqa: N815 - the server looks for it by this name

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def asked(url: str, *, whole_s: float = 60.0) -> str:
    """A submission id, from whoever answers at `url`."""
    settings = GlobusSettings(
        client_id=SOMEBODY, client_secret=SecretStr(SECRET), transfer_url=url, auth_url=url
    )
    account = GlobusAccount(settings, Path())
    service = TransferService(account, requests_per_s=1000)
    for client in account._clients:
        tame(client, largest_bytes=2**20, whole_s=whole_s)
    try:
        return await service.submission_id()
    finally:
        await service.aclose()


async def test_a_sensible_answer_is_taken() -> None:
    with serving(GOOD_TOKENS, GOOD_ID) as url:
        assert await asked(url) == "an id"


DEEP = b"[" * 200_000


@pytest.mark.parametrize(
    ("others", "kind"),
    [
        (endless, BadAnswer),
        (cut, TransientFault),
        (answer(200, DEEP), TransientFault),
        (answer(500, DEEP), TransientFault),
        (answer(200, b"<html>log in to the guest network</html>", "text/html"), TransientFault),
        (answer(200, b"\xff\xfe\x00"), TransientFault),
        (answer(200, b"9" * 5000), TransientFault),
        (answer(200, b'{"value": ' + b"9" * 5000 + b"}"), TransientFault),
        (answer(200, b'{"value": NaN}'), BadAnswer),
        (answer(502, b'["x"]'), TransientFault),
        (answer(502, b'{"code": null}'), TransientFault),
        (answer(502, b'{"code": 7, "message": ["x"], "errors": [3]}'), TransientFault),
        (answer(502, b'{"errors": [{"code": 1}], "code": {}}'), TransientFault),
        (answer(403, b'{"code": "ConsentRequired", "message": "m", "required_scopes": "all"}'), AccountFault),
        (answer(403, b'{"code": "ConsentRequired", "message": "m", "required_scopes": ["]["]}'), TransientFault),
        (answer(403, b'{"code": "x", "message": "m", "authorization_parameters": 5}'), AccountFault),
        (answer(403, b'{"code": "x", "message": "m", "authorization_parameters": {"session_required_mfa": "yes"}}'), AccountFault),
        (answer(503, b"", Retry_After="soon"), TransientFault),
        (answer(302, b"", Location="http://127.0.0.1:1/"), TransientFault),
        (answer(302, b"", Location="file:///etc/passwd"), TransientFault),
    ],
)  # fmt: skip
async def test_an_odd_answer_of_transfer_is_a_fault(others: Script, kind: type[EmpiarMirrorError]) -> None:
    with serving(GOOD_TOKENS, others) as url, pytest.raises(EmpiarMirrorError) as caught:
        await asked(url)
    assert isinstance(caught.value, kind)
    assert "the-" not in str(caught.value) + caught.value.hint


async def test_a_consent_for_anything_but_transfers_is_not_asked_for() -> None:
    groups = b"urn:globus:auth:scope:groups.api.globus.org:all"
    demand = answer(
        403, b'{"code": "ConsentRequired", "message": "m", "required_scopes": ["' + groups + b'"]}'
    )
    times: list[None] = []

    def tokens(handler: BaseHTTPRequestHandler) -> None:
        times.append(None)
        GOOD_TOKENS(handler)

    with serving(tokens, demand) as url, pytest.raises(AccountFault, match="that transfers do not need"):
        await asked(url)
    assert len(times) == 1


async def test_an_answer_that_drips_is_left() -> None:
    with serving(GOOD_TOKENS, endless) as url, pytest.raises(BadAnswer, match="too slow"):
        await asked(url, whole_s=0.0)


@pytest.mark.parametrize(
    ("tokens", "kind"),
    [
        (endless, BadAnswer),
        (cut, TransientFault),
        (answer(200, b"[]"), TransientFault),
        (answer(200, b"{}"), TransientFault),
        (answer(200, DEEP), TransientFault),
        (answer(200, json.dumps(TOKENS | {"expires_in": "long"}).encode()), TransientFault),
        (answer(200, json.dumps(TOKENS | {"access_token": 5}).encode()), TransientFault),
        (answer(200, json.dumps(TOKENS | {"other_tokens": 5}).encode()), TransientFault),
        (answer(200, json.dumps(TOKENS | {"scope": None}).encode()), TransientFault),
        (answer(200, json.dumps(TOKENS | {"other_tokens": [TOKENS | {"resource_server": "x"}]}).encode()), TransientFault),
        (answer(200, json.dumps(TOKENS | {"scope": "other"}).encode()), AccountFault),
        (answer(200, json.dumps(TOKENS | {"id_token": "x.y.z"}).encode()), EmpiarMirrorError),
        (answer(400, b'{"error": "the-access-token ' + SECRET.encode() + b'"}'), AccountFault),
        (answer(401, b'{"error": "invalid_client", "error_description": "' + SECRET.encode() + b'"}'), AccountFault),
        (answer(500, b"the-access-token"), TransientFault),
    ],
)  # fmt: skip
async def test_an_odd_answer_of_auth_is_a_fault_that_quotes_nothing(
    tokens: Script, kind: type[EmpiarMirrorError]
) -> None:
    with serving(tokens, GOOD_ID) as url, pytest.raises(EmpiarMirrorError) as caught:
        await asked(url)
    assert isinstance(caught.value, kind)
    assert "the-" not in str(caught.value) + caught.value.hint
