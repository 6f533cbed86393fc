"""The rehearsal archive on free loopback ports, inside a program or on its own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from empiar_mirror.rehearsal import api
from empiar_mirror.rehearsal.api import ApiServer
from empiar_mirror.rehearsal.archive import Entry, RehearsalArchive
from empiar_mirror.rehearsal.changing import Changes
from empiar_mirror.rehearsal.entries import big_entry, many_files_entry, standard_entries
from empiar_mirror.rehearsal.faults import Fault, FaultBook, standard_faults
from empiar_mirror.rehearsal.ftp import FtpServer
from empiar_mirror.rehearsal.globus import GlobusConfig, GlobusStandIn
from empiar_mirror.rehearsal.http import TREE, TreeServer
from empiar_mirror.rehearsal.link import Hangs, Link, Relay, listening_socket
from empiar_mirror.rehearsal.maps import standard_maps
from empiar_mirror.rehearsal.served import ServedLog, ServedRequest

HttpHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Rehearsal:
    """The archive's servers, running inside ``async with``.

    API and file tree have a port each, as they have a host each in reality. `archive`, `book` and `log` may be
    read and changed at any time.
    """

    def __init__(
        self,
        entries: Iterable[Entry] | None = None,
        *,
        scale: int = 1,
        faults: Iterable[Fault] = (),
        link: Link | None = None,
        mlsd: bool = False,
        ftp_sessions: int | None = None,
        log_file: Path | None = None,
        globus: GlobusConfig | None = None,
    ) -> None:
        self.archive = RehearsalArchive(standard_entries(scale) if entries is None else entries)
        self.archive.maps.update(standard_maps())
        self.book = FaultBook(list(faults))
        self.served = ServedLog()
        self._link = link or Link()
        self._log_file = log_file
        hangs = Hangs(self._link.hang_share)
        self._tree = TreeServer(self.archive, self.book, self.served, hangs)
        self._api = ApiServer(self.archive, self.book, self.served)
        self._ftp = FtpServer(
            self.archive, self.book, self.served, self._link, hangs, mlsd=mlsd, max_sessions=ftp_sessions
        )
        self._globus = None if globus is None else GlobusStandIn(self.archive, globus, self.served)
        self._closing = contextlib.AsyncExitStack()
        self._ports: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            if self._log_file is not None:
                self.served.write_to(self._log_file)
                stack.callback(self.served.close)
            for channel, handler in (("api", self._api.handle), ("https", self._tree.handle)):
                port = await self._http(stack, channel, handler)
                self._ports[channel] = await self._relayed(stack, channel, port)
            ftp_port = await self._ftp.start()
            stack.push_async_callback(self._ftp.close)
            self._ports["ftp"] = await self._relayed(stack, "ftp", ftp_port)
            if self._globus is not None:
                await self._globus.start()
                stack.push_async_callback(self._globus.close)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._closing.aclose()

    async def _http(self, stack: contextlib.AsyncExitStack, channel: str, handler: HttpHandler) -> int:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if request.transport is not None and not self._link.shapes:
                self.served.opened(channel, request.transport.get_extra_info("socket"))
            return await handler(request)

        # Cancelling on disconnect ends answers that are left hanging on purpose.
        server = web.Server(handle, handler_cancellation=True, access_log=None, keepalive_timeout=60)
        runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        listener = listening_socket()
        await web.SockSite(runner, listener, backlog=256).start()
        port: int = listener.getsockname()[1]
        return port

    async def _relayed(self, stack: contextlib.AsyncExitStack, channel: str, port: int) -> int:
        if not self._link.shapes:
            return port
        relay = Relay(self._link, port, opened=functools.partial(self.served.opened, channel))
        front = await relay.start()
        stack.push_async_callback(relay.close)
        return front

    @property
    def api_url(self) -> str:
        """For `archive.api_url`."""
        return f"http://127.0.0.1:{self._ports['api']}{api.API}"

    @property
    def search_url(self) -> str:
        """For `archive.search_url`."""
        return f"http://127.0.0.1:{self._ports['api']}{api.SEARCH}"

    @property
    def site_url(self) -> str:
        """For `archive.site_url`."""
        return f"http://127.0.0.1:{self._ports['api']}{api.SITE}"

    @property
    def https_url(self) -> str:
        """For `archive.https_url`; plain HTTP, since the loopback needs no certificate."""
        return f"http://127.0.0.1:{self._ports['https']}{TREE.decode()}"

    @property
    def ftp_url(self) -> str:
        """For `archive.ftp_url`."""
        return f"ftp://127.0.0.1:{self._ports['ftp']}{TREE.decode()}"

    @property
    def globus(self) -> GlobusStandIn:
        """The stand-in of Globus.

        Raises:
            LookupError: this archive was started without one.
        """
        if self._globus is None:
            raise LookupError("Rehearsal(globus=GlobusConfig(...)) starts a stand-in of Globus")
        return self._globus

    @property
    def log(self) -> list[ServedRequest]:
        """Every request so far, in the order in which they ended."""
        return self.served.requests

    def bytes_served(self, path: str | None = None) -> int:
        """Payload bytes of files sent so far; of one path (``10101/data/x.mrc``), or of all."""
        return self.served.bytes_served(path)

    def urls(self) -> dict[str, str]:
        """All addresses by the name of their setting."""
        found = self._archive_urls()
        if self._globus is not None:
            found |= {"transfer_url": self._globus.url, "auth_url": self._globus.url}
        return found

    def _archive_urls(self) -> dict[str, str]:
        names = ("api_url", "search_url", "site_url", "https_url", "ftp_url")
        return {name: str(getattr(self, name)) for name in names}

    def settings_toml(self, root: Path | str) -> str:
        """A configuration file for a mirror of this archive below `root`.

        With Globus the client's secret is still needed, from ``EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET``.
        """
        tables: dict[str, dict[str, str]] = {"archive": self._archive_urls()}
        if self._globus is not None:
            facts = self._globus.settings(Path(root))
            tables["archive"] |= facts["archive"]
            tables["globus"] = facts["globus"]
        # A JSON string is a TOML basic string.
        lines = [f"root = {json.dumps(str(root))}"]
        for table, values in tables.items():
            lines += ["", f"[{table}]"]
            lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """The archive serves until SIGTERM or SIGINT; its addresses are printed as one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m empiar_mirror.rehearsal", description=main.__doc__)
    parser.add_argument("--port-file", type=Path, help="also write the line of addresses here")
    parser.add_argument("--log", type=Path, help="append every served request here as a JSON line")
    parser.add_argument("--scale", type=int, default=1, help="multiplies the number of images")
    parser.add_argument(
        "--big", type=int, metavar="BYTES", help="add entry 10190 with files of 64 MiB up to BYTES"
    )
    parser.add_argument("--many", type=int, metavar="FILES", help="add entry 10191 with so many small files")
    parser.add_argument(
        "--link", action="store_true", help="behave like the real link: delay, 1.5 MB/s, hangs"
    )
    parser.add_argument(
        "--rate", type=float, metavar="BYTES", help="bytes a second and connection, nothing else"
    )
    parser.add_argument("--faults", action="store_true", help="misbehave in every way a client must survive")
    parser.add_argument(
        "--globus", type=Path, metavar="DIR", help="stand in for Globus, with a collection on the folder DIR"
    )
    parser.add_argument(
        "--changing",
        type=float,
        metavar="SECONDS",
        help="entries and files come, change and go, one so often",
    )
    parser.add_argument("--seed", type=int, default=1, help="of what changes")
    parser.add_argument("--mlsd", action="store_true", help="FTP offers MLSD")
    asyncio.run(_serve(parser.parse_args(arguments)))
    return 0


