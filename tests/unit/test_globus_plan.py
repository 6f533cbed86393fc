"""The dry run of a mirror that may use Globus: routes with their reasons, tasks, and times that were measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from empiar_mirror.cli import cli
from empiar_mirror.globus.outlook import globus_share, route_of_rest, routes_of
from empiar_mirror.globus.routing import Need
from empiar_mirror.plan import EntryNeed, EntryRoute, GlobusShare, Plan, Room, Throughput
from empiar_mirror.plan_facts import entry_need
from empiar_mirror.reading import reading
from empiar_schema.catalogue import Catalogue
from empiar_schema.configuration import load
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from globus_shown import ENTRY, NOW, SIZE, UNWANTED, make_globus_mirror

BOTH = ("globus", "https")
COLLECTION = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("globus")
    make_globus_mirror(made / "mirror")
    return made


def configured(folder: Path, channels: Sequence[str] = BOTH, globus: str = "") -> tuple[Path, Settings]:
    file = folder / "empiar-mirror.toml"
    text = f'root = "mirror"\n[transfer]\nchannels = {json.dumps(list(channels))}\n[globus]\n{globus}\n'
    file.write_text(text + ("" if "collection" in globus else f'collection = "{COLLECTION}"\n'))
    return file, load(file, environ={}, cwd=folder)


def planned(folder: Path, *arguments: str, channels: Sequence[str] = BOTH, globus: str = "") -> str:
    file, _ = configured(folder, channels, globus)
    result = CliRunner().invoke(cli, ["plan", *arguments, "--config", str(file)])
    assert result.exit_code == 0, result.output
    return result.output


def test_what_the_service_has_is_counted_apart_and_what_it_brought_is_not_moved_again(folder: Path) -> None:
    with reading(folder / "mirror") as connection:
        need = entry_need(connection, ENTRY)
    assert (need.files, need.files_here, need.files_failed) == (7, 1, 0)
    assert (need.files_with_globus, need.bytes_with_globus) == (3, 3 * SIZE)
    assert (need.files_delivered, need.bytes_partial) == (1, SIZE)
    assert (need.files_unverified, need.bytes_unverified) == (1, SIZE)
    assert need.unrouted == Need(ENTRY, 3, 3 * SIZE)


def test_each_entry_has_a_route_with_its_reason_wanted_or_not(folder: Path) -> None:
    _, settings = configured(folder)
    with reading(folder / "mirror") as connection:
        needs = [entry_need(connection, empiar_id) for empiar_id in (ENTRY, UNWANTED)]
        routes = routes_of(connection, settings, needs, now=NOW)
        share = globus_share(connection, settings, needs, routes)
    assert [(route.empiar_id, route.channel, route.files) for route in routes] == [
        (ENTRY, Channel.GLOBUS, 3),
        (UNWANTED, Channel.GLOBUS, 1),
    ]
    assert all("at least globus.from_bytes" in route.reason for route in routes)
    assert (share.files, share.bytes) == (3 + 1 + 3, (3 + 1 + 3) * SIZE)
    assert share.throughput is not None
    assert share.throughput.typical_bytes_per_s == pytest.approx(SIZE / 3540, rel=0.01)


def test_tasks_are_counted_by_bytes_and_by_files(folder: Path) -> None:
    _, settings = configured(folder, globus='bundle_bytes = "5GB"')
    assert [route.tasks for route in _routes(folder, settings)] == [3, 1]
    _, settings = configured(folder, globus="bundle_files = 1")
    assert [route.tasks for route in _routes(folder, settings)] == [3, 1]


def _routes(folder: Path, settings: Settings) -> Sequence[EntryRoute]:
    with reading(folder / "mirror") as connection:
        needs = [entry_need(connection, empiar_id) for empiar_id in (ENTRY, UNWANTED)]
        return routes_of(connection, settings, needs, now=NOW)


def test_without_a_collection_of_ones_own_nothing_is_promised_by_globus(folder: Path) -> None:
    _, settings = configured(folder, globus='collection = ""')
    assert {route.channel for route in _routes(folder, settings)} == {Channel.HTTPS}
    assert "globus.collection is not set" in _routes(folder, settings)[0].reason
    with reading(folder / "mirror") as connection:
        rest = route_of_rest(connection, settings, ENTRY, without=None, now=NOW)
    assert rest is not None
    assert rest[0].files == 3
    assert rest[1].channel is Channel.HTTPS


def test_one_line_names_the_channels_by_their_bytes(folder: Path) -> None:
    text = planned(folder, str(ENTRY), str(UNWANTED))
    assert "2 entries: 8 files to move, 32.6 GiB by globus; 4.66 GiB are here" in text
    mixed = planned(folder, str(ENTRY), str(UNWANTED), globus='from_bytes = "6GB"')
    assert "27.9 GiB by globus, 4.66 GiB by https" in mixed
    assert "time by https: about" in mixed
    assert "time by globus: about" in mixed
    assert "1 file, 4.66 GiB, transferred by Globus and not verified" in text


def test_an_entry_is_explained_by_its_route_and_by_what_globus_has_of_it(folder: Path) -> None:
    text = planned(folder, str(ENTRY), str(UNWANTED), "--explain", globus='from_bytes = "6GB"')
    assert "3 files, 14 GiB, are with Globus already" in text
    assert "1 file brought by Globus, to be verified" in text
    assert "by globus, in about 2 tasks: 14 GiB missing is at least globus.from_bytes (5.59 GiB)" in text
    assert "by https: 4.66 GiB missing is below globus.from_bytes (5.59 GiB)" in text


def test_the_document_has_routes_and_the_share_of_globus(folder: Path) -> None:
    document = json.loads(planned(folder, str(ENTRY), "--json"))
    assert document["channel"] == "https"
    assert [route["channel"] for route in document["routes"]] == ["globus"]
    assert document["globus"]["tasks"] == 2
    assert document["globus"]["seconds"] == pytest.approx(document["seconds"])


def test_where_globus_is_not_allowed_only_what_it_has_goes_by_it(folder: Path) -> None:
    document = json.loads(planned(folder, str(ENTRY), "--json", channels=["https"]))
    assert document["routes"] == []
    assert document["globus"]["bytes"] == 3 * SIZE
    untouched = json.loads(planned(folder, str(UNWANTED), "--json", channels=["https"]))
    assert untouched["globus"] is None
    assert "1 file to move by https, 4.66 GiB" in planned(folder, str(UNWANTED), channels=["https"])


def test_a_rate_that_nobody_measured_is_named_as_unknown(tmp_path: Path) -> None:
    make_globus_mirror(tmp_path / "mirror")
    with Catalogue.open(tmp_path / "mirror" / "empiar.db") as catalogue:
        catalogue.write_now(lambda c: c.execute("DELETE FROM attempt"))
    text = planned(tmp_path, str(UNWANTED), channels=["globus"])
    assert (
        "time by globus: not known, in about 1 task: this mirror has not measured a Globus task yet" in text
    )
    document = json.loads(planned(tmp_path, str(UNWANTED), "--json", channels=["globus"]))
    assert document["seconds"] is None
    assert document["throughput"] is None
    assert document["channel"] == "globus"


def test_storage_elsewhere_needs_no_room_here(folder: Path) -> None:
    share = GlobusShare(3, 900, 1, None, elsewhere=True)
    entries = (EntryNeed(ENTRY, 4, 1000, 0, 0, 0, 0, 0),)
    rate = Throughput(10.0, 5.0, "measured", measured=True)
    plan = Plan(entries, Channel.HTTPS, rate, Room(10_000, 500, 200), globus=share)
    assert (plan.bytes_streamed, plan.bytes_needed, plan.fits) == (100, 100, True)
    assert plan.seconds is None
    assert plan.streamed_seconds == pytest.approx(10)
    assert "disk: 0 B needed" in planned(
        folder, str(UNWANTED), channels=["globus"], globus='storage = "elsewhere"'
    )
