"""When scrubbing may read, how fast, and which proofs are too old: pure judgement."""

from __future__ import annotations

import errno
from typing import Final

from empiar_schema.hours import open_share

_DAY_S: Final = 86_400
#: What a disk is taken to give before anything was measured or configured, bytes a second. A disk that is slower is found
#: out by reading; one that is quicker than assumed would be read more often than `scrub.period` asks for.
_ASSUMED_BYTES_PER_S: Final = 10**9
#: So much must have been read before the time it took says anything.
_MEASURED_BYTES: Final = 256 * 2**20
#: A pass is begun so much earlier than it needs: rates vary, and other work comes first.
_MARGIN: Final = 1.25
#: A proof later than now by more than this was written under a wrong clock.
CLOCK_SLACK_S: Final = _DAY_S
#: Bytes read in one go: a stop waits for no more than that, and a throttled reader rests at least four times a second.
LARGEST_PIECE: Final = 4 * 2**20
_SMALLEST_PIECE: Final = 4096
#: So many damaged files in a row, with no sound one between, speak of the disk, the memory or a cable, not of the files.
SUSPICIOUS_RUN: Final = 8

#: Errors that concern one file: its name, or the sectors below it. All others concern the disk, or this process.
_OF_ONE_FILE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EIO, errno.EISDIR})


def concerns_one_file(number: int | None) -> bool:
    """Whether this error of the system (None: there was none) can be damage of a single file."""
    return number is None or number in _OF_ONE_FILE


# --- due -----------------------------------------------------------------------------------------------------


def pass_seconds(total_bytes: int, *, bytes_per_s: float, hours: str = "") -> float:
    """How long reading everything once takes, hours that are closed counted in."""
    return total_bytes / (bytes_per_s * open_share(hours))


def due(now: float, *, period_s: float, pass_s: float) -> int:
    """The time before which, inclusive, a proof is due to be renewed.

    A pass takes `pass_s`, so the first files of it are read that much before their `period_s` is over, with a margin, and
    the last just in time. Where a pass takes longer than the period, everything is due that was proven before now.
    """
    early = min(_MARGIN * pass_s, period_s)
    return min(int(now - period_s + early), int(now) - 1)


def from_wrong_clock(now: float) -> int:
    """The time after which a proof is due because no clock can have shown it yet: it would stay young for ever."""
    return int(now) + CLOCK_SLACK_S


def usual_rate(limit: float | None, *, bytes_read: int, seconds: float) -> float:
    """Bytes a second that reading gives: as measured, once enough was read, and at most the limit."""
    known = bytes_read >= _MEASURED_BYTES and seconds > 0
    measured = bytes_read / seconds if known else _ASSUMED_BYTES_PER_S
    return measured if limit is None else min(limit, measured)


# --- rate ----------------------------------------------------------------------------------------------------


def piece_bytes(bytes_per_s: float | None) -> int:
    """How much to read in one go at this rate (None: without a limit): at most a quarter of a second's worth."""
    if bytes_per_s is None:
        return LARGEST_PIECE
    return max(_SMALLEST_PIECE, min(LARGEST_PIECE, int(bytes_per_s / 4)))


class ByteRate:
    """A token bucket that is paid after reading: over any time, no more than the rate and one piece.

    Each piece has a stretch of time of its own, as long as its bytes take at the rate. Time that was not used is not saved up. Times are those of a clock that never goes back, in seconds.
    """

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._paid_at = float("-inf")

    def spend(self, count: int, *, began: float, now: float) -> float:
        """`count` bytes were read from `began` until `now`; seconds to rest before the next."""
        if self._bytes_per_s is None:
            return 0.0
        self._paid_at = max(self._paid_at, began) + count / self._bytes_per_s
        return max(0.0, self._paid_at - now)
