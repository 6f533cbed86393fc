"""Every fault of a file's transfer, what is done about it, and how the file ends: test and documentation in one.

docs/faults.md is made of this table (`python tests/journey/fault_table.py > docs/faults.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

from empiar_mirror.rehearsal.faults import Fault
from empiar_mirror.rehearsal.faults import FaultKind as K

#: The file that suffers, 3 MiB, and one so small that it travels in a batch.
BIG = "10190/data/big.mrc"
SMALL = "10190/data/small.mrc"
MIDDLE = 2_000_000


@dataclass(frozen=True)
class Case:
    """One row."""

    what: str
    response: str
    faults: tuple[Fault, ...]
    #: Channels that are configured; several groups mean several runs.
    channels: tuple[str, ...] = ("https", "ftp")
    state: str = "arrived"
    error: str = ""


def both(kind: K, *, at_byte: int = 0) -> tuple[Fault, ...]:
    """The fault strikes the large file, and the small one near its beginning."""
    return (
        Fault(kind=kind, match=BIG, at_byte=at_byte),
        Fault(kind=kind, match=SMALL, at_byte=min(at_byte, 1000)),
    )


CASES = [
    Case(
        "the connection ends in the middle", "resume after the proven blocks", both(K.DROP_AT, at_byte=MIDDLE)
    ),
    Case(
        "the connection ends again and again, each time a little further",
        "progress renews the retry budget",
        tuple(Fault(kind=K.DROP_AT, match=BIG, at_byte=n * 400_000) for n in range(1, 8)),
    ),
    Case(
        "nothing more comes",
        "end the attempt after `stall_s`, resume at once on a fresh connection",
        both(K.STALL_AT, at_byte=MIDDLE),
    ),
    Case(
        "nothing ever comes, on any channel",
        "give up when the retries are used",
        (Fault(kind=K.STALL_AT, match=BIG, at_byte=10, times=None),),
        ("https,ftp",),
        "parked",
        "sent nothing",
    ),
    Case(
        "nothing ever comes over HTTPS",
        "after two fruitless attempts the other channel",
        (Fault(kind=K.STALL_AT, match=BIG, channel="https", at_byte=0, times=None),),
        ("https,ftp",),
    ),
    Case(
        "the last bytes drip",
        "any progress is progress",
        (Fault(kind=K.SLOW_DRIP, match=BIG, at_byte=3 * 2**20 - 20, value="0.01"),),
    ),
    Case(
        "a bit of the header is flipped on the way",
        "look at the header again, see that it differs, fetch again",
        both(K.FLIP_BIT, at_byte=0)[:1],
    ),
    Case(
        "200 with an error text as the body",
        "the size contradicts the listing: ask again, fetch again",
        both(K.ERROR_BODY),
    ),
    Case(
        "200 with an error text inside the data, length right",
        "found near the beginning or end: look again, see that it differs, fetch again",
        (Fault(kind=K.ERROR_INSIDE, match=BIG, at_byte=30_000),),
    ),
    Case(
        "the same error text inside the data by every channel, for a while",
        "the second look agrees: look again after 30 times `retry_wait_s`, see that it differs, fetch again",
        (Fault(kind=K.ERROR_INSIDE, match=BIG, at_byte=30_000, times=2),),
        ("https,ftp",),
    ),
    Case(
        "a web page in place of the file, status 200",
        "as an error text",
        (Fault(kind=K.HTML_PAGE, match=BIG),),
        ("https",),
    ),
    Case(
        "the stated length is too small",
        "the size contradicts the listing: every channel is asked, the listing is confirmed, fetch again",
        both(K.SHORT_BODY),
    ),
    Case("the stated length is too great", "as too small", both(K.LONG_STATED)),
    Case(
        "more bytes than the file has",
        "refuse the surplus, start over",
        (Fault(kind=K.OVERSIZE_BODY, match=BIG),),
    ),
    Case(
        "the file changes between two attempts",
        "the validators no longer hold: start over",
        (Fault(kind=K.DROP_AT, match=BIG, at_byte=MIDDLE), Fault(kind=K.CHANGED_FILE, match=BIG)),
    ),
    Case(
        "the file changes, size and time do not",
        "the ETag, or the overlap that is fetched again, no longer agrees: start over",
        (
            Fault(kind=K.DROP_AT, match=BIG, at_byte=MIDDLE),
            Fault(kind=K.CHANGED_SILENTLY, match=BIG),
        ),
    ),
    Case(
        "a range is asked for, the whole file is sent",
        "start over in one stream",
        (Fault(kind=K.DROP_AT, match=BIG, at_byte=MIDDLE), Fault(kind=K.REFUSE_RANGES, match=BIG)),
    ),
    Case(
        "another range is sent than was asked for",
        "refuse it and ask again",
        (Fault(kind=K.DROP_AT, match=BIG, at_byte=MIDDLE), Fault(kind=K.WRONG_CONTENT_RANGE, match=BIG)),
    ),
    Case(
        "503", "wait, try again", (Fault(kind=K.STATUS, match=BIG, value="503", channel="https"),), ("https",)
    ),
    Case(
        "429 with Retry-After",
        "wait as long as the server says",
        (Fault(kind=K.STATUS, match=BIG, value="429 1", channel="https"),),
        ("https",),
    ),
    Case(
        "500", "wait, try again", (Fault(kind=K.STATUS, match=BIG, value="500", channel="https"),), ("https",)
    ),
    Case(
        "403 (EBI's answer to clients that ask too fast)",
        "wait, try again",
        (Fault(kind=K.STATUS, match=BIG, value="403", channel="https"),),
        ("https",),
    ),
    Case(
        "404 over HTTPS, though the file is there",
        "the other channel at once",
        (Fault(kind=K.STATUS, match=BIG, value="404", channel="https", times=None),),
        ("https,ftp",),
    ),
    Case(
        "absent on every channel",
        "give up at once; the listing may be out of date",
        (
            Fault(kind=K.STATUS, match=BIG, value="404", channel="https", times=None),
            Fault(kind=K.FTP_550, match=BIG, times=None),
        ),
        ("https,ftp",),
        "parked",
        "550",
    ),
    Case(
        "a redirect to another host",
        "not followed; the other channel",
        (Fault(kind=K.REDIRECT, match=BIG, channel="https", value="http://127.0.0.2:9/x", times=None),),
        ("https,ftp",),
    ),
    Case(
        "421 at the greeting: too many users", "the host rests a little", (Fault(kind=K.FTP_421),), ("ftp",)
    ),
    Case("530 at the login: too many users", "as 421", (Fault(kind=K.FTP_530),), ("ftp",)),
    Case("425: no data connection", "try again", (Fault(kind=K.FTP_425, match=BIG),), ("ftp",)),
    Case("426: transfer aborted", "resume", both(K.FTP_426, at_byte=MIDDLE), ("ftp",)),
    Case("450: busy", "try again", (Fault(kind=K.FTP_450, match=BIG),), ("ftp",)),
    Case(
        "550 over FTP, though the file is there",
        "the other channel at once",
        (Fault(kind=K.FTP_550, match=BIG, times=None),),
        ("ftp,https",),
    ),
    Case(
        "226 before all bytes came", "the length tells: resume", both(K.EARLY_226, at_byte=MIDDLE), ("ftp",)
    ),
]

UNNOTICED = (
    "A bit that flips on the way inside the pixels of an uncompressed image changes neither length nor format, and EMPIAR publishes no "
    "checksums: TCP's own checksum is all that stands against it. What was received is on record by sha256 from then on.\n\n"
    "Where a file was here before, damaged or evicted since, it is noticed all the same: while its listing stays as it was, other bytes than "
    "before are believed only if they come twice in a row, and damaged ones in place of sound ones never are. They are asked for again with growing "
    "waits, for about half an hour, and are then `quarantined` with both digests in the reason.\n\n"
    "An error text more than 64 KiB inside a file is not looked for on arrival. `verify` reads every byte and records it as `body.error_text`."
)


def render() -> str:
    """docs/faults.md."""
    lines = [
        "# Faults of a transfer, and how a file ends",
        "",
        "Each row is a test against the rehearsal archive (`tests/journey/test_faults.py`). In every case the other files of the entry arrive, what arrives is",
        "byte for byte what the archive holds, and a later `sync` after the fault is over brings the rest.",
        "",
        "| what happens | channels configured | what is done | the file is then |",
        "| --- | --- | --- | --- |",
    ]
    for case in CASES:
        channels = " / ".join(group.replace(",", " then ") for group in case.channels)
        lines.append(f"| {case.what} | {channels} | {case.response} | {case.state} |")
    return "\n".join([*lines, "", UNNOTICED, ""])


if __name__ == "__main__":
    print(render(), end="")
