"""The ledger of the Globus channel: planning, following, giving back, and what other channels see of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import claims
from empiar_mirror.recover import recover
from empiar_schema import globus_endings as endings
from empiar_schema import globus_store as globus
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import CatalogueFault
from empiar_schema.files import Validators
from empiar_schema.globus_states import BundleState
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel
from empiar_schema.transfer_store import Arrival, Block
from globus_ledger import ID, NOW, OTHER_ID, PATHS, Mirror, under_way_ids


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:
        mirror = Mirror(catalogue)
        yield mirror
        assert mirror.rows("SELECT * FROM copy_progress WHERE files > 0") == mirror.rows(
            "SELECT empiar_id, state, count(*), sum(ifnull(bytes, 0)) FROM copy GROUP BY 1, 2"
        ), "sums agree with the rows after every test"


# --- planning -----------------------------------------------------------------------------------------------


def test_candidates_come_in_the_order_of_the_listing(mirror: Mirror) -> None:
    names = [f"{n:04d}_{'x' * (n % 7)}.mrc" for n in range(500)]
    mirror.relist(9, {"m": random.Random(1).sample(names, len(names)), "": ["z"]})
    mirror.do(lambda c: transfer.want_entry(c, 9, now=NOW))
    assert mirror.candidates(9) == ["z", *(f"m/{name}" for name in sorted(names))]


def test_a_bundle_claims_its_files_for_the_service(mirror: Mirror) -> None:
    bundle_id = mirror.plan("data/b.mrc", "data/c.mrc", sync_level="checksum")
    assert mirror.states() | {"data/b.mrc": "claimed", "data/c.mrc": "claimed"} == mirror.states()
    assert mirror.candidates() == ["a.xml", "data/deep/d.mrc", "data/deeper/e.mrc"]
    assert mirror.need() == (3, 300)
    assert mirror.need(only=[mirror.id("a.xml"), mirror.id("data/b.mrc")]) == (1, 100)
    (bundle,) = mirror.do(globus.open_bundles)
    assert (bundle.bundle_id, bundle.state, bundle.files, bundle.bytes) == (
        bundle_id,
        BundleState.PLANNED,
        2,
        200,
    )
    assert (bundle.sync_level, bundle.planned_at, bundle.submission_id) == ("checksum", NOW, None)
    files = mirror.do(lambda c: globus.bundle_files(c, bundle_id))
    assert [str(file.remote) for file in files] == ["10017/data/b.mrc", "10017/data/c.mrc"]
    assert mirror.do(globus.entries_under_way) == {ID}
    assert mirror.do(under_way_ids) == {file.file_id for file in files}
    assert mirror.do(lambda c: globus.bundle_entries(c, bundle_id)) == [ID]
    # No other channel takes them.
    works = mirror.do(lambda c: claims.claim(c, now=NOW, limit_files=99, limit_bytes=10**9, empiar_ids=[ID]))
    assert not {work.file_id for work in works} & {file.file_id for file in files}
    assert mirror.need() == (0, 0)


def test_planning_the_same_twice_leaves_one_bundle(mirror: Mirror) -> None:
    mirror.plan(*PATHS)
    before = mirror.items()
    mirror.plan(*PATHS)
    assert mirror.items() == before
    assert len(mirror.do(globus.open_bundles)) == 1


def test_files_that_are_claimed_meanwhile_stay_whose_they_are_and_do_not_count(mirror: Mirror) -> None:
    mirror.do(lambda c: claims.claim(c, now=NOW, limit_files=2, limit_bytes=10**9, empiar_ids=[ID]))
    mirror.plan(*PATHS)
    (bundle,) = mirror.do(globus.open_bundles)
    assert (bundle.files, bundle.bytes) == (3, 300)
    assert set(mirror.items()) == set(PATHS[2:])


def test_what_was_kept_of_a_partial_is_forgotten_and_begun_files_are_asked_for(mirror: Mirror) -> None:
    first = mirror.id("a.xml")
    mirror.do(lambda c: claims.claim(c, now=NOW, limit_files=1, limit_bytes=1, empiar_ids=[ID]))
    mirror.do(
        lambda c: transfer.record_first_byte(c, first, Validators(100, 1, None), channel=Channel.FTP, now=NOW)
    )
    mirror.do(lambda c: transfer.record_blocks(c, first, [Block(0, 50, bytes(16))]))
    mirror.do(lambda c: transfer.release(c, first, not_before=NOW + 99, error="x", keep_partial=True))
    assert mirror.need() == (5, 450)
    assert mirror.candidates() == PATHS[1:]
    assert mirror.candidates(begun_too=True) == PATHS
    mirror.plan("a.xml")
    assert mirror.rows("SELECT * FROM part_block") == []
    (row,) = mirror.rows(
        "SELECT bytes_here, v_size, v_modified_at, not_before FROM copy WHERE file_id = ?", [first]
    )
    assert row == (0, None, None, 0)


def test_files_that_rest_after_a_failure_are_left_to_others_until_then(mirror: Mirror) -> None:
    first = mirror.id("a.xml")
    mirror.do(lambda c: claims.claim(c, now=NOW, limit_files=1, limit_bytes=1, empiar_ids=[ID]))
    mirror.do(lambda c: transfer.release(c, first, not_before=NOW + 99, error="x", keep_partial=False))
    assert mirror.candidates(now=NOW + 98) == PATHS[1:]
    assert mirror.candidates(now=NOW + 99) == PATHS


def test_a_submission_id_and_a_task_are_recorded_once(mirror: Mirror) -> None:
    bundle_id = mirror.plan()
    mirror.submit(bundle_id)
    mirror.do(lambda c: globus.record_task(c, bundle_id, "task", now=NOW + 50))
    (bundle,) = mirror.do(globus.open_bundles)
    assert (bundle.state, bundle.submission_id, bundle.task_id) == (
        BundleState.SUBMITTED, f"submission-{bundle_id}", "task",
    )  # fmt: skip
    assert (bundle.submitted_at, bundle.progressed_at) == (NOW, NOW)


def test_an_ended_bundle_is_never_submitted_again(mirror: Mirror) -> None:
    bundle_id = mirror.plan()
    mirror.do(lambda c: endings.abandon(c, error="x", now=NOW))
    mirror.do(lambda c: globus.record_submission_id(c, bundle_id, "late"))
    assert mirror.rows("SELECT state, submission_id FROM globus_bundle") == [(3, None)]


# --- following ----------------------------------------------------------------------------------------------


def test_progress_never_goes_back(mirror: Mirror) -> None:
    bundle_id = mirror.plan()
    mirror.submit(bundle_id)

    def progress(size: int, files: int, now: int) -> tuple[object, ...]:
        mirror.do(
            lambda c: globus.record_progress(
                c, bundle_id, status="ACTIVE", nice_status="OK", bytes_transferred=size,
                files_transferred=files, faults=3, now=now,
            )
        )  # fmt: skip
        (bundle,) = mirror.do(globus.open_bundles)
        return bundle.bytes_transferred, bundle.files_transferred, bundle.progressed_at

    assert progress(100, 1, NOW + 1) == (100, 1, NOW + 1)
    assert progress(100, 1, NOW + 2) == (100, 1, NOW + 1)
    assert progress(50, 0, NOW + 3) == (100, 1, NOW + 1)
    assert progress(50, 2, NOW + 4) == (100, 2, NOW + 4)


@pytest.mark.parametrize("seed", range(5))
def test_moved_pages_in_any_order_and_twice_deliver_each_file_once(mirror: Mirror, seed: int) -> None:
    bundle_id = mirror.plan()
    mirror.submit(bundle_id)
    pages = [PATHS[:2], PATHS[2:4], PATHS[3:], PATHS[:1], ["no/such.mrc"], []]
    random.Random(seed).shuffle(pages)
    assert sum(mirror.move(bundle_id, *page, marker=f"m{n}") for n, page in enumerate(pages)) == len(PATHS)
    assert set(mirror.states().values()) == {"wanted"}
    assert {state for _, state, _ in mirror.items().values()} == {1}
    assert mirror.do(globus.open_bundles)[0].moved_marker == "m5"
    assert mirror.do(globus.entries_under_way) == set()
    assert mirror.need() == (0, 0)
    assert mirror.candidates(begun_too=True) == []


def test_a_page_that_names_a_file_twice_delivers_it_once(mirror: Mirror) -> None:
    bundle_id = mirror.plan()
    assert mirror.move(bundle_id, "a.xml", "a.xml") == 1


def test_only_files_of_the_bundle_are_delivered(mirror: Mirror) -> None:
    first, second = mirror.plan("a.xml"), mirror.plan("data/b.mrc")
    assert mirror.move(first, *PATHS) == 1
    assert mirror.states()["data/b.mrc"] == "claimed"
    assert mirror.move(second, *PATHS) == 1
    assert mirror.states()["data/c.mrc"] == "wanted"
    assert set(mirror.items()) == {"a.xml", "data/b.mrc"}


def test_a_delivered_file_is_claimed_as_such_and_forgotten_with_its_arrival(mirror: Mirror) -> None:
    bundle_id = mirror.plan("data/b.mrc")
    mirror.submit(bundle_id)
    mirror.move(bundle_id, "data/b.mrc")
    remote = RemotePath.parse(ID, "data/b.mrc")
    assert mirror.do(lambda c: globus.is_awaited(c, remote))
    (work,) = mirror.do(
        lambda c: claims.claim(c, now=NOW, limit_files=9, limit_bytes=10**9, delivered_only=True)
    )
    assert work.remote == remote
    assert work.delivery is not None
    assert (work.delivery.submitted_at, work.delivery.delivered_at) == (NOW, NOW + 5)
    arrival = Arrival(work.file_id, 100, bytes(32), Channel.GLOBUS, None)
    mirror.do(lambda c: transfer.record_arrivals(c, [arrival], now=NOW))
    assert mirror.items() == {}
    assert not mirror.do(lambda c: globus.is_awaited(c, remote))
    assert not mirror.do(lambda c: globus.is_awaited(c, RemotePath.parse(ID, "no/such")))


def test_listed_folders_tell_what_else_is_in_them(mirror: Mirror) -> None:
    def folders(bundle_id: int, most: int = 9) -> dict[str, tuple[str, ...] | None]:
        return mirror.do(lambda c: globus.listed_folders(c, bundle_id, ID, most_others=most))

    bundle_id = mirror.plan("data/b.mrc", "data/deep/d.mrc", empiar_ids=[ID, OTHER_ID])
    none = {"": None, "data/deeper": None}
    assert folders(bundle_id) == {**none, "data": ("c.mrc",), "data/deep": ()}
    assert folders(bundle_id, 0) == {**none, "data": None, "data/deep": ()}
    other = mirror.plan("data/c.mrc")
    assert folders(other) == {**none, "data": ("b.mrc",), "data/deep": None}
    mirror.move(bundle_id, "data/b.mrc")
    assert folders(bundle_id) == {**none, "data": None, "data/deep": ()}
    assert folders(other) == {**none, "data": ("b.mrc",), "data/deep": None}


def test_a_listed_folder_does_not_count_what_is_gone(mirror: Mirror) -> None:
    bundle_id = mirror.plan("data/b.mrc", "data/deep/d.mrc")
    mirror.withdraw("data/b.mrc", "data/deeper/e.mrc", "data/deep/d.mrc")
    found = mirror.do(lambda c: globus.listed_folders(c, bundle_id, ID, most_others=9))
    # What is wanted still, and gone, is no reason to take the rest of its folder.
    assert found == {"": None, "data": ("c.mrc",), "data/deep": ()}


# --- giving back --------------------------------------------------------------------------------------------


def test_freed_files_are_wanted_with_the_reason_and_may_go_again(mirror: Mirror) -> None:
    bundle_id = mirror.plan("a.xml", "data/b.mrc")
    first, second = mirror.id("a.xml"), mirror.id("data/b.mrc")
    mirror.move(bundle_id, "data/b.mrc")
    free = lambda c: endings.free(c, [first, second, 999], error="why", not_before=NOW + 7)  # noqa: E731
    assert mirror.do(free) == 2
    assert mirror.do(free) == 0
    assert mirror.rows("SELECT state, not_before, error FROM copy WHERE file_id = ?", [first]) == [
        (0, NOW + 7, "why")
    ]
    # The delivered one was wanted already, and keeps its turn.
    assert mirror.rows("SELECT state, not_before, error FROM copy WHERE file_id = ?", [second]) == [
        (0, 0, "why")
    ]
    assert mirror.items() == {"a.xml": (bundle_id, 2, 1), "data/b.mrc": (bundle_id, 2, 1)}
    assert mirror.do(lambda c: globus.item_error(c, first)) == "why"
    assert mirror.do(lambda c: globus.item_error(c, 999)) == "Globus did not bring it"
    again = mirror.plan("a.xml")
    assert mirror.items()["a.xml"] == (again, 0, 2)


def test_a_file_freed_for_good_has_used_all_tries_until_somebody_asks_again(mirror: Mirror) -> None:
    mirror.plan("a.xml")
    first = mirror.id("a.xml")
    mirror.do(lambda c: endings.free(c, [first], error="x", for_good=True))
    (candidate,) = [
        file
        for file in mirror.do(lambda c: list(globus.candidates(c, ID, least_priority=0, now=NOW)))
        if file.name == "a.xml"
    ]
    assert candidate.tries >= 10**6
    mirror.do(lambda c: endings.fresh_tries(c, [ID]))
    assert mirror.items()["a.xml"][2] == 0


def test_fresh_tries_leave_alone_what_is_with_the_service(mirror: Mirror) -> None:
    bundle_id = mirror.plan("a.xml", "data/b.mrc")
    mirror.move(bundle_id, "a.xml")
    mirror.do(lambda c: endings.fresh_tries(c, [ID]))
    assert {tries for *_, tries in mirror.items().values()} == {1}


def test_what_is_gone_is_parked_when_it_is_given_back(mirror: Mirror) -> None:
    bundle_id = mirror.plan("a.xml", "data/b.mrc")
    mirror.withdraw("a.xml")
    assert mirror.states()["a.xml"] == "claimed"
    assert mirror.do(lambda c: endings.free_rest(c, bundle_id, error="x")) == 2
    assert mirror.states()["a.xml"] == "parked"
    assert mirror.states()["data/b.mrc"] == "wanted"


def test_the_rest_of_a_bundle_does_not_count_what_was_delivered(mirror: Mirror) -> None:
    bundle_id = mirror.plan(*PATHS[:3])
    mirror.move(bundle_id, "a.xml")
    assert mirror.do(lambda c: endings.free_rest(c, bundle_id, error="x")) == 2
    assert mirror.items()["a.xml"][1] == 1


@pytest.mark.parametrize(
    ("path", "freed"),
    [
        ("data/b.mrc", {"data/b.mrc"}),
        ("data/deep", {"data/deep/d.mrc"}),
        ("data", {"data/b.mrc", "data/c.mrc", "data/deep/d.mrc", "data/deeper/e.mrc"}),
        ("dat", set()),
        ("data/dee", set()),
        ("data/b.mrc/x", set()),
        ("%25", set()),
        ("_ata", set()),
    ],
)
def test_a_path_stands_for_itself_and_all_below_it(mirror: Mirror, path: str, freed: set[str]) -> None:
    bundle_id = mirror.plan(empiar_ids=[ID, OTHER_ID])
    remote = RemotePath.parse(ID, path)
    assert mirror.do(lambda c: endings.free_path(c, bundle_id, remote, error="gone")) == len(freed)
    assert {path for path, state in mirror.states().items() if state == "wanted"} == freed
    assert set(mirror.states(OTHER_ID).values()) == {"claimed"}
    assert all(mirror.items()[path][2] == 10**6 for path in freed)


def test_a_path_of_another_bundle_or_delivered_already_is_left_alone(mirror: Mirror) -> None:
    first, second = mirror.plan("data/b.mrc"), mirror.plan("data/c.mrc")
    mirror.move(first, "data/b.mrc")
    for path in ("data/b.mrc", "data/c.mrc", "data"):
        remote = RemotePath.parse(ID, path)
        assert mirror.do(lambda c, r=remote: endings.free_path(c, first, r, error="x")) == 0  # type: ignore[misc]
    assert mirror.items() == {"data/b.mrc": (first, 1, 1), "data/c.mrc": (second, 0, 1)}


def label(seen: list[object]) -> Callable[[Sequence[int], int, int], str]:
    def made(ids: Sequence[int], files: int, size: int) -> str:
        seen.append((list(ids), files, size))
        return "again"

    return made


def test_what_a_task_left_undone_becomes_a_bundle_of_its_own(mirror: Mirror) -> None:
    bundle_id = mirror.plan(empiar_ids=[ID, OTHER_ID])
    mirror.submit(bundle_id)
    mirror.move(bundle_id, "a.xml")
    seen: list[object] = []

    def again(number: int, tries: int = 2) -> int:
        return mirror.do(
            lambda c: endings.plan_again(
                c, number, label=label(seen), most_tries=tries, sync_level="checksum", now=NOW + 9
            )
        )

    assert again(bundle_id) == 9
    assert seen == [([ID, OTHER_ID], 9, 900)]
    assert again(bundle_id) == 0
    mirror.do(lambda c: endings.end_bundle(c, bundle_id, status="FAILED", error="x", now=NOW))
    (bundle,) = mirror.do(globus.open_bundles)
    assert (bundle.state, bundle.label, bundle.files, bundle.bytes) == (BundleState.PLANNED, "again", 9, 900)
    assert (bundle.sync_level, bundle.submission_id) == ("checksum", None)
    assert mirror.items()["a.xml"] == (bundle_id, 1, 1)
    assert mirror.items()["data/b.mrc"] == (bundle.bundle_id, 0, 2)
    # All tries are used.
    assert again(bundle.bundle_id) == 0
    assert mirror.states()["data/b.mrc"] == "claimed"


def test_abandoning_gives_back_and_ends_what_the_service_never_heard_of(mirror: Mirror) -> None:
    planned, submitted = mirror.plan(*PATHS[:2]), mirror.plan(*PATHS[2:])
    mirror.submit(submitted)
    mirror.move(submitted, "data/c.mrc")
    abandon = lambda c: endings.abandon(c, error="out", now=NOW + 1)  # noqa: E731
    assert mirror.do(abandon) == 4
    assert mirror.do(abandon) == 0
    assert set(mirror.states().values()) == {"wanted"}
    (bundle,) = mirror.do(globus.open_bundles)
    assert (bundle.bundle_id, bundle.state, bundle.cancelled_because) == (
        submitted,
        BundleState.ABANDONED,
        "out",
    )
    assert mirror.rows("SELECT state, status FROM globus_bundle WHERE bundle_id = ?", [planned]) == [
        (3, "DISSOLVED")
    ]
    assert mirror.items()["data/c.mrc"][1] == 1, "what was delivered stays so"


def test_abandoning_one_entry_leaves_a_bundle_that_others_wait_for(mirror: Mirror) -> None:
    bundle_id = mirror.plan("a.xml", empiar_ids=[ID, OTHER_ID])
    mirror.submit(bundle_id)
    assert mirror.do(lambda c: endings.abandon(c, error="x", now=NOW, empiar_ids={ID})) == 1
    assert mirror.do(globus.open_bundles)[0].state is BundleState.SUBMITTED
    assert mirror.do(globus.entries_under_way) == {OTHER_ID}
    assert mirror.do(lambda c: endings.abandon(c, error="x", now=NOW, empiar_ids={OTHER_ID})) == 1
    assert mirror.do(globus.open_bundles)[0].state is BundleState.ABANDONED


def test_the_first_reason_for_a_cancellation_stays(mirror: Mirror) -> None:
    bundle_id = mirror.plan()
    for reason in ("first", "second"):
        mirror.do(lambda c, r=reason: endings.cancelling(c, bundle_id, reason=r))  # type: ignore[misc]
    assert mirror.do(globus.open_bundles)[0].cancelled_because == "first"


def test_a_copy_in_a_state_that_no_delivery_follows_is_a_fault_and_nothing_is_written(mirror: Mirror) -> None:
    bundle_id = mirror.plan("a.xml", "data/b.mrc")
    first = mirror.id("a.xml")
    mirror.do(lambda c: transfer.park(c, first, error="x"))
    before = mirror.items()
    with pytest.raises(CatalogueFault, match="cannot become unverified"):
        mirror.move(bundle_id, "a.xml", "data/b.mrc", visible=False)
    assert mirror.items() == before
    assert mirror.states()["data/b.mrc"] == "claimed"


# --- storage elsewhere --------------------------------------------------------------------------------------


def test_what_goes_to_storage_elsewhere_waits_for_a_verification_there(mirror: Mirror) -> None:
    bundle_id = mirror.plan("a.xml", "data/b.mrc")
    mirror.submit(bundle_id)
    assert mirror.do(endings.unverified_entries) == []
    assert mirror.move(bundle_id, "a.xml", visible=False) == 1
    assert mirror.move(bundle_id, "a.xml", visible=False) == 0
    assert mirror.states()["a.xml"] == "unverified"
    assert mirror.do(endings.unverified_entries) == [ID]
    assert "a.xml" not in mirror.candidates(begun_too=True)
    # No channel fetches it.
    works = mirror.do(lambda c: claims.claim(c, now=NOW, limit_files=9, limit_bytes=10**9, empiar_ids=[ID]))
    assert mirror.id("a.xml") not in [work.file_id for work in works]
    assert mirror.do(lambda c: endings.await_verification(c, ID, now=NOW + 50)) == [mirror.id("a.xml")]
    assert mirror.do(lambda c: endings.await_verification(c, ID, now=NOW + 50)) == []
    assert mirror.do(endings.unverified_entries) == []
    (work,) = mirror.do(
        lambda c: claims.claim(c, now=NOW, limit_files=9, limit_bytes=10**9, delivered_only=True)
    )
    assert work.delivery is not None
    assert work.delivery.delivered_at == NOW + 5


def test_an_unverified_file_that_proves_wrong_is_given_back(mirror: Mirror) -> None:
    bundle_id = mirror.plan("a.xml")
    mirror.move(bundle_id, "a.xml", visible=False)
    assert mirror.do(lambda c: endings.free(c, [mirror.id("a.xml")], error="x")) == 1
    assert mirror.states()["a.xml"] == "wanted"


# --- the beginning of the next run --------------------------------------------------------------------------


def test_recovery_leaves_alone_what_is_with_the_service(mirror: Mirror, tmp_path: Path) -> None:
    bundle_id = mirror.plan("data/b.mrc", "data/c.mrc")
    mirror.submit(bundle_id)
    mirror.move(bundle_id, "data/c.mrc")
    claimed = mirror.do(lambda c: claims.claim(c, now=NOW, limit_files=9, limit_bytes=10**9, empiar_ids=[ID]))
    assert len(claimed) == 4, "the delivered one, too"
    (tmp_path / "staging" / "globus" / str(ID)).mkdir(parents=True)
    half = tmp_path / "staging" / "globus" / str(ID) / "half"
    half.write_bytes(b"x")
    report = recover(
        mirror.catalogue, staging=tmp_path / "staging", archive=tmp_path / "archive", clock=lambda: NOW
    )
    assert (report.given_back, report.discarded) == (4, 0)
    assert half.exists()
    assert mirror.states() == {**dict.fromkeys(PATHS, "wanted"), "data/b.mrc": "claimed"}
    assert mirror.items() == {"data/b.mrc": (bundle_id, 0, 1), "data/c.mrc": (bundle_id, 1, 1)}


@pytest.mark.parametrize("begun_before", [False, True])
def test_a_delivered_file_that_was_linked_but_not_recorded_arrives_at_the_next_start(
    mirror: Mirror, tmp_path: Path, begun_before: bool
) -> None:
    bundle_id = mirror.plan("data/b.mrc")
    mirror.move(bundle_id, "data/b.mrc")
    (work,) = mirror.do(
        lambda c: claims.claim(c, now=NOW, limit_files=9, limit_bytes=10**9, delivered_only=True)
    )
    staging, archive = tmp_path / "staging", tmp_path / "archive"
    delivered, final = staging / f"globus/{ID}/data/b.mrc", archive / f"{ID}/data/b.mrc"
    for file in (delivered, final):
        file.parent.mkdir(parents=True)
    delivered.write_bytes(bytes(100))
    final.hardlink_to(delivered)
    if begun_before:
        # Of another channel, before Globus was given the file.
        (staging / str(ID)).mkdir()
        (staging / str(ID) / f"{work.file_id}.part").write_bytes(b"half")
    report = recover(mirror.catalogue, staging=staging, archive=archive, clock=lambda: NOW)
    assert (report.finished, report.discarded) == (1, int(begun_before))
    assert mirror.states()["data/b.mrc"] == "arrived"
    assert mirror.items() == {}
    assert not delivered.exists()


# --- what is remembered -------------------------------------------------------------------------------------


def test_the_latest_endings_are_those_of_tasks(mirror: Mirror) -> None:
    for number, (status, ended_at, task) in enumerate(
        [
            ("SUCCEEDED", NOW, "a"),
            ("FAILED", NOW + 9, "b"),
            ("DISSOLVED", NOW + 9, None),
            ("FAILED", NOW - 99, "c"),
        ]
    ):
        bundle_id = mirror.plan(PATHS[number])
        if task:
            mirror.submit(bundle_id, task)
        mirror.do(lambda c, b=bundle_id: endings.free_rest(c, b, error="x"))  # type: ignore[misc]
        mirror.do(
            lambda c, b=bundle_id, s=status, at=ended_at: endings.end_bundle(
                c, b, status=s, error=None, now=at
            )  # type: ignore[misc]
        )
    assert mirror.do(lambda c: globus.latest_endings(c, since=NOW, limit=5)) == ["FAILED", "SUCCEEDED"]
    assert mirror.do(lambda c: globus.latest_endings(c, since=0, limit=1)) == ["FAILED"]


def test_the_archives_place_in_a_collection_is_remembered(mirror: Mirror) -> None:
    assert mirror.do(lambda c: globus.archive_base(c, "x")) is None
    for path in ("/a", "/b"):
        mirror.do(lambda c, p=path: globus.remember_archive_base(c, "x", p, now=NOW))  # type: ignore[misc]
    assert mirror.do(lambda c: globus.archive_base(c, "x")) == "/b"
