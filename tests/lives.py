"""Lives of scripts that tests kill: each in a process of its own, forked from one that has imported the program, whose start is not what they test."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

_FORKS: Final = multiprocessing.get_context("forkserver")
#: What scripts import. Only what is installed: the process from which they are forked does not look below `tests`.
_FORKS.set_forkserver_preload(
    [
        "aiohttp",
        "numpy",
        "empiar_mirror.app",
        "empiar_mirror.eviction.evicting",
        "empiar_mirror.export.exporting",
        "empiar_mirror.globus.keeper",
        "empiar_mirror.makers.runner",
        "empiar_schema.configuration",
        "globus_sdk.services.auth",
        "globus_sdk.services.transfer",
        "sqlite_utils",
    ]
)
LONGEST_S: Final = 120.0


class Life:
    """One run of a script, as ``python script arguments…`` would be; whoever begins one waits for its end."""

    def __init__(self, script: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """The script runs. `environment`: what is to be set besides what is set here."""
        descriptor, self._said = tempfile.mkstemp(prefix="life-")
        os.close(descriptor)
        environ = {**os.environ, **(environment or {})}
        self._process = _FORKS.Process(target=_live, args=(str(script), arguments, environ, self._said))
        # Else the life would begin by importing the program that runs the tests.
        with patch.object(sys.modules["__main__"], "__file__", None, create=True):
            self._process.start()

    @property
    def returncode(self) -> int | None:
        """As of `subprocess.Popen`: None while it lives, negative after a signal."""
        return self._process.exitcode

    def kill(self) -> None:
        """``kill -9``; nothing, where it has ended."""
        self._process.kill()

    def end(self, within_s: float | None = LONGEST_S) -> tuple[int, str]:
        """Exit status and standard error, once it has ended; it is killed if it takes longer."""
        self._process.join(within_s)
        if self._process.exitcode is None:
            self.kill()
            self._process.join()
        assert self._process.exitcode is not None
        with open(self._said, encoding="utf-8", errors="replace") as file:
            said = file.read()
        os.unlink(self._said)
        return self._process.exitcode, said


@contextmanager
def living(script: Path, *arguments: str) -> Iterator[Life]:
    """The script runs at most as long as the body."""
    life = Life(script, *arguments)
    try:
        yield life
    finally:
        life.kill()
        life.end()


def lived(script: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and standard error of the script, which has ended."""
    return Life(script, *arguments).end()


async def ended(life: Life, within_s: float | None = LONGEST_S) -> tuple[int, str]:
    """As `Life.end`, while the loop goes on."""
    return await asyncio.to_thread(life.end, within_s)


def _live(script: str, arguments: tuple[str, ...], environ: dict[str, str], said: str) -> None:
    os.environ.clear()
    os.environ.update(environ)
    descriptor = os.open(said, os.O_WRONLY | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(script))
    runpy.run_path(script, run_name="__main__")
