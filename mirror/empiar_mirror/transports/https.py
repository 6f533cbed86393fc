"""Bulk bytes over HTTP/1.1, with TLS or (for rehearsals and tests) without: few connections, requests sent ahead."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import urljoin, urlsplit

from empiar_mirror.transports.answers import (
    REDIRECTS,
    conditions,
    found_in,
    judge,
    judge_unsatisfiable,
    refusal,
    size_in_head,
)
from empiar_mirror.transports.base import Capabilities, Claim, Outcome
from empiar_mirror.transports.http1 import Head, Http1Connection, Origin
from empiar_mirror.transports.patience import LostPatience, Patience
from empiar_mirror.transports.pool import ConnectionPool
from empiar_mirror.transports.receive import Buffers, Delivery
from empiar_schema.faults import (
    ConfigFault,
    EmpiarMirrorError,
    IntegrityFault,
    PermanentFault,
    Stalled,
    TransientFault,
)
from empiar_schema.files import Validators
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel
from empiar_wire.backoff import backoff_s
from empiar_wire.hosts import HostGate, Hosts, gate_name, shown_url
from empiar_wire.http import retry_after_s
from empiar_wire.throttle import UNLIMITED, Throttle

#: Requests on their way at once on one connection (4 to 16 were measured to give three times the best peer at 20 ms).
_DEPTH: Final = 12
#: More are sent when so few are left, several in one packet.
_REFILL: Final = 6
#: Batches in a row that a server may end early before requests are no longer sent ahead.
_EARLY_ENDS: Final = 3
_MOST_REDIRECTS: Final = 5
#: The rest of an unwanted body is read up to here; a longer one costs less as a new connection.
_DRAIN_BYTES: Final = 2**16
_TARGET = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request and the claim that it serves."""

    claim: Claim
    target: str
    method: Literal["GET", "HEAD"] = "GET"
    #: The range was answered by 416; a HEAD request is to say why.
    unsatisfiable: bool = False
    redirects: int = 0
    repeated: bool = False
    #: How often we lost patience with it.
    tries: int = 0


