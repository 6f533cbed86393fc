"""One polite HTTP client for metadata and listings (aiohttp). Bulk bytes go through `empiar_mirror.transports.https`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from empiar_schema.faults import (
    BadAnswer,
    EmpiarMirrorError,
    PermanentFault,
    Stalled,
    TransientFault,
    fault_from_http_status,
)
from empiar_wire.backoff import backoff_s
from empiar_wire.hosts import HostGate, Hosts, gate_name, shown_url

_REDIRECTS = 5
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
#: The proxy before the server, or the server as a whole, is not well: the host rests after several.
_OVERLOADED = frozenset({502, 503, 504})
#: No metadata answer takes this long; a server that drips bytes for ever is left.
_LONGEST_ANSWER_S = 3600.0
#: A wish to wait longer than this is handed to the caller, who has other things to do meanwhile.
_PATIENT_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer with a small body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    #: The address that answered, after redirects.
    url: str


@dataclass(frozen=True, slots=True)
class _Ask:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    accept_statuses: frozenset[int]

    @property
    def shown(self) -> str:
        return f"{self.method} {shown_url(self.url)}"


class PoliteHttp:
    """GET, POST and HEAD with limits on everything: rate, connections, body size, redirects, retries.

    `stall_s` is the longest time without a byte, `tries` how often a request is sent at most.
    """

    def __init__(
        self,
        hosts: Hosts,
        *,
        stall_s: float = 30.0,
        tries: int = 4,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._hosts = hosts
        self._stall_s = stall_s
        self._tries = tries
        self._sleep = sleep
        self._jitter = jitter
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = 64 * 2**20,
        accept_statuses: frozenset[int] = frozenset({200}),
    ) -> Answer:
        """One answer with its body.

        Retries `TransientFault` with back-off and jitter, obeying Retry-After. Redirects are followed to the same host (or from http to https of it) only.

        Raises:
            TransferFault: a status outside `accept_statuses` (see `fault_from_http_status`), or no answer.
            BadAnswer: the body is larger than `max_bytes`, or a redirect leads to another host.
            UnreachableFault: the host has been down for longer than its patience.
        """
        ask = _Ask(method, url, headers or {}, body, accept_statuses)
        for failures in range(1, self._tries + 1):
            try:
                opened = await self._open(ask)
                with closing(opened):
                    pieces = [piece async for piece in self._pieces(opened, max_bytes)]
            except TransientFault as fault:
                await self._wait_or_raise(fault, failures)
            else:
                head = opened.response
                return Answer(head.status, head.headers, b"".join(pieces), str(head.url))
        raise AssertionError("unreachable: the last failure was raised")

    @asynccontextmanager
    async def stream(self, url: str, *, max_bytes: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body in pieces, for listings of any size; a body cut short raises `TransientFault`.

        Only the beginning is retried: once the head of a good answer is here, faults are the caller's.

        Raises:
            TransferFault, BadAnswer, UnreachableFault: as in `request`.
        """
        ask = _Ask("GET", url, {}, None, frozenset({200}))
        for failures in range(1, self._tries + 1):
            try:
                opened = await self._open(ask)
                break
            except TransientFault as fault:
                await self._wait_or_raise(fault, failures)
        with closing(opened):
            yield self._pieces(opened, max_bytes)

    async def aclose(self) -> None:
        """All connections are closed."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _wait_or_raise(self, fault: TransientFault, failures: int) -> None:
        wanted_s = fault.retry_after_s or 0.0
        if failures >= self._tries or wanted_s > _PATIENT_S:
            raise fault
        await self._sleep(max(wanted_s, backoff_s(failures, first_s=1.0, jitter=self._jitter)))

    async def _open(self, ask: _Ask) -> _Opened:
        """An answer of an accepted status, its body still to be read: one try, redirects followed."""
        url = ask.url
        for _ in range(_REDIRECTS + 1):
            opened = await self._send(ask, url)
            status = opened.response.status
            if status in ask.accept_statuses:
                opened.gate.succeeded()
                return opened
            opened.close()
            if status not in _REDIRECT_STATUSES:
                raise _refusal(ask, opened)
            url = _redirected(ask, url, opened.response.headers.get("Location"))
        raise BadAnswer(f"{ask.shown}: more than {_REDIRECTS} redirects")

    async def _send(self, ask: _Ask, url: str) -> _Opened:
        gate = self._hosts.gate(gate_name(url))
        await gate.acquire()
        try:
            await gate.request()
            headers = {"User-Agent": self._hosts.user_agent, "Accept-Encoding": "identity", **ask.headers}
            with _translated(ask.shown, gate):
                response = await self._connected().request(
                    ask.method, URL(url, encoded=True), headers=headers, data=ask.body, allow_redirects=False
                )
        except BaseException:
            gate.release()
            raise
        return _Opened(ask.shown, response, gate)

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the gates limit connections
                cookie_jar=aiohttp.DummyCookieJar(),
                # aiohttp's own default ends every answer after five minutes.
                timeout=aiohttp.ClientTimeout(
                    total=_LONGEST_ANSWER_S, sock_connect=self._stall_s, sock_read=self._stall_s
                ),
                read_bufsize=2**18,
            )
        return self._session

    async def _pieces(self, opened: _Opened, max_bytes: int) -> AsyncIterator[bytes]:
        declared = opened.response.content_length
        too_large = f"{opened.shown}: the answer is larger than {max_bytes:,} bytes"
        if opened.method != "HEAD" and declared is not None and declared > max_bytes:
            raise BadAnswer(too_large)
        received = 0
        pieces = opened.response.content.iter_any()
        while True:
            with _translated(opened.shown, opened.gate):
                piece = await anext(pieces, b"")
            if not piece:
                return
            received += len(piece)
            if received > max_bytes:
                raise BadAnswer(too_large)
            yield piece


class _Opened:
    """An answer whose body may be read, and the gate's place that it holds until `close`."""

    def __init__(self, shown: str, response: aiohttp.ClientResponse, gate: HostGate) -> None:
        self.shown = shown
        self.method = response.method
        self.response = response
        self.gate = gate

    def close(self) -> None:
        """The connection is back in the pool if the body was read to its end, else closed."""
        self.response.close()
        self.gate.release()


