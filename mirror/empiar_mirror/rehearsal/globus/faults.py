"""Misbehaviour of the Globus stand-in as data: what goes wrong, where, how often."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from empiar_mirror.rehearsal.strikes import Strikes


class GlobusFaultKind(StrEnum):
    """What goes wrong. `GlobusFault.value` is explained in brackets."""

    # Requests: `match` is a glob on "POST /v0.10/transfer"
    LOSE_ANSWER = "lose_answer"  # it is done, and the connection ends before the answer
    DROP_REQUEST = "drop_request"  # the connection ends and nothing is done
    HANG = "hang"  # nothing is done and no answer comes
    STATUS = "status"  # 429 and 503 of the service with Retry-After in seconds or a date, others as pages ["429 30"; 503]
    ERROR = "error"  # an error document ["403 PermissionDenied", or "409 Conflict some sentence"]
    MAINTENANCE = "maintenance"  # 503 with the service's own words [seconds of Retry-After, none]
    GARBAGE = "garbage"  # 200 with this as JSON [text; a document that ends in the middle]
    CONSENT_REQUIRED = (
        "consent_required"  # 403 that asks for this scope [scope; data_access of the destination]
    )
    EXPIRE_TOKENS = "expire_tokens"  # all access tokens given out so far are invalid from here on
    REVOKE_LOGIN = "revoke_login"  # the same for refresh tokens too
    # Files of tasks: `match` is a glob on the source path; they strike when `at_byte` is reached
    WITHHOLD = "withhold"  # it cannot be read: an error, and again at each attempt [code, ENDPOINT_ERROR]
    VANISH = "vanish"  # the source file is gone
    CHANGE = "change"  # the source file has another content and a later time
    CHANGE_SILENTLY = "change_silently"  # another content at the same size and time
    CHECKSUM = "checksum"  # what arrived has another checksum than the source
    PERMISSION = "permission"  # the destination refuses it
    QUOTA = "quota"  # the destination is full
    PAUSE = "pause"  # an administrator pauses the task [seconds until it goes on; until `resume`]
    DEACTIVATE = "deactivate"  # credentials have run out: the task is INACTIVE until `resume`
    CANCEL = "cancel"  # somebody cancels the task in the web app; the file stays as far as it has come
    FAIL = "fail"  # the task fails for good [code, ENDPOINT_ERROR]
    # Files of tasks, when they are through: nothing of the task betrays it
    FLIP_BIT = "flip_bit"  # the lowest bit of the byte is wrong
    CUT_SHORT = "cut_short"  # the file ends at the byte
    FORGET = "forget"  # the file is missing in the list of successful transfers
    # Whole tasks, when they end: `match` is a glob on the label
    HISTORY_DELETED = "history_deleted"  # events and lists of files are gone, as after thirty days


_K = GlobusFaultKind
#: Kinds that replace the answer to a request, or what is done for it.
REQUEST_KINDS = frozenset(
    {
        _K.LOSE_ANSWER,
        _K.DROP_REQUEST,
        _K.HANG,
        _K.STATUS,
        _K.ERROR,
        _K.MAINTENANCE,
        _K.GARBAGE,
        _K.CONSENT_REQUIRED,
        _K.EXPIRE_TOKENS,
        _K.REVOKE_LOGIN,
    }
)
#: Kinds that strike while a file is copied.
COPY_KINDS = frozenset(
    {
        _K.WITHHOLD,
        _K.VANISH,
        _K.CHANGE,
        _K.CHANGE_SILENTLY,
        _K.PERMISSION,
        _K.QUOTA,
        _K.PAUSE,
        _K.DEACTIVATE,
        _K.CANCEL,
        _K.FAIL,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobusFault:
    """One kind of misbehaviour of Globus."""

    kind: GlobusFaultKind
    match: str = "*"
    #: How often it strikes; None: always.
    times: int | None = 1
    #: How many matching occasions pass well before.
    after: int = 0
    at_byte: int = 0
    value: str = ""

    def number(self, default: float) -> float:
        """`value` as a number."""
        return float(self.value) if self.value else default


class GlobusFaultBook(Strikes[GlobusFault, GlobusFaultKind]):
    """The faults of Globus in force and how often each kind has struck."""

    __slots__ = ()

    def take(
        self, kinds: Collection[GlobusFaultKind], target: str, span: tuple[int, int] | None = None
    ) -> GlobusFault | None:
        """The first fault of `kinds` due here, counted as struck; None where all is well.

        With `span`, bytes ``[start, stop)`` of a file: only faults whose byte is among them.
        """
        for fault in tuple(self.faults):
            if fault.kind not in kinds or not fnmatchcase(target, fault.match):
                continue
            if span is not None and not span[0] <= fault.at_byte < span[1]:
                continue
            if self._strikes(fault):
                return fault
        return None


def standard_globus_faults() -> list[GlobusFault]:
    """A set that a client with another channel must survive without losing, spoiling or fetching a file twice.

    It holds no kind that nobody could notice, such as a flipped bit behind the service's back.
    """
    transfer, task = "POST */transfer", "GET */task/*"
    return [
        GlobusFault(kind=_K.LOSE_ANSWER, match=transfer),
        GlobusFault(kind=_K.STATUS, match=transfer, value="503 1", after=2),
        GlobusFault(kind=_K.EXPIRE_TOKENS, match=task, after=4),
        GlobusFault(kind=_K.STATUS, match=task, value="429 1", after=9),
        GlobusFault(kind=_K.GARBAGE, match=task, after=14),
        GlobusFault(kind=_K.CHECKSUM, match="*/10101/*_0003_*"),
        GlobusFault(kind=_K.CUT_SHORT, match="*/10101/*_0005_*", at_byte=1000),
        GlobusFault(kind=_K.FORGET, match="*/10101/*_0007_*"),
        GlobusFault(kind=_K.WITHHOLD, match="*/10102/*", times=None, after=3),
        GlobusFault(kind=_K.FAIL, match="*/10110/*", after=5),
        GlobusFault(kind=_K.PAUSE, match="*/10112/*", value="1"),
    ]
