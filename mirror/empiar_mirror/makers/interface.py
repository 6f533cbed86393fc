"""What a maker is: something that chooses work among an entry's files and does it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from empiar_mirror.makers.maker import EntryFiles, Ran, Task


class Maker(Protocol):
    """Makes files of one sort. Its name is the folder of its products and the word for it in configuration and SQL."""

    @property
    def name(self) -> str:
        """A word of a-z, 0-9, _ and -."""

    @property
    def source(self) -> str:
        """``deposited``, or the maker whose products it works on, which then comes first."""

    @property
    def threads(self) -> int:
        """How many of the configured workers one job of it takes."""

    @property
    def places(self) -> int | None:
        """How many of its jobs are done at once; None: as many as the configured workers allow."""

    @property
    def retries(self) -> int:
        """How often a failed job is tried again before it is parked."""

    @property
    def retry_wait_s(self) -> float:
        """First wait before that; doubles."""

    @property
    def largest_output(self) -> int:
        """No product has more bytes."""

    async def version(self) -> str | None:
        """What is recorded as the version of whatever does the work; asked once a run.

        Raises:
            MakerUnusable: it cannot work now.
        """

    def concerns(self, conn: sqlite3.Connection, empiar_id: int) -> bool:
        """Whether it can have a task in this entry at all: a quick look, which spares reading all files of most entries."""

    def tasks(self, files: EntryFiles) -> Iterable[Task]:
        """What should be made of these files."""

    def recipe(self, task: Task, version: str | None) -> str:
        """A digest of all that decides the result of `task`."""

    async def run(self, task: Task, *, empiar_id: int, job_id: int, folder: Path) -> Ran:
        """Does `task` in `folder`, which is empty and its own. Cancelling ends it, with everything that it has started.

        Raises:
            JobFault: it did not work.
        """
