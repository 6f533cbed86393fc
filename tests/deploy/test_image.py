"""The container image, as far as its recipe tells: everything that can be installed is, and the build sees what it needs and no more."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

HOME = Path(__file__).parents[2]
DOCKER = HOME / "docker"
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text())


def test_the_image_holds_every_extra() -> None:
    (extras,) = re.findall(r"\.whl\)\[([\w,]+)\]", (DOCKER / "Dockerfile").read_text())
    assert extras.split(",") == sorted(PROJECT["project"]["optional-dependencies"])


def test_the_build_sees_the_sources_of_the_wheel_and_nothing_else() -> None:
    """A checkout may hold environments and mirrors, which are no part of a build's context."""
    rules = [
        line for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] != "#"
    ]
    assert rules[0] == "*"
    seen = {rule.removeprefix("!/") for rule in rules if rule.startswith("!/")}
    sources = {
        package.split("/")[0] for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    }
    texts = {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    assert seen == sources | texts | {"pyproject.toml", "constraints.txt"}
