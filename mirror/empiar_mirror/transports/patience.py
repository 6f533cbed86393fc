"""How long to wait for an answer to begin, learnt from how long answers took so far (no I/O).

About one request in thirty is never answered by the archive, whatever one does, and a second one on a fresh
connection is the cure. Waiting for it as long as for a slow disk costs most of the line.
"""

from __future__ import annotations

from typing import Final

from empiar_schema.faults import Stalled

#: So many answers must have been timed before fewer seconds than the configured ones are believed in.
_ENOUGH: Final = 8
#: Answers that come sooner were on their way already, or come from next door: nothing to be learnt from.
_TELLING_S: Final = 0.01
_SHORTEST_S: Final = 0.5
#: How many times as long as the slowest answer of late a new one may take.
_MARGIN: Final = 3.0
#: The slowest answer is forgotten by this factor with every faster one.
_FADING: Final = 0.98
#: Second tries of one request that are not waited for in full.
TRIES: Final = 3


class LostPatience(Stalled):
    """An answer has not begun for unusually long, though for less than `stall_s`: worth a second try at once."""


class Patience:
    """One host's answers, and the seconds after which it is not worth waiting for the next; never more than `longest_s`."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._timed = 0
        self._slowest_s = 0.0
        self._raised = 1.0

    def answered(self, waited_s: float) -> None:
        """An answer began after so long."""
        self._raised = max(1.0, self._raised * 0.75)
        if waited_s >= _TELLING_S:
            self._timed += 1
            self._slowest_s = max(waited_s, self._slowest_s * _FADING)

    def lost(self) -> None:
        """A wait was given up. Where many are in a row the host has become slower, so the next ones are longer."""
        self._raised = min(self._raised * 2.0, 64.0)

    def limit_s(self, tries: int = 0) -> float:
        """How long a request that was given up `tries` times may take to be answered."""
        if self._timed < _ENOUGH or tries >= TRIES:
            return self._longest_s
        usual = max(_SHORTEST_S, _MARGIN * self._slowest_s)
        return min(self._longest_s, usual * self._raised * 2.0**tries)
