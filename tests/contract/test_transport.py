"""The contract of `empiar_mirror.transports.base.Transport`, over every transport and a real server."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from contract.faulty_servers import counting_proxy
from contract.transports_under_test import (
    KINDS,
    Collected,
    Servers,
    all_outcomes,
    all_servers,
    claim_of,
    collected,
    open_sockets,
    outcome_of,
    outcomes,
    quick_hosts,
)
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.transports.base import Claim, Transport
from empiar_mirror.transports.ftp import FtpTransport
from empiar_mirror.transports.https import HttpsTransport
from empiar_schema.faults import ChangedUpstream, PermanentFault, StorageFault
from empiar_schema.files import Validators
from empiar_schema.paths import RemotePath, text_from_bytes
from servers import awkward_tree

BIG = random.Random(1).randbytes(3 * 2**20 + 17)
SMALL = {f"data/small/{n:03}.mrc": random.Random(n).randbytes(n * 37) for n in range(50)}
MODIFIED_AT = 1_600_000_000


@pytest.fixture(scope="module")
def awkward() -> dict[bytes, int]:
    return {}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, awkward: dict[bytes, int]) -> Iterator[Servers]:
    tree = tmp_path_factory.mktemp("tree")
    awkward.update(awkward_tree(tree))
    for path, content in {"data/big.mrc": BIG, **SMALL}.items():
        file = tree / "10002" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (MODIFIED_AT, MODIFIED_AT))
    yield from all_servers(tree)


@pytest.fixture(params=KINDS)
async def transport(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[Transport]:
    async with servers.transport(request.param) as made:
        yield made


async def test_a_whole_file_arrives_with_its_validators(transport: Transport) -> None:
    claim = claim_of("data/big.mrc")
    outcome = await outcome_of(transport, claim)
    assert outcome.fault is None
    assert collected(claim).data == BIG
    assert outcome.bytes_moved == len(BIG)
    assert outcome.found is not None
    assert outcome.found == collected(claim).found
    assert (outcome.found.size, outcome.found.modified_at) == (len(BIG), MODIFIED_AT)
    assert outcome.started_at <= outcome.ended_at


async def test_a_batch_of_small_files_arrives_each_as_it_is(transport: Transport) -> None:
    claims = [claim_of(path) for path in SMALL]
    ended = await outcomes(transport, claims)
    assert {path: o.fault for path, o in ended.items()} == dict.fromkeys(SMALL)
    assert {c.remote.path: bytes(collected(c).data) for c in claims} == SMALL


async def test_a_partial_is_continued_from_its_end(transport: Transport) -> None:
    facts = await transport.facts(RemotePath.parse(10002, "data/big.mrc"))
    claim = claim_of("data/big.mrc", start=2_000_001, validators=facts)
    outcome = await outcome_of(transport, claim)
    assert outcome.fault is None
    assert collected(claim).start == 2_000_001
    assert collected(claim).data == BIG[2_000_001:]


async def test_stretches_of_one_file_arrive_and_nothing_beyond_them(transport: Transport) -> None:
    size = len(BIG)
    bounds = [(0, 1), (1, 2**20), (2**20, size - 1), (size - 1, None), (5, size), (0, size)]
    claims = [claim_of("data/big.mrc", start=start, stop=stop) for start, stop in bounds]
    ended = await all_outcomes(transport, claims)
    assert [o.fault for o in ended] == [None] * len(bounds)
    assert [bytes(collected(c).data) for c in claims] == [BIG[start:stop] for start, stop in bounds]


async def test_a_partial_that_has_all_bytes_needs_none(transport: Transport) -> None:
    facts = await transport.facts(RemotePath.parse(10002, "data/big.mrc"))
    claim = claim_of("data/big.mrc", start=len(BIG), validators=facts)
    outcome = await outcome_of(transport, claim)
    assert (outcome.fault, outcome.bytes_moved, bytes(collected(claim).data)) == (None, 0, b"")
    assert outcome.found is not None
    assert outcome.found.size == len(BIG)


async def test_more_kept_than_the_file_has_means_that_it_changed(transport: Transport) -> None:
    outcome = await outcome_of(transport, claim_of("data/big.mrc", start=len(BIG) + 1))
    assert isinstance(outcome.fault, ChangedUpstream)


async def test_awkward_names_arrive_byte_for_byte(
    transport: Transport, awkward: dict[bytes, int], servers: Servers
) -> None:
    claims = [claim_of(text_from_bytes(path), empiar_id=10001) for path in awkward]
    ended = await outcomes(transport, claims)
    assert {path: o.fault for path, o in ended.items() if o.fault is not None} == {}
    for claim in claims:
        on_disk = servers.tree / "10001" / os.fsdecode(claim.remote.raw)
        assert collected(claim).data == on_disk.read_bytes(), claim.remote


async def test_a_missing_file_or_folder_is_absent_and_the_others_arrive(transport: Transport) -> None:
    paths = ["data/small/001.mrc", "data/none.mrc", "data/small/002.mrc", "nowhere/x.mrc", "data/big.mrc"]
    claims = [claim_of(path) for path in paths]
    ended = await outcomes(transport, claims)
    for path in ("data/none.mrc", "nowhere/x.mrc"):
        fault = ended[path].fault
        assert isinstance(fault, PermanentFault)
        assert fault.absent
    assert [path for path in paths if ended[path].fault is None] == [paths[0], paths[2], paths[4]]
    assert collected(claims[4]).data == BIG


async def test_facts_of_a_missing_file_are_a_fault(transport: Transport) -> None:
    with pytest.raises(PermanentFault) as caught:
        await transport.facts(RemotePath.parse(10002, "data/none.mrc"))
    assert caught.value.absent


@pytest.mark.parametrize("start", [0, 1000])
@pytest.mark.parametrize("change", ["size", "time"])
async def test_a_file_that_changed_between_two_claims_is_not_continued(
    transport: Transport, servers: Servers, start: int, change: str
) -> None:
    file = servers.tree / "10002" / "data" / "changing.mrc"
    file.write_bytes(b"a" * 5000)
    os.utime(file, (MODIFIED_AT, MODIFIED_AT))
    facts = await transport.facts(RemotePath.parse(10002, "data/changing.mrc"))
    file.write_bytes(b"b" * (5001 if change == "size" else 5000))
    later = MODIFIED_AT + 60 * (change == "time")
    os.utime(file, (later, later))
    claim = claim_of("data/changing.mrc", start=start, validators=facts)
    outcome = await outcome_of(transport, claim)
    assert isinstance(outcome.fault, ChangedUpstream)
    assert not collected(claim).data


async def test_a_full_disk_is_passed_on_and_the_next_claims_still_work(transport: Transport) -> None:
    full = StorageFault("disk full", full=True)
    claims = [
        claim_of("data/big.mrc", sink=Collected(fault=full, fault_at=2**20)),
        *(claim_of(path) for path in list(SMALL)[1:4]),
    ]
    ended = await outcomes(transport, claims)
    assert ended["data/big.mrc"].fault is full
    assert [ended[path].fault for path in list(SMALL)[1:4]] == [None] * 3


class Gated(Collected):
    """A sink that says when it has a first byte, and then takes no more."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def write(self, offset: int, data: memoryview) -> None:
        self.reached.set()
        await asyncio.Event().wait()