class HttpsTransport:
    """The `https` channel. See `base.Transport`; `tls` is the context for https addresses (default: verify as the system does)."""

    channel: Final = Channel.HTTPS
    capabilities: Final = Capabilities(resumes=True, ranges=True, batch_files=64)

    def __init__(
        self,
        base_url: str,
        hosts: Hosts,
        *,
        stall_s: float = 12.0,
        tls: ssl.SSLContext | None = None,
        throttle: Throttle = UNLIMITED,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigFault(f"{shown_url(base_url)!r} is no address of files over HTTPS")
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        context = (tls or ssl.create_default_context()) if secure else None
        self._origin = Origin(parts.hostname, port, context)
        self._base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._root = parts.path.rstrip("/")
        self._user_agent = hosts.user_agent
        self._host_header = parts.netloc.rpartition("@")[2]
        self.gate: HostGate = hosts.gate(gate_name(base_url))
        self._stall_s = stall_s
        self._throttle = throttle
        self._buffers = Buffers()
        self.pool = ConnectionPool(self._open, self._closed, lambda connection: connection.idle)
        self._early_ends = 0
        self.patience = Patience(stall_s)

    async def fetch(self, claims: Sequence[Claim]) -> AsyncGenerator[Outcome, None]:
        """One outcome per claim, in the order of the claims but for repeated requests."""
        run = _Run(self, [_Exchange(claim, self.target(claim.remote)) for claim in claims])
        try:
            while run.unfinished:
                if (outcome := await run.step()) is not None:
                    yield outcome
        finally:
            await run.close()

    async def facts(self, remote: RemotePath) -> Validators:
        """Size, time and strong ETag by HEAD.

        Raises:
            TransferFault: as in `fetch`.
        """
        run = _Run(self, [_Exchange(Claim(remote, _NoSink(), stop=0), self.target(remote), "HEAD")])
        try:
            while (outcome := await run.step()) is None:
                pass
        finally:
            await run.close()
        if outcome.fault is not None:
            raise outcome.fault
        assert outcome.found is not None
        return outcome.found

    async def aclose(self) -> None:
        """All idle connections are closed; those in use close with their `fetch`."""
        await self.pool.aclose()

    # For a run.

    def target(self, remote: RemotePath) -> str:
        """The request target of a file: every byte of its name exact."""
        return f"{self._root}/{remote.url_path}"

    def shown(self, exchange: _Exchange) -> str:
        """The exchange as messages name it."""
        return f"{exchange.method} {self._base}{exchange.target}"[:600]  # the base has no password in it

    async def _open(self) -> Http1Connection:
        """A new connection, which holds a place at the gate.

        Raises:
            TransientFault: there is none to be had (`host_down`).
            UnreachableFault: the host has been down for longer than its patience.
        """
        await self.gate.acquire()
        try:
            await self.gate.request()
            return await Http1Connection.open(
                self._origin, self._buffers, stall_s=self._stall_s, throttle=self._throttle
            )
        except BaseException as error:
            self.gate.release()
            if isinstance(error, TransientFault):
                self.gate.failed()
            raise

    async def _closed(self, connection: Http1Connection) -> None:
        try:
            await connection.close()
        finally:
            self.gate.release()

    def request(self, exchange: _Exchange) -> bytes:
        """The head of the request."""
        headers = {
            "Host": self._host_header,
            "User-Agent": self._user_agent,
            "Accept-Encoding": "identity",
            **(conditions(exchange.claim) if exchange.method == "GET" else {}),
        }
        lines = [f"{exchange.method} {exchange.target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def redirected(self, exchange: _Exchange, location: str) -> _Exchange:
        """The exchange at the place that a redirect names.

        Raises:
            PermanentFault: another host, too many, or no address.
        """
        what = self.shown(exchange)
        try:
            parts = urlsplit(urljoin(self._base + exchange.target, location))
            elsewhere = not location or f"{parts.scheme}://{parts.netloc}" != self._base
        except ValueError:
            raise PermanentFault(f"{what}: redirected to what is no address") from None
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        if elsewhere:
            raise PermanentFault(f"{what}: redirects elsewhere, to {shown_url(location)!r}")
        if exchange.redirects == _MOST_REDIRECTS or not _TARGET.fullmatch(target):
            raise PermanentFault(f"{what}: too many redirects, or one to no address")
        return replace(exchange, target=target, redirects=exchange.redirects + 1)

    @property
    def depth(self) -> int:
        """How many requests may be on their way at once."""
        return _DEPTH if self._early_ends < _EARLY_ENDS else 1

    @property
    def refill(self) -> int:
        """How few requests may be on their way before more are sent."""
        return _REFILL if self.depth > 1 else 0

    def left_early(self) -> None:
        """The server closed a connection, unannounced, with requests unanswered that were sent ahead."""
        self._early_ends += 1

    def kept_up(self) -> None:
        """The server answered all requests that were sent ahead on one connection."""
        if self._early_ends < _EARLY_ENDS:
            self._early_ends = 0


class _NoSink:
    """For requests that bring no bytes."""

    async def begin(self, found: Validators, *, start: int) -> None:
        """Nothing is recorded."""

    async def write(self, offset: int, data: memoryview) -> None:
        """No byte comes."""


class _Run:
    """One call of `fetch`: its exchanges, and the connection that serves them."""

    def __init__(self, https: HttpsTransport, exchanges: Sequence[_Exchange]) -> None:
        self._https = https
        self._waiting = deque(exchanges)
        self._sent: deque[_Exchange] = deque()
        self._connection: Http1Connection | None = None
        self._sender: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        #: Exchanges that the current connection has served in this run.
        self._served = 0
        #: What keeps us from the host as a whole; every claim left ends with it.
        self._barred: EmpiarMirrorError | None = None

    @property
    def unfinished(self) -> bool:
        """Whether a claim is without outcome."""
        return bool(self._waiting or self._sent)

    async def step(self) -> Outcome | None:
        """The next outcome; None where an exchange has to be repeated or followed."""
        connection = await self._ready()
        if connection is None:
            exchange = (self._sent or self._waiting).popleft()
            assert self._barred is not None
            return Delivery(exchange.claim).failed(self._barred)
        exchange = self._sent[0]
        delivery = Delivery(exchange.claim)
        result: Outcome | _Exchange
        try:
            result = await self._answered(connection, exchange, delivery)
            self._served += 1
        except LostPatience:
            self._https.patience.lost()
            result = replace(exchange, tries=exchange.tries + 1)
        except EmpiarMirrorError as fault:
            if connection.answered == 0 and not connection.answer_begun and isinstance(fault, TransientFault):
                self._https.gate.failed()
            if self._never_answered(connection, exchange, fault):
                result = replace(exchange, repeated=True)
            else:
                result = delivery.failed(fault)
                await self._recover(connection)
        self._sent.popleft()
        if not connection.reusable or (not self._sent and not connection.idle):
            await self._reconnect(connection)
        if isinstance(result, _Exchange):
            self._waiting.appendleft(result)
        self._room.set()
        return None if isinstance(result, _Exchange) else result

    async def _ready(self) -> Http1Connection | None:
        """The connection, with a request on its way; None where the host is barred."""
        if self._barred is None and self._connection is None:
            try:
                self._connection = await self._https.pool.take(fresh=self._waiting[0].repeated)
            except EmpiarMirrorError as fault:
                self._barred = fault
            else:
                self._served = 0
                self._sender = asyncio.create_task(self._send_ahead(self._connection))
                self._sender.add_done_callback(lambda _: self._news.set())
        while self._barred is None and not self._sent:
            self._news.clear()
            await self._news.wait()
            if self._sender is not None and self._sender.done():
                self._sender.result()
        return self._connection if self._sent and self._connection is not None else None

    async def _send_ahead(self, connection: Http1Connection) -> None:
        """Requests are sent as the gate allows, so many ahead of the answers that the server need not wait for us."""
        https, refilling = self._https, True
        while True:
            refilling = refilling and len(self._sent) < https.depth
            while not self._waiting or not (refilling or len(self._sent) <= https.refill):
                self._room.clear()
                await self._room.wait()
            refilling = True
            try:
                await https.gate.request()
            except EmpiarMirrorError as fault:
                self._barred = fault
                return
            if self._waiting:
                exchange = self._waiting.popleft()
                connection.send(https.request(exchange))
                self._sent.append(exchange)
            self._news.set()

    def _never_answered(
        self, connection: Http1Connection, exchange: _Exchange, fault: EmpiarMirrorError
    ) -> bool:
        """Whether a kept connection had gone before the server can have seen the request: no fault of the file."""
        return (
            isinstance(fault, TransientFault)
            and not isinstance(fault, Stalled)
            and not exchange.repeated
            and not connection.answer_begun
            and connection.answered > 0
        )

    async def _recover(self, connection: Http1Connection) -> None:
        """What is left of a short unwanted body is read, so that the connection serves on; a broken one is marked by its state."""
        with contextlib.suppress(EmpiarMirrorError):
            await connection.drain(at_most=_DRAIN_BYTES)

    async def _answered(
        self, connection: Http1Connection, exchange: _Exchange, delivery: Delivery
    ) -> Outcome | _Exchange:
        https, what = self._https, self._https.shown(exchange)
        asked_at = time.monotonic()
        head = await connection.head(
            method=exchange.method, within_s=lambda: https.patience.limit_s(exchange.tries)
        )
        https.patience.answered(time.monotonic() - asked_at)
        self._told(head)
        if head.status in REDIRECTS:
            followed = https.redirected(exchange, head.headers.get("location", ""))
            await connection.drain(at_most=_DRAIN_BYTES)
            return followed
        if exchange.method == "HEAD":
            return await self._sized(exchange, head, delivery, what)
        if head.status == 416 and not exchange.claim.whole:
            await connection.drain(at_most=_DRAIN_BYTES)
            return replace(exchange, method="HEAD", unsatisfiable=True)
        await delivery.begin(judge(exchange.claim, head, what=what, now=time.time()))
        while piece := await connection.piece():
            await delivery.take(piece)
        if connection.surplus(more_expected=len(self._sent) > 1):
            raise IntegrityFault(f"{what}: more bytes than announced")
        return delivery.finish()

    async def _sized(self, exchange: _Exchange, head: Head, delivery: Delivery, what: str) -> Outcome:
        if head.status != 200:
            raise refusal(head, what=what, now=time.time())
        if exchange.unsatisfiable:
            await delivery.begin(judge_unsatisfiable(exchange.claim, head, what=what))
        else:
            await delivery.begin(found_in(head, size=size_in_head(head)))
        return delivery.finish()

    def _told(self, head: Head) -> None:
        """The gate knows how the host is."""
        gate = self._https.gate
        if head.status in (502, 503, 504):
            gate.failed()
        else:
            gate.succeeded()
        wanted_s = retry_after_s(head.headers.get("retry-after"), now=time.time())
        if wanted_s is not None and head.status >= 400:
            gate.rest(wanted_s)
        elif head.status == 429:
            gate.rest(backoff_s(1))

    async def _reconnect(self, connection: Http1Connection) -> None:
        """The connection is closed, and what was sent on it in vain waits again, in its order."""
        if self._sent and self._served and connection.ended and not connection.announced_end:
            self._https.left_early()
        await self._drop(keep=False)
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()

    async def _drop(self, *, keep: bool) -> None:
        connection, self._connection = self._connection, None
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.cancel()
        try:
            if connection is not None and keep:
                self._https.pool.put(connection)
            elif connection is not None:
                await self._https.pool.close(connection)
        finally:
            if sender is not None:
                await asyncio.wait([sender])

    async def close(self) -> None:
        """The connection is idle if it is in step, else closed."""
        connection = self._connection
        keep = connection is not None and not self._sent and connection.idle
        if keep and self._served > 1:
            self._https.kept_up()
        await self._drop(keep=keep)
