"""A Dask scheduler and workers as processes of their own on loopback, as a site starts them; ended by their ids."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_TESTS = Path(__file__).parent
_SCHEDULER = [
    "-m",
    "distributed.cli.dask_scheduler",
    "--host",
    "127.0.0.1",
    "--port",
    "0",
    "--no-dashboard",
    "--no-show",
]
_WORKER = [
    "-m",
    "distributed.cli.dask_worker",
    "--host",
    "127.0.0.1",
    "--no-nanny",
    "--no-dashboard",
    "--nthreads",
    "1",
]


@dataclass
class DaskCluster:
    """One scheduler, and the workers that were started for it."""

    folder: Path
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_scheduler(self, *options: str) -> None:
        """The scheduler listens at `address`: the one of before, if there was one."""
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        port = ["--port", self.address.rpartition(":")[2]] if self.address else []
        command = [*_SCHEDULER, *port, "--scheduler-file", str(file), *options]
        self.scheduler = self._started(command, "scheduler.log")

        def read() -> str:
            try:
                return str(json.loads(file.read_text())["address"])
            except (OSError, ValueError):
                return ""

        until(lambda: bool(read()), self.log)
        self.address = read()

    def start_worker(self, *options: str, **variables: str) -> subprocess.Popen[bytes]:
        """One more worker, of one thread, has been started; it joins when it is ready."""
        name = f"worker-{len(self.workers)}"
        command = [*_WORKER, self.address, "--local-directory", str(self.folder / name), *options]
        worker = self._started(command, f"{name}.log", **variables)
        self.workers.append(worker)
        return worker

    def log(self) -> str:
        """What scheduler and workers have said."""
        return "".join(f"--- {file.name}\n{file.read_text()}" for file in sorted(self.folder.glob("*.log")))

    def end(self) -> None:
        """None of the processes is left."""
        for process in (*self.workers, *([self.scheduler] if self.scheduler else [])):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    def _started(self, arguments: list[str], log: str, **variables: str) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(_TESTS), *filter(None, sys.path)])
        quick = {
            "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h",
            "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "spawn",
        }
        with (self.folder / log).open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, *arguments],
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **quick, "PYTHONPATH": paths, **variables},
                start_new_session=True,
            )


@contextmanager
def dask_cluster(folder: Path, *, workers: int) -> Iterator[DaskCluster]:
    """A cluster with so many workers, which have been started and join when they are ready."""
    folder.mkdir(exist_ok=True)
    cluster = DaskCluster(folder)
    try:
        cluster.start_scheduler()
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.end()


def until(condition: object, explain: object = None) -> None:
    """Returns when `condition()` holds."""
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, explain() if callable(explain) else "it did not come about"
        time.sleep(0.02)
