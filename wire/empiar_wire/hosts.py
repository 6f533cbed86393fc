"""Politeness towards a host: how many connections, how many requests a second, and when to leave it alone."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from empiar_schema.faults import ConfigFault, UnreachableFault
from empiar_wire.backoff import backoff_s

#: Failures in a row that a host is given before it rests: single refusals happen to every busy server.
_FREE_FAILURES = 2
#: A server that said it is full is offered the withheld connections again after this time.
_CROWDED_S = 60.0
#: Patience with a host that has never answered: more likely a wrong address or a closed port than an outage.
_STRANGER_PATIENCE_S = 20.0
#: No server's `Retry-After` keeps us away for longer, whatever it says.
_LONGEST_REST_S = 3600.0
#: A pause in our own work may be caught up by this many seconds' worth of requests at once.
_BURST_S = 0.2

_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21}


def gate_name(url: str) -> str:
    """The name of the gate that guards `url`: its host, and its port where it is not the scheme's own.

    HTTPS and FTP of one machine share a gate, since its limits concern the machine.

    Raises:
        ConfigFault: the address has no host or an impossible port.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigFault(f"{shown_url(url)!r} is not an address with a host name")
    return host if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{port}"


def shown_url(url: str) -> str:
    """`url` as a message may show it: without user name and password, at most 500 characters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(an address that cannot be read)"
    netloc = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=netloc))[:500]


@dataclass(slots=True)
class _Limits:
    connections: int
    requests_per_s: float
    patience_s: float
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    jitter: Callable[[], float]


class Hosts:
    """The gates of all hosts that one process talks to. Crawler and transports share it, so limits hold for both together."""

    def __init__(
        self,
        *,
        connections: int,
        requests_per_s: float,
        user_agent: str,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        patience_s: float = 180.0,
    ) -> None:
        self._user_agent = user_agent
        self._limits = _Limits(
            connections, requests_per_s, patience_s, clock or time.monotonic, sleep, jitter
        )
        self._gates: dict[str, HostGate] = {}

    @property
    def user_agent(self) -> str:
        """``empiar-mirror/0.1.0 (+https://…; contact)``."""
        return self._user_agent

    def gate(self, host: str) -> HostGate:
        """The gate of ``host`` or ``host:port`` (see `gate_name`)."""
        if host not in self._gates:
            self._gates[host] = HostGate(host, self._limits)
        return self._gates[host]

    def limit(self, *, connections: int, requests_per_s: float) -> None:
        """Other limits hold from now on. Connections beyond them that are open stay until they are released."""
        self._limits.connections, self._limits.requests_per_s = connections, requests_per_s
        for gate in self._gates.values():
            gate.limits_changed()


@dataclass(slots=True)
class _Health:
    """Failures in a row, and since when (clock seconds)."""

    failures: int = 0
    failing_since: float = 0.0
    #: It has answered once.
    known: bool = False


@dataclass(slots=True)
class _Places:
    """Connections: `open` of them are held, `withheld` are not given out while the server calls itself full."""

    open: int = 0
    withheld: int = 0
    crowded_until: float = 0.0
    #: Who waits for a place, first come first served; one that was woken has its place already.
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class HostGate:
    """Limits of one host and its health."""

    def __init__(self, host: str, limits: _Limits) -> None:
        self.host = host
        self._limits = limits
        self._places = _Places()
        self._health = _Health()
        self._rest_until = float("-inf")
        # When the bucket of requests is full again (the generic cell rate algorithm).
        self._next_request_at = float("-inf")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        """Held while a connection is open; waits for a free place."""
        await self.acquire()
        try:
            yield
        finally:
            self.release()

    async def acquire(self) -> None:
        """A place for one connection is held; waits for a free one. Every call needs one `release`."""
        places = self._places
        self._offer_again()
        if not places.waiting and self._free > 0:
            places.open += 1
            return
        mine = asyncio.get_running_loop().create_future()
        places.waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self.release()  # the place came just then
            elif mine in places.waiting:
                places.waiting.remove(mine)
            raise

    def release(self) -> None:
        """The connection is closed and its place free."""
        self._places.open -= 1
        self._offer_again()

    def limits_changed(self) -> None:
        """Who waits may come in, where there are more places now."""
        self._hand_out()

    def crowded(self) -> None:
        """The server refused one more connection (421, 530 at login): the refused one's place is not given out for a minute.

        To be called before its `release`. Where that was our only connection the host rests instead, longer each time.
        """
        places = self._places
        # Those that are about to close because they were refused, too, are not among those that the server bears.
        if min(places.open, self._limits.connections - places.withheld) > 1:
            places.withheld += 1
            places.crowded_until = self._limits.clock() + _CROWDED_S
        else:
            self.failed()
            self.rest(backoff_s(self._health.failures, jitter=self._limits.jitter))

    @property
    def _free(self) -> int:
        places = self._places
        return max(1, self._limits.connections - places.withheld) - places.open

    def _offer_again(self) -> None:
        places = self._places
        if places.withheld and self._limits.clock() >= places.crowded_until:
            places.withheld = 0
        self._hand_out()

    def _hand_out(self) -> None:
        waiting = self._places.waiting
        while waiting and self._free > 0:
            first = waiting.popleft()
            if not first.done():
                first.set_result(None)
                self._places.open += 1

    async def request(self) -> None:
        """Returns when the next request may be sent: rate, `rest` and down-time are over.

        Raises:
            UnreachableFault: the host has been down for longer than its patience. Once its rest is over one
                request is let through again, to see whether it is back.
        """
        limits = self._limits
        interval = 1.0 / limits.requests_per_s
        while (now := limits.clock()) < self._rest_until:
            self._raise_if_unreachable(now)
            await limits.sleep(self._rest_until - now)
        self._next_request_at = max(self._next_request_at, now) + interval
        wait = self._next_request_at - now - max(interval, _BURST_S)
        if wait > 0:
            await limits.sleep(wait)

    def _raise_if_unreachable(self, now: float) -> None:
        failing_for_s = now - self._health.failing_since
        patience_s = self._limits.patience_s
        if not self._health.known:
            patience_s = min(patience_s, _STRANGER_PATIENCE_S)
        if self.down and failing_for_s >= patience_s:
            raise UnreachableFault(
                f"{self.host} has not answered for {failing_for_s:.0f} s",
                hint="check the network, and whether the archive announces an outage; work so far is kept",
            )

    def rest(self, seconds: float) -> None:
        """No request for so long (``Retry-After``, 421, a full server); an exponential back-off with jitter is the caller's."""
        until = self._limits.clock() + min(max(seconds, 0.0), _LONGEST_REST_S)
        self._rest_until = max(self._rest_until, until)

    def succeeded(self) -> None:
        """The host answered: it is up."""
        self._health.failures = 0
        self._health.known = True

    def failed(self) -> None:
        """The host could not be reached: after several in a row it rests, longer each time, and then counts as down."""
        health, now = self._health, self._limits.clock()
        if self.down and now < self._rest_until:
            return  # connections that failed side by side are one failure
        if health.failures == 0:
            health.failing_since = now
        health.failures += 1
        if self.down:
            self.rest(backoff_s(health.failures - _FREE_FAILURES, jitter=self._limits.jitter))

    @property
    def down(self) -> bool:
        """Whether the host counts as down now."""
        return self._health.failures > _FREE_FAILURES
