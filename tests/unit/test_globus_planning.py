"""Wanted files become bundles by their entry's route; what only Globus could bring, and cannot, is given up with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import claims
from empiar_mirror.globus import planning
from empiar_schema import globus_endings as endings
from empiar_schema import globus_store as globus
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Event, FileGivenUp
from globus_desk import a_desk, desk_settings
from globus_ledger import ID, NOW, OTHER_ID, PATHS, Mirror

ODD = 10020
LONG = "n" * 256


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:
        yield Mirror(catalogue)


async def plan(
    mirror: Mirror, tmp_path: Path, *channels: str, only: list[int] | None = None, **options: str
) -> tuple[int, list[Event]]:
    """How many bundles were planned, and what was told."""
    settings = desk_settings(tmp_path, *channels, **{"from_bytes": "500B", **options})
    told: list[Event] = []
    async with a_desk(mirror.catalogue, settings, now=NOW, events=told) as desk:
        needs = mirror.do(
            lambda c: planning.needs_by_globus(
                c,
                empiar_ids=only,
                settings=settings,
                channels=settings.transfer.channels,
                least_priority=transfer.ANY_PRIORITY,
                now=NOW,
            )
        )
        count = await planning.plan(desk, needs, least_priority=transfer.ANY_PRIORITY)
    return count, told


def bundles(mirror: Mirror) -> list[tuple[int, int, str | None]]:
    return [(b.files, b.bytes, b.sync_level) for b in mirror.do(globus.open_bundles)]


async def test_large_entries_go_by_globus_and_small_ones_do_not(mirror: Mirror, tmp_path: Path) -> None:
    assert (await plan(mirror, tmp_path, "https", "globus", from_bytes="501B"))[0] == 0
    assert (await plan(mirror, tmp_path, "https", "globus"))[0] == 1
    assert bundles(mirror) == [(10, 1000, None)]
    (bundle,) = mirror.do(globus.open_bundles)
    assert bundle.label.startswith("empiar-mirror EMPIAR-10017 and 1 more entries, 10 files, 1000 B, ")
    assert set(mirror.states().values()) == {"claimed"}
    assert (await plan(mirror, tmp_path, "https", "globus"))[0] == 0


async def test_only_the_entries_asked_for_are_planned(mirror: Mirror, tmp_path: Path) -> None:
    assert (await plan(mirror, tmp_path, "globus", only=[OTHER_ID]))[0] == 1
    assert set(mirror.states().values()) == {"wanted"}
    assert set(mirror.states(OTHER_ID).values()) == {"claimed"}


async def test_bundles_keep_the_configured_limits(mirror: Mirror, tmp_path: Path) -> None:
    assert (await plan(mirror, tmp_path, "globus", only=[ID], bundle_files="2"))[0] == 3
    assert bundles(mirror) == [(2, 200, None), (2, 200, None), (1, 100, None)]
    assert (await plan(mirror, tmp_path, "globus", only=[OTHER_ID], bundle_bytes="300B"))[0] == 2
    assert bundles(mirror)[3:] == [(3, 300, None), (2, 200, None)]


async def test_what_was_in_a_task_before_is_compared_by_checksum(mirror: Mirror, tmp_path: Path) -> None:
    bundle_id = mirror.plan("a.xml")
    mirror.do(lambda c: endings.abandon(c, error="x", now=NOW))
    await plan(mirror, tmp_path, "https", "globus", only=[ID], bundle_files="2")
    assert [level for *_, level in bundles(mirror)] == ["checksum", None, None]
    assert mirror.items()["a.xml"][2] == 2
    assert mirror.rows("SELECT state FROM globus_bundle WHERE bundle_id = ?", [bundle_id]) != [(0,)]


async def test_a_file_that_another_channel_has_begun_is_left_to_it_unless_there_is_none(
    mirror: Mirror, tmp_path: Path
) -> None:
    first = mirror.id("a.xml")
    mirror.do(lambda c: claims.claim(c, now=NOW, limit_files=1, limit_bytes=1, empiar_ids=[ID]))
    mirror.do(lambda c: transfer.release(c, first, not_before=NOW + 9, error="x", keep_partial=True))
    await plan(mirror, tmp_path, "https", "globus", only=[ID])
    assert mirror.states()["a.xml"] == "partial"
    await plan(mirror, tmp_path, "globus", only=[ID])
    assert mirror.states()["a.xml"] == "claimed"


@pytest.fixture
def odd(mirror: Mirror) -> Mirror:
    """An entry with names that Globus cannot be told of, or that depend on its spelling."""
    mirror.relist(
        ODD, {"": ["plain.mrc", "line%0Abreak", "byte%FF", "50%.mrc", LONG], "f%0D": ["x"], "é": ["y"]}
    )
    mirror.do(lambda c: transfer.want_entry(c, ODD, now=NOW))
    return mirror


async def test_what_globus_cannot_be_told_of_is_left_to_other_channels(odd: Mirror, tmp_path: Path) -> None:
    _, told = await plan(odd, tmp_path, "https", "globus", only=[ODD])
    assert told == []
    found = {path for path, state in odd.states(ODD).items() if state == "claimed"}
    assert found == {"plain.mrc", "50%.mrc", "é/y"}
    assert set(odd.states(ODD).values()) == {"claimed", "wanted"}


async def test_what_only_globus_could_bring_and_cannot_is_parked(odd: Mirror, tmp_path: Path) -> None:
    _, told = await plan(odd, tmp_path, "globus", only=[ODD])
    states = odd.states(ODD)
    assert {path for path, state in states.items() if state == "parked"} == {"line%0Abreak", "f%0D/x", LONG}
    # Without another channel the service's spelling has to do.
    assert states["byte%FF"] == "claimed"
    assert {e.reason.partition(",")[0] for e in told if isinstance(e, FileGivenUp)} == {
        "Globus cannot be told of its name",
        "its name is longer than file systems allow (255 bytes a component)",
    }
    query = "SELECT error FROM copies WHERE empiar_id = ? AND path = 'line%0Abreak'"
    assert "use https or ftp" in str(odd.rows(query, [ODD]))


async def test_a_file_whose_tries_are_used_up_is_parked_with_the_services_word(
    mirror: Mirror, tmp_path: Path
) -> None:
    bundle_id = mirror.plan("a.xml", "data/b.mrc")
    mirror.do(lambda c: endings.free_rest(c, bundle_id, error="PERMISSION_DENIED", for_good=True))
    await plan(mirror, tmp_path, "https", "globus", only=[ID])
    assert mirror.states()["a.xml"] == "wanted", "another channel may bring it"
    mirror.do(lambda c: endings.abandon(c, error="x", now=NOW))
    _, told = await plan(mirror, tmp_path, "globus", only=[ID], retries="5")
    assert {path for path, state in mirror.states().items() if state == "parked"} == {"a.xml", "data/b.mrc"}
    assert [e.reason for e in told if isinstance(e, FileGivenUp)] == ["PERMISSION_DENIED"] * 2
    assert {path for path, state in mirror.states().items() if state == "claimed"} == {*PATHS[2:]}
