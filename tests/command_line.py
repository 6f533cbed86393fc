"""Calls of the command line in this process, and what they printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from empiar_mirror.cli import main


@dataclass(frozen=True, slots=True)
class Output:
    """What one call printed."""

    code: int
    out: str
    err: str


Call = Callable[..., Output]


def caller(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command with these arguments."""

    def run(*arguments: str) -> Output:
        capsys.readouterr()
        code = main(arguments)
        return Output(code, *capsys.readouterr())

    return run