@contextmanager
def _translated(shown: str, gate: HostGate) -> Iterator[None]:
    """Aiohttp's and the OS's exceptions become faults; what never reached the server counts against the host."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise PermanentFault(
            f"{shown}: the server's certificate is not valid: {error.certificate_error}",
            hint="check this machine's clock and certificate store, and the address in the configuration",
        ) from error
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        gate.failed()
        raise TransientFault(f"{shown}: no connection ({_reason(error)})", host_down=True) from error
    except TimeoutError as error:
        raise Stalled(f"{shown}: no byte for too long") from error
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError) as error:
        raise TransientFault(f"{shown}: the connection broke ({_reason(error)})") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise BadAnswer(f"{shown}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]


def _refusal(ask: _Ask, opened: _Opened) -> EmpiarMirrorError:
    """The fault for a status that was not asked for; the gate learns what it says about the host."""
    status, gate = opened.response.status, opened.gate
    wanted_s = retry_after_s(opened.response.headers.get("Retry-After"), now=time.time())
    if status in _OVERLOADED:
        gate.failed()
    else:
        gate.succeeded()
    if wanted_s is not None or status == 429:
        gate.rest(wanted_s if wanted_s is not None else backoff_s(1))
    if status < 300:
        return BadAnswer(f"{ask.shown}: HTTP {status} where {sorted(ask.accept_statuses)} was expected")
    return fault_from_http_status(status, ask.shown, retry_after_s=wanted_s)


def _redirected(ask: _Ask, url: str, location: str | None) -> str:
    """Where a redirect leads.

    Raises:
        BadAnswer: to no address, to another host, or from https to http.
    """
    try:
        target = urljoin(url, location or "")
        old, new = urlsplit(url), urlsplit(target)
        same = (new.scheme, new.hostname, new.port) == (old.scheme, old.hostname, old.port)
        safer = (old.scheme, new.scheme) == ("http", "https") and old.hostname == new.hostname
    except ValueError:
        target, same, safer = "", False, False
    if not location or not (same or safer):
        raise BadAnswer(
            f"{ask.shown}: redirected to {shown_url(target)!r}",
            hint="if the archive has moved, change its address in the configuration",
        )
    return target


def retry_after_s(header: str | None, *, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as an HTTP date; None where it asks for nothing readable."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, OverflowError):
        return None
