"""Which queue comes next, and how much of it may be claimed now (pure).

First what a deadline makes urgent, least slack first; then by effective priority, which grows with waiting; among equals the
account that has been brought least for its share; of that, entry by entry. See docs/subscriptions.md for the rules in words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from empiar_schema.order_settings import OrderSettings
from empiar_schema.queues import Queue, Wanter, sharers_of
from empiar_schema.states import Channel

#: Why nothing of a queue may be claimed.
Blocked = Literal["paused", "quota"]
#: One turn in so many goes to what has waited longest, if that is longer than `order.longest_wait`.
LONGEST_EVERY: Final = 16
#: A deadline counts as tight when the time left is less than this many times the estimated time.
MARGIN: Final = 1.5
#: Stands for no limit.
NO_LIMIT: Final = 2**62
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What follows for one queue from who wants it."""

    queue: Queue
    #: Effective priority: the highest of those who want it and may have it now, and what waiting has added.
    level: int
    #: Among which accounts its bytes are divided.
    accounts: tuple[int, ...]
    blocked: Blocked | None
    #: By which channel alone its files may come; None for any.
    channel: Channel | None
    #: Bytes that quotas leave to it.
    room: int
    #: When the earliest deadline ends, and of which subscription; None where nobody has one.
    due: tuple[float, int] | None


@dataclass(frozen=True, slots=True)
class Chance:
    """A queue that comes next, and how many bytes of it quotas allow."""

    standing: Standing
    #: The most that may be claimed: a file that does not fit waits.
    room: int

    @property
    def limited(self) -> bool:
        """Whether a quota bounds it."""
        return self.room < NO_LIMIT


def standing(queue: Queue, wanters: Mapping[int, Wanter], rules: OrderSettings, *, now: float) -> Standing:
    """How the queue stands now. One that nobody is left to want counts as asked for by name."""
    known = [wanters[number] for number in queue.wanters if number in wanters]
    active = [one for one in known if not one.paused]
    by_name = queue.own_priority is not None or not known
    room = NO_LIMIT if by_name else max((_room(one) for one in active), default=0)
    blocked: Blocked | None = None
    if not by_name and not active:
        blocked = "paused"
    elif room <= 0:
        blocked = "quota"
    # Whoever is at the quota cannot push the file; the others want it with their own priority.
    pushing = [one.priority for one in active if _room(one) > 0]
    if by_name:
        pushing.append(queue.own_priority or 0)
    waited_days = max(0.0, now - queue.wanted_at) / _DAY_S
    gained = min(rules.age_most, int(waited_days * rules.age_per_day))
    channels = {one.channel for one in active}
    ends = [
        (queue.wanters[one.number] + one.deadline_s, one.number)
        for one in active
        if one.deadline_s is not None
    ]
    return Standing(
        queue=queue,
        level=max(pushing, default=0) + gained,
        accounts=sharers_of(queue.own_priority, [one.number for one in active]),
        blocked=blocked,
        channel=next(iter(channels)) if len(channels) == 1 and not by_name else None,
        room=room,
        due=min(ends, default=None),
    )


def _room(one: Wanter) -> int:
    return NO_LIMIT if one.quota_bytes is None else max(0, one.quota_bytes - one.held_bytes)


@dataclass(frozen=True, slots=True)
class Tightness:
    """How a subscription stands with its earliest deadline."""

    number: int
    due: float
    bytes_left: int
    #: Time left less the time that its files are estimated to take, seconds; negative where it cannot be kept.
    slack_s: float
    tight: bool
    #: The time has run out.
    late: bool


def tightness(
    standings: Iterable[Standing], *, now: float, bytes_per_s: float | None
) -> dict[int, Tightness]:
    """By subscription, of those that have a deadline and something waiting. Without a rate a deadline is tight once it has passed."""
    first: dict[int, float] = {}
    left: dict[int, int] = {}
    for one in standings:
        if one.due is not None and one.blocked is None:
            due, number = one.due
            first[number] = min(due, first.get(number, due))
            left[number] = left.get(number, 0) + one.queue.bytes
    found = {}
    for number, due in first.items():
        needed_s = left[number] / bytes_per_s if bytes_per_s else 0.0
        time_s = due - now
        found[number] = Tightness(
            number,
            due,
            left[number],
            time_s - needed_s,
            time_s <= MARGIN * needed_s or time_s <= 0,
            time_s < 0,
        )
    return found


@dataclass(slots=True)
class _Group:
    """Queues of one level that the same accounts pay for, the next one last."""

    accounts: tuple[int, ...]
    queues: list[Standing]


