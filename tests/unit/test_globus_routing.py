"""Each rule by which an entry goes by Globus or not, and its sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.globus.routing import TASK_OVERHEAD_S, Circumstances, Need, Record, route
from empiar_schema.states import Channel

GIB = 2**30
HTTPS, FTP, GLOBUS = Channel.HTTPS, Channel.FTP, Channel.GLOBUS
LARGE = Need(10017, 1_000, 500 * GIB)


def at(
    *channels: Channel,
    records: dict[Channel, Record] | None = None,
    from_bytes: int = 4 * GIB,
    tasks_failed: int = 0,
    globus_out: str | None = None,
) -> Circumstances:
    return Circumstances(
        channels=channels or (HTTPS, FTP, GLOBUS),
        from_bytes=from_bytes,
        records=records or {},
        tasks_failed=tasks_failed,
        globus_out=globus_out,
    )


SLOW, QUICK = Record(1e6), Record(1e8)
BROKEN = Record(None, failing=0.6)


@pytest.mark.parametrize(
    ("need", "circumstances", "channel", "reason"),
    [
        (LARGE, at(FTP, HTTPS), FTP, "transfer.channels does not name globus"),
        (Need(1, 1, 1), at(GLOBUS), GLOBUS, "no other channel is allowed"),
        (Need(1, 1, 1), at(GLOBUS, tasks_failed=5, globus_out="x"), GLOBUS, "no other channel is allowed"),
        (LARGE, at(globus_out="no login"), HTTPS, "Globus cannot be used: no login"),
        (
            Need(1, 1, 4 * GIB - 1),
            at(),
            HTTPS,
            "4 GiB missing is below globus.from_bytes (4 GiB)",
        ),
        (Need(1, 1, 4 * GIB), at(), GLOBUS, "4 GiB missing is at least globus.from_bytes (4 GiB)"),
        (
            LARGE,
            at(records={HTTPS: BROKEN, FTP: BROKEN}, tasks_failed=5),
            GLOBUS,
            "more than half of the latest attempts by https and ftp failed",
        ),
        (
            LARGE,
            at(records={HTTPS: BROKEN}, tasks_failed=3),
            HTTPS,
            "3 of the latest 5 Globus tasks failed",
        ),
        (LARGE, at(tasks_failed=2), GLOBUS, "500 GiB missing is at least globus.from_bytes (4 GiB)"),
        (
            LARGE,
            at(records={HTTPS: QUICK, GLOBUS: SLOW}),
            HTTPS,
            "about 89 min by https, 6 days by Globus, by what was measured",
        ),
        (
            LARGE,
            at(records={HTTPS: SLOW, GLOBUS: QUICK}),
            GLOBUS,
            "500 GiB missing is at least globus.from_bytes (4 GiB); about 2 h by Globus, 6 days by https",
        ),
        (
            LARGE,
            at(FTP, GLOBUS, records={FTP: Record(1e6), GLOBUS: Record(1e7)}),
            GLOBUS,
            "500 GiB missing is at least globus.from_bytes (4 GiB); about 15 h by Globus, 6 days by ftp",
        ),
        # A measurement of one alone compares nothing.
        (LARGE, at(records={HTTPS: QUICK}), GLOBUS, "500 GiB missing is at least globus.from_bytes (4 GiB)"),
    ],
)
def test_the_first_rule_that_applies_decides_and_says_so(
    need: Need, circumstances: Circumstances, channel: Channel, reason: str
) -> None:
    found = route(need, circumstances)
    assert (found.channel, found.reason) == (channel, reason)
    assert found.by_globus == (channel is GLOBUS)


def test_small_files_are_bound_by_their_number_and_a_task_by_its_overhead() -> None:
    many = Need(1, 40_000, 4 * GIB)
    assert Record(1e9).seconds(many, HTTPS) == 1000
    assert Record(1e9).seconds(many, GLOBUS) == 1000 + TASK_OVERHEAD_S
    assert Record(1e6).seconds(Need(1, 40, 4 * 10**9), HTTPS) == 4000
    assert Record().seconds(many, HTTPS) is None


records = st.builds(Record, st.none() | st.floats(1, 1e10), st.floats(0, 1))


@given(
    st.builds(Need, st.just(1), st.integers(1, 10**7), st.integers(0, 10**16)),
    st.lists(st.sampled_from(list(Channel)), unique=True, min_size=1),
    st.dictionaries(st.sampled_from(list(Channel)), records),
    st.integers(0, 5),
    st.none() | st.just("out"),
)
def test_a_route_is_always_an_allowed_channel_with_a_reason(
    need: Need,
    channels: list[Channel],
    measured: dict[Channel, Record],
    failed: int,
    out: str | None,
) -> None:
    found = route(need, at(*channels, records=measured, tasks_failed=failed, globus_out=out))
    assert found.channel in channels
    assert found.reason
    if out is not None and channels != [GLOBUS]:
        assert not found.by_globus
