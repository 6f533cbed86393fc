"""What feeding does at the end of a run, with a desk that tells it what a test wants it to see."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from claims import claim
from empiar_mirror.app import Mirror
from empiar_mirror.engine import Engine
from empiar_mirror.space import Space
from empiar_mirror.transferring import Transferring
from empiar_schema import transfer_store
from empiar_schema.events import nobody
from empiar_schema.states import Role
from entry_here import ID, NOW, opened, put_here, rows

NAME = "data/a.mrc"


@asynccontextmanager
async def engine_of(mirror: Mirror) -> AsyncIterator[Engine]:
    """An engine with all that it has at work; nothing is fetched by it."""
    work = Transferring(
        mirror.settings,
        mirror.catalogue,
        mirror.folders,
        mirror._threads,
        nobody,
        mirror.clock,
        mirror._stopping,
        mirror.pacing,
        mirror.doubts,
    )
    async with AsyncExitStack() as stack:
        space = Space(mirror.folders.staging, mirror.settings.disk)
        yield work._engine(work.transports(stack, None), space=space)


def wanted(root: Path) -> None:
    """One file, which is not here."""
    put_here(root, {NAME: (Role.MICROGRAPH, b"x" * 100)}, absent=[NAME])


async def test_a_file_that_is_given_back_while_the_run_ends_is_taken_up_again(tmp_path: Path) -> None:
    wanted(tmp_path)
    with opened(tmp_path, "") as mirror:
        claim_all = functools.partial(claim, now=NOW, limit_files=1, limit_bytes=1)
        [work] = await mirror.catalogue.write(claim_all)
        async with engine_of(mirror) as engine:
            feeding, leaving = engine._feeding, True

            async def change(at_most_s: float | None = None) -> None:
                """At the first wait the catalogue learns that the file waits again."""
                nonlocal leaving
                leaving = False
                back = functools.partial(transfer_store.give_back, file_ids=[work.file_id])
                await mirror.catalogue.write(back)

            feeding._desk = replace(
                feeding._desk,
                leaving=lambda: leaving,
                change=change,
                over=lambda: bool(engine._active),
            )
            await feeding.run([ID], least_priority=transfer_store.ANY_PRIORITY)
            assert list(engine._active) == [work.file_id]


async def test_a_run_is_not_at_its_end_while_the_catalogue_does_not_know_that_a_file_waits_again(
    tmp_path: Path,
) -> None:
    wanted(tmp_path)
    with opened(tmp_path, "") as mirror:
        async with engine_of(mirror) as engine:
            feeding = engine._feeding
            await feeding._look()
            assert await feeding._claim()
            [active] = engine._active.values()
            busy = threading.Event()
            held = mirror.catalogue.submit(lambda _: busy.wait())
            try:
                shelving = asyncio.create_task(engine._shelve(active, error=None))
                while engine._active:
                    await asyncio.sleep(0)
                assert feeding._desk.leaving()
                assert rows(mirror, "SELECT state FROM copies") == [("claimed",)]
            finally:
                busy.set()
            await shelving
            assert not feeding._desk.leaving()
            assert rows(mirror, "SELECT state FROM copies") == [("wanted",)]
            held.result()
