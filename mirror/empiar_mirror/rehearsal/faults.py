"""Misbehaviour as data: what goes wrong, where, how often. Servers ask the book before they answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Literal

from empiar_mirror.rehearsal.strikes import Strikes

Channel = Literal["https", "ftp", "api"]


#: Bytes ``[start, stop)`` of the file that a request will be answered with.
Span = tuple[int, int]


class Stage(StrEnum):
    """Where in a conversation a fault can strike."""

    GREETING = "greeting"
    LOGIN = "login"
    LISTING = "listing"
    FILE = "file"
    FACTS = "facts"  # HEAD, SIZE and MDTM
    METADATA = "metadata"


class FaultKind(StrEnum):
    """What goes wrong. `Fault.at_byte` counts bytes of the file, `Fault.value` is explained in brackets."""

    # Bodies of files
    DROP_AT = "drop_at"  # the connection ends at a byte
    STALL_AT = "stall_at"  # nothing more comes from a byte on, and the connection stays open
    SLOW_DRIP = "slow_drip"  # from a byte on, one byte at a time [seconds between, 0.05]
    FLIP_BIT = "flip_bit"  # the lowest bit of one byte is wrong
    ERROR_BODY = "error_body"  # an object store's error text as the whole body, status 200
    ERROR_INSIDE = "error_inside"  # the same text over the data from a byte on, length right
    SHORT_BODY = "short_body"  # the stated length is smaller than the file [by how many bytes, 1000]
    LONG_STATED = "long_stated"  # the stated length is greater than what is sent [1000]; on FTP as SHORT_BODY
    OVERSIZE_BODY = "oversize_body"  # more bytes than the file has, without a stated length [1000]
    CHANGED_FILE = "changed_file"  # a new version stands there from this request on
    CHANGED_SILENTLY = "changed_silently"  # the same with size and time kept
    # Ranges
    REFUSE_RANGES = "refuse_ranges"  # 200 and the whole file; REST is acknowledged and ignored
    WRONG_CONTENT_RANGE = (
        "wrong_content_range"  # 206 that begins elsewhere, in word (HTTP) or deed (FTP) [bytes further, 4096]
    )
    # Statuses
    STATUS = "status"  # ["503", or "429 30" with seconds or a date of Retry-After]; 450 on FTP
    REDIRECT = "redirect"  # 302 [to this address]
    # Listings
    TRUNCATED_LISTING = "truncated_listing"  # a clean end with the second half lost
    CUT_PAGE = "cut_page"  # the connection ends in the middle
    MISSING_NAME = "missing_name"  # names that match are left out, as on a back end that lags [glob]
    ENDLESS_FOLDERS = "endless_folders"  # a folder that holds itself, for ever
    HOSTILE_NAMES = "hostile_names"  # names that no file can have, among the right ones
    # Metadata
    HTML_PAGE = "html_page"  # a web page where JSON or data belongs, status 200
    BROKEN_JSON = "broken_json"  # JSON cut in the middle
    HUGE_JSON = "huge_json"  # JSON without end in sight [bytes, 200,000,000]
    DEEP_JSON = "deep_json"  # nested arrays [depth, 100,000]
    ENTITY_BOMB = "entity_bomb"  # the header XML expands to gigabytes
    # FTP replies
    FTP_421 = "ftp_421"  # full, at the greeting
    FTP_530 = "ftp_530"  # full, at the login
    FTP_425 = "ftp_425"  # no data connection
    FTP_426 = "ftp_426"  # the transfer is aborted at a byte
    FTP_450 = "ftp_450"  # busy
    FTP_550 = "ftp_550"  # refused, though the file is there
    EARLY_226 = "early_226"  # "complete" at a byte
    WRONG_PASV = "wrong_pasv"  # PASV names a private address


_STAGES: dict[FaultKind, tuple[Stage, ...]] = {
    FaultKind.STATUS: (Stage.FILE, Stage.LISTING, Stage.METADATA, Stage.FACTS),
    FaultKind.REDIRECT: (Stage.FILE, Stage.LISTING, Stage.METADATA),
    FaultKind.HTML_PAGE: (Stage.FILE, Stage.LISTING, Stage.METADATA),
    FaultKind.DROP_AT: (Stage.FILE, Stage.METADATA),
    FaultKind.STALL_AT: (Stage.FILE, Stage.LISTING, Stage.METADATA),
    FaultKind.FTP_421: (Stage.GREETING,),
    FaultKind.FTP_530: (Stage.LOGIN,),
    FaultKind.FTP_425: (Stage.FILE, Stage.LISTING),
    FaultKind.FTP_450: (Stage.FILE, Stage.LISTING),
    FaultKind.FTP_550: (Stage.FILE, Stage.LISTING),
    FaultKind.WRONG_PASV: (Stage.LOGIN,),
    **dict.fromkeys(
        (
            FaultKind.TRUNCATED_LISTING,
            FaultKind.CUT_PAGE,
            FaultKind.MISSING_NAME,
            FaultKind.ENDLESS_FOLDERS,
            FaultKind.HOSTILE_NAMES,
        ),
        (Stage.LISTING,),
    ),
    **dict.fromkeys((FaultKind.BROKEN_JSON, FaultKind.HUGE_JSON, FaultKind.DEEP_JSON), (Stage.METADATA,)),
}


_RANGE_KINDS = {FaultKind.REFUSE_RANGES, FaultKind.WRONG_CONTENT_RANGE}
_AT_BYTE = {
    FaultKind.DROP_AT,
    FaultKind.STALL_AT,
    FaultKind.SLOW_DRIP,
    FaultKind.FLIP_BIT,
    FaultKind.ERROR_INSIDE,
    FaultKind.FTP_426,
    FaultKind.EARLY_226,
}

#: What an answer that begins behind the byte does not meet; the others strike it at its first byte.
_ON_THE_SPOT = {FaultKind.FLIP_BIT, FaultKind.ERROR_INSIDE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of misbehaviour.

    `match` is a glob on the target: ``10101/data/x.mrc`` for a file, ``10101/data/`` for a folder's listing, ``/`` for
    the list of entries, ``entry/10101``, ``ranges``, ``search``, ``emdb/EMD-0101`` and ``tree/10101/0`` for metadata.
    """

    kind: FaultKind
    match: str = "*"
    channel: Channel | None = None
    #: How often it strikes; None: always.
    times: int | None = 1
    #: How many matching requests are answered well before.
    after: int = 0
    at_byte: int = 0
    value: str = ""

    def number(self, default: float) -> float:
        """`value` as a number."""
        return float(self.value) if self.value else default

    def reaches(self, span: Span | None, *, ranged: bool) -> bool:
        """Whether an answer with the bytes of `span` would come to this fault at all."""
        if self.kind in _RANGE_KINDS and not ranged:
            return False
        if span is None or self.kind not in _AT_BYTE:
            return True
        return self.at_byte < span[1] and (self.kind not in _ON_THE_SPOT or self.at_byte >= span[0])


