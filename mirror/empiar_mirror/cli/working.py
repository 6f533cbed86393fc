"""Runs one long piece of work on an open mirror: log, progress bars, and a clean stop on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from empiar_mirror.cli.invocation import Invocation, say
from empiar_mirror.cli.signals import ENDING, ending_at_once, handling
from empiar_schema.events import Observer
from empiar_schema.faults import CatalogueFault

if TYPE_CHECKING:
    from empiar_mirror.app import Mirror
    from empiar_mirror.observers import Totals
    from empiar_schema.settings import Settings

T = TypeVar("T")


def work_on(
    invocation: Invocation,
    settings: Settings,
    work: Callable[[Mirror], Awaitable[T]],
    *,
    ids: Sequence[int] | None = None,
) -> tuple[T, bool]:
    """The result of `work`, and whether a signal stopped it; the mirror is closed again.

    The first SIGINT or SIGTERM lets what is under way end and keeps partial files; a second one does not wait.
    """
    from empiar_mirror.app import Mirror

    async def run() -> tuple[T, bool]:
        with ending_at_once():  # recovery, or a migration, may take long
            mirror = Mirror.open(settings, observer=observer)
        try:
            return await until_signal(mirror, work)
        finally:
            mirror.close()

    with observing(invocation, settings, ids=ids) as observer:
        return asyncio.run(run())


@contextmanager
def observing(
    invocation: Invocation, settings: Settings, *, ids: Sequence[int] | None = None
) -> Iterator[Observer]:
    """An observer that logs to standard error and, on a terminal, draws progress bars."""
    from empiar_mirror.observers import LogObserver, ProgressObserver, all_of, log_level

    terminal = sys.stderr.isatty()
    default = logging.WARNING if terminal else logging.INFO
    level = log_level(invocation.log_level) if invocation.log_level else default
    json = invocation.log_format == "json" or (invocation.log_format == "auto" and not terminal)
    with contextlib.ExitStack() as stack:
        observers: list[Observer] = []
        if terminal:
            from rich.console import Console

            console = Console(stderr=True)
            progress = ProgressObserver(
                console, totals=lambda with_globus: _totals(settings, ids, with_globus=with_globus)
            )
            observers.append(stack.enter_context(progress))
        # After the bars: they have put themselves in place of sys.stderr, so that log lines go above them.
        observers.append(LogObserver(sys.stderr, json=json, level=level))
        yield all_of(observers)


async def until_signal(mirror: Mirror, work: Callable[[Mirror], Awaitable[T]]) -> tuple[T, bool]:
    """The result of `work`, and whether SIGINT or SIGTERM asked the mirror to stop meanwhile."""
    task = asyncio.ensure_future(work(mirror))
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if stopped:
            task.cancel()
            return
        stopped = True
        say("stopping: what is under way is kept; once more to stop at once")
        mirror.stop()

    with handling(dict.fromkeys(ENDING, stop)):
        try:
            return await task, stopped
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def _totals(settings: Settings, ids: Sequence[int] | None, *, with_globus: bool) -> Totals | None:
    """What the catalogue says of these entries, or of all that were asked for; None while it cannot be read."""
    from empiar_mirror.globus.task_status import bytes_on_the_way
    from empiar_mirror.observers import Totals
    from empiar_mirror.reading import reading

    columns = "ifnull(sum({}), 0)"
    names = ("wanted_files - evicted_files", "wanted_bytes - evicted_bytes", "here_files", "here_bytes")
    chosen = "" if ids is None else f" WHERE empiar_id IN ({', '.join(str(int(i)) for i in ids)})"
    sql = f"SELECT {', '.join(columns.format(name) for name in names)} FROM entry_progress{chosen}"  # noqa: S608
    try:
        with reading(settings.root) as connection:
            connection.execute(
                "BEGIN"
            )  # one moment for both: what arrives leaves the one and enters the other
            whole = Totals(*connection.execute(sql).fetchone())
            return replace(whole, globus_bytes=bytes_on_the_way(connection, ids)) if with_globus else whole
    except CatalogueFault:
        return None
