"""What the head of an HTTP answer means for a claim: pure judgement, no connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

from empiar_mirror.transports.base import Claim
from empiar_mirror.transports.http1 import Head
from empiar_schema.faults import (
    ChangedUpstream,
    EmpiarMirrorError,
    PermanentFault,
    RangesRefused,
    TransientFault,
    fault_from_http_status,
)
from empiar_schema.files import Validators
from empiar_wire.http import retry_after_s

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


@dataclass(frozen=True, slots=True)
class ContentRange:
    """What a 206 holds: bytes `[start, stop)` of `total`, which the server may leave unsaid."""

    start: int
    stop: int
    total: int | None


def parse_content_range(text: str) -> ContentRange | None:
    """``bytes 0-9/100``; None where it is no such text."""
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        return None
    first, last, total = match.groups()
    if int(last) < int(first):
        return None
    return ContentRange(int(first), int(last) + 1, None if total == "*" else int(total))


def last_modified(headers: Mapping[str, str]) -> int | None:
    """Epoch seconds of ``Last-Modified``; None where there is none that can be read."""
    try:
        return int(parsedate_to_datetime(headers.get("last-modified", "")).timestamp())
    except (ValueError, OverflowError):
        return None


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """The ETag with its quotes; None where there is none or a weak one."""
    etag = headers.get("etag", "").strip()
    return etag if len(etag) >= 2 and etag[0] == etag[-1] == '"' else None


def found_in(head: Head, *, size: int | None) -> Validators:
    """What the server says of the file, whose size is `size`."""
    return Validators(size=size, modified_at=last_modified(head.headers), etag=strong_etag(head.headers))


def size_in_head(head: Head) -> int | None:
    """The size that the answer to a HEAD request states."""
    length = head.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def conditions(claim: Claim) -> dict[str, str]:
    """The request headers that make the answer begin at `claim.start` of the same file, or be another status."""
    if claim.whole:
        return {}
    last = "" if claim.stop is None else str(claim.stop - 1)
    headers = {"Range": f"bytes={claim.start}-{last}"}
    validators = claim.validators
    if validators is not None and validators.etag is not None:
        headers["If-Range"] = validators.etag
    elif validators is not None and validators.modified_at is not None:
        headers["If-Range"] = formatdate(validators.modified_at, usegmt=True)
    return headers


def refusal(head: Head, *, what: str, now: float) -> EmpiarMirrorError:
    """The fault that a status other than 200 and 206 means."""
    if head.status < 300:
        return PermanentFault(f"{what}: HTTP {head.status} where a file was expected")
    retry_after = retry_after_s(head.headers.get("retry-after"), now=now)
    return fault_from_http_status(head.status, what, retry_after_s=retry_after)


def judge(claim: Claim, head: Head, *, what: str, now: float) -> Validators:
    """What a 2xx answer says of the file, if its body is the bytes that `claim` asks for.

    Raises:
        TransferFault: it is not; `what` (method and address) is named in the message.
    """
    if head.status not in (200, 206):
        raise refusal(head, what=what, now=now)
    if "content-encoding" in head.headers and head.framing != "counted":
        # A coding with a length is Apache's label on files that are stored so (.gz); one without was made on the way.
        raise PermanentFault(f"{what}: recoded on the way ({head.headers['content-encoding'][:40]})")
    if claim.whole:
        if head.status == 206:
            raise TransientFault(f"{what}: a part of the file, though all of it was asked for")
        return found_in(head, size=head.length if head.framing == "counted" else None)
    if head.status == 200:
        raise _range_ignored(claim, head, what)
    return _judge_range(claim, head, what)


def _range_ignored(claim: Claim, head: Head, what: str) -> EmpiarMirrorError:
    found = found_in(head, size=head.length if head.framing == "counted" else None)
    why = claim.validators.contradicts(found) if claim.validators is not None else None
    if why is not None:
        return ChangedUpstream(f"{what}: the file has changed: {why}")
    return RangesRefused(f"{what}: the whole file, though bytes from {claim.start} were asked for")


def _judge_range(claim: Claim, head: Head, what: str) -> Validators:
    sent = parse_content_range(head.headers.get("content-range", ""))
    if sent is None:
        raise RangesRefused(f"{what}: HTTP 206 that does not say which bytes")
    found = found_in(head, size=sent.total)
    why = claim.validators.contradicts(found) if claim.validators is not None else None
    if why is not None:
        raise ChangedUpstream(f"{what}: the file has changed: {why}")
    if sent.start != claim.start or (claim.stop is not None and sent.stop > claim.stop):
        raise RangesRefused(
            f"{what}: bytes from {sent.start}, though those from {claim.start} were asked for"
        )
    if head.framing == "counted" and head.length != sent.stop - sent.start:
        raise TransientFault(f"{what}: {head.length} bytes announced as a range of {sent.stop - sent.start}")
    return found


def judge_unsatisfiable(claim: Claim, head: Head, *, what: str) -> Validators:
    """What the answer to HEAD says, after a 416: there is nothing from `claim.start` on, as there should be nothing.

    Raises:
        ChangedUpstream: the file is another one by now, or shorter than what is kept of it.
        RangesRefused: the file reaches further, so the server just refuses ranges.
    """
    found = found_in(head, size=size_in_head(head))
    why = claim.validators.contradicts(found) if claim.validators is not None else None
    if why is not None:
        raise ChangedUpstream(f"{what}: the file has changed: {why}")
    if found.size is None or claim.start < found.size:
        raise RangesRefused(f"{what}: HTTP 416 for bytes from {claim.start}")
    if claim.start > found.size:
        raise ChangedUpstream(f"{what}: {found.size} bytes, fewer than the {claim.start} kept")
    return found
