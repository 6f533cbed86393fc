"""A worker is greeted before it is given anything: it must see the root, write for this user, and run the same versions."""

from __future__ import annotations

import asyncio
import os
import pickle  # between the mirror's own processes
import secrets
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from empiar_mirror.cluster.errands import BEGUN, Facts, Greet, Reply, leases_folder, order_for, own_facts
from empiar_mirror.cluster.leases import remove_lease_folder
from empiar_mirror.cluster.link import Link, Undone
from empiar_mirror.threads import in_thread
from empiar_schema.cluster_settings import ClusterSettings
from empiar_schema.disk import make_folder, standing, storage_fault


@dataclass(frozen=True, slots=True)
class Greeting:
    """What came of it."""

    #: Whether the worker answered at all: one that is busy or frozen may answer later.
    answered: bool
    #: Why it is given nothing; None where it is fit.
    refusal: str | None = None
    facts: Facts | None = None


async def greeted(
    link: Link, worker: str, *, settings: ClusterSettings, root: Path, threads: Executor
) -> Greeting:
    """What the worker says of itself, and whether it sees the root. A folder of a random name is made in `staging/leases`, and removed.

    Raises:
        StorageFault: the disk refused.
    """
    token = secrets.token_hex(8)
    folder = leases_folder(root) / f"greeting-{token}"
    await in_thread(threads, _make, folder, token)
    try:
        order = order_for(Greet(settings.lease), root=settings.root or root, lease=folder.name)
        async with asyncio.timeout(settings.lease):
            answer = await link.have_done(order, worker=worker, key=folder.name)
        reply = pickle.loads(answer) if isinstance(answer, bytes) else None  # noqa: S301 - from a worker of the site's own
    except TimeoutError:
        return Greeting(False)
    except Undone as undone:
        return Greeting(True, f"it cannot run empiar-mirror: {undone}")
    except Exception as error:  # whatever a strange worker sends
        return Greeting(True, f"its answer cannot be read ({type(error).__name__}: {error})")
    else:
        facts = reply.value if isinstance(reply, Reply) and isinstance(reply.value, Facts) else None
        refusal = await in_thread(threads, _refusal, reply, facts, folder, token)
        return Greeting(True, refusal, facts)
    finally:
        await in_thread(threads, remove_lease_folder, folder)


def _make(folder: Path, token: str) -> None:
    try:
        make_folder(folder.parent, within=standing(folder.parents[2]))
        folder.mkdir()
        (folder / "nonce").write_text(token)
    except OSError as error:
        raise storage_fault(error, f"cannot write {folder}") from error


def _refusal(reply: object, facts: Facts | None, folder: Path, token: str) -> str | None:
    """Why the worker is given nothing; None where it is fit."""
    own = own_facts()
    if not isinstance(reply, Reply):
        return "its answer is none of empiar-mirror's"
    if facts is None:
        return reply.refusal or reply.fault or "its answer says nothing"
    if facts.python != own.python or facts.product != own.product:
        return f"it runs empiar-mirror {facts.product} on Python {facts.python}, and this machine {own.product} on {own.python}"
    if facts.nonce != token:
        return "it sees another folder than root in its place"
    echo = folder / BEGUN / "echo"
    try:
        if echo.read_text() != token:
            return "what it writes does not arrive here"
        if echo.stat().st_uid != os.geteuid():
            return "it runs as another user, whose files this one may not change"
    except OSError as error:
        return f"what it writes cannot be read here: {error.strerror}"
    return None
