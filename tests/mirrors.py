"""A mirror of a rehearsal archive, quick and impatient, for journeys in one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import load
from empiar_schema.events import Event
from empiar_schema.settings import Settings

IMPATIENT = """
[crawl]
requests_per_s = 2000
[transfer]
requests_per_s = 2000
stall_s = 0.6
retries = 4
retry_wait_s = 0.01
"""


def settings_for(rehearsal: Rehearsal, folder: Path, *, more: str = "", patient: str = IMPATIENT) -> Settings:
    """Settings of a mirror in `folder`; `more` is TOML that goes on after the `[transfer]` table."""
    file = folder / "empiar-mirror.toml"
    file.write_text(rehearsal.settings_toml(folder / "mirror") + patient + more)
    return load(file, environ={}, cwd=folder)


@contextmanager
def opened(settings: Settings, events: list[Event] | None = None) -> Iterator[Mirror]:
    """The mirror, open; what happens is collected in `events`."""

    def collect(event: Event) -> None:
        if events is not None:
            events.append(event)

    with Mirror.open(settings, observer=collect, create=True) as mirror:
        yield mirror


def rows(mirror: Mirror, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
    """All rows of a query over the catalogue's views."""
    with mirror.catalogue.reader() as conn:
        return [tuple(row) for row in conn.execute(sql, tuple(parameters))]
