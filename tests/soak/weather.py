"""What goes wrong at the archive, by chance and by seed: gusts of faults, and channels that are out for a while."""

from __future__ import annotations

import random
from collections.abc import Callable

from empiar_mirror.rehearsal.archive import RehearsalArchive
from empiar_mirror.rehearsal.faults import Channel, Fault, FaultBook, FaultKind

K = FaultKind
#: Bytes of files, on either channel. A flipped bit is none of these: nobody could notice it.
BODIES = [K.DROP_AT, K.DROP_AT, K.STALL_AT, K.ERROR_INSIDE, K.SHORT_BODY, K.LONG_STATED, K.CHANGED_FILE]
HTTPS = [
    K.ERROR_BODY,
    K.HTML_PAGE,
    K.OVERSIZE_BODY,
    K.REFUSE_RANGES,
    K.WRONG_CONTENT_RANGE,
    K.CHANGED_SILENTLY,
]
FTP = [K.FTP_421, K.FTP_530, K.FTP_425, K.FTP_426, K.FTP_450, K.FTP_550, K.EARLY_226, K.WRONG_PASV]
STATUSES = ["503 0", "503 1", "429 1", "429 0", "500", "502", "404"]
LISTINGS = [K.CUT_PAGE, K.STALL_AT, K.HOSTILE_NAMES, K.ENDLESS_FOLDERS]
METADATA = [K.BROKEN_JSON, K.HTML_PAGE, K.DROP_AT, K.STALL_AT]


class Weather:
    """Fills the book of faults. `login_page` is where redirects lead."""

    def __init__(self, archive: RehearsalArchive, book: FaultBook, *, seed: int, login_page: str) -> None:
        self._archive = archive
        self._book = book
        self._chance = random.Random(seed)
        self._login_page = login_page
        self._out: set[Channel] = set()
        self._gust: list[Fault] = []
        #: A listing may lie once an entry: twice in a row would be the truth as far as anybody can tell.
        self._lied: set[int] = set()

    def gust(self) -> list[str]:
        """Some faults are in force, in place of those before; in words."""
        kinds: list[Callable[[], Fault]] = [
            self._body,
            self._body,
            self._status,
            self._of_https,
            self._of_ftp,
            self._listing,
            self._metadata,
            self._redirect,
        ]
        self._gust = [self._chance.choice(kinds)() for _ in range(self._chance.randrange(2, 9))]
        if (lie := self._lie()) is not None:
            self._gust.append(lie)
        self._show()
        return [f"{fault.kind} {fault.channel or 'any'} {fault.match}" for fault in self._gust]

    def outage(self, channel: Channel, *, out: bool) -> None:
        """The channel answers everything with "busy", or does so no longer."""
        (self._out.add if out else self._out.discard)(channel)
        self._show()

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self._gust, self._out = [], set()
        self._show()

    def _show(self) -> None:
        self._book.clear()
        for channel in sorted(self._out):
            if channel == "ftp":
                self._book.add(Fault(kind=K.FTP_421, channel="ftp", times=None))
            else:
                self._book.add(Fault(kind=K.STATUS, channel=channel, value="503 1", times=None))
        self._book.add(*self._gust)

    # --- kinds ----------------------------------------------------------------------------------------

    def _entry(self) -> int:
        return self._chance.choice(sorted(self._archive.entries))

    def _match(self) -> str:
        return f"{self._entry()}/*" if self._chance.random() < 0.5 else "*"

    def _fault(
        self, kind: FaultKind, *, match: str, channel: Channel | None = None, value: str = ""
    ) -> Fault:
        at = self._chance.choice([1, 5_000, 15_000, 300_000, 4_500_000])
        at = min(at, 1000) if kind is K.ERROR_INSIDE else at
        # An error text that every look meets is the truth at the archive, as far as anybody can tell.
        times = self._chance.randrange(1, 3 if kind is K.ERROR_INSIDE else 4)
        return Fault(kind=kind, match=match, channel=channel, times=times, at_byte=at, value=value)

    def _body(self) -> Fault:
        return self._fault(self._chance.choice(BODIES), match=self._match())

    def _status(self) -> Fault:
        return self._fault(
            K.STATUS, match=self._match(), channel="https", value=self._chance.choice(STATUSES)
        )

    def _of_https(self) -> Fault:
        return self._fault(self._chance.choice(HTTPS), match=self._match(), channel="https")

    def _of_ftp(self) -> Fault:
        kind = self._chance.choice(FTP)
        early = kind in (K.FTP_421, K.FTP_530, K.WRONG_PASV)
        return self._fault(kind, match="*" if early else self._match(), channel="ftp")

    def _listing(self) -> Fault:
        return self._fault(self._chance.choice(LISTINGS), match=f"{self._entry()}/*/")

    def _metadata(self) -> Fault:
        match = self._chance.choice([f"entry/{self._entry()}", "search", "ranges"])
        return self._fault(self._chance.choice(METADATA), match=match, channel="api")

    def _redirect(self) -> Fault:
        return self._fault(K.REDIRECT, match=self._match(), channel="https", value=self._login_page)

    def _lie(self) -> Fault | None:
        entry = self._entry()
        if self._chance.random() > 0.3 or entry in self._lied:
            return None
        self._lied.add(entry)
        return Fault(kind=K.MISSING_NAME, match=f"{entry}/data/", value="*0*", times=1)
