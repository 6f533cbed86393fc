"""`evict`, `pin`, `unpin`, `pins` and `recall` on the command line."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

import entry_here
from command_line import Call, caller
from empiar_mirror.doctor_disk import examine_disk_policy
from empiar_mirror.findings import Verdict
from empiar_mirror.instance_lock import InstanceLock
from empiar_mirror.plan_facts import bytes_held
from empiar_mirror.reading import reading
from empiar_schema import job_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.configuration import DEFAULT_FILE, PREFIX, load
from empiar_schema.jobs import NewProduct, Outcome, Wish
from entry_here import ID, put_here
from evictions import ALL, FILES, SIZE, of

CONFIGURATION = f"""
root = "mirror"
[pin.declared]
sql = "{of("a")}"
[evict.policy]
sql = "{of("f", "e")}"
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(capsys)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror whose entry was listed a day ago; the current folder is that of its configuration."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(entry_here, "NOW", int(time.time()) - 86_400)
    (tmp_path / "mirror").mkdir()
    put_here(tmp_path / "mirror", FILES)
    (tmp_path / DEFAULT_FILE).write_text(CONFIGURATION)
    return tmp_path / "mirror"


def names(root: Path) -> str:
    return "".join(sorted(path.name[0] for path in (root / f"archive/{ID}/data").iterdir()))


def test_without_yes_nothing_changes_and_everything_is_told(call: Call, root: Path) -> None:
    with InstanceLock.take(root):
        found = call("evict", "--sql", ALL, "--bytes", str(2 * SIZE))
    assert found.code == 0
    assert f"EMPIAR-{ID}  goes: 2 files" in found.out
    assert "pinned: 1 file" in found.out
    assert "not needed: 3 files" in found.out
    assert "nothing was changed" in found.out
    document = json.loads(call("evict", "--sql", ALL, "--json").out)
    assert (document["dry_run"], document["files"], document["frees_bytes"]) == (True, 5, 5 * SIZE)
    assert document["entries"][0]["kept"] == {"pinned": {"files": 1, "bytes": SIZE}}
    assert names(root) == "abcdef"


def test_with_yes_it_is_done_and_recalling_asks_for_it_again(call: Call, root: Path) -> None:
    done = call("evict", "--policy", "policy", "--bytes", str(SIZE), "--yes", "--json")
    assert (done.code, json.loads(done.out)["removed"]) == (0, {"files": 1, "bytes": SIZE})
    assert names(root) == "abcde"
    why = call("why", f"{ID}/data/f.mrc")
    assert "it was evicted at" in why.out
    assert "`empiar-mirror evict --policy policy`" in why.out
    assert "recall" in why.out
    assert "1 file, 4.88 KiB, evicted" in call("status").out
    assert "stay evicted" in call("plan", str(ID)).out
    back = call("recall", "--sql", "SELECT file_id FROM copies WHERE state = 'evicted'", "--json")
    assert (back.code, json.loads(back.out)) == (0, {"files": 1, "bytes": SIZE, "gone": 0})
    assert "recalled at" in call("why", f"{ID}/data/f.mrc").out
    assert "0 files wanted again" in call("recall", str(ID)).out


def test_what_falls_short_ends_with_a_code_that_says_so(call: Call, root: Path) -> None:
    done = call("evict", "--sql", ALL, "--until-free", "900PiB", "--yes")
    assert done.code == 1
    assert "less than asked for" in done.out
    assert names(root) == "a"


