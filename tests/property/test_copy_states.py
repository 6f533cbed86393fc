"""Any run of jobs over the catalogue, crashes in between, keeps its promises."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import claims
from empiar_schema import crawl_store as crawl
from empiar_schema import eviction_store as eviction
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import CatalogueFault
from empiar_schema.files import ListedFile, Validators
from empiar_schema.states import FAILED, HERE, Channel, CopyState, may_follow
from empiar_schema.transfer_store import Arrival, Attempt, Block

ID = 10017
NAMES = ("a", "b", "c", "d")
_UNFINISHED = {CopyState.WANTED, CopyState.PARTIAL, CopyState.CLAIMED}
files = st.integers(1, len(NAMES))
twice = st.booleans()


class Copies(RuleBasedStateMachine):
    """Jobs are applied once or twice in a row, because a cancelled wait may be repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "empiar.db"
        self.catalogue = Catalogue.open(self.path, create=True)
        self.now = 1000
        self.before: dict[int, CopyState] = {}
        self.proof: dict[int, str] = {}

    def teardown(self) -> None:
        self.catalogue.close()
        self.folder.cleanup()

    def states(self) -> dict[int, CopyState]:
        with self.catalogue.reader() as reader:
            return {i: CopyState(s) for i, s in reader.execute("SELECT file_id, state FROM copies")}

    def apply(self, job: object, repeat: bool) -> None:
        """The job is applied, or refused with the catalogue as it was."""
        self.now += 1
        for _ in range(1 + repeat):
            before = self.dump()
            try:
                self.catalogue.write_now(job)  # type: ignore[arg-type]  # rules pass functions of a connection
            except CatalogueFault:
                assert self.dump() == before
                return

    def dump(self) -> list[tuple[object, ...]]:
        with self.catalogue.reader() as reader:
            return [tuple(r) for r in reader.execute("SELECT * FROM copy ORDER BY 1").fetchall()]

    @initialize()
    def listed(self) -> None:
        self.read_listing(list(NAMES))

    @rule(names=st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    def read_listing(self, names: list[str]) -> None:
        self.now += 1
        listing = self.catalogue.write_now(lambda c: crawl.begin_listing(c, ID, source="ftp", now=self.now))
        batch = [ListedFile(name, 100, True, 0, 60) for name in names]
        self.catalogue.write_now(lambda c: crawl.add_to_listing(c, listing, "data", batch))
        self.catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=self.now))

    @rule(priority=st.integers(0, 2), repeat=twice)
    def want(self, priority: int, repeat: bool) -> None:
        self.apply(lambda c: transfer.want_entry(c, ID, now=self.now, priority=priority), repeat)

    @rule(limit=st.integers(1, 4), ids=st.sampled_from([None, [ID], [1]]))
    def claim(self, limit: int, ids: list[int] | None) -> None:
        before = self.states()
        taken = self.catalogue.write_now(
            lambda c: claims.claim(c, now=self.now, limit_files=limit, limit_bytes=250, empiar_ids=ids)
        )
        assert all(before[w.file_id] in {CopyState.WANTED, CopyState.PARTIAL} for w in taken)
        assert len(taken) <= min(limit, 3)
        assert all(w.bytes_kept <= 100 for w in taken)

    @rule(i=files, repeat=twice)
    def first_byte(self, i: int, repeat: bool) -> None:
        found = Validators(100, 1, None)
        self.apply(
            lambda c: transfer.record_first_byte(c, i, found, channel=Channel.HTTPS, now=self.now), repeat
        )

    @rule(i=files, n=st.integers(0, 3), repeat=twice)
    def block(self, i: int, n: int, repeat: bool) -> None:
        self.apply(lambda c: transfer.record_blocks(c, i, [Block(n * 25, 25, bytes(16))]), repeat)

    @rule(i=files, n=st.integers(0, 3), repeat=twice)
    def forget(self, i: int, n: int, repeat: bool) -> None:
        self.apply(lambda c: transfer.forget_blocks(c, i, [n * 25]), repeat)

    @rule(i=files, outcome=st.sampled_from(["done", "failed", "stopped"]), repeat=twice)
    def attempt(self, i: int, outcome: str, repeat: bool) -> None:
        one = Attempt(i, Channel.FTP, self.now, self.now + 1, 0, 5, outcome)
        self.apply(lambda c: transfer.record_attempts(c, [one]), repeat)

    @rule(i=files, keep=st.booleans(), wait=st.integers(0, 2), repeat=twice)
    def release(self, i: int, keep: bool, wait: int, repeat: bool) -> None:
        when = self.now + wait
        self.apply(lambda c: transfer.release(c, i, not_before=when, error="x", keep_partial=keep), repeat)

    @rule(i=files, repeat=twice)
    def park(self, i: int, repeat: bool) -> None:
        self.apply(lambda c: transfer.park(c, i, error="404"), repeat)

    @rule(i=files, repeat=twice)
    def quarantine(self, i: int, repeat: bool) -> None:
        self.apply(lambda c: transfer.quarantine(c, i, error="wrong"), repeat)

    @rule(i=files, digest=st.sampled_from([b"s" * 32, b"t" * 32]), repeat=twice)
    def arrive(self, i: int, digest: bytes, repeat: bool) -> None:
        arrival = Arrival(i, 100, digest, Channel.HTTPS, None)
        self.apply(lambda c: transfer.record_arrivals(c, [arrival], now=self.now), repeat)

    @rule(i=files, repeat=twice)
    def damage(self, i: int, repeat: bool) -> None:
        self.apply(lambda c: transfer.record_damaged(c, i, error="flip", now=self.now), repeat)

    @rule(i=files, repeat=twice)
    def verify(self, i: int, repeat: bool) -> None:
        self.apply(lambda c: transfer.record_verified(c, [i], now=self.now), repeat)

    @rule(states=st.lists(st.sampled_from(sorted(FAILED)), unique=True), repeat=twice)
    def retry(self, states: list[CopyState], repeat: bool) -> None:
        self.apply(lambda c: transfer.retry_failed(c, None, now=self.now, states=states), repeat)

    @rule(i=files, repeat=twice)
    def evict(self, i: int, repeat: bool) -> None:
        def job(conn: sqlite3.Connection) -> None:
            (sha256,) = conn.execute("SELECT sha256 FROM copy WHERE file_id = ?", (i,)).fetchone() or (None,)
            if sha256 is not None:
                run_id = eviction.begin_run(conn, reason="x", sql="x", now=self.now)
                eviction.intend(conn, run_id, [eviction.Chosen(i, sha256, self.now)])

        self.apply(job, repeat)

    @rule(end=st.sampled_from(["removed", "back", "left"]), repeat=twice)
    def end_evictions(self, end: str, repeat: bool) -> None:
        def job(conn: sqlite3.Connection) -> None:
            intents = eviction.intended_files(conn, ID)
            if end == "removed":
                eviction.record_removed(conn, intents, now=self.now)
            elif end == "back":
                eviction.take_back(conn, intents)
            else:
                for intent in intents:
                    eviction.record_left(conn, intent, error="other bytes")

        self.apply(job, repeat)

    @rule(repeat=twice)
    def recall(self, repeat: bool) -> None:
        before = self.states()
        self.apply(lambda c: eviction.recall(c, [ID], now=self.now), repeat)
        with self.catalogue.reader() as reader:
            open_ = {
                row[0]
                for row in reader.execute(
                    "SELECT file_id FROM evictions WHERE removed_at IS NULL AND error IS NULL"
                )
            }
        assert all(self.states()[i] == before[i] for i in open_), "what may still be there is not fetched"

    @rule()
    def reopen(self) -> None:
        before = self.dump()
        self.catalogue.close()
        self.catalogue = Catalogue.open(self.path)
        assert self.dump() == before

    @invariant()
    def states_change_only_as_allowed(self) -> None:
        """One step, or two where a job takes two (arrived, then withdrawn because gone)."""
        now = self.states()
        assert self.before.keys() <= now.keys(), "a copy is never forgotten"
        for i, before in self.before.items():
            after = now[i]
            steps = [before, *(s for s in CopyState if may_follow(before, s))]
            assert before == after or any(may_follow(s, after) for s in steps)
        self.before = now

    @invariant()
    def what_is_here_keeps_its_proof(self) -> None:
        with self.catalogue.reader() as reader:
            rows = reader.execute(
                "SELECT file_id, state, sha256, bytes_here, local_path FROM copies"
            ).fetchall()
        here = {i: sha256 for i, state, sha256, _, _ in rows if state in HERE}
        assert all(here.values())
        for i, sha256 in here.items():
            assert self.proof.get(i, sha256) == sha256, "an arrived file was replaced"
        self.proof = here
        assert all(
            (path is not None) == (CopyState(state) in HERE | {CopyState.DAMAGED})
            for _, state, _, _, path in rows
        )
        assert all(size == 100 for _, state, _, size, _ in rows if state in HERE)

    @invariant()
    def sums_and_blocks_agree_with_the_rows(self) -> None:
        with self.catalogue.reader() as reader:
            sums = "SELECT empiar_id, state, count(*), sum(ifnull(bytes, 0)) FROM copy GROUP BY 1, 2"
            kept = "SELECT * FROM copy_progress WHERE files > 0"
            assert {tuple(r) for r in reader.execute(sums)} == {tuple(r) for r in reader.execute(kept)}
            blocks = dict(reader.execute("SELECT file_id, sum(length) FROM part_block GROUP BY 1").fetchall())
            unfinished = reader.execute("SELECT file_id, bytes_here FROM copy WHERE state <= 2").fetchall()
            assert blocks == {i: size for i, size in unfinished if size}
            gone = reader.execute(
                "SELECT state FROM copies c JOIN files f USING (file_id) WHERE f.gone_at IS NOT NULL"
            ).fetchall()
        assert not {CopyState(s) for (s,) in gone} & {CopyState.WANTED, CopyState.PARTIAL, CopyState.ARRIVED}


Copies.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestCopies = pytest.mark.timeout(900)(Copies.TestCase)