class FaultBook(Strikes[Fault, FaultKind]):
    """The faults in force and how often each has struck."""

    __slots__ = ()

    def in_force(self, kind: FaultKind) -> bool:
        """Whether a fault of this kind may still strike."""
        return any(fault.kind is kind for fault in self.faults)

    def take(
        self,
        stage: Stage,
        channel: Channel,
        target: str,
        *,
        span: Span | None = None,
        ranged: bool = False,
        kinds: Collection[FaultKind] = tuple(FaultKind),
    ) -> Fault | None:
        """The first fault due at this point of a conversation, counted as struck; None where all is well.

        A request that ends before a fault's byte, or asks for no range where the fault concerns ranges, leaves
        the fault for a later one.
        """
        for fault in self.faults:
            stages = _STAGES.get(fault.kind, (Stage.FILE,))
            due = stage in stages and fault.channel in (None, channel) and fnmatchcase(target, fault.match)
            if not due or fault.kind not in kinds or not fault.reaches(span, ranged=ranged):
                continue
            if self._strikes(fault):
                return fault
        return None


#: What an object store behind the file server has been seen to send with status 200 (EMPIAR downloads, 2024-26).
ERROR_TEXT = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code><Message>ConnectionClosedException: '
    b"Premature end of Content-Length delimited message body</Message><RequestId>rehearsal</RequestId></Error>\n"
)

HTML_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Service unavailable</title></head>"
    b"<body><h1>We are sorry</h1><p>This service is under maintenance.</p></body></html>\n"
)

ENTITY_BOMB = (
    b'<?xml version="1.0"?>\n<!DOCTYPE entry [<!ENTITY a "empiar">'
    + b"".join(
        b'<!ENTITY %c "%s">' % (letter + 1, b"&%c;" % letter * 10) for letter in range(ord("a"), ord("k"))
    )
    + b']>\n<entry xmlns="http://pdbe.org/empiar"><admin><title>&k;</title></admin></entry>\n'
)

#: Names that a client must refuse, as a hostile or broken server may list them.
HOSTILE_NAMES = (
    b"..",
    b".",
    b"/etc/passwd",
    b"../../outside.mrc",
    b"nul\0byte.mrc",
    b"x" * 5000 + b".mrc",
    b"",
)


def standard_faults() -> list[Fault]:
    """Faults that a client must survive without losing or spoiling a file, for the standard entries."""
    return [
        Fault(kind=FaultKind.STATUS, channel="api", match="entry/10102", value="503 0"),
        Fault(kind=FaultKind.STATUS, channel="api", match="entry/10101", value="500"),
        Fault(kind=FaultKind.HTML_PAGE, channel="api", match="search"),
        Fault(kind=FaultKind.FTP_421, channel="ftp"),
        Fault(kind=FaultKind.FTP_450, channel="ftp", match="10102/*/"),
        Fault(kind=FaultKind.CUT_PAGE, channel="https", match="10101/*/"),
        Fault(kind=FaultKind.DROP_AT, match="10101/data/*_0004_*.mrc", at_byte=300_000),
        Fault(kind=FaultKind.DROP_AT, match="10106/*.mrcs", at_byte=100_000, times=3),
        Fault(kind=FaultKind.STALL_AT, match="10101/data/*_0007_*.mrc", at_byte=500_000),
        Fault(kind=FaultKind.REFUSE_RANGES, match="10101/data/*_0004_*.mrc"),
        Fault(kind=FaultKind.STATUS, channel="https", match="10102/*.tif", value="503 0", times=2),
        Fault(kind=FaultKind.STATUS, channel="https", match="10103/*.eer", value="429 1"),
        Fault(kind=FaultKind.ERROR_BODY, channel="https", match="10106/data/*part1/*"),
        Fault(kind=FaultKind.SHORT_BODY, channel="https", match="10107/*.gz"),
        Fault(kind=FaultKind.LONG_STATED, channel="https", match="10108/*.mrc"),
        Fault(kind=FaultKind.FTP_425, channel="ftp", match="10104/*.st"),
        Fault(kind=FaultKind.FTP_426, channel="ftp", match="10104/*.rec", at_byte=200_000),
        Fault(kind=FaultKind.EARLY_226, channel="ftp", match="10103/*.eer", at_byte=65_536),
    ]