async def _serve(chosen: argparse.Namespace) -> None:
    entries = standard_entries(chosen.scale)
    if chosen.big:
        entries.append(big_entry(10190, _split(chosen.big)))
    if chosen.many:
        entries.append(many_files_entry(10191, chosen.many, max(1, chosen.many // 100)))
    rehearsal = Rehearsal(
        entries,
        faults=standard_faults() if chosen.faults else (),
        link=Link.real() if chosen.link else Link(bytes_per_s=chosen.rate),
        mlsd=chosen.mlsd,
        log_file=chosen.log,
        globus=GlobusConfig(folder=chosen.globus, rate=chosen.rate) if chosen.globus else None,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with rehearsal:
        facts = rehearsal.urls()
        if chosen.globus:
            facts |= rehearsal.globus.ids()
        line = json.dumps(facts)
        if chosen.port_file is not None:
            _write_whole(chosen.port_file, line + "\n")
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        await _change_until(stop, rehearsal.archive, chosen)


async def _change_until(stop: asyncio.Event, archive: RehearsalArchive, chosen: argparse.Namespace) -> None:
    changes = Changes(archive, seed=chosen.seed)
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), chosen.changing)
        if not stop.is_set():
            sys.stderr.write(changes.step() + "\n")


def _write_whole(path: Path, text: str) -> None:
    """`path` appears with all of `text`, so that whoever waits for it reads no half."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    partial.rename(path)


def _split(total: int) -> dict[str, int]:
    """Names and sizes of 64 MiB micrographs that add up to `total` bytes."""
    whole, rest = divmod(total, 2**26)
    sizes = [2**26] * whole + [rest] * (rest > 0)
    return {f"big_{number:04d}.mrc": size for number, size in enumerate(sizes)}
