"""Where a file is in the archive's collection, and where it shall be in ours (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from empiar_schema.faults import BadAnswer
from empiar_schema.paths import RemotePath, bytes_from_text, checked_name
from empiar_wire.globus_paths import below, raw_name, shown_name

#: GridFTP speaks in lines.
_LINE_BREAK = re.compile(rb"[\r\n]")
_ENTRY = re.compile("[1-9][0-9]{0,7}")


def plain(text: str) -> str | None:
    """The path that a stored text stands for, as the service wants it; None where it cannot be told of it.

    That is so for names with a line break. Names that are no UTF-8 are written as
    the service shows them (`empiar_wire.globus_paths`).
    """
    if "%" not in text:
        return text  # nearly all: nothing in it is stored in another way than it is
    parts = [bytes_from_text(part) for part in text.split("/")]
    if any(_LINE_BREAK.search(part) for part in parts):
        return None
    return "/".join(map(shown_name, parts))


def is_utf8(text: str) -> bool:
    """Whether the path of a stored text is UTF-8, so that nothing depends on how the service writes other bytes."""
    try:
        bytes_from_text(text).decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Places:
    """The two trees of a transfer."""

    source_collection: str
    #: The archive's tree in its collection, above the entries.
    source_base: str
    destination_collection: str
    #: `root` of this mirror in its collection.
    root: str

    @property
    def deliveries(self) -> str:
        """The folder of ours into which the service writes (`empiar_mirror.staging.delivery_folder`)."""
        return below(self.root, "staging", "globus")

    def source(self, empiar_id: int, path: str = "") -> str:
        """Of a file or folder of an entry, given as plain text below the entry."""
        return _below(below(self.source_base, str(empiar_id)), path)

    def destination(self, empiar_id: int, path: str = "") -> str:
        """As `source`, for where it shall be."""
        return _below(below(self.deliveries, str(empiar_id)), path)

    def delivered(self, destination: str) -> RemotePath | None:
        """Which file the service means by a destination path; None for one that is not below `deliveries`."""
        return _file_below(self.deliveries, destination)

    def requested(self, source: str) -> RemotePath | None:
        """The same for a source path, below `source_base`."""
        return _file_below(below(self.source_base), source)


def _file_below(base: str, place: str) -> RemotePath | None:
    prefix = base.rstrip("/") + "/"
    if not place.startswith(prefix):
        return None
    entry, _, path = place[len(prefix) :].partition("/")
    folder, inside, name = path.rstrip("/").rpartition("/")
    if _ENTRY.fullmatch(entry) is None:
        return None
    try:
        return RemotePath(int(entry), _stored_folder(folder) if inside else "", checked_name(raw_name(name)))
    except BadAnswer:
        return None


@lru_cache(maxsize=1024)
def _stored_folder(shown: str) -> str:
    # Kept, since nearly all files of a task share theirs with many others.
    return "/".join(checked_name(raw_name(part)) for part in shown.split("/"))


def _below(folder: str, path: str) -> str:
    # Not `below`: names may begin or end with blanks, but never with a slash.
    return f"{folder}/{path}" if path else folder


def task_link(web_url: str, task_id: str) -> str:
    """Where the web app shows the task."""
    return f"{web_url}/activity/{task_id}/overview"
