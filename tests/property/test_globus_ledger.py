"""Any run of what the keeper and the engine write, crashes in between, keeps the ledger and the copies in step."""

from __future__ import annotations

import functools
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import claims
from empiar_mirror.globus.facts import need_of
from empiar_mirror.recover import recover
from empiar_schema import crawl_store as crawl
from empiar_schema import globus_endings as endings
from empiar_schema import globus_store as globus
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.files import ListedFile
from empiar_schema.globus_bundles import Bundle, NewBundle
from empiar_schema.globus_states import BUNDLE_CODES, ITEM_CODES, BundleState, ItemState
from empiar_schema.paths import RemotePath
from empiar_schema.states import FAILED, HERE, Channel, CopyState, may_follow
from empiar_schema.transfer_store import Arrival
from globus_ledger import under_way_ids

ENTRIES = (10017, 10018)
NAMES = ("a", "b", "c")
FILES = len(ENTRIES) * len(NAMES)
MOST_TRIES = 3

_S = CopyState
UNDER_WAY, DELIVERED, FREED = (
    ITEM_CODES[s] for s in (ItemState.UNDER_WAY, ItemState.DELIVERED, ItemState.FREED)
)
file_ids = st.lists(st.integers(1, FILES), unique=True, min_size=1, max_size=FILES)
pages = st.lists(
    st.tuples(st.sampled_from(ENTRIES), st.sampled_from([*NAMES, "unknown"])), min_size=1, max_size=6
)
which = st.integers(0, 10**6)
twice = st.booleans()
T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]


