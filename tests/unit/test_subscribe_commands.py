"""`subscribe`, `subscriptions`, and what `plan`, `sync` and `why` do with a subscription, on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from command_line import Call, caller
from empiar_mirror.instance_lock import InstanceLock
from empiar_schema.configuration import DEFAULT_FILE, PREFIX
from small_mirror import UNWANTED, make_small_mirror

ONLY = "SELECT empiar_id FROM entries WHERE empiar_id = 10028"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(capsys)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is that of a small mirror's configuration."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    make_small_mirror(tmp_path / "empiar")
    (tmp_path / DEFAULT_FILE).write_text('root = "empiar"\n')
    return tmp_path


def listed(call: Call) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(call("subscriptions", "--json").out)
    return found


def test_a_dry_run_tells_the_cost_and_makes_nothing(call: Call) -> None:
    found = call("subscribe", "mine", "--sql", ONLY, "--budget", "3MB", "--dry-run")
    assert found.code == 0
    assert "1 entry, 2 files" in found.out
    assert "the budget ends before 1 match" in found.out
    assert "nothing was changed" in found.out
    assert listed(call) == []
    assert "there are no subscriptions" in call("subscriptions").out


def test_what_is_subscribed_to_is_wanted_at_once_and_listed(call: Call) -> None:
    made = json.loads(call("subscribe", "mine", "--sql", ONLY, "--priority", "4", "--json").out)
    assert (made["newly_wanted_files"], made["files"], made["dry_run"]) == (2, 2, False)
    [row] = listed(call)
    assert (row["name"], row["priority"], row["entry_count"], row["held_at"]) == ("mine", 4, 1, None)
    assert "mine  (priority 4)  1 entries, 2 files match" in call("subscriptions").out
    shown = call("subscriptions", "show", "mine").out
    assert ONLY in shown
    assert "EMPIAR-10028: wanted since" in shown
    assert "the subscription mine wants it" in call("why", str(UNWANTED)).out
    assert json.loads(call("plan", "--subscription", "mine", "--json").out)["files"] == 2


def test_it_works_beside_a_process_that_holds_the_mirror(call: Call, here: Path) -> None:
    lock = InstanceLock.take(here / "empiar")
    try:
        assert call("subscribe", "mine", "--sql", ONLY).code == 0
        for action in ("pause", "resume", "remove"):
            assert call("subscriptions", action, "mine").code == 0
    finally:
        lock.release()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["subscribe", "Mine!", "--sql", ONLY], "is no name for a subscription"),
        (["subscribe", "mine", "--sql", "DELETE FROM entry"], "only reading is possible"),
        (["subscribe", "mine", "--sql", ONLY, "--budget", "much"], "--budget"),
        (["subscribe", "mine", "--sql", ONLY, "--budget", "0"], "leaves nothing"),
        (["subscribe", "mine", "--sql", ONLY, "--view", "nosuch"], "nosuch"),
        (["subscribe", "mine"], "--sql"),
        (["subscriptions", "remove"], "which subscription?"),
        (["subscriptions", "pause", "nosuch"], "there is no subscription nosuch"),
        (["subscriptions", "evict", "mine"], "evict"),
        (["plan", "--subscription", "nosuch"], "there is no subscription nosuch"),
        (["plan", "10028", "--subscription", "mine"], "--subscription stands alone"),
        (["sync", "--subscription", "mine", "--view", "trial"], "--subscription stands alone"),
        (["sync", "--subscription", "nosuch"], "there is no subscription nosuch"),
    ],
)
def test_what_will_not_do_is_told_in_a_sentence_and_changes_nothing(
    call: Call, arguments: list[str], sentence: str
) -> None:
    found = call(*arguments)
    assert found.code == 2
    assert sentence in found.err
    assert listed(call) == []


def test_a_name_is_taken_once(call: Call) -> None:
    assert call("subscribe", "mine", "--sql", ONLY).code == 0
    again = call("subscribe", "mine", "--sql", ONLY)
    assert again.code == 2
    assert "`empiar-mirror subscriptions remove mine`" in again.err
    assert call("subscriptions", "remove", "mine").code == 0
    assert call("subscribe", "mine", "--sql", ONLY).code == 0


def test_pause_and_resume_change_what_later_evaluations_do(call: Call) -> None:
    assert call("subscribe", "mine", "--sql", ONLY).code == 0
    assert "is paused" in call("subscriptions", "pause", "mine").out
    assert listed(call)[0]["paused"] == 1
    refused = call("sync", "--subscription", "mine")
    assert (refused.code, "mine is paused" in refused.err) == (2, True)
    assert "is in force: 1 matches" in call("subscriptions", "resume", "mine").out
    assert listed(call)[0]["paused"] == 0


def test_one_of_the_file_is_changed_only_there(call: Call, here: Path) -> None:
    assert call("subscribe", "policy", "--sql", ONLY).code == 0
    file = here / DEFAULT_FILE
    file.write_text(file.read_text() + f'[subscription.policy]\nsql = "{ONLY}"\n')
    for action in ("pause", "remove", "resume"):
        refused = call("subscriptions", action, "policy")
        assert refused.code == 2
        assert f"{file} as [subscription.policy]" in refused.err
    taken = call("subscribe", "policy", "--sql", ONLY)
    assert (taken.code, f"stands in {file}" in taken.err) == (2, True)


def test_one_of_the_file_that_no_command_has_taken_over_yet_is_listed(call: Call, here: Path) -> None:
    file = here / DEFAULT_FILE
    file.write_text(file.read_text() + f'[subscription.policy]\nsql = "{ONLY}"\n')
    assert "policy  (in the configuration)  not in force yet" in call("subscriptions").out
    assert call("verify", "10028").code == 0
    assert [(row["name"], row["declared"]) for row in listed(call)] == [("policy", 1)]
    assert "(priority 0, in the configuration)  not evaluated yet" in call("subscriptions").out


def test_a_held_one_of_the_file_is_released_by_command_and_told_by_status(call: Call, here: Path) -> None:
    file = here / DEFAULT_FILE
    mended = file.read_text() + f'[subscription.policy]\nsql = "{ONLY}"\n'
    file.write_text(mended.replace("entries", "entires"))
    assert call("verify", "10028").code == 0
    refused = call("subscriptions", "resume", "policy")
    assert (refused.code, "it is in force as it stands there" in refused.err) == (2, True)
    assert call("sync", "--subscription", "policy").code == 2
    assert "did you mean entries?" in call("status").out
    assert "HELD since" in call("subscriptions").out
    assert "releases it" in call("status").out
    again = call("subscriptions", "resume", "policy")
    assert (again.code, "is held again" in again.err) == (2, True)
    file.write_text(mended)
    assert call("verify", "10028").code == 0
    assert "HELD since" in call("subscriptions").out, "a changed file releases nothing by itself"
    file.write_text(mended.replace("10028", "10017"))
    assert "1 matches" in call("subscriptions", "resume", "policy").out
    assert "the subscription policy wants it" in call("why", "10017").out, "what the file says now counts"
    file.write_text(mended)
    assert call("subscriptions", "resume", "policy").code == 2
    assert call("verify", "10028").code == 0


def test_set_changes_what_its_options_name_and_none_takes_a_limit_away(call: Call) -> None:
    call("subscribe", "mine", "--sql", ONLY, "--quota", "5TB", "--deadline", "30d", "--share", "2")
    [row] = listed(call)
    assert (row["quota_bytes"], row["deadline_s"], row["share"]) == (5 * 10**12, 30 * 86_400, 2)
    done = call("subscriptions", "set", "mine", "--priority", "9", "--quota", "none", "--channel", "ftp")
    assert done.code == 0
    assert "priority 9" in done.out
    [row] = listed(call)
    assert (row["priority"], row["quota_bytes"], row["channel"], row["share"]) == (9, None, "ftp", 2)
    shown = call("subscriptions", "show", "mine").out
    assert "share: 2" in shown
    assert "deadline: 30 days" in shown
    assert "go by ftp, as the subscription says" in call("why", "10028").out
    call("subscriptions", "set", "mine", "--channel", "none", "--quota", "1B")
    assert "wait at its quota" in call("why", "10028").out
    assert "wait for a paused subscription or below a quota" in call("status").out
    call("subscriptions", "pause", "mine")
    assert "wait until it is resumed" in call("why", "10028").out
    assert "wait until it is resumed" in call("plan", "10028", "--explain").out


def test_set_without_options_options_without_set_and_wrong_values_are_refused(call: Call) -> None:
    call("subscribe", "mine", "--sql", ONLY)
    for arguments in (
        ("set", "mine"),
        ("pause", "mine", "--priority", "3"),
        ("set", "mine", "--deadline", "soon"),
    ):
        refused = call("subscriptions", *arguments)
        assert refused.code == 2
        assert refused.err
