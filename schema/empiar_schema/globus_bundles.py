"""What the ledger of the Globus channel speaks of: files that may go, bundles of them, and bundles under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from empiar_schema.globus_states import BundleState
from empiar_schema.paths import RemotePath


class Candidate(NamedTuple):
    """A wanted file that might go by Globus. `tries`: bundles it was in before. Stored texts as in `RemotePath`."""

    file_id: int
    empiar_id: int
    directory: str
    name: str
    bytes: int | None
    tries: int


class BundleFile(NamedTuple):
    """A file that is under way in a bundle."""

    file_id: int
    remote: RemotePath
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has not ended. Times are epoch seconds."""

    bundle_id: int
    state: BundleState
    label: str
    files: int
    bytes: int
    sync_level: str | None
    planned_at: int
    submission_id: str | None
    task_id: str | None
    submitted_at: int | None
    #: When the service last told of bytes or files that it had not told of before.
    progressed_at: int | None
    status: str | None
    nice_status: str | None
    bytes_transferred: int
    files_transferred: int
    faults: int
    moved_marker: str | None
    cancelled_because: str | None


@dataclass(frozen=True, slots=True)
class NewBundle:
    """Files that shall become one task."""

    label: str
    file_ids: Sequence[int]
    sync_level: str | None