async def test_cancelling_in_mid_file_leaves_no_socket_and_no_task(transport: Transport) -> None:
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    sink = Gated()

    async def fetch() -> None:
        async with aclosing(
            transport.fetch([claim_of("data/big.mrc", sink=sink), claim_of("data/small/001.mrc")])
        ) as run:
            async for _ in run:
                pass

    task = asyncio.create_task(fetch())
    await sink.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == tasks
    assert open_sockets() == sockets


async def test_leaving_after_the_first_outcome_closes_what_was_asked_ahead(transport: Transport) -> None:
    tasks = asyncio.all_tasks()
    run = transport.fetch([claim_of(path) for path in SMALL])
    async for outcome in run:
        assert outcome.fault is None
        break
    await run.aclose()
    assert asyncio.all_tasks() == tasks
    claim = claim_of("data/small/009.mrc")
    assert (await outcome_of(transport, claim)).fault is None


async def test_nothing_stays_open_after_aclose(transport: Transport) -> None:
    sockets = open_sockets()
    await outcomes(transport, [claim_of(path) for path in SMALL])
    await transport.aclose()
    assert open_sockets() == sockets


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_eight_fetches_keep_to_three_connections(servers: Servers, kind: str) -> None:
    async def fetch(transport: Transport, number: int) -> list[Claim]:
        claims = [claim_of(path) for path in list(SMALL)[number::8]]
        assert all(o.fault is None for o in (await outcomes(transport, claims)).values())
        return claims

    async with counting_proxy(servers.served(kind).port) as proxy:
        async with servers.transport(kind, hosts=quick_hosts(connections=3), port=proxy.port) as transport:
            done = await asyncio.gather(*(fetch(transport, n) for n in range(8)))
        assert 1 <= proxy.most_open <= 3
    assert {c.remote.path: bytes(collected(c).data) for claims in done for c in claims} == SMALL


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_batches_one_after_the_other_reuse_the_connection(servers: Servers, kind: str) -> None:
    async with counting_proxy(servers.served(kind).port) as proxy:
        async with servers.transport(kind, port=proxy.port) as transport:
            for path in list(SMALL)[:5]:
                assert (await outcome_of(transport, claim_of(path))).fault is None
        assert proxy.connections == 1


async def test_validators_that_hold_let_a_whole_file_through(transport: Transport) -> None:
    facts = await transport.facts(RemotePath.parse(10002, "data/small/007.mrc"))
    claim = claim_of("data/small/007.mrc", validators=Validators(size=facts.size))
    assert (await outcome_of(transport, claim)).fault is None


@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_everything_in_the_rehearsal_archive_arrives_byte_for_byte(channel: str) -> None:
    async with Rehearsal() as rehearsal:
        transport = (
            HttpsTransport(rehearsal.https_url, quick_hosts())
            if channel == "https"
            else FtpTransport(rehearsal.ftp_url, quick_hosts())
        )
        wanted = {
            (entry.empiar_id, path): file
            for entry in rehearsal.archive.entries.values()
            for path, file in entry.walk()
        }
        assert len(wanted) > 50
        claims = [claim_of(text_from_bytes(path), empiar_id=number) for number, path in wanted]
        try:
            ended = await asyncio.gather(*(all_outcomes(transport, claims[n::4]) for n in range(4)))
        finally:
            await transport.aclose()
        assert [o.fault for part in ended for o in part if o.fault is not None] == []
        for claim in claims:
            path = claim.remote.raw
            file = wanted[claim.remote.empiar_id, path]
            true = rehearsal.archive.read(claim.remote.empiar_id, path, file, 0, file.size)
            assert collected(claim).data == true, claim.remote
