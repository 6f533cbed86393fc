"""Looks and events become messages that go out, and nothing waits for them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner

from empiar_mirror.cli import cli
from empiar_mirror.instance_lock import InstanceLock
from empiar_mirror.metrics.instruments import Instruments
from empiar_mirror.metrics.monitor import Monitor
from empiar_mirror.notify.news import Notice
from empiar_mirror.notify.notifier import TRIES, WAITING, Notifier, next_time_of_day, way_of
from empiar_schema.daemon_settings import DaemonSettings
from empiar_schema.events import UNTIL_SPACE, Event, Notified, NotifyFailed, Observer, Paused, nobody
from empiar_schema.faults import ConfigFault
from empiar_schema.notify_settings import NoticeKind, NotifySettings
from empiar_schema.settings import Settings
from seen_mirror import Clock
from small_mirror import ENTRY, make_small_mirror

WRITE = (
    "import json, sys\nwith open(sys.argv[1], 'a') as f: f.write(json.dumps(json.load(sys.stdin)) + '\\n')\n"
)


class Told:
    """A program that writes down what it is told, and the log."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.file = folder / "told.jsonl"
        script = folder / "tell.py"
        script.write_text(WRITE + "\n".join(more))
        self.command = [sys.executable, str(script), str(self.file)]
        self.log: list[Event] = []
        self.heard = _heard_by(self.log)

    def settings(self, root: Path, **how: object) -> Settings:
        one = NotifySettings.model_validate(
            {"kind": "command", "command": self.command, "timeout": 120, **how}
        )
        return Settings(root=root, notify={"ops": one}, daemon=DaemonSettings(summary_at="00:00"))

    def documents(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []


def _heard_by(log: list[Event]) -> Observer:
    def heard(event: Event) -> None:
        log.append(event)

    return heard


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


@asynccontextmanager
async def sending(notifier: Notifier) -> AsyncIterator[None]:
    task = asyncio.create_task(notifier.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_mirrors_looks_become_messages_of_those_kinds_that_are_wanted(tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    make_small_mirror(root)
    told, clock = Told(tmp_path), Clock()
    notifier = Notifier(
        told.settings(root, events=["complete", "damage", "summary"]), observer=told.heard, clock=clock
    )
    settings = Settings(root=root)
    monitor = Monitor(settings, Instruments(), looked=notifier.looked, clock=clock, monotonic=clock)
    with InstanceLock.take(root):
        await monitor.refresh()
        with closing(sqlite3.connect(root / "empiar.db")) as connection, connection:
            connection.execute("UPDATE copy SET state = 3 WHERE state <> 7")
        await monitor.refresh()
        with closing(sqlite3.connect(root / "empiar.db")) as connection, connection:
            connection.execute("UPDATE copy SET state = 3")
        clock.now += 86_400
        await monitor.refresh()
    async with sending(notifier):
        await until(lambda: len(told.log) == 2)
    found = {str(document["event"]): document for document in told.documents()}
    assert set(found) == {"complete", "summary"}  # nothing failed more, and `matched` is not wanted
    assert f"EMPIAR-{ENTRY} (Beta-galactosidase, part {ENTRY}) is complete: 7 files" in str(
        found["complete"]["text"]
    )
    assert "5 files came" in str(found["summary"]["text"])
    assert str(found["summary"]["mirror"]).endswith(f":{root}")
    assert all(isinstance(event, Notified) and event.by == "ops" for event in told.log)


async def test_a_clock_that_was_ahead_does_not_silence_the_summary(tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    make_small_mirror(root)
    told, clock = Told(tmp_path), Clock()
    true, clock.now = clock.now, clock.now + 365 * 86_400
    notifier = Notifier(told.settings(root, events=["summary"]), observer=told.heard, clock=clock)
    monitor = Monitor(Settings(root=root), Instruments(), looked=notifier.looked, clock=clock)
    with InstanceLock.take(root):
        await monitor.refresh()
        clock.now = true
        for _ in range(3):
            await monitor.refresh()
    async with sending(notifier):
        await until(lambda: len(told.log) == 1)
    assert len(told.documents()) == 1


async def test_the_same_thing_is_told_once_an_hour(tmp_path: Path) -> None:
    told, clock = Told(tmp_path), Clock()
    notifier = Notifier(told.settings(tmp_path), observer=told.heard, clock=clock)
    async with sending(notifier):
        for number in range(5):
            notifier(Paused(f"{number} bytes do not fit", UNTIL_SPACE))
        await until(lambda: len(told.log) == 1)
        notifier(Paused("6 bytes do not fit", UNTIL_SPACE))
        notifier(Paused("7 bytes do not fit", UNTIL_SPACE))
        clock.now += 3599
        notifier.give_out()
        clock.now += 1
        await until(lambda: len(told.log) == 2)
    assert [document["text"] for document in told.documents()] == [
        "work rests until there is space: 4 bytes do not fit",
        "work rests until there is space: 7 bytes do not fit",
    ]


async def test_one_who_fails_is_a_line_of_the_log_and_holds_nobody_up(tmp_path: Path) -> None:
    told = Told(tmp_path)
    settings = told.settings(tmp_path)
    broken = NotifySettings(kind="command", command=(str(tmp_path / "none"),))
    hanging = NotifySettings(kind="command", command=("sleep", "600"), timeout=600)
    settings = settings.model_copy(
        update={"notify": {"broken": broken, "hanging": hanging, **settings.notify}}
    )
    notifier = Notifier(settings, observer=told.heard)
    async with sending(notifier):
        notifier.tell(Notice(NoticeKind.DAMAGE, "damage", "1 file"))
        await until(lambda: len(told.log) == 2)
    failed = next(event for event in told.log if isinstance(event, NotifyFailed))
    assert (failed.by, failed.kind) == ("broken", "damage")
    assert "cannot be started" in failed.reason
    assert [document["text"] for document in told.documents()] == ["1 file"]


async def test_a_webhook_that_fails_is_tried_again_and_at_last_given_up_without_its_address(
    tmp_path: Path,
) -> None:
    answers = iter([503, 503, 200] + [500] * TRIES)
    asked: list[str] = []

    async def take(request: web.Request) -> web.Response:
        asked.append((await request.json())["event"])
        return web.Response(status=next(answers))

    app = web.Application()
    app.router.add_post("/hush", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hush"
    one = NotifySettings.model_validate({"kind": "webhook", "url": url})
    log: list[Event] = []
    notifier = Notifier(Settings(notify={"chat": one}), observer=_heard_by(log), first_wait_s=0.01)
    try:
        async with sending(notifier):
            notifier.tell(Notice(NoticeKind.DAMAGE, "damage", "1 file"))
            await until(lambda: len(log) == 1)
            notifier.tell(Notice(NoticeKind.DISK, "disk", "full"))
            await until(lambda: len(log) == 2)
    finally:
        await runner.cleanup()
    assert asked == ["damage"] * 3 + ["disk"] * TRIES
    assert log == [
        Notified("chat", "damage", 1),
        NotifyFailed("chat", "disk", "the webhook answered HTTP 500"),
    ]
    assert "hush" not in repr(notifier) + repr(log)


async def test_messages_for_one_who_does_not_take_them_do_not_grow_without_end() -> None:
    clock, log = Clock(), list[Event]()
    hanging = NotifySettings(kind="command", command=("sleep", "600"), timeout=600)
    notifier = Notifier(Settings(notify={"slow": hanging}), observer=_heard_by(log), clock=clock)
    for _ in range(WAITING + 3):
        notifier.tell(Notice(NoticeKind.DISK, "disk", "full"))
        notifier.give_out()
        clock.now += 3600
    assert [type(event) for event in log] == [NotifyFailed] * 3


def test_a_webhook_without_an_address_says_which_variable_it_lacks() -> None:
    with pytest.raises(ConfigFault, match=r"notify\.chat has no address") as failed:
        way_of("chat", NotifySettings(kind="webhook"))
    assert "EMPIAR_MIRROR_NOTIFY__CHAT__URL" in failed.value.hint


def test_nobody_is_told_by_a_table_that_is_switched_off(tmp_path: Path) -> None:
    off = NotifySettings(kind="webhook", enabled=False)
    Notifier(Settings(notify={"off": off}), observer=nobody)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("2026-01-01T06:59:59+01:00", "2026-01-01T07:00:00+01:00"),
        ("2026-01-01T07:00:00+01:00", "2026-01-02T07:00:00+01:00"),
        ("2026-03-28T12:00:00+01:00", "2026-03-29T07:00:00+02:00"),  # clocks go forward in between
        ("2026-10-24T12:00:00+02:00", "2026-10-25T07:00:00+01:00"),
    ],
)
def test_the_summary_comes_at_the_same_time_of_the_local_day(now: str, then: str) -> None:
    found = next_time_of_day("07:00", datetime.fromisoformat(now).timestamp())
    assert found == datetime.fromisoformat(then).timestamp()


def test_a_trial_says_who_was_reached(tmp_path: Path) -> None:
    told = Told(tmp_path)
    file = tmp_path / "empiar-mirror.toml"
    file.write_text(
        f'[notify.ops]\nkind = "command"\ncommand = {json.dumps(told.command)}\n'
        f'[notify.broken]\nkind = "command"\ncommand = ["{tmp_path}/none"]\n'
    )
    run = CliRunner().invoke
    good = run(cli, ["notify", "ops", "--config", str(file)], standalone_mode=False)
    assert (good.return_value, good.stdout) == (0, "ops: delivered\n")
    assert "this is a trial" in str(told.documents()[0]["text"])
    both = run(cli, ["notify", "--config", str(file), "--json"], standalone_mode=False)
    assert both.return_value == 1
    assert [(one["name"], one["delivered"]) for one in json.loads(both.stdout)] == [
        ("ops", True),
        ("broken", False),
    ]
    assert run(cli, ["notify", "opps", "--config", str(file)], standalone_mode=False).return_value == 2


async def test_a_reload_changes_who_is_told_and_keeps_what_waits_for_the_others(tmp_path: Path) -> None:
    told = Told(tmp_path)
    before = told.settings(tmp_path)
    notifier = Notifier(before, observer=told.heard)
    kept = notifier._people["ops"]
    async with sending(notifier):
        await asyncio.sleep(0)
        more = before.notify | {"more": before.notify["ops"].model_copy(update={"timeout": 60})}
        daemon = before.daemon.model_copy(update={"notify_every": 5.0, "summary_at": "12:34"})
        notifier.apply(before.model_copy(update={"notify": more, "daemon": daemon}))
        assert notifier._people["ops"] is kept
        notifier.tell(Notice(NoticeKind.STUCK, "x", "something"))
        notifier.give_out()
        await until(lambda: {e.by for e in told.log if isinstance(e, Notified)} == {"ops", "more"})
        gone = notifier._people["more"].serving
        webhook = NotifySettings.model_validate({"kind": "webhook"})
        with pytest.raises(ConfigFault, match="has no address"):
            notifier.apply(before.model_copy(update={"notify": {"ops": webhook}}))
        assert set(notifier._people) == {"ops", "more"}, "a wrong file changes nothing"
        notifier.apply(before)
        assert set(notifier._people) == {"ops"}
        assert gone is not None
        await asyncio.wait([gone])
        assert gone.cancelled()