@dataclass(slots=True)
class Order:
    """The order of what waits, as of one moment. Turns are taken one after another; it is made anew when facts have changed.

    Making it costs a pass over the queues, a turn a look at the accounts of one level.
    """

    standings: dict[int, Standing]
    wanters: Mapping[int, Wanter]
    tight: dict[int, Tightness]
    #: Bytes brought or claimed lately, by account.
    _spent: dict[int, float]
    _urgent: list[Standing] = field(default_factory=list)
    _levels: list[tuple[int, list[_Group]]] = field(default_factory=list)
    #: What nothing was taken of for long, the longest last.
    _starving: list[Standing] = field(default_factory=list)
    #: Bytes that this order has given to each subscription with a quota.
    _given: dict[int, int] = field(default_factory=dict)
    _gone: set[int] = field(default_factory=set)
    turns: int = 0

    @classmethod
    def of(
        cls,
        queues: Sequence[Queue],
        wanters: Mapping[int, Wanter],
        rules: OrderSettings,
        *,
        spent: Mapping[int, float],
        now: float,
        bytes_per_s: float | None = None,
        turns: int = 0,
    ) -> Order:
        """The order of these queues. `spent`: bytes brought or claimed lately, by account. `turns`: how many were taken before."""
        standings = {queue.queue_id: standing(queue, wanters, rules, now=now) for queue in queues}
        free = [one for one in standings.values() if one.blocked is None and one.queue.files]
        tight = tightness(free, now=now, bytes_per_s=bytes_per_s)
        order = cls(standings, wanters, tight, dict(spent), turns=turns)
        by_level: dict[int, dict[tuple[int, ...], list[Standing]]] = {}
        for one in free:
            by_level.setdefault(one.level, {}).setdefault(one.accounts, []).append(one)
            if now - (one.queue.served_at or one.queue.wanted_at) > rules.longest_wait:
                order._starving.append(one)
        order._urgent = sorted((one for one in free if order._is_tight(one)), key=order._slack, reverse=True)
        order._starving.sort(key=_last_served, reverse=True)
        for level in sorted(by_level):
            groups = [_Group(accounts, of) for accounts, of in by_level[level].items()]
            for group in groups:
                group.queues.sort(key=_by_entry, reverse=True)
            order._levels.append((level, groups))
        return order

    @property
    def best_level(self) -> int | None:
        """The highest level at which something may be claimed; None where nothing may."""
        self._tidy()
        return self._levels[-1][0] if self._levels else None

    def next(self) -> Chance | None:
        """The queue whose turn it is; None if nothing may be claimed. It stays next until `took` is told what was claimed."""
        self._tidy()
        chosen: Standing | None = None
        if self._starving and self.turns % LONGEST_EVERY == LONGEST_EVERY - 1:
            chosen = self._starving[-1]
        elif self._urgent:
            chosen = self._urgent[-1]
        elif self._levels:
            groups = self._levels[-1][1]
            chosen = min(groups, key=lambda group: self._paid(group.accounts)).queues[-1]
        return None if chosen is None else Chance(chosen, self._room_of(chosen))

    def took(self, queue_id: int, count: int, *, more: bool) -> None:
        """So many bytes were claimed of the queue; with `more` false, nothing else of it may be tried now."""
        one = self.standings[queue_id]
        self.turns += 1
        for account in one.accounts:
            self._spent[account] = self._spent.get(account, 0.0) + count / len(one.accounts)
        for number in one.queue.wanters:
            self._given[number] = self._given.get(number, 0) + count
        if not more:
            self._gone.add(queue_id)

    def candidates(self) -> list[Standing]:
        """Everything of which something may be claimed, in no order."""
        return [
            one
            for one in self.standings.values()
            if one.blocked is None and one.queue.files and one.queue.queue_id not in self._gone
        ]

    def _paid(self, accounts: Collection[int]) -> float:
        """The least, by its share, that was brought for one of these accounts."""
        return min(self._spent.get(account, 0.0) / self._share(account) for account in accounts)

    def _share(self, account: int) -> float:
        one = self.wanters.get(account)
        return one.share if one is not None else 1.0

    def _room_of(self, one: Standing) -> int:
        if one.room >= NO_LIMIT:
            return NO_LIMIT
        active = (self.wanters.get(number) for number in one.accounts)
        return max((_room(w) - self._given.get(w.number, 0) for w in active if w is not None), default=0)

    def _is_tight(self, one: Standing) -> bool:
        return one.due is not None and (found := self.tight.get(one.due[1])) is not None and found.tight

    def _slack(self, one: Standing) -> tuple[float, int, int, int]:
        assert one.due is not None
        return (self.tight[one.due[1]].slack_s, one.due[1], *_by_entry(one))

    def _tidy(self) -> None:
        """What may be claimed no more is off the ends of the lists."""
        while self._urgent and self._over(self._urgent[-1]):
            self._urgent.pop()
        while self._starving and self._over(self._starving[-1]):
            self._starving.pop()
        while self._levels:
            groups = self._levels[-1][1]
            for group in groups:
                while group.queues and self._over(group.queues[-1]):
                    group.queues.pop()
            groups[:] = [group for group in groups if group.queues]
            if groups:
                return
            self._levels.pop()

    def _over(self, one: Standing) -> bool:
        return one.queue.queue_id in self._gone or self._room_of(one) <= 0


def _by_entry(one: Standing) -> tuple[int, int]:
    return one.queue.empiar_id, one.queue.queue_id


def _last_served(one: Standing) -> tuple[float, int]:
    return (one.queue.served_at or one.queue.wanted_at, one.queue.queue_id)
