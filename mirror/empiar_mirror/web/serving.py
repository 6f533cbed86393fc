"""Serves the web page until it is stopped, and keeps its snapshot fresh."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

import uvicorn

from empiar_mirror.saved.known import library
from empiar_mirror.threads import in_thread
from empiar_mirror.web.asked import THREADS
from empiar_mirror.web.browsing import browsing
from empiar_mirror.web.door import Door, is_loopback
from empiar_mirror.web.overview import Summary, summary_of
from empiar_mirror.web.pages import Pages
from empiar_mirror.web.snapshots import Snapshots, Stopped
from empiar_schema.faults import ConfigFault, EmpiarMirrorError
from empiar_schema.settings import Settings

#: A snapshot is followed by a rest of so many times its own duration, so that it costs a twentieth of a core and of a disk.
_REST: Final = 20.0
#: Visitors at once; more are told to come again.
_VISITORS: Final = 64


class _Server(uvicorn.Server):
    """A server that leaves signals to the command."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


def token_of(settings: Settings) -> str | None:
    """What visitors log in with: the configured token, one made now where others than this machine can come, else None."""
    if settings.serve.token is not None:
        return settings.serve.token.get_secret_value()
    return None if is_loopback(settings.serve.host) else secrets.token_urlsafe(32)


def write_token_of(settings: Settings) -> str:
    """What is needed for saving: the token that visitors log in with where one is configured, else one made now."""
    configured = settings.serve.token
    return secrets.token_urlsafe(32) if configured is None else configured.get_secret_value()


@asynccontextmanager
async def served(
    settings: Settings,
    *,
    token: str | None,
    write_token: str | None = None,
    say: Callable[[str], None],
) -> AsyncIterator[tuple[str, int]]:
    """The page is served at the address that is given, with a snapshot of now; in the body and no longer. Without a write token nothing can be saved.

    Raises:
        CatalogueFault: there is no catalogue, or another process serves it.
        ConfigFault: nothing can listen at that address, or a saved query of the configuration cannot be read.
        StorageFault: there is no room for a snapshot.
    """
    # A mistake in the configuration is told before gigabytes are copied.
    queries = library(settings.query)
    with (
        _listening(settings.serve.host, settings.serve.port) as listener,
        Snapshots(settings.root, summary_of(settings)) as snapshots,
        ThreadPoolExecutor(1, thread_name_prefix="snapshots") as thread,
        ThreadPoolExecutor(THREADS, thread_name_prefix="queries") as asking,
    ):
        try:
            await in_thread(thread, snapshots.renew)
        except BaseException:
            # Whoever stops it now does not wait for a copy of gigabytes.
            snapshots.stop()
            raise
        inside, close = await browsing(snapshots, settings.serve, asking)
        pages = Pages(settings, snapshots, inside, queries, asking)
        config = uvicorn.Config(
            Door(pages, token=token, write_token=write_token),
            log_level="warning",
            # Addresses of pages hold what people look for, and once the token.
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_VISITORS,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=3,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        keeping = asyncio.create_task(_keep_fresh(settings, snapshots, thread, say))
        try:
            host, port = listener.getsockname()[:2]
            yield host, port
        finally:
            snapshots.stop()
            keeping.cancel()
            server.should_exit = True
            await asyncio.gather(serving, keeping, return_exceptions=True)
            await pages.aclose()
            close()


async def _keep_fresh(
    settings: Settings,
    snapshots: Snapshots[Summary],
    thread: ThreadPoolExecutor,
    say: Callable[[str], None],
) -> None:
    while True:
        await asyncio.sleep(max(settings.serve.refresh, _REST * snapshots.current.took_s))
        try:
            await in_thread(thread, snapshots.renew)
        except Stopped:
            return
        except EmpiarMirrorError as fault:
            # The page stays, with what it knows, and says so.
            if snapshots.trouble != str(fault):
                say(f"no new snapshot: {fault}")
            snapshots.trouble = str(fault)
        else:
            snapshots.trouble = None


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigFault(
            f"cannot listen at {host}: {error.strerror or error}",
            hint="set serve.host to an address of this machine",
        ) from error
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(128)
        except OSError as error:
            raise ConfigFault(
                f"cannot listen at {host}, port {port}: {error.strerror or error}",
                hint="choose another port with --port, or serve.port; 0 takes a free one",
            ) from error
        listener.setblocking(False)
        yield listener
