"""Much that is to be written, in transactions that end soon: whoever transfers meanwhile records what arrives between them."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from empiar_schema.catalogue import Catalogue

#: A transaction that has lasted so long, seconds, ends with the step at which it is, on a machine however slow.
HOLD_S: Final = 0.5

#: Something small that is to be written.
Step = Callable[[sqlite3.Connection], None]


def write_steps(catalogue: Catalogue, steps: deque[Step], *, stopped: Callable[[], bool]) -> bool:
    """All steps are done, in their order, and taken out of `steps`; false if `stopped` came first. A power cut may undo the last ones. Blocking.

    Raises:
        CatalogueFault: the catalogue refuses; steps of transactions before stand.
        StorageFault: the disk refuses; the same.
    """
    while steps:
        if stopped():
            return False
        catalogue.submit(functools.partial(_as_far_as_time_allows, steps), durable=False).result()
    return True


def _as_far_as_time_allows(steps: deque[Step], conn: sqlite3.Connection) -> None:
    ends = time.monotonic() + HOLD_S
    while steps:
        steps.popleft()(conn)
        if time.monotonic() >= ends:
            return
