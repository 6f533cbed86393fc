"""The queue of jobs in the catalogue: wishes, claims, ends, and the states between."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from empiar_schema import job_store as store
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import CatalogueFault
from empiar_schema.jobs import (
    JOB_MEANING,
    JOB_TRANSITIONS,
    JOBS_CLAIMABLE,
    Job,
    JobInput,
    JobState,
    NewProduct,
    Outcome,
    Wish,
    job_may_follow,
)
from empiar_schema.states import Role
from entry_here import ID, put_here

OUTCOME = Outcome(10.0, 12.5, "average a", "1.0", "derived/10017/.logs/average/1.log")


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    put_here(tmp_path, {f"data/{name}.tif": (Role.MOVIE, name.encode()) for name in "abc"})
    connection = sqlite3.connect(tmp_path / "empiar.db", isolation_level=None)
    yield connection
    connection.close()


def want(
    conn: sqlite3.Connection,
    recipe: str = "r1",
    *,
    files: Sequence[int | None] = (1, 2),
    obstacle: str | None = None,
) -> int:
    wishes = [Wish("average", file_id, recipe, obstacle) for file_id in files]
    return store.want_jobs(conn, ID, wishes, now=5)


def claim(conn: sqlite3.Connection, *, now: int = 5, limit: int = 10) -> list[Job]:
    return store.claim_jobs(conn, ID, "average", now=now, limit=limit)


def made(conn: sqlite3.Connection, job: Job, *paths: str) -> None:
    products = [NewProduct(path, "micrograph", 3, bytes(32), "a", {"limits": [0, 1]}) for path in paths]
    store.record_made(
        conn, job, products, inputs=[JobInput("movie", file_id=job.file_id)], outcome=OUTCOME, now=20
    )


def states(conn: sqlite3.Connection) -> list[str]:
    return [row[0] for row in conn.execute("SELECT state FROM jobs ORDER BY job_id")]


def test_every_state_has_transitions_and_a_sentence_and_can_be_made() -> None:
    assert set(JOB_TRANSITIONS) == set(JobState) == set(JOB_MEANING)
    for state in JobState:
        seen, waiting = {state}, [state]
        while waiting:
            waiting += (new := JOB_TRANSITIONS[waiting.pop()] - seen)
            seen |= new
        assert JobState.MADE in seen
    assert {s for s in JobState if job_may_follow(s, JobState.RUNNING)} == JOBS_CLAIMABLE
    for before, after in product(JobState, JobState):
        assert job_may_follow(before, after) is (after in JOB_TRANSITIONS[before])


def test_a_wish_is_one_job_however_often_it_is_wished(conn: sqlite3.Connection) -> None:
    assert want(conn) == 2
    assert want(conn) == 0
    assert want(conn, files=[None]) == 1
    assert want(conn, files=[None]) == 0
    assert states(conn) == ["wanted"] * 3


def test_a_made_job_is_wanted_again_only_with_another_recipe(conn: sqlite3.Connection) -> None:
    want(conn, files=[1])
    [job] = claim(conn)
    made(conn, job, "average/a.mrc")
    assert want(conn, files=[1]) == 0
    assert states(conn) == ["made"]
    assert conn.execute("SELECT stale FROM derived").fetchall() == [(0,)]
    assert want(conn, "r2", files=[1]) == 1
    assert states(conn) == ["wanted"]
    assert conn.execute("SELECT stale FROM derived").fetchall() == [(1,)]


def test_a_running_job_is_left_to_its_worker(conn: sqlite3.Connection) -> None:
    want(conn, files=[1])
    claim(conn)
    assert want(conn, "r2", files=[1]) == 0
    assert states(conn) == ["running"]


def test_an_obstacle_parks_what_waits_and_spares_what_is_made(conn: sqlite3.Connection) -> None:
    want(conn)
    [first] = claim(conn, limit=1)
    made(conn, first, "average/a.mrc")
    want(conn, "unusable", obstacle="there is no program")
    assert states(conn) == ["made", "parked"]
    assert claim(conn) == []
    want(conn)
    assert states(conn) == ["made", "wanted"]


def test_claims_go_by_number_and_wait_for_their_time(conn: sqlite3.Connection) -> None:
    want(conn, files=[1, 2, 3])
    first, second = claim(conn, limit=2)
    assert (first.file_id, second.file_id) == (1, 2)
    store.record_failed(conn, first, error="no beam", outcome=OUTCOME, not_before=100)
    assert store.next_retry_at(conn, ID, "average") == 100
    assert [job.file_id for job in claim(conn, now=99)] == [3]
    [again] = claim(conn, now=100)
    assert (again.file_id, again.attempts) == (1, 1)
    ahead = 200 + store.LONGEST_WAIT_S  # put off by a clock that was ahead
    store.record_failed(conn, again, error="no beam", outcome=OUTCOME, not_before=ahead)
    assert claim(conn, now=200) == []
    assert [job.file_id for job in claim(conn, now=199)] == [1]


def test_a_job_is_parked_with_its_error_and_asked_for_again(conn: sqlite3.Connection) -> None:
    want(conn, files=[1])
    [job] = claim(conn)
    store.record_failed(conn, job, error="no beam", outcome=OUTCOME, not_before=None)
    row = conn.execute("SELECT state, error, attempts, command, version, log_path FROM jobs").fetchone()
    assert row[:5] == ("parked", "no beam", 1, "average a", "1.0")
    assert row[5].endswith("/derived/10017/.logs/average/1.log")
    assert store.retry_jobs(conn, [ID], makers=["other"], now=6) == 0
    assert store.retry_jobs(conn, None, makers=None, now=6) == 1
    assert conn.execute("SELECT state, error, attempts FROM jobs").fetchone() == ("wanted", None, 0)


def test_products_are_exactly_those_of_the_last_success(conn: sqlite3.Connection) -> None:
    want(conn, files=[1])
    [job] = claim(conn)
    made(conn, job, "average/a.mrc", "average/a.txt")
    made(conn, job, "average/x.mrc")  # a job made already changes nothing
    assert store.products_of_job(conn, job.job_id) == ["average/a.mrc", "average/a.txt"]
    want(conn, "r2", files=[1])
    [job] = claim(conn)
    store.clear_places(conn, job.job_id, ["average/a.mrc"])
    assert store.owners(conn, ID, ["average/a.mrc", "average/a.txt"]) == {"average/a.txt": job.job_id}
    made(conn, job, "average/a.mrc")
    found = conn.execute(
        "SELECT path, kind, stem, parents, bytes, details, parent_file_id FROM derived"
    ).fetchall()
    assert found == [
        ("average/a.mrc", "micrograph", "a", '["archive/10017/data/a.tif"]', 3, '{"limits": [0, 1]}', 1)
    ]


def test_no_two_jobs_have_one_product(conn: sqlite3.Connection) -> None:
    want(conn)
    first, second = claim(conn)
    made(conn, first, "average/a.mrc")
    with pytest.raises(sqlite3.IntegrityError):
        made(conn, second, "average/a.mrc")


def test_after_a_crash_no_job_is_running(conn: sqlite3.Connection) -> None:
    want(conn)
    claim(conn, limit=1)
    assert store.any_running(conn)
    assert store.recover_jobs(conn) == 1
    assert not store.any_running(conn)
    assert store.recover_jobs(conn) == 0
    assert states(conn) == ["wanted", "wanted"]
    store.give_back_job(conn, 1)
    assert states(conn) == ["wanted", "wanted"]


def test_jobs_that_nobody_wants_any_more_are_forgotten_but_not_what_they_made(
    conn: sqlite3.Connection,
) -> None:
    want(conn, files=[1, 2, 3])
    [first] = claim(conn, limit=1)
    made(conn, first, "average/a.mrc")
    want(conn, "r2", files=[1])
    assert store.forget_other_jobs(conn, ID, "average", keep=[2]) == 1
    assert conn.execute("SELECT file_id, state, error FROM jobs ORDER BY 1").fetchall() == [
        (1, "parked", store.NOT_ASKED_FOR),
        (2, "wanted", None),
    ]
    assert want(conn, "r2", files=[1]) == 1
    assert store.forget_makers(conn, ID, keep=["other"]) == 1
    assert store.makers_with_open_jobs(conn, ID) == {"average"}
    assert len(conn.execute("SELECT * FROM derived").fetchall()) == 1


def test_a_product_that_is_in_doubt_is_made_again(conn: sqlite3.Connection) -> None:
    want(conn, files=[1])
    [job] = claim(conn)
    made(conn, job, "average/a.mrc")
    store.doubt_product(conn, ID, "average/a.mrc")
    store.doubt_product(conn, ID, "average/nothing")
    assert states(conn) == ["wanted"]
    assert conn.execute("SELECT count(*) FROM derived").fetchone() == (0,)


@pytest.mark.parametrize("end", ["made", "failed"])
def test_only_a_running_job_ends(conn: sqlite3.Connection, end: str) -> None:
    want(conn, files=[1])
    job = Job(1, ID, "average", 1, "r1", 0)
    with pytest.raises(CatalogueFault, match="job 1 is wanted and cannot become"):
        if end == "made":
            made(conn, job, "average/a.mrc")
        else:
            store.record_failed(conn, job, error="x", outcome=OUTCOME, not_before=7)
    with pytest.raises(CatalogueFault, match="there is no job 99"):
        store.give_back_job(conn, 99)
    assert store.entry_of_job(conn, 99) is None
    assert store.entry_of_job(conn, 1) == ID


class Queue(RuleBasedStateMachine):
    """Any order of wishes, claims, ends and crashes keeps products with made jobs, and jobs in known states."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "empiar.db"
        Catalogue.open(path, create=True).close()
        self.conn = sqlite3.connect(path, isolation_level=None)
        self.running: list[Job] = []

    def teardown(self) -> None:
        self.conn.close()
        self.folder.cleanup()

    @rule(
        recipe=st.sampled_from(["r1", "r2"]),
        files=st.sets(st.integers(1, 3)),
        obstacle=st.sampled_from([None, "no"]),
    )
    def want(self, recipe: str, files: set[int], obstacle: str | None) -> None:
        want(self.conn, recipe, files=sorted(files), obstacle=obstacle)

    @rule(limit=st.integers(1, 2))
    def claim(self, limit: int) -> None:
        self.running += claim(self.conn, now=10**6, limit=limit)

    @rule(ends=st.sampled_from(["made", "failed", "parked", "given back"]))
    def end(self, ends: str) -> None:
        if not self.running:
            return
        job = self.running.pop()
        match ends:
            case "made":
                made(self.conn, job, f"average/{job.file_id}.mrc")
            case "given back":
                store.give_back_job(self.conn, job.job_id)
            case _:
                later = 7 if ends == "failed" else None
                store.record_failed(self.conn, job, error="x", outcome=OUTCOME, not_before=later)

    @rule()
    def crash(self) -> None:
        assert store.recover_jobs(self.conn) == len(self.running)
        self.running = []

    @rule(keep=st.sets(st.integers(1, 3)))
    def forget(self, keep: set[int]) -> None:
        store.forget_other_jobs(self.conn, ID, "average", keep=keep)

    @invariant()
    def a_made_job_has_its_product_and_no_product_is_without_a_job(self) -> None:
        query = "SELECT state, product_count FROM jobs"
        assert all(count == 1 for state, count in self.conn.execute(query) if state == "made")
        counted = self.conn.execute("SELECT ifnull(sum(product_count), 0) FROM jobs").fetchone()
        assert counted == self.conn.execute("SELECT count(*) FROM product").fetchone()

    @invariant()
    def what_runs_is_what_was_claimed(self) -> None:
        found = {row[0] for row in self.conn.execute("SELECT job_id FROM jobs WHERE state = 'running'")}
        assert found == {job.job_id for job in self.running}


Queue.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestQueue = pytest.mark.timeout(900)(Queue.TestCase)
