from __future__ import annotations

import pytest

from empiar_mirror.size_vote import count_votes
from empiar_schema.states import Channel

HTTPS, FTP = Channel.HTTPS, Channel.FTP


@pytest.mark.parametrize(
    ("listed", "stated", "size", "channel"),
    [
        (100, {HTTPS: 90, FTP: 100}, 100, FTP),
        (100, {HTTPS: 100}, 100, HTTPS),
        (100, {HTTPS: 90, FTP: 90}, 90, None),
        (100, {HTTPS: 90}, 90, None),
        (100, {HTTPS: 90, FTP: 80}, None, None),
        (100, {}, None, None),
    ],
    ids=[
        "one channel confirms the listing",
        "asked again it confirms the listing",
        "all agree on another size",
        "the only voice",
        "nobody agrees",
        "nobody answers",
    ],
)
def test_who_is_believed(
    listed: int, stated: dict[Channel, int], size: int | None, channel: Channel | None
) -> None:
    vote = count_votes(listed, stated)
    assert (vote.size, vote.channel) == (size, channel)
    assert vote.reason
