"""What becomes of files that are handed to the Globus service, and of the bundles in which they are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class BundleState(StrEnum):
    """How far a bundle of files, one task of the service, is."""

    #: Put together; nobody has told the service of it.
    PLANNED = "planned"
    #: Its submission id stands here, so the service may have heard of it.
    SUBMITTED = "submitted"
    #: Nothing of it is waited for any more, but the service may still work on its task, which is to be cancelled.
    ABANDONED = "abandoned"
    #: The task has ended, and what became of every file stands here.
    ENDED = "ended"


class ItemState(StrEnum):
    """What is known of one file of a bundle."""

    UNDER_WAY = "under_way"
    #: The service says that it is at the destination; it waits to be verified.
    DELIVERED = "delivered"
    #: Given back: another channel may bring it, or a later bundle.
    FREED = "freed"


#: As many tries as nobody allows: the file goes by Globus no more, until somebody asks for it again.
NEVER_AGAIN: Final = 1_000_000
#: The numbers are part of the file format. Open bundles are <= 2.
BUNDLE_CODES: Final[Mapping[BundleState, int]] = MappingProxyType(
    {
        BundleState.PLANNED: 0,
        BundleState.SUBMITTED: 1,
        BundleState.ABANDONED: 2,
        BundleState.ENDED: 3,
    }
)
BUNDLE_STATES: Final[Mapping[int, BundleState]] = MappingProxyType({n: s for s, n in BUNDLE_CODES.items()})
ITEM_CODES: Final[Mapping[ItemState, int]] = MappingProxyType(
    {ItemState.UNDER_WAY: 0, ItemState.DELIVERED: 1, ItemState.FREED: 2}
)
