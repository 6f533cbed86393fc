"""Whatever waits and whoever wants it: nothing starves, shares follow their weights, quotas and deadlines hold."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.order import LONGEST_EVERY, NO_LIMIT, Order, standing
from empiar_schema.order_settings import OrderSettings
from empiar_schema.queues import Queue, Wanter
from empiar_schema.states import Channel

NOW = 1_800_000_000
DAY = 86_400
RULES = OrderSettings()
FILE = 100


def wanter(number: int, **more: object) -> Wanter:
    plain = Wanter(number, f"s{number}", 0, False, None, 1.0, None, None, 0)
    return replace(plain, **more)  # type: ignore[arg-type]  # fields of Wanter


def queue(number: int, *numbers: int, files: int = 10, own: int | None = None, age: int = 0) -> Queue:
    at = NOW - age
    return Queue(number, 10_000 + number, own, dict.fromkeys(numbers, at), at, None, files, files * FILE, 0)


def order(queues: list[Queue], wanters: list[Wanter], **more: object) -> Order:
    known = {one.number: one for one in wanters}
    facts: dict[str, object] = {"spent": {}, "now": NOW, **more}
    return Order.of(queues, known, RULES, **facts)  # type: ignore[arg-type]  # arguments of `of`


def taken(
    made: Order, queues: list[Queue], *, per_turn: int = 3, turns: int = 10_000
) -> list[tuple[int, int]]:
    """Queue and bytes of every turn, each of some files of `FILE` bytes, as the catalogue would claim them."""
    left = {one.queue_id: one.files for one in queues}
    found: list[tuple[int, int]] = []
    while len(found) < turns and (chance := made.next()) is not None:
        number = chance.standing.queue.queue_id
        files = min(per_turn, left[number], chance.room // FILE)
        left[number] -= files
        more = left[number] > 0 and (files == per_turn)
        made.took(number, files * FILE, more=more)
        found.append((number, files * FILE))
    return found


wanters_of_any_kind = st.lists(
    st.builds(
        lambda priority, share, quota, deadline, paused: {
            "priority": priority, "share": share, "quota_bytes": quota, "deadline_s": deadline, "paused": paused,
        },
        st.integers(-5, 5), st.sampled_from([0.5, 1.0, 2.0, 10.0]),
        st.none() | st.integers(1, 5000), st.none() | st.integers(1, 10 * DAY), st.booleans(),
    ),
    min_size=1, max_size=5,
)  # fmt: skip
wishes = st.lists(
    st.tuples(
        st.sets(st.integers(1, 5), max_size=3), st.integers(1, 20), st.none() | st.integers(-5, 5), st.integers(0, 30 * DAY)
    ),
    min_size=1, max_size=12,
)  # fmt: skip


def world(
    described: list[dict[str, object]], asked: list[tuple[set[int], int, int | None, int]]
) -> tuple[list[Queue], list[Wanter]]:
    wanters = [wanter(number, **of) for number, of in enumerate(described, 1)]
    queues = [
        queue(number, *(n for n in numbers if n <= len(wanters)), files=files, own=own, age=age)
        for number, (numbers, files, own, age) in enumerate(asked, 1)
    ]
    return queues, wanters


@given(wanters_of_any_kind, wishes)
def test_everything_that_is_not_blocked_is_chosen_at_last(
    described: list[dict[str, object]], asked: list[tuple[set[int], int, int | None, int]]
) -> None:
    queues, wanters = world(described, asked)
    made = order(queues, wanters)
    unlimited = {
        q.queue_id for q in queues if (s := made.standings[q.queue_id]).blocked is None and s.room == NO_LIMIT
    }
    brought: dict[int, int] = {}
    for number, count in taken(made, queues):
        brought[number] = brought.get(number, 0) + count
    assert made.next() is None
    for one in queues:
        if one.queue_id in unlimited:
            assert brought[one.queue_id] == one.bytes
        if made.standings[one.queue_id].blocked is not None:
            assert one.queue_id not in brought


@given(wanters_of_any_kind, wishes)
def test_what_only_a_subscription_wants_never_goes_beyond_its_quota(
    described: list[dict[str, object]], asked: list[tuple[set[int], int, int | None, int]]
) -> None:
    queues, wanters = world(described, asked)
    made = order(queues, wanters)
    by_subscription: dict[int, int] = {}
    wanted_by = {one.queue_id: one for one in queues}
    for number, count in taken(made, queues):
        of = wanted_by[number]
        for wants in of.wanters:
            by_subscription[wants] = by_subscription.get(wants, 0) + count
        alone = next(iter(of.wanters)) if len(of.wanters) == 1 and of.own_priority is None else None
        if alone is not None and (quota := wanters[alone - 1].quota_bytes) is not None and count:
            assert by_subscription[alone] <= quota


@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=2, max_size=5), st.integers(1, 8))
def test_shares_of_equal_priority_converge_to_their_weights(shares: list[float], per_turn: int) -> None:
    wanters = [wanter(number, share=share) for number, share in enumerate(shares, 1)]
    queues = [queue(one.number, one.number, files=100_000) for one in wanters]
    brought = dict.fromkeys(range(1, len(shares) + 1), 0)
    for number, count in taken(order(queues, wanters), queues, per_turn=per_turn, turns=600):
        brought[number] += count
    # No account is further ahead of another than one turn, each by its share.
    paid = [brought[one.number] / one.share for one in wanters]
    assert max(paid) - min(paid) <= per_turn * FILE / min(shares)


def test_shares_remember_what_was_brought_before_a_restart() -> None:
    wanters = [wanter(1), wanter(2)]
    queues = [queue(1, 1, files=1000), queue(2, 2, files=1000)]
    turns = taken(order(queues, wanters, spent={1: 9000.0}), queues, turns=30)
    assert {number for number, _ in turns} == {2}


def test_ten_days_of_waiting_weigh_as_much_as_ten_of_priority_and_never_more() -> None:
    def first(age: int, priority: int) -> int:
        queues = [queue(1, 1, age=age), queue(2, 2)]
        made = order(queues, [wanter(1), wanter(2, priority=priority)])
        chance = made.next()
        assert chance is not None
        return chance.standing.queue.queue_id

    assert first(age=4 * DAY, priority=3) == 1
    assert first(age=4 * DAY, priority=5) == 2
    assert first(age=300 * DAY, priority=11) == 2


def test_under_a_stream_of_urgent_wishes_what_waited_longest_gets_one_turn_in_sixteen() -> None:
    low, urgent = queue(1, 1, files=10_000, age=8 * DAY), queue(2, 2, files=10**6)
    turns = taken(order([low, urgent], [wanter(1), wanter(2, priority=900)]), [low, urgent], turns=160)
    assert sum(number == 1 for number, _ in turns) == 160 // LONGEST_EVERY


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_a_tight_deadline_goes_before_any_priority_and_the_least_slack_first(a: int, b: int) -> None:
    ends = [wanter(1, deadline_s=a), wanter(2, deadline_s=b), wanter(3, priority=500)]
    queues = [queue(1, 1), queue(2, 2), queue(3, 3)]
    made = order(queues, ends, bytes_per_s=0.5)  # 2,000 s for each of those with a deadline
    firsts = list(dict.fromkeys(number for number, _ in taken(made, queues)))
    assert firsts == ([1, 2, 3] if a <= b else [2, 1, 3])


def test_a_deadline_far_away_changes_nothing() -> None:
    queues = [queue(1, 1), queue(2, 2)]
    made = order(queues, [wanter(1, deadline_s=10 * DAY), wanter(2, priority=1)], bytes_per_s=1000.0)
    assert taken(made, queues)[0][0] == 2
    assert made.tight[1].tight is False


def test_a_deadline_that_has_passed_is_late_also_before_any_rate_is_known() -> None:
    made = order([queue(1, 1, age=2 * DAY)], [wanter(1, deadline_s=DAY)])
    assert made.tight[1].late
    assert made.tight[1].tight


def test_a_channel_holds_where_nobody_else_wants_the_file() -> None:
    ftp, plain = wanter(1, channel=Channel.FTP), wanter(2)
    by = {1: ftp, 2: plain}
    assert standing(queue(1, 1), by, RULES, now=NOW).channel is Channel.FTP
    assert standing(queue(1, 1, own=0), by, RULES, now=NOW).channel is None
    assert standing(queue(1, 1, 2), by, RULES, now=NOW).channel is None


def test_what_another_wants_too_goes_on_when_one_pauses_or_is_at_its_quota() -> None:
    full = wanter(1, priority=9, quota_bytes=10, held_bytes=10)
    both = standing(queue(1, 1, 2), {1: full, 2: wanter(2, priority=3)}, RULES, now=NOW)
    assert (both.blocked, both.level, both.room) == (None, 3, NO_LIMIT)
    alone = standing(queue(1, 1), {1: full}, RULES, now=NOW)
    assert alone.blocked == "quota"
    paused = replace(full, paused=True)
    assert standing(queue(1, 1), {1: paused}, RULES, now=NOW).blocked == "paused"
    assert standing(queue(1, 1, own=0), {1: paused}, RULES, now=NOW).blocked is None
