"""Gathers notices into messages, so that nobody gets more than one of a kind in an hour (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from empiar_mirror.notify.news import Notice
from empiar_schema.notify_settings import NoticeKind
from empiar_schema.times import iso

#: So many notices stand in a message in full; the rest is counted.
NAMED: Final = 50
#: So many subjects are kept of a kind until they can be told; later ones are counted.
KEPT: Final = 1_000

TITLES: Final[dict[NoticeKind, str]] = {
    NoticeKind.MATCHED: "entries asked for",
    NoticeKind.COMPLETE: "entries complete",
    NoticeKind.STUCK: "work is stuck",
    NoticeKind.DAMAGE: "damage found",
    NoticeKind.DISK: "disk",
    NoticeKind.UPSTREAM: "the archive has changed",
    NoticeKind.SUMMARY: "daily summary",
}


@dataclass(frozen=True, slots=True)
class Message:
    """What one notification says. `at` is epoch seconds."""

    kind: NoticeKind
    #: Name of the mirror: the machine, and its root.
    mirror: str
    at: float
    notices: tuple[Notice, ...]
    #: Notices beyond those.
    more: int = 0

    @property
    def title(self) -> str:
        """One line."""
        return f"empiar-mirror on {self.mirror}: {TITLES[self.kind]}"

    @property
    def text(self) -> str:
        """All of it for people, a line a notice."""
        lines = [notice.sentence for notice in self.notices]
        return "\n".join([*lines, *([f"and {self.more:,} more"] if self.more else [])])

    def document(self) -> dict[str, object]:
        """What programs and webhooks get, as JSON."""
        return {
            "event": self.kind.value,
            "mirror": self.mirror,
            "at": iso(self.at),
            "title": self.title,
            "text": self.text,
            "count": len(self.notices) + self.more,
            "notices": [{"subject": n.subject, "text": n.sentence} for n in self.notices],
        }


class Gathering:
    """Notices that wait until a message of their kind may be sent. Times are seconds of one clock."""

    def __init__(self, *, every_s: float) -> None:
        self.every_s = every_s
        self._sent_at: dict[NoticeKind, float] = {}
        self._waiting: dict[NoticeKind, dict[str, Notice]] = {}
        self._dropped: dict[NoticeKind, int] = {}

    def add(self, notices: Iterable[Notice]) -> None:
        """They wait for their message. Of a subject that waits already, the new sentence counts."""
        for notice in notices:
            waiting = self._waiting.setdefault(notice.kind, {})
            if notice.subject not in waiting and len(waiting) >= KEPT:
                self._dropped[notice.kind] = self._dropped.get(notice.kind, 0) + 1
            else:
                waiting[notice.subject] = notice

    def due(self, now: float) -> list[tuple[NoticeKind, tuple[Notice, ...], int]]:
        """Kind, notices and number of further ones of each message that may be sent now; they wait no longer."""
        messages = []
        for kind in list(self._waiting):
            sent_at = self._sent_at.get(kind)
            # A clock that was set back must not silence anybody until it has caught up.
            if sent_at is not None and 0 <= now - sent_at < self.every_s:
                continue
            notices = list(self._waiting.pop(kind).values())
            more = len(notices[NAMED:]) + self._dropped.pop(kind, 0)
            self._sent_at[kind] = now
            messages.append((kind, tuple(notices[:NAMED]), more))
        return messages
