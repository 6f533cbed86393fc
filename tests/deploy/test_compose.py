"""The compose file, as far as it can be checked without an engine: what is contained, what is open, what it needs."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from empiar_mirror.cli import cli
from empiar_mirror.metrics.server import served
from empiar_mirror.status import SILENT_S
from empiar_mirror.web.serving import token_of
from empiar_schema.configuration import PREFIX, load
from empiar_schema.serve_settings import ServeSettings
from empiar_schema.settings import Settings
from seen_mirror import seen_mirror

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "empiar-mirror"]


def binds(service: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Source, place and whether it is read-only, of each volume; defaults of variables filled in."""
    for volume in service.get("volumes", ()):
        source, place, *mode = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")
        yield source, place, mode == ["ro"]


def test_the_daemon_starts_by_default_and_the_rest_on_request() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["init", "mirror"]
    assert SERVICES["mirror"]["command"][0] == "run"
    assert SERVICES["mirror"]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_change_nothing_but_its_volumes(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
    writable = {place for _, place, read_only in binds(service) if not read_only}
    assert writable <= {"/srv/empiar"} if name in OURS else len(writable) <= 1


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_on_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there_or_declared(name: str) -> None:
    for source, _, _ in binds(SERVICES[name]):
        declared = source in COMPOSE["volumes"] or source == "./empiar"
        assert declared or (DOCKER / source).is_dir(), source


def test_images_of_others_have_a_version() -> None:
    others = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    assert all(re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image) for image in others)


def test_the_web_page_asks_for_a_token_and_is_in_the_image() -> None:
    web = SERVICES["web"]
    name, *arguments = web["command"]
    # As a child of the whole program's context: commands remember the first names of their help option.
    program = click.Context(cli, **cli.context_settings)
    command = cli.get_command(program, name)
    assert command is not None
    given = command.make_context(name, [*arguments], parent=program).params
    port = ServeSettings().port
    assert web["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert token_of(Settings(serve=ServeSettings(host=given["host"]))) is not None
    assert "serve" in re.findall(r"\[([a-z,]+)\]\"", (DOCKER / "Dockerfile").read_text())[0].split(",")
    assert f":{port}/-/healthz" in web["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", OURS)
def test_the_settings_are_valid_and_leave_health_to_the_network(name: str, tmp_path: Path) -> None:
    given = SERVICES[name]["environment"]
    assert set(given) == {f"{PREFIX}ROOT", f"{PREFIX}CRAWL__CONTACT", f"{PREFIX}DAEMON__LISTEN"}
    settings = load(environ={**given, f"{PREFIX}CRAWL__CONTACT": "you@example.org"}, cwd=tmp_path)
    assert settings.daemon.address == ("0.0.0.0", 9170)
    assert settings.root == Path("/srv/empiar")
    assert SERVICES["mirror"]["expose"] == ["9170"]


async def test_the_health_check_tells_a_standstill_from_progress(tmp_path: Path) -> None:
    """Its very command, against a real server."""
    kind, program, *arguments = SERVICES["mirror"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    with seen_mirror(tmp_path / "mirror") as seen:
        door = served(("127.0.0.1", 0), seen.instruments.registry, seen.monitor)
        async with door as (_, port):

            async def check() -> int | None:
                asked = [argument.replace("127.0.0.1:9170", f"127.0.0.1:{port}") for argument in arguments]
                process = await asyncio.create_subprocess_exec(
                    sys.executable, *asked, stderr=asyncio.subprocess.DEVNULL
                )
                return await process.wait()

            await seen.monitor.refresh()
            assert await check() == 0
            seen.clock.now += SILENT_S + 301
            await seen.monitor.refresh()
            assert await check() == 1


def test_the_image_runs_as_somebody_who_is_not_root() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert re.search(r"^USER mirror$", text, re.MULTILINE)
    assert re.search(r"useradd --uid 10001 ", text)
