"""A task as the service remembers it: what was asked for, how far it is, and the documents that say so."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from empiar_mirror.rehearsal.archive import Json
from empiar_mirror.rehearsal.globus.collections import Collection
from empiar_mirror.rehearsal.globus.documents import Document, shown, timestamp

Status = Literal["ACTIVE", "INACTIVE", "SUCCEEDED", "FAILED"]
#: For how long after an error a task shows it as its `nice_status`, in seconds.
_ERROR_SHOWN_S = 900
#: The latest events of a task, so many of them, are kept.
_MOST_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a submission, in paths of the collections."""

    source: bytes
    destination: bytes
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class FilterRule:
    """Which names below recursive items are left out or taken in."""

    method: Literal["include", "exclude"]
    name: str
    kind: Literal["file", "dir"] | None

    def matches(self, name: bytes, kind: str) -> bool:
        """Whether the rule concerns this name."""
        return self.kind in (None, kind) and fnmatchcase(shown(name), self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A transfer as it was submitted, checked. `deadline` in Unix seconds by the service's clock."""

    submission_id: str
    label: str | None
    source: Collection
    destination: Collection
    items: tuple[Item, ...]
    filter_rules: tuple[FilterRule, ...] = ()
    sync_level: int | None = None
    verify_checksum: bool = False
    preserve_timestamp: bool = False
    encrypt_data: bool = False
    skip_source_errors: bool = False
    fail_on_quota_errors: bool = False
    recursive_symlinks: Literal["ignore", "keep", "copy"] = "ignore"
    store_base_path_info: bool = False
    deadline: float | None = None

    def included(self, name: bytes, kind: str) -> bool:
        """Whether the filter rules take this name; the first rule that matches decides."""
        for rule in self.filter_rules:
            if rule.matches(name, kind):
                return rule.method == "include"
        return True


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a task's history; `time` in Unix seconds."""

    code: str
    description: str
    details: str
    time: float
    is_error: bool = False

    def document(self) -> Document:
        """The event as the service shows it."""
        return {
            "DATA_TYPE": "event",
            "code": self.code,
            "description": self.description,
            "details": self.details,
            "is_error": self.is_error,
            "parent_task_id": None,
            "time": timestamp(self.time),
        }


@dataclass(frozen=True, slots=True)
class Moved:
    """A file that was really copied, in paths of the collections."""

    source: bytes
    destination: bytes

    def document(self) -> Document:
        """One line of `successful_transfers`."""
        return {
            "DATA_TYPE": "successful_transfer",
            "source_path": shown(self.source),
            "destination_path": shown(self.destination),
        }


@dataclass(frozen=True, slots=True)
class SkippedError:
    """A path that was passed over because of an error at the source."""

    source: bytes
    destination: bytes
    code: str
    details: str
    time: float
    is_directory: bool = False

    def document(self) -> Document:
        """One line of `skipped_errors`."""
        return {
            "DATA_TYPE": "skipped_error",
            "source_path": shown(self.source),
            "destination_path": shown(self.destination),
            "error_code": self.code,
            "error_details": self.details,
            "error_time": timestamp(self.time),
            "is_directory": self.is_directory,
            "is_symlink": False,
            "is_delete_destination_extra": False,
            "external_checksum": None,
            "checksum_algorithm": None,
        }


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """A task of an account. Times in Unix seconds by the service's clock.

    `submission` is None for a task of somebody's own that only occupies a place.
    """

    task_id: str
    owner_id: str
    label: str | None
    request_time: float
    deadline: float
    submission: Submission | None = None
    status: Status = "ACTIVE"
    queued: bool = True
    is_paused: bool = False
    pause_code: str = ""
    completion_time: float | None = None
    fatal_error: tuple[str, str] | None = None
    last_error: tuple[str, float] | None = None
    canceled_by_admin: bool = False
    history_deleted: bool = False
    files: int = 0
    directories: int = 0
    symlinks: int = 0
    files_transferred: int = 0
    files_skipped: int = 0
    bytes_transferred: int = 0
    bytes_checksummed: int = 0
    faults: int = 0
    pending: int = 0
    retrying: int = 0
    moved: list[Moved] = field(default_factory=list)
    skipped: list[SkippedError] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ("SUCCEEDED", "FAILED")

    @property
    def stopped(self) -> bool:
        """Whether it waits for a person."""
        return self.is_paused or self.status == "INACTIVE"

    def note(self, code: str, details: str, now: float, *, is_error: bool = False) -> None:
        """The history has one more event; an error counts as a fault."""
        if len(self.events) == _MOST_EVENTS:
            del self.events[0]
        self.events.append(Event(code, code.replace("_", " ").lower(), details, now, is_error))
        if is_error:
            self.faults += 1
            self.last_error = (code, now)

    def end(self, status: Status, now: float, fatal_error: tuple[str, str] | None = None) -> None:
        """It is over, unless it was before."""
        if self.ended:
            return
        self.status, self.completion_time, self.fatal_error = status, now, fatal_error
        self.queued = self.is_paused = False
        if fatal_error is None:
            self.note("SUCCEEDED", "", now)
        else:
            self.note(fatal_error[0], fatal_error[1], now, is_error=fatal_error[0] != "CANCELED")

    def nice_status(self, now: float) -> str | None:
        """The state in one word, as people are shown it; None for a task that has ended."""
        if self.ended:
            return None
        if self.stopped:
            return self.pause_code
        if self.last_error is not None and now - self.last_error[1] < _ERROR_SHOWN_S:
            return self.last_error[0]
        return "Queued" if self.queued else "OK"

    def document(self, now: float) -> Document:
        """The task as the service shows it at `now`."""
        nice = self.nice_status(now)
        took = max(1.0, (self.completion_time or now) - self.request_time)
        fatal: Json = None
        if self.fatal_error is not None:
            fatal = {"code": self.fatal_error[0], "description": self.fatal_error[1]}
        done = self.files_transferred + self.files_skipped
        left = self.pending + self.retrying if self.ended else 0
        return {
            "DATA_TYPE": "task",
            "task_id": self.task_id,
            "type": "TRANSFER",
            "status": self.status,
            "label": self.label,
            "owner_id": self.owner_id,
            "username": "u_" + self.owner_id.replace("-", ""),
            "command": "API 0.10",
            "request_time": timestamp(self.request_time),
            "completion_time": timestamp(self.completion_time),
            "deadline": timestamp(self.deadline),
            "fatal_error": fatal,
            "is_ok": None if self.ended else nice in ("OK", "Queued"),
            "is_paused": self.is_paused,
            "nice_status": nice,
            "nice_status_details": None,
            "nice_status_expires_in": None if self.ended else -1,
            "nice_status_short_description": nice,
            "canceled_by_admin": "SOURCE" if self.canceled_by_admin else None,
            "canceled_by_admin_message": None,
            "history_deleted": self.history_deleted,
            "faults": self.faults,
            "files": self.files,
            "directories": self.directories,
            "symlinks": self.symlinks,
            "files_transferred": self.files_transferred,
            "files_skipped": self.files_skipped,
            "bytes_transferred": self.bytes_transferred,
            "bytes_checksummed": self.bytes_checksummed,
            "effective_bytes_per_second": int(self.bytes_transferred / took),
            "subtasks_total": done + len(self.skipped) + self.pending + self.retrying,
            "subtasks_succeeded": done,
            "subtasks_pending": 0 if self.ended else self.pending,
            "subtasks_retrying": 0 if self.ended else self.retrying,
            "subtasks_failed": left if self.fatal_error and self.fatal_error[0] not in _NOT_FAILED else 0,
            "subtasks_canceled": left if self.fatal_error and self.fatal_error[0] == "CANCELED" else 0,
            "subtasks_expired": left if self.fatal_error and self.fatal_error[0] == "EXPIRED" else 0,
            "subtasks_skipped_errors": len(self.skipped),
            **self._asked_for(),
        }

    def _asked_for(self) -> Document:
        asked = self.submission
        if asked is None:
            return {"source_endpoint_id": None, "destination_endpoint_id": None, "sync_level": None}
        rules: list[Json] = [
            {"DATA_TYPE": "filter_rule", "method": rule.method, "name": rule.name, "type": rule.kind}
            for rule in asked.filter_rules
        ]
        return {
            "source_endpoint": asked.source.display_name,
            "source_endpoint_id": asked.source.collection_id,
            "source_endpoint_display_name": asked.source.display_name,
            "destination_endpoint": asked.destination.display_name,
            "destination_endpoint_id": asked.destination.collection_id,
            "destination_endpoint_display_name": asked.destination.display_name,
            "sync_level": asked.sync_level,
            "verify_checksum": asked.verify_checksum,
            "preserve_timestamp": asked.preserve_timestamp,
            "encrypt_data": asked.encrypt_data,
            "skip_source_errors": asked.skip_source_errors,
            "fail_on_quota_errors": asked.fail_on_quota_errors,
            "delete_destination_extra": False,
            "recursive_symlinks": asked.recursive_symlinks,
            "filter_rules": rules or None,
            "source_base_path": _base(item.source for item in asked.items)
            if asked.store_base_path_info
            else None,
            "destination_base_path": (
                _base(item.destination for item in asked.items) if asked.store_base_path_info else None
            ),
        }


_NOT_FAILED = ("CANCELED", "EXPIRED")


def _base(paths: Iterable[bytes]) -> str:
    """The folder that all `paths` have in common."""
    return shown(os.path.commonpath([path.rpartition(b"/")[0] or b"/" for path in paths]))
