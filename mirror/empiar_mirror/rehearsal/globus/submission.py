"""The document of a submission, checked as the service checks it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, cast

from empiar_mirror.rehearsal.archive import Json
from empiar_mirror.rehearsal.globus.collections import Collection
from empiar_mirror.rehearsal.globus.documents import Document, ServiceError, bad_request, path_bytes
from empiar_mirror.rehearsal.globus.tasks import FilterRule, Item, Submission

_LONGEST_LABEL = 128
_OPTIONS = (
    "verify_checksum",
    "preserve_timestamp",
    "encrypt_data",
    "skip_source_errors",
    "fail_on_quota_errors",
    "store_base_path_info",
)


def read_submission(document: Json, now: float, collection: Callable[[str], Collection]) -> Submission:
    """What `document` asks for, at `now` of the service's clock. `collection` finds one by its id.

    Options left out are false, as with the service.

    Raises:
        ServiceError: the service would refuse it.
    """
    if not isinstance(document, dict) or document.get("DATA_TYPE") != "transfer":
        raise bad_request("The request body must be a document of type 'transfer'")
    source, destination = (
        collection(_text(document, name)) for name in ("source_endpoint", "destination_endpoint")
    )
    lines = document.get("DATA")
    if not isinstance(lines, list) or not lines:
        raise bad_request("A transfer requires at least one item", "NoTransferItems")
    if _flag(document, "delete_destination_extra"):
        raise bad_request("this stand-in deletes nothing at a destination")
    options = {name: _flag(document, name) for name in _OPTIONS}
    return Submission(
        submission_id=_text(document, "submission_id"),
        label=read_label(document.get("label")),
        source=source,
        destination=destination,
        items=tuple(_item(line) for line in lines),
        filter_rules=tuple(_rule(line) for line in _list(document, "filter_rules")),
        sync_level=_sync_level(document.get("sync_level")),
        recursive_symlinks=_symlinks(document.get("recursive_symlinks")),
        deadline=read_deadline(document.get("deadline"), now),
        verify_checksum=options["verify_checksum"],
        preserve_timestamp=options["preserve_timestamp"],
        encrypt_data=options["encrypt_data"],
        skip_source_errors=options["skip_source_errors"],
        fail_on_quota_errors=options["fail_on_quota_errors"],
        store_base_path_info=options["store_base_path_info"],
    )


def read_deadline(text: Json, now: float) -> float | None:
    """The Unix time of an ISO 8601 date and time, taken for UTC where it names no zone.

    Raises:
        ServiceError: it is none, or past at `now`.
    """
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        when = None
    if when is None:
        raise bad_request("deadline must be a date and time in ISO 8601 format")
    seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if seconds <= now:
        raise bad_request("deadline must be in the future")
    return seconds


def read_label(text: Json) -> str | None:
    """A label that a task can have, or None.

    Raises:
        ServiceError: it is none.
    """
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > _LONGEST_LABEL:
        raise bad_request(f"label must be a string of at most {_LONGEST_LABEL} characters")
    if "\r" in text or "\n" in text or text != text.strip():
        raise bad_request("label must hold no line breaks and neither begin nor end with a blank")
    return text


def _item(line: Json) -> Item:
    if not isinstance(line, dict) or line.get("DATA_TYPE") != "transfer_item":
        raise bad_request("DATA must hold documents of type 'transfer_item'")
    source = path_bytes(line.get("source_path"), "source_path")
    destination = path_bytes(line.get("destination_path"), "destination_path")
    recursive = line.get("recursive", False)
    if recursive is not None and not isinstance(recursive, bool):
        raise bad_request("recursive must be true or false")
    if not recursive and destination.endswith(b"/"):
        raise bad_request("the destination_path of a file must name the file")
    if recursive:
        source, destination = source.rstrip(b"/") or b"/", destination.rstrip(b"/") or b"/"
    return Item(source, destination, bool(recursive))


def _rule(line: Json) -> FilterRule:
    name = line.get("name") if isinstance(line, dict) else None
    if not isinstance(line, dict) or not isinstance(name, str):
        raise bad_request("filter_rules must hold documents of type 'filter_rule' with a name")
    method, kind = line.get("method", "exclude"), line.get("type")
    if method not in ("include", "exclude") or kind not in (None, "file", "dir"):
        raise bad_request("a filter rule has a method, include or exclude, and a type, file or dir")
    return FilterRule(
        cast('Literal["include", "exclude"]', method), name, cast('Literal["file", "dir"] | None', kind)
    )


def _sync_level(level: Json) -> int | None:
    if level is None:
        return None
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= 3:
        raise bad_request("sync_level must be 0, 1, 2 or 3")
    return level


def _symlinks(word: Json) -> Literal["ignore", "keep", "copy"]:
    match word:
        case None | "ignore":
            return "ignore"
        case "keep":
            return "keep"
        case "copy":
            return "copy"
        case _:
            raise bad_request("recursive_symlinks must be ignore, keep or copy")


def _text(document: Document, name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise ServiceError(400, "ClientError.BadRequest", f"Missing required field '{name}'")
    return value


def _flag(document: Document, name: str) -> bool:
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad_request(f"{name} must be true or false")
    return bool(value)


def _list(document: Document, name: str) -> list[Json]:
    value = document.get(name)
    if value is not None and not isinstance(value, list):
        raise bad_request(f"{name} must be a list")
    return value or []
