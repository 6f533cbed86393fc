"""The service under trial: the real command, its configuration, and what it says."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

CONTACT = "soak@example.org"
#: In the environment of the service, and nowhere else.
SECRETS = {
    "EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET": "sesame-globus-91b2c7",
    "EMPIAR_MIRROR_NOTIFY__CHAT__URL": "http://127.0.0.1:9/hook/sesame-chat-5521f0",
}
#: What the configuration allows at one host: crawler and transfers have a gate each.
CRAWL = {"connections": 3, "requests_per_s": 40}
TRANSFER = {"connections": 6, "requests_per_s": 80}

CONFIGURATION = """
root = "{root}"
[archive]
{addresses}
[crawl]
interval = "6s"
relist = "8s"
contact = "{contact}"
connections = {crawl[connections]}
requests_per_s = {crawl[requests_per_s]}
[transfer]
connections = {transfer[connections]}
requests_per_s = {transfer[requests_per_s]}
segment_bytes = "1MiB"
connections_per_file = 1
stall_s = "2s"
retries = 12
retry_wait_s = "0.1s"
[scrub]
period = "20s"
[disk]
high_watermark = 0.98
low_watermark = 0.97
[daemon]
listen = ""
[notify.chat]
kind = "webhook"
events = ["complete", "damage", "stuck", "disk"]
"""


def configuration(root: Path, urls: dict[str, str]) -> str:
    """The configuration file, in which everything comes round in seconds."""
    addresses = "\n".join(f'{name} = "{url}"' for name, url in urls.items())
    return CONFIGURATION.format(
        root=root, addresses=addresses, contact=CONTACT, crawl=CRAWL, transfer=TRANSFER
    )


@dataclass
class Service:
    """``empiar-mirror run`` in `folder`, started and ended as often as somebody likes; its log goes on in one file."""

    folder: Path
    process: asyncio.subprocess.Process | None = None
    #: Exit codes with which it ended by itself, or after SIGTERM.
    ends: list[int] = field(default_factory=list)
    #: How often the log had said so when the latest was started.
    _said: int = 0

    @property
    def config(self) -> Path:
        return self.folder / "empiar-mirror.toml"

    @property
    def log(self) -> Path:
        return self.folder / "service.log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def _environment(self) -> dict[str, str]:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(home))
        return {**os.environ, **SECRETS, **places, "PYTHONDONTWRITEBYTECODE": "1"}

    async def start(self) -> None:
        self._said = self.log.read_bytes().count(b"until stopped") if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "empiar_mirror", "run", "--log-format", "json", "--config", self.config,
                cwd=self.folder, env=self._environment(), stderr=log, stdout=log,
            )  # fmt: skip

    async def kill(self) -> float:
        """``kill -9``; returns when."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()
        return time.time()

    async def stop(self, within_s: float = 60.0) -> int:
        """SIGTERM; returns the exit code, -9 if it had to be killed after all."""
        assert self.process is not None
        if self.running:
            self.process.terminate()
        try:
            code = await asyncio.wait_for(self.process.wait(), within_s)
        except TimeoutError:
            await self.kill()
            code = -9
        self.ends.append(code)
        return code

    async def ready(self, within_s: float = 60.0) -> bool:
        """Waits until the service has said that it works; False if it ended instead, or took too long."""
        until = time.monotonic() + within_s
        while self.running and time.monotonic() < until:
            if self.log.read_bytes().count(b"until stopped") > self._said:
                return True
            await asyncio.sleep(0.1)
        return False

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.running:
            self.process.send_signal(number)

    async def command(self, *arguments: str, within_s: float = 240.0) -> tuple[int, str]:
        """Another ``empiar-mirror``; its exit code and all that it says."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "empiar_mirror", *arguments, "--config", self.config,
            cwd=self.folder, env=self._environment(),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            said, _ = await asyncio.wait_for(process.communicate(), within_s)
        except TimeoutError:
            process.kill()
            said, _ = await process.communicate()
        text = said.decode(errors="replace")
        with (self.folder / "commands.log").open("a") as log:
            log.write(f"$ empiar-mirror {' '.join(arguments)}\n{text}-> {process.returncode}\n")
        assert process.returncode is not None
        return process.returncode, text
