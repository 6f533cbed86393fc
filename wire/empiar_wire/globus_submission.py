"""The document by which a transfer is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

from globus_sdk import MISSING, TransferData

from empiar_schema.faults import PermanentFault
from empiar_wire.globus_facts import LABEL_LENGTH, FilterRule, Submission

_SYNC_LEVELS: Final[Mapping[str, Literal["exists", "size", "mtime", "checksum"]]] = MappingProxyType(
    {"exists": "exists", "size": "size", "mtime": "mtime", "checksum": "checksum"}
)


def check_submission(submission: Submission) -> None:
    """The service would not refuse it for what can be told without asking.

    Raises:
        PermanentFault: it has no items, a label that is too long or of several lines, or an unknown option.
    """
    label = submission.label
    if not submission.items:
        raise PermanentFault("a transfer without items cannot be submitted")
    if len(label) > LABEL_LENGTH or not label.isprintable() or label != label.strip():
        raise PermanentFault(
            f"the label {label[:LABEL_LENGTH]!r} is not one line of at most {LABEL_LENGTH} characters"
        )
    if submission.sync_level is not None and submission.sync_level not in _SYNC_LEVELS:
        raise PermanentFault(f"there is no sync level {submission.sync_level!r}")
    if any(rule.method not in ("include", "exclude") for rule in submission.filters):
        raise PermanentFault("a filter either includes or excludes")


def transfer_document(submission: Submission, deadline: float | None) -> TransferData:
    """The document to be submitted, with every option stated: what is left out the service decides, and not as we would."""
    data = TransferData(
        submission.source_collection,
        submission.destination_collection,
        label=submission.label,
        submission_id=submission.submission_id,
        sync_level=MISSING if submission.sync_level is None else _SYNC_LEVELS[submission.sync_level],
        verify_checksum=True,
        preserve_timestamp=True,
        # The archive is public, and encryption costs its servers throughput; checksums prove the bytes.
        encrypt_data=False,
        deadline=MISSING if deadline is None else _iso(deadline),
        skip_source_errors=True,
        fail_on_quota_errors=True,
        delete_destination_extra=False,
        notify_on_succeeded=False,
        notify_on_failed=False,
        notify_on_inactive=False,
        additional_fields={"recursive_symlinks": "ignore", "store_base_path_info": True},
    )
    for item in submission.items:
        data.add_item(item.source, item.destination, recursive=item.recursive)
    for rule in submission.filters:
        _add_filter(data, rule)
    return data


def _add_filter(data: TransferData, rule: FilterRule) -> None:
    methods: dict[str, Literal["include", "exclude"]] = {"include": "include", "exclude": "exclude"}
    kinds: dict[str, Literal["file", "dir"]] = {"file": "file", "dir": "dir"}
    data.add_filter_rule(
        rule.name,
        method=methods[rule.method],
        type=MISSING if rule.type is None else kinds[rule.type],
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