def test_evicting_beside_a_working_mirror_is_refused(call: Call, root: Path) -> None:
    with InstanceLock.take(root):
        refused = call("evict", "--sql", ALL, "--yes")
    assert refused.code == 4
    assert "another process works on" in refused.err
    assert names(root) == "abcdef"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evict"], "one of --sql and --policy"),
        (["evict", "--sql", ALL, "--policy", "policy"], "one of --sql and --policy"),
        (["evict", "--policy", "other"], "there are policy"),
        (["evict", "--sql", "DELETE FROM copy"], "only reading"),
        (["evict", "--sql", "SELECT title FROM entries"], "no column empiar_id or file_id"),
        (["evict", "--sql", ALL, "--bytes", "much"], "--bytes"),
        (["evict", "--sql", ALL, "--bytes", "0"], "asks for nothing"),
        (["evict", "--sql", ALL, "--bytes", "1GB", "--until-free", "1GB"], "give one of them"),
        (["evict", "--sql", ALL, "--listed-within", "soon"], "--listed-within"),
        (["pin", "x"], "pin what?"),
        (["pin", "x", "1", "--sql", ALL], "pin what?"),
        (["pin", "Not A Name", "1"], "no name for a pin"),
        (["pin", "x", "99999"], "not in the catalogue"),
        (["pin", "x", "--sql", "SELECT unheard FROM files"], "no column unheard"),
        (["pin", "declared", str(ID)], "[pin.declared] stands in"),
        (["unpin", "declared"], "take it out of the file"),
        (["unpin", "x"], "there is no pin x"),
        (["pins", "accept"], "accept which pin?"),
        (["pins", "show", "x"], "there is no pin x"),
        (["recall"], "recall what?"),
        (["recall", "99999"], "not in the catalogue"),
    ],
)
def test_bad_usage_is_told_in_a_sentence_and_changes_nothing(
    call: Call, root: Path, arguments: list[str], told: str
) -> None:
    refused = call(*arguments)
    assert refused.code == 2
    assert told in refused.err
    assert names(root) == "abcdef"


def test_pins_are_made_listed_shown_and_ended_beside_a_working_mirror(call: Call, root: Path) -> None:
    with InstanceLock.take(root):
        assert call("pin", "mine", str(ID)).code == 0
        assert "now 1 file" in call("pin", "query", "--sql", of("b")).out
        assert "there is a pin mine already" in call("pin", "mine", str(ID)).err
        listed = call("pins").out
        assert "declared  (in the configuration)" in listed
        assert f"mine  EMPIAR-{ID}" in listed
        assert json.loads(call("pins", "show", "query", "--json").out)["file_id"] == [2]
        assert call("unpin", "mine").code == 0
    names_left = [pin["name"] for pin in json.loads(call("pins", "--json").out)]
    assert names_left == ["declared", "query"]
    assert json.loads(call("evict", "--sql", ALL, "--json").out)["files"] == 4


def test_a_broken_pin_stops_the_dry_run_too(call: Call, root: Path) -> None:
    (root.parent / DEFAULT_FILE).write_text('root = "mirror"\n[pin.broken]\nsql = "SELECT nothing"\n')
    refused = call("evict", "--sql", ALL)
    assert refused.code == 2
    assert "nothing is evicted while a pin cannot be asked: broken" in refused.err
    assert "[pin.broken]" in refused.err


def test_the_doctor_and_the_status_tell_of_quota_pins_and_policies(call: Call, root: Path) -> None:
    broken = '[disk]\nquota = "20kB"\n[pin.broken]\nsql = "SELECT nothing"\n[evict.broken]\nsql = "DELETE FROM copy"\n'
    (root.parent / DEFAULT_FILE).write_text(f'root = "mirror"\n{broken}')
    settings = load(None, environ={}, cwd=root.parent)
    with reading(settings.root) as connection:
        found = {finding.check: finding for finding in examine_disk_policy(connection, settings)}
    assert {name: finding.verdict for name, finding in found.items()} == {
        "quota": Verdict.FAIL, "pin broken": Verdict.WARN, "evict broken": Verdict.WARN,
    }  # fmt: skip
    assert "29.3 KiB of the quota of 19.5 KiB are held" in found["quota"].sentence
    assert all(finding.remedy for finding in found.values())
    assert "29.3 KiB of the quota of 19.5 KiB held, 0 B of it by derived files" in call("status").out


def test_derived_files_count_against_the_quota(root: Path) -> None:
    def make(conn: sqlite3.Connection) -> None:
        job_store.want_jobs(conn, ID, [Wish("average", 1, "recipe", None)], now=1)
        [job] = job_store.claim_jobs(conn, ID, "average", now=1, limit=1)
        products = [NewProduct("average/a.mrc", "micrograph", 700, bytes(32), "a", {})]
        outcome = Outcome(1.0, 2.0, "average a", "1.0", None)
        job_store.record_made(conn, job, products, inputs=[], outcome=outcome, now=2)

    with Catalogue.open(root / "empiar.db") as catalogue:
        catalogue.write_now(make)
        with catalogue.reader() as conn:
            assert bytes_held(conn) == 6 * SIZE + 700
            assert conn.execute("SELECT derived_files, derived_bytes FROM disk_use").fetchone()[:] == (1, 700)
        catalogue.write_now(lambda conn: job_store.doubt_product(conn, ID, "average/a.mrc"))
        with catalogue.reader() as conn:
            assert bytes_held(conn) == 6 * SIZE
