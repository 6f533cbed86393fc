"""Every transport beside the server that it is tested against; a new transport is one more line in `KINDS`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from empiar_mirror.transports.base import Claim, Outcome, Transport
from empiar_mirror.transports.ftp import FtpTransport
from empiar_mirror.transports.globus import GlobusTransport
from empiar_mirror.transports.https import HttpsTransport
from empiar_schema.faults import EmpiarMirrorError
from empiar_schema.files import Validators
from empiar_schema.paths import RemotePath
from empiar_wire.hosts import Hosts
from servers import ServedTree, apache, nginx, vsftpd

KINDS = ("globus@folder", "https@apache", "https@nginx", "ftp@vsftpd")
LAUNCHERS: dict[str, Callable[[Path], AbstractContextManager[ServedTree]]] = {
    "https@apache": apache,
    "https@nginx": nginx,
    "ftp@vsftpd": vsftpd,
}


@dataclass
class Collected:
    """A sink in memory that insists on the contract: one `begin`, then bytes in rising order without gaps."""

    fault: EmpiarMirrorError | None = None
    fault_at: int = 0
    data: bytearray = field(default_factory=bytearray)
    found: Validators | None = None
    start: int | None = None

    async def begin(self, found: Validators, *, start: int) -> None:
        assert self.found is None, "begin was called twice"
        self.found, self.start = found, start

    async def write(self, offset: int, data: memoryview) -> None:
        assert self.start is not None, "bytes came before begin"
        assert offset == self.start + len(self.data), "a gap, or bytes twice"
        assert len(data) > 0
        if self.fault is not None and len(self.data) + len(data) > self.fault_at:
            raise self.fault
        self.data += data


def collected(claim: Claim) -> Collected:
    """The sink of a claim made by `claim_of`."""
    assert isinstance(claim.sink, Collected)
    return claim.sink


def claim_of(
    path: str,
    *,
    start: int = 0,
    stop: int | None = None,
    validators: Validators | None = None,
    sink: Collected | None = None,
    empiar_id: int = 10002,
) -> Claim:
    """A claim with a sink of its own."""
    return Claim(RemotePath.parse(empiar_id, path), sink or Collected(), start, stop, validators)


def quick_hosts(*, connections: int = 8) -> Hosts:
    """Limits that do not slow a test down."""
    return Hosts(
        connections=connections,
        requests_per_s=100_000,
        user_agent="empiar-mirror/test (+https://example.org)",
    )


@dataclass(frozen=True)
class Servers:
    """The servers of the suite on one tree, each started when it is first asked for, or its tests skipped."""

    tree: Path
    stack: ExitStack
    running: dict[str, ServedTree] = field(default_factory=dict)

    def served(self, kind: str) -> ServedTree:
        """The server of a kind, up."""
        if kind not in self.running:
            self.running[kind] = self.stack.enter_context(LAUNCHERS[kind](self.tree))
        return self.running[kind]

    @asynccontextmanager
    async def transport(
        self, kind: str, *, hosts: Hosts | None = None, port: int | None = None, stall_s: float = 5.0
    ) -> AsyncIterator[Transport]:
        """A transport of `kind`; through `port` instead of the server's own where one is given."""
        transport: Transport
        if kind == "globus@folder":
            transport = GlobusTransport(self.tree)
        else:
            served = self.served(kind)
            url = served.url if port is None else served.url.replace(f":{served.port}", f":{port}")
            make = FtpTransport if kind.startswith("ftp") else HttpsTransport
            transport = make(url, hosts or quick_hosts(), stall_s=stall_s)
        try:
            yield transport
        finally:
            await transport.aclose()


def all_servers(tree: Path) -> Iterator[Servers]:
    """Servers can be had while the generator is suspended."""
    with ExitStack() as stack:
        yield Servers(tree, stack)


async def all_outcomes(transport: Transport, claims: Sequence[Claim]) -> list[Outcome]:
    """What `fetch` yields, in the order of the claims; each claim exactly once."""
    async with aclosing(transport.fetch(claims)) as run:
        ended = [outcome async for outcome in run]
    assert sorted(id(outcome.claim) for outcome in ended) == sorted(id(claim) for claim in claims)
    by_claim = {id(outcome.claim): outcome for outcome in ended}
    return [by_claim[id(claim)] for claim in claims]


async def outcomes(transport: Transport, claims: Sequence[Claim]) -> dict[str, Outcome]:
    """What `fetch` yields, by path."""
    return {outcome.claim.remote.path: outcome for outcome in await all_outcomes(transport, claims)}


async def outcome_of(transport: Transport, claim: Claim) -> Outcome:
    """How one claim ended."""
    return (await outcomes(transport, [claim]))[claim.remote.path]


def open_sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own descriptor is gone by now
            count += str(fd.readlink()).startswith("socket:")
    return count
