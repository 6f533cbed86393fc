"""How many connections a host bears on one channel, learnt from what comes of them (pure: no clock, no network).

Additive increase, multiplicative decrease, under a ceiling. It begins at the ceiling, which is what whoever configured it thinks
right: a small transfer is not slowed by learning. What EMPIAR's servers do (one request in thirty hangs at any number of
connections; more are refused by 421 or a reset) decides what counts: a refusal or a reset at once, hangs only where they are many.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

#: What comes within this time is one event, and one window of measurement.
WINDOW_S: Final = 2.0
#: Stalls are counted over this time: those of one event end within it.
_STALLS_S: Final = 10.0
#: So many stalls at once, and this share of the connections, are more than the one in thirty that hangs whatever one does.
_STALLS: Final = 2
_STALLED_SHARE: Final = 0.3
#: A connection more should bring this share of what each one brought before.
_GAIN: Final = 0.25
#: Rest after one that did not, before the next is tried.
_REST_S: Final = 15.0
#: A number that was refused is tried again after this time; after twice that if it is refused again, and so on.
_REFUSED_S: Final = 60.0
_REFUSED_LONGEST_S: Final = 1800.0


@dataclass(frozen=True, slots=True)
class Window:
    """What one window of time has shown."""

    bytes_moved: int
    seconds: float
    #: Every allowed connection was in use.
    busy: bool
    #: Something of ours held the streams back: the bandwidth limit, or the disk.
    held_back: bool


@dataclass(slots=True)
class _Refused:
    """The smallest number of connections with which there was trouble, and until when it is not tried again."""

    number: int
    until: float
    rest_s: float


class Congestion:
    """The number of connections for one host and channel: never below 1, never above the ceiling. Times are of one clock, in seconds."""

    def __init__(self, ceiling: int) -> None:
        self._most = self._ceiling = self._number = ceiling
        self._cut_at = float("-inf")
        self._stalls: deque[float] = deque()
        self._refused: _Refused | None = None
        self._rest_until = float("-inf")
        #: Bytes a second before the latest connection was added; None where none is on trial.
        self._before: float | None = None

    @property
    def allowed(self) -> int:
        """Connections that may be used now."""
        return max(1, min(self._number, self._ceiling))

    def limit(self, most: int, *, now_at_most: int | None = None) -> None:
        """The ceiling is `most`; `now_at_most`, where given, holds for the time being, and what was learnt outlasts it."""
        if self._number >= self._most:
            self._number = most
        self._most = most
        self._number = min(self._number, most)
        self._ceiling = most if now_at_most is None else min(most, now_at_most)

    def stalled(self, *, began_at: float, now: float) -> bool:
        """A stream that was begun then has stalled; whether there are fewer connections for it."""
        if began_at < self._cut_at:
            return False
        self._stalls.append(now)
        while self._stalls[0] < now - _STALLS_S:
            self._stalls.popleft()
        if len(self._stalls) < max(_STALLS, _STALLED_SHARE * self.allowed):
            return False
        return self._cut(now)

    def refused(self, *, began_at: float, now: float) -> bool:
        """A connection was refused or reset, or the server said that it is too busy; whether there are fewer for it.

        What was begun before the latest cut speaks of the number before it: one event, one cut.
        """
        if began_at < self._cut_at:
            return False
        return self._cut(now)

    def _cut(self, now: float) -> bool:
        if now < self._cut_at + WINDOW_S:
            return False
        before = self.allowed
        again = self._refused is not None and before >= self._refused.number
        rest_s = min(_REFUSED_LONGEST_S, 2 * self._refused.rest_s) if again and self._refused else _REFUSED_S
        self._refused = _Refused(max(2, before), now + rest_s, rest_s)
        self._number = max(1, before // 2)
        self._cut_at = now
        self._stalls.clear()
        self._before = None
        return self.allowed < before

    def window(self, seen: Window, *, now: float) -> bool:
        """A window has ended; whether there is one connection more for what it has shown."""
        if self.allowed >= self._ceiling or self._cut_at > now - seen.seconds:
            self._before = None
            return False
        if not seen.busy or seen.held_back:
            self._before = None  # what was added had no work, or could not show what it brings
            return False
        rate = seen.bytes_moved / seen.seconds
        if self._before is not None:
            needed = self._before * (1 + _GAIN / max(1, self.allowed - 1))
            if rate < needed:
                self._rest_until = now + _REST_S
            self._before = None
        if now < self._rest_until or self._barred(now):
            return False
        self._before = rate
        self._number = self.allowed + 1
        return True

    def _barred(self, now: float) -> bool:
        """Whether the next number was refused lately. One that was borne since is no longer held against the server."""
        refused = self._refused
        if refused is None:
            return False
        if self.allowed >= refused.number:
            self._refused = None
            return False
        return self.allowed + 1 >= refused.number and now < refused.until
