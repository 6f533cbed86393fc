"""The doctor's look at the cluster: the scheduler answers, and its workers see the root and run what this machine runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from empiar_mirror.cluster.errands import Facts, own_facts
from empiar_mirror.cluster.greeting import Greeting, greeted
from empiar_mirror.cluster.link import Link
from empiar_mirror.cluster.roster import Seen
from empiar_mirror.findings import Finding, fail, ok, warn
from empiar_schema.faults import ClusterFault, ConfigFault, StorageFault
from empiar_schema.settings import Settings

#: Workers greeted at once, and findings about single ones that are shown.
_AT_ONCE: Final = 16
_SHOWN: Final = 5


async def examine_cluster(settings: Settings) -> list[Finding]:
    """All findings about the cluster. A folder of a random name a worker is made in `root/staging/leases`, and removed."""
    if not settings.root.is_dir():
        return [fail("cluster", f"{settings.root} is no folder", "run `empiar-mirror init`, or set root")]
    try:
        link = await Link.open(settings.cluster)
    except (ClusterFault, ConfigFault) as fault:
        return [fail("cluster", str(fault), fault.hint)]
    try:
        seen = await link.workers()
        if not seen:
            remedy = "start workers (docs/cluster.md); until one joins, the work waits"
            return [
                warn(
                    "cluster", f"the scheduler {settings.cluster.scheduler} answers, without workers", remedy
                )
            ]
        return list(_findings(settings, seen, await _greetings(settings, link, seen)))
    except (ClusterFault, StorageFault) as fault:
        return [fail("cluster", str(fault), fault.hint or "make root writable for this user")]
    finally:
        await link.aclose()


async def _greetings(settings: Settings, link: Link, seen: Sequence[Seen]) -> list[Greeting]:
    limit = asyncio.Semaphore(_AT_ONCE)
    with ThreadPoolExecutor(_AT_ONCE) as threads:

        async def greet(worker: Seen) -> Greeting:
            async with limit:
                return await greeted(
                    link, worker.address, settings=settings.cluster, root=settings.root, threads=threads
                )

        return await asyncio.gather(*(greet(worker) for worker in seen))


def _findings(settings: Settings, seen: Sequence[Seen], greetings: Sequence[Greeting]) -> Iterator[Finding]:
    pairs = list(zip(seen, greetings, strict=True))
    fit = [worker for worker, greeting in pairs if greeting.answered and greeting.refusal is None]
    if fit:
        threads = sum(worker.threads for worker in fit)
        yield ok(
            "cluster",
            f"{len(fit)} of {len(seen)} workers ({threads} threads) see {settings.root}, and run this version",
        )
    refused = [(w, g.refusal) for w, g in pairs if g.answered and g.refusal is not None]
    for worker, reason in refused[:_SHOWN]:
        remedy = "give it the same root (cluster.root says where workers see it), user and installation"
        yield fail("cluster", f"the worker {worker.address} is given nothing: {reason}", remedy)
    silent = [w for w, g in pairs if not g.answered]
    for worker in silent[:_SHOWN]:
        sentence = f"the worker {worker.address} has not answered within {settings.cluster.lease:.0f} s"
        yield warn("cluster", sentence, "it is busy with other work, or hangs: look at its log")
    if (more := len(refused[_SHOWN:]) + len(silent[_SHOWN:])) > 0:
        yield warn("cluster", f"{more} more workers are refused or silent", "see those above")
    yield from _libraries([greeting.facts for _, greeting in pairs if greeting.facts is not None])


def _libraries(found: Sequence[Facts]) -> Iterator[Finding]:
    """Pictures differ by a few bytes where libraries do."""
    own = own_facts().libraries
    for facts in found:
        other = {
            name: (own.get(name, "none"), facts.libraries.get(name, "none"))
            for name in sorted({*own, *facts.libraries})
            if own.get(name) != facts.libraries.get(name)
        }
        if other:
            name, (here, there) = next(iter(other.items()))
            sentence = f"the worker on {facts.host} has {name} {there}, and this machine {here}"
            yield warn(
                "cluster", sentence, "install the same versions: what is made would differ by the machine"
            )
            return
