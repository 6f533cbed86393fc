"""Who may save: the door of the page alone, and the token that the command prints."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from empiar_mirror.web.answers import Message, Receive, Scope, Send, plain
from empiar_mirror.web.door import MAY_WRITE, Door
from small_mirror import make_small_mirror

READ, WRITE = "a-token-for-reading", "a-token-for-writing"
LABELS = "/entry/10017/micrograph/1/labels"
HOST = "mirror.example:8001"


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    await plain(200, f"inside, may write: {scope[MAY_WRITE]}").send(send)


async def through(
    door: Door, method: str, path: str, **headers: str
) -> tuple[int, list[tuple[str, str]], str]:
    """Status, headers and text of what comes back."""
    sent: list[Message] = []
    path, _, query = path.partition("?")

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    given = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope: Scope = {
        "type": "http",
        "method": method,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    await door(scope, receive, send)
    found = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
    return sent[0]["status"], found, sent[1]["body"].decode()


async def cookies(door: Door, token: str) -> dict[str, str]:
    status, headers, _ = await through(door, "GET", f"/-/login?token={token}")
    assert status == 303
    return dict(value.partition(";")[0].split("=", 1) for name, value in headers if name == "set-cookie")


def saving(cookie: str = "", origin: str = f"http://{HOST}") -> dict[str, str]:
    return {"cookie": cookie, "origin": origin, "content_type": "application/json"}


async def test_the_cookie_for_looking_saves_nothing_and_each_token_opens_its_own() -> None:
    door = Door(inside, token=READ, write_token=WRITE)
    looks, writes = await cookies(door, READ), await cookies(door, WRITE)
    assert (set(looks), set(writes)) == ({"empiar-mirror"}, {"empiar-mirror-write"})
    look, write = (f"{name}={value}" for found in (looks, writes) for name, value in found.items())
    assert (await through(door, "POST", LABELS, **saving(look)))[0] == 401
    # Whoever may save has to be let in all the same.
    assert (await through(door, "POST", LABELS, **saving(write)))[0] == 401
    both = saving(f"{look}; {write}")
    assert (await through(door, "POST", LABELS, **both))[2] == "inside, may write: True\n"
    assert (await through(door, "GET", "/", cookie=look))[2] == "inside, may write: False\n"
    swapped = f"{look}; empiar-mirror-write={looks['empiar-mirror']}"
    assert (await through(door, "POST", LABELS, **saving(swapped)))[0] == 401


async def test_one_configured_token_is_for_both() -> None:
    door = Door(inside, token=READ, write_token=READ)
    found = await cookies(door, READ)
    assert set(found) == {"empiar-mirror", "empiar-mirror-write"}
    kept = "; ".join(f"{name}={value}" for name, value in found.items())
    for origin in (f"https://{HOST}", f"http://{HOST.upper()}"):
        assert (await through(door, "POST", LABELS, **saving(kept, origin)))[0] == 200
    for origin in (
        "",
        "null",
        "http://mirror.example",
        f"http://{HOST}.evil.example",
        f"http://evil.example/{HOST}",
    ):
        assert (await through(door, "POST", LABELS, **saving(kept, origin)))[0] == 403


@pytest.mark.parametrize("token", [None, READ])
async def test_without_a_write_token_nothing_is_saved(token: str | None) -> None:
    door = Door(inside, token=token)
    headers = saving() | {"host": "127.0.0.1:8001", "origin": "http://127.0.0.1:8001"}
    for bearer in ("", "Bearer ", "Bearer None", f"Bearer {READ}"):
        assert (await through(door, "POST", LABELS, **headers, authorization=bearer))[0] == 401
    if token is None:
        assert (await through(door, "GET", "/-/login", host="127.0.0.1"))[0] == 404


def test_the_command_prints_the_token_that_saves(tmp_path: Path) -> None:
    make_small_mirror(tmp_path / "mirror")
    file = tmp_path / "empiar-mirror.toml"
    file.write_text(f'root = "{tmp_path / "mirror"}"\n')
    command = [sys.executable, "-m", "empiar_mirror", "serve", "--port", "0", "--json", "--config", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            assert serving.stderr is not None
            lines: list[str] = []
            while not lines or lines[-1] != "}\n":
                lines.append(serving.stdout.readline())
                assert lines[-1], serving.stderr.read()
            told = json.loads("".join(lines))
            assert told["token"] is None
            while told["write_token"] not in (line := serving.stderr.readline()):
                assert line
            assert f"{told['address']}-/login?token=" in line
            for token, status in (("wrong", 401), (told["write_token"], 404)):
                request = urllib.request.Request(
                    told["address"] + LABELS.removeprefix("/"),
                    data=b"{}",
                    headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
                )
                with pytest.raises(urllib.error.HTTPError) as caught:
                    urllib.request.urlopen(request, timeout=60)
                assert caught.value.code == status
                caught.value.close()
        finally:
            serving.terminate()
            serving.wait()