@functools.cache
def empty_catalogue() -> bytes:
    """A new catalogue; making one takes longer than a whole run of the machine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empiar.db"
        Catalogue.open(path, create=True).close()
        return path.read_bytes()


class Ledger(RuleBasedStateMachine):
    """Only what the keeper and the engine do is done; each job once or twice in a row, because a wait may be repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        path = self.root / "empiar.db"
        path.write_bytes(empty_catalogue())
        self.catalogue = Catalogue.open(path)
        # One connection for all that is looked at: opening one takes longer than all else here.
        self.closing = ExitStack()
        self.conn = self.closing.enter_context(self.catalogue.reader())
        (self.root / "staging").mkdir()
        self.now = 1000
        self.before: dict[int, CopyState] = {}
        #: Claimed by the engine of this process.
        self.engine: set[int] = set()
        self.visible = True

    def teardown(self) -> None:
        self.closing.close()
        self.catalogue.close()
        self.folder.cleanup()

    def write(self, job: Job[T]) -> T:
        """Written without a flush: no power is cut here, and the disk may be slow."""
        return self.catalogue.submit(job, durable=False).result()

    def apply(self, job: Job[object], *, repeat: bool = False) -> None:
        self.now += 1
        self.write(job)
        if repeat:
            before = self.dump()
            self.write(job)
            assert self.dump() == before, "a job that is repeated changes nothing"

    def dump(self) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for table in ("copy", "globus_item", "globus_bundle", "copy_progress"):
            rows += self.rows(f"SELECT * FROM {table} ORDER BY 1, 2")
        return rows

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in self.conn.execute(sql).fetchall()]

    def candidates(self) -> list[list[int]]:
        """By entry."""
        return [
            [
                file.file_id
                for file in globus.candidates(
                    self.conn, empiar_id, least_priority=transfer.ANY_PRIORITY, now=self.now, begun_too=True
                )
            ]
            for empiar_id in ENTRIES
        ]

    def states(self) -> dict[int, CopyState]:
        return {int(str(i)): CopyState(str(s)) for i, s in self.rows("SELECT file_id, state FROM copies")}

    def items(self) -> dict[int, tuple[int, int]]:
        """State and bundle by file."""
        found = self.rows("SELECT file_id, state, bundle_id FROM globus_item")
        return {int(str(i)): (int(str(s)), int(str(b))) for i, s, b in found}

    def open(self, pick: int, *states: BundleState) -> Bundle | None:
        bundles = [b for b in globus.open_bundles(self.conn) if b.state in states]
        return bundles[pick % len(bundles)] if bundles else None

    def pick(self, pick: int, state: BundleState) -> int:
        """The number of one of the bundles in this state; there is one."""
        bundle = self.open(pick, state)
        assert bundle is not None
        return bundle.bundle_id

    # --- the archive and the person -----------------------------------------------------------------------

    @initialize(visible=st.booleans())
    def begin(self, visible: bool) -> None:
        self.visible = visible
        for empiar_id in ENTRIES:
            self.read_listing(empiar_id, list(NAMES))
            self.apply(lambda c, e=empiar_id: transfer.want_entry(c, e, now=self.now))  # type: ignore[misc]

    @rule(
        empiar_id=st.sampled_from(ENTRIES),
        names=st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
    )
    def read_listing(self, empiar_id: int, names: list[str]) -> None:
        self.now += 1
        listing = self.write(lambda c: crawl.begin_listing(c, empiar_id, source="ftp", now=self.now))
        batch = [ListedFile(name, 100, True, 0, 60) for name in names]
        self.write(lambda c: crawl.add_to_listing(c, listing, "data", batch))
        self.write(lambda c: crawl.complete_listing(c, listing, now=self.now))

    @precondition(lambda self: not FAILED.isdisjoint(self.states().values()))
    @rule(states=st.lists(st.sampled_from(sorted(FAILED)), unique=True))
    def ask_again(self, states: list[CopyState]) -> None:
        self.apply(lambda c: transfer.retry_failed(c, None, now=self.now, states=states))
        self.apply(lambda c: endings.fresh_tries(c, ENTRIES), repeat=True)

    # --- the keeper -----------------------------------------------------------------------------------------

    @rule(ids=file_ids, submitted=st.sampled_from([True, True, False]), repeat=twice)
    def plan(self, ids: list[int], submitted: bool, repeat: bool) -> None:
        """As planning does: of the candidates only."""
        new = NewBundle("label", [i for part in self.candidates() for i in part if i in ids], None)
        self.apply(lambda c: globus.plan_bundle(c, new, now=self.now), repeat=repeat)
        if submitted:
            self.submit(0, repeat)

    @precondition(lambda self: self.open(0, BundleState.PLANNED))
    @rule(pick=which, repeat=twice)
    def submit_later(self, pick: int, repeat: bool) -> None:
        self.submit(pick, repeat)

    def submit(self, pick: int, repeat: bool) -> None:
        bundle = self.open(pick, BundleState.PLANNED)
        if bundle is not None:
            number = bundle.bundle_id
            self.apply(lambda c: globus.record_submission_id(c, number, f"s{number}"), repeat=repeat)
            self.apply(lambda c: globus.record_task(c, number, f"t{number}", now=1000), repeat=repeat)

    @precondition(lambda self: self.open(0, BundleState.SUBMITTED))
    @rule(pick=which, page=pages, repeat=twice)
    def moved(self, pick: int, page: Sequence[tuple[int, str]], repeat: bool) -> None:
        """Whatever the service may name."""
        self.record(self.pick(pick, BundleState.SUBMITTED), page, repeat)

    @precondition(lambda self: self.open(0, BundleState.SUBMITTED))
    @rule(pick=which, count=st.integers(1, FILES), repeat=twice)
    def moved_indeed(self, pick: int, count: int, repeat: bool) -> None:
        number = self.pick(pick, BundleState.SUBMITTED)
        remotes = [file.remote for file in globus.bundle_files(self.conn, number)][-count:]
        self.record(number, [(remote.empiar_id, remote.name) for remote in remotes], repeat)

    def record(self, number: int, page: Sequence[tuple[int, str]], repeat: bool) -> None:
        remotes = [RemotePath(empiar_id, "data", name) for empiar_id, name in page]
        self.apply(
            lambda c: globus.record_moved(c, number, remotes, marker="m", now=self.now, visible=self.visible),
            repeat=repeat,
        )

    @precondition(lambda self: self.open(0, BundleState.SUBMITTED))
    @rule(
        pick=which, path=st.sampled_from([*(f"data/{name}" for name in NAMES), "data", "dat"]), repeat=twice
    )
    def passed_over(self, pick: int, path: str, repeat: bool) -> None:
        number = self.pick(pick, BundleState.SUBMITTED)
        remote = RemotePath.parse(ENTRIES[pick % 2], path)
        self.apply(lambda c: endings.free_path(c, number, remote, error="gone"), repeat=repeat)

    @precondition(lambda self: self.open(0, BundleState.SUBMITTED))
    @rule(pick=which, again=st.booleans(), for_good=st.booleans(), repeat=twice)
    def end(self, pick: int, again: bool, for_good: bool, repeat: bool) -> None:
        number = self.pick(pick, BundleState.SUBMITTED)
        if again:
            self.apply(
                lambda c: endings.plan_again(
                    c,
                    number,
                    label=lambda *_: "again",
                    most_tries=MOST_TRIES,
                    sync_level="checksum",
                    now=self.now,
                ),
                repeat=repeat,
            )
        self.apply(lambda c: endings.free_rest(c, number, error="x", for_good=for_good), repeat=repeat)
        self.apply(
            lambda c: endings.end_bundle(c, number, status="FAILED", error="x", now=1000), repeat=repeat
        )

    @precondition(lambda self: self.open(0, BundleState.ABANDONED))
    @rule(pick=which)
    def clear_away(self, pick: int) -> None:
        bundle = self.open(pick, BundleState.ABANDONED)
        if bundle is not None:
            self.apply(
                lambda c: endings.end_bundle(
                    c, bundle.bundle_id, status="ABANDONED", error=None, now=self.now
                )
            )

    @rule(entries=st.none() | st.sampled_from(ENTRIES), repeat=twice)
    def abandon(self, entries: int | None, repeat: bool) -> None:
        only = None if entries is None else {entries}
        self.apply(lambda c: endings.abandon(c, error="out", now=1000, empiar_ids=only), repeat=repeat)

    @precondition(lambda self: CopyState.UNVERIFIED in self.states().values())
    @rule(empiar_id=st.sampled_from(ENTRIES), repeat=twice)
    def verify_there(self, empiar_id: int, repeat: bool) -> None:
        self.apply(lambda c: endings.await_verification(c, empiar_id, now=self.now), repeat=repeat)

    # --- the engine -----------------------------------------------------------------------------------------

    @rule(limit=st.integers(1, FILES), delivered_only=st.sampled_from([False, False, True]))
    def claim(self, limit: int, delivered_only: bool) -> None:
        items = self.items()
        taken = self.write(
            lambda c: claims.claim(
                c, now=self.now, limit_files=limit, limit_bytes=10**9, delivered_only=delivered_only
            )
        )
        for work in taken:
            delivered = items.get(work.file_id, (FREED, 0))[0] == DELIVERED
            assert (work.delivery is not None) == delivered
            assert delivered or not delivered_only
        self.engine |= {work.file_id for work in taken}

    @precondition(lambda self: self.engine)
    @rule(
        pick=which,
        how=st.sampled_from(["arrive", "arrive", "release", "park", "refuse", "quarantine"]),
        repeat=twice,
    )
    def engine_ends(self, pick: int, how: str, repeat: bool) -> None:
        file_id = sorted(self.engine)[pick % len(self.engine)]
        delivered = self.items().get(file_id, (FREED, 0))[0] == DELIVERED
        match how:
            case "arrive":
                arrival = Arrival(file_id, 100, bytes(32), Channel.HTTPS, None)
                self.apply(lambda c: transfer.record_arrivals(c, [arrival], now=1000), repeat=repeat)
            case "refuse" if delivered:
                self.apply(lambda c: endings.free(c, [file_id], error="wrong"), repeat=repeat)
            case "park" | "quarantine" if not delivered:  # what Globus delivered is refused first
                give_up = transfer.park if how == "park" else transfer.quarantine
                self.apply(lambda c: give_up(c, file_id, error="404"), repeat=repeat)
            case _:
                self.apply(
                    lambda c: transfer.release(
                        c, file_id, not_before=0, error="x", keep_partial=bool(pick % 2)
                    ),
                    repeat=repeat,
                )
        self.engine.discard(file_id)

    @rule()
    def killed_and_begun_again(self) -> None:
        items = self.items()
        recover(  # the engine forgets, the catalogue does not
            self.catalogue,
            staging=self.root / "staging",
            archive=self.root / "archive",
            clock=lambda: self.now,
        )
        self.engine.clear()
        assert self.items() == items, "recovery leaves the ledger as it is"

    # --- what holds -----------------------------------------------------------------------------------------

    @invariant()
    def states_change_only_as_allowed(self) -> None:
        """One step, or two where a job takes two (given back, then parked because gone)."""
        now = self.states()
        assert self.before.keys() <= now.keys(), "a copy is never forgotten"
        for i, before in self.before.items():
            steps = [before, *(s for s in CopyState if may_follow(before, s))]
            assert any(now[i] == s or may_follow(s, now[i]) for s in steps)
        self.before = now

    @invariant()
    def the_ledger_agrees_with_the_copies(self) -> None:
        states, items = self.states(), self.items()
        under_way = {i for i, (state, _) in items.items() if state == UNDER_WAY}
        claimed = {i for i, state in states.items() if state is _S.CLAIMED}
        assert not under_way & self.engine, "no file has two who bring it"
        assert claimed == under_way | self.engine
        delivered = {i for i, (state, _) in items.items() if state == DELIVERED}
        assert all(
            states[i] in {_S.WANTED, _S.PARTIAL, _S.CLAIMED, _S.UNVERIFIED, _S.PARKED} for i in delivered
        )
        assert {i for i, state in states.items() if state is _S.UNVERIFIED} <= delivered
        assert not {i for i, state in states.items() if state in HERE} & items.keys()
        assert under_way_ids(self.conn) == under_way

    @invariant()
    def files_are_under_way_in_open_bundles_only(self) -> None:
        bundles = {int(str(i)): (int(str(s)), int(str(n))) for i, s, n in self.rows("SELECT bundle_id, state, files FROM globus_bundle")}  # fmt: skip
        members: dict[int, int] = dict.fromkeys(bundles, 0)
        for state, bundle_id in self.items().values():
            if state == UNDER_WAY:
                assert bundles[bundle_id][0] in {
                    BUNDLE_CODES[s] for s in (BundleState.PLANNED, BundleState.SUBMITTED)
                }
                members[bundle_id] += 1
        assert all(count <= bundles[bundle_id][1] for bundle_id, count in members.items())
        assert all(files > 0 for _, files in bundles.values())

    @invariant()
    def what_is_needed_is_what_may_be_planned(self) -> None:
        needs = [need_of(self.conn, empiar_id, least_priority=transfer.ANY_PRIORITY) for empiar_id in ENTRIES]
        found = self.candidates()
        assert [need.files for need in needs] == list(map(len, found))
        assert found == [sorted(ids) for ids in found]

    @invariant()
    def sums_agree_with_the_rows(self) -> None:
        sums = self.rows("SELECT empiar_id, state, count(*), sum(ifnull(bytes, 0)) FROM copy GROUP BY 1, 2")
        assert sums == self.rows("SELECT * FROM copy_progress WHERE files > 0 ORDER BY 1, 2")


Ledger.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLedger = pytest.mark.timeout(900)(Ledger.TestCase)
