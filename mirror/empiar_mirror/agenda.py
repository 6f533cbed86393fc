"""Which file, and how much of it, the next free connection should fetch (no I/O)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping

from empiar_mirror.active import ActiveFile
from empiar_mirror.transports.base import Capabilities
from empiar_schema.states import Channel
from empiar_schema.transfer_settings import TransferSettings

#: Files up to this size go in batches that share a connection without idle round trips.
SMALL_BYTES = 2**20
BATCH_BYTES = 16 * 2**20
#: A connection faster than this gains nothing from a second one for the same file.
FAST_BYTES_PER_S = 32e6
#: A file of more segments than this is kept for the end, where all connections can share it and so end together.
SEGMENTS_AT_ONCE = 2
#: Towards the end stretches become shorter, down to this: a round trip for 2 MiB costs 7 % at the archive's 1.5 MB/s.
LEAST_BYTES = 2 * 2**20
#: Ending early costs a channel without ranges its connection, so its stretches are longer.
SEGMENTS_WITHOUT_RANGES = 16
LEAST_BYTES_WITHOUT_RANGES = 8 * 2**20


class Agenda:
    """The claimed files that wait for a connection, or could use another one."""

    def __init__(self, settings: TransferSettings, capabilities: Mapping[Channel, Capabilities]) -> None:
        self._settings = settings
        #: Connections that share the work now; whoever begins streams keeps it true.
        self.connections = settings.connections
        self._capabilities = capabilities
        self._small: deque[ActiveFile] = deque()
        self._large: list[ActiveFile] = []
        self._rates: dict[Channel, float] = {}

    def __len__(self) -> int:
        return len(self._small) + len(self._large)

    def add(self, active: ActiveFile) -> None:
        """The file waits for a connection."""
        if active.likely_size <= SMALL_BYTES and not active.on_record and not active.writers:
            self._small.append(active)
        elif active not in self._large:
            self._large.append(active)

    def remove(self, active: ActiveFile) -> None:
        """The file needs no connection for now."""
        if active in self._large:
            self._large.remove(active)

    def wants(self, active: ActiveFile) -> bool:
        """Whether a connection may still take a stretch of this large file."""
        return active in self._large and self._takeable(active)

    def batch(self, channels: Collection[Channel] = tuple(Channel)) -> list[ActiveFile]:
        """Small files of one of the channels, taken off the agenda: as many as one connection should bring in a row.

        Near the end the rest is shared out evenly. Files of one folder stay together, as the catalogue gave them.
        """
        skipped = next((n for n, active in enumerate(self._small) if active.tried.channel in channels), None)
        if skipped is None:
            return []
        share = max(1, -(-len(self._small) // self.connections))
        self._small.rotate(-skipped)
        taken = [self._small.popleft()]
        channel = taken[0].tried.channel
        size = taken[0].likely_size
        limit = min(share, self._capabilities[channel].batch_files)
        while self._small and len(taken) < limit and self._small[0].tried.channel is channel:
            size += self._small[0].likely_size
            if size > BATCH_BYTES:
                break
            taken.append(self._small.popleft())
        return taken

    def untouched(
        self, channels: Collection[Channel], fit: Callable[[ActiveFile], bool]
    ) -> ActiveFile | None:
        """The next large file, of one of the channels and fit, of which nothing was begun."""
        chosen = (
            a
            for a in self._large
            if not a.preparing and a.untouched and a.tried.channel in channels and self._takeable(a)
        )
        return next((a for a in chosen if fit(a)), None)

    def large(
        self,
        channels: Collection[Channel] = tuple(Channel),
        but: Callable[[ActiveFile], bool] = lambda _: False,
    ) -> ActiveFile | None:
        """The next large file, of one of the channels, without a connection; else the one that gains most from another connection. `but`: not these."""
        waiting = [
            a
            for a in self._large
            if not a.preparing and a.tried.channel in channels and self._takeable(a) and not but(a)
        ]
        untouched = [a for a in waiting if not a.remaining.running]
        if untouched:
            soon = self._settings.segment_bytes * SEGMENTS_AT_ONCE
            return next((a for a in untouched if (a.remaining.bytes_left or 0) < soon), untouched[0])
        sharable = [a for a in waiting if self._may_share(a)]
        return max(sharable, key=lambda a: a.remaining.bytes_left or 0, default=None)

    def stretch_bytes(self, active: ActiveFile) -> int | None:
        """How much of a large file the next request should bring; None for all that is missing."""
        channel = active.tried.channel
        if active.whole or self._fast(channel):
            return None
        most, least = self._settings.segment_bytes * SEGMENTS_AT_ONCE, LEAST_BYTES
        if not self._capabilities[channel].ranges:
            most, least = self._settings.segment_bytes * SEGMENTS_WITHOUT_RANGES, LEAST_BYTES_WITHOUT_RANGES
        left = sum(a.remaining.bytes_left or 0 for a in self._large)
        return min(most, max(least, left // (2 * self.connections)))

    def unbegun(self) -> list[ActiveFile]:
        """Files that no connection has begun or is about to begin."""
        small = [active for active in self._small if active.part is None]
        return small + [
            active
            for active in self._large
            if active.part is None and not active.preparing and not active.remaining.running
        ]

    def withdraw(self, given_back: Collection[ActiveFile]) -> None:
        """None of these files, which nobody has begun, waits any more."""
        gone = {active.file_id for active in given_back}
        self._small = deque(active for active in self._small if active.file_id not in gone)
        self._large = [active for active in self._large if active.file_id not in gone]

    def measured(self, channel: Channel, *, count: int, seconds: float) -> None:
        """A stream brought so many bytes in so long."""
        if count >= SMALL_BYTES:
            rate = count / max(seconds, 1e-3)
            self._rates[channel] = 0.7 * self._rates.get(channel, rate) + 0.3 * rate

    def _fast(self, channel: Channel) -> bool:
        return self._rates.get(channel, 0.0) > FAST_BYTES_PER_S

    @staticmethod
    def _takeable(active: ActiveFile) -> bool:
        undecided = active.verdict is None
        return undecided and (not active.remaining.nothing_left_to_take or active.remaining.done)

    def _may_share(self, active: ActiveFile) -> bool:
        return not active.whole and active.remaining.running < self._settings.connections_per_file
