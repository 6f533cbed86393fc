"""`/metrics`, `/healthz` and `/readyz` over HTTP. What visitors may cost is bounded: they are few, quick, and only read."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from empiar_schema.faults import ConfigFault
from empiar_schema.times import iso

if TYPE_CHECKING:
    from aiohttp.web_protocol import RequestHandler
    from prometheus_client import CollectorRegistry

    from empiar_mirror.metrics.monitor import Monitor

#: Connections at once; more are closed at once.
VISITORS: Final = 32
#: A connection is closed after so long, whatever it has said or not said, in seconds.
LONGEST_VISIT_S: Final = 10.0
_JSON: Final = "application/json"


class _Door(web.Server):
    """Lets so many visitors in at once, each for so long and for one request."""

    def __init__(self, *args: Any, longest_visit_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._longest_visit_s = longest_visit_s

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """The visitor is in, or turned away."""
        super().connection_made(handler, transport)
        if len(self.connections) > VISITORS:
            transport.abort()
        else:
            asyncio.get_running_loop().call_later(self._longest_visit_s, transport.abort)


@asynccontextmanager
async def served(
    address: tuple[str, int],
    registry: CollectorRegistry,
    monitor: Monitor,
    *,
    longest_visit_s: float = LONGEST_VISIT_S,
) -> AsyncIterator[tuple[str, int]]:
    """Metrics, health and readiness are served at `address` (port 0: a free one), which is given as it became.

    Raises:
        ConfigFault: nothing can listen there.
    """
    host, port = address

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = _answer(request, registry, monitor)
        response.force_close()
        return response

    # Errors of visitors (what they send is no HTTP) are theirs; they would fill the log.
    silent = logging.getLogger("empiar_mirror.metrics.visitors")
    silent.disabled = True
    door = _Door(answer, longest_visit_s=longest_visit_s, access_log=None, logger=silent, lingering_time=0.0)
    runner = web.ServerRunner(door)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigFault(
                f"cannot listen on {host}, port {port}: {error.strerror or error}",
                hint="set daemon.listen to a free port of this machine, or leave it empty",
            ) from error
        bound = runner.addresses[0]
        yield bound[0], bound[1]
    finally:
        await runner.cleanup()


def _answer(request: web.BaseRequest, registry: CollectorRegistry, monitor: Monitor) -> web.Response:
    if request.method not in ("GET", "HEAD"):
        return web.Response(status=405, text="only GET and HEAD\n", headers={"Allow": "GET, HEAD"})
    match request.path:
        case "/metrics":
            return _metrics(request, registry)
        case "/healthz":
            look = monitor.look
            told = {
                "alive": not look.health.standstill,
                "standstill": look.health.standstill,
                "attention": look.health.attention,
                "looked_at": iso(look.at),
            }
            return _told(told, good=not look.health.standstill)
        case "/readyz":
            look = monitor.look
            told = {"ready": not look.unready, "unready": look.unready, "looked_at": iso(look.at)}
            return _told(told, good=not look.unready)
        case _:
            return web.Response(status=404, text="there are /metrics, /healthz and /readyz\n")


def _metrics(request: web.BaseRequest, registry: CollectorRegistry) -> web.Response:
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(request.headers.get("Accept", "")[:1000])
    return web.Response(body=encode(registry), headers={"Content-Type": content_type})


def _told(document: dict[str, object], *, good: bool) -> web.Response:
    text = json.dumps(document, ensure_ascii=False) + "\n"
    return web.Response(status=200 if good else 503, text=text, content_type=_JSON)
