"""What is done to a mirror under trial while it works. Each deed leaves the service running, and says what it did by the trial's diary."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from soak.disk import read_only
from soak.reader.mirror_seen import Violation, shown
from soak.service import TRANSFER
from soak.trial import Trial

Deed = Callable[[Trial], Awaitable[None]]


async def change(trial: Trial) -> None:
    for _ in range(trial.chance.randrange(1, 8)):
        trial.note(str(await trial.archive.told("change")))


async def gust(trial: Trial) -> None:
    said = str(await trial.archive.told("gust"))
    for fault in said.split(", "):
        if fault.startswith("missing_name"):
            entry = int(fault.split()[-1].split("/")[0])
            # It lies when it is asked next, whenever that is: until the next gust.
            trial.lies.setdefault(entry, []).append(time.time())
    trial.note(f"faults: {said}")


async def outage(trial: Trial) -> None:
    channels = trial.chance.choice([["https"], ["ftp"], ["api"], ["https", "ftp", "api"]])
    for channel in channels:
        trial.note(str(await trial.archive.told("outage", channel, "begins")))
    await asyncio.sleep(trial.chance.uniform(1, 6))
    for channel in channels:
        trial.note(str(await trial.archive.told("outage", channel, "ends")))


async def archive_hangs(trial: Trial) -> None:
    trial.note("the archive hangs")
    trial.archive.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(trial.chance.uniform(1, 5))
    trial.archive.process.send_signal(signal.SIGCONT)


async def kill(trial: Trial) -> None:
    """At any moment; more often than not while a file is on its way, if one comes."""
    until = time.monotonic() + (8 if trial.chance.random() < 0.7 else 0)
    while time.monotonic() < until and not list((trial.root / "staging").glob("*/*.part")):
        await asyncio.sleep(0.05)
    await asyncio.sleep(trial.chance.uniform(0.1, 2))
    await trial.kill()
    await trial.service.start()


async def terminate(trial: Trial) -> None:
    await trial.service.ready()
    code = await trial.service.stop()
    trial.note(f"stopped, with {code}")
    if code != 130 and not trial.excuses(code):
        trial.violations.append(Violation("SIGTERM stops the service cleanly", f"exit code {code}"))
    trial.died_quietly.append(time.time())
    await trial.service.start()


async def pause_process(trial: Trial) -> None:
    trial.note("the service is suspended")
    trial.service.signal(signal.SIGSTOP)
    await asyncio.sleep(trial.chance.uniform(1, 5))
    trial.service.signal(signal.SIGCONT)


async def good_configuration(trial: Trial) -> None:
    trial.note("SIGHUP, with fewer connections")
    fewer = trial.chance.randrange(2, TRANSFER["connections"])
    right = trial.service.config.read_text()
    text = right.replace(f"connections = {TRANSFER['connections']}\n", f"connections = {fewer}\n")
    await trial.signalled_with_configuration(text, '"in_force": true')


async def bad_configuration(trial: Trial) -> None:
    wrong = trial.chance.choice(
        [
            ('interval = "6s"', 'interval = "soon"'),
            ("[scrub]", "[scrub"),
            ("stall_s", "stal_s"),
            ("high_watermark = 0.98", "high_watermark = 0.5"),
            ("root = ", 'root = "/somewhere/else" #'),
        ]
    )
    trial.note(f"SIGHUP, with {wrong[1]}")
    await trial.signalled_with_configuration(
        trial.service.config.read_text().replace(*wrong), '"in_force": false'
    )


async def full_disk(trial: Trial) -> None:
    if not trial.disk.own:
        await change(trial)
        return
    trial.note("the disk is full")
    with trial.disk.full():
        await asyncio.sleep(trial.chance.uniform(1, 6))
    trial.disk_is_back()
    await trial.require_running()


async def read_only_disk(trial: Trial) -> None:
    if not trial.disk.own:
        await change(trial)
        return
    trial.note("the disk is read-only")
    with read_only(trial.root):
        await asyncio.sleep(trial.chance.uniform(1, 4))
    trial.disk_is_back()
    await trial.require_running()


async def root_away(trial: Trial) -> None:
    """Half of the time an empty folder is left, as where a disk is mounted."""
    mounted = trial.chance.random() < 0.5
    trial.note("root is away" + (", its empty folder is not" if mounted else ""))
    away = trial.root.with_name("away")
    trial.root.rename(away)
    if mounted:
        trial.root.mkdir()
    await asyncio.sleep(trial.chance.uniform(1, 4))
    made = [str(path) for path in trial.root.rglob("*")]
    if made or trial.root.exists() is not mounted:
        trial.violations.append(
            Violation("nothing is written in the place of a root that is away", str(made))
        )
    if trial.root.exists():
        trial.root.rename(trial.root.with_name("meanwhile"))
        shutil.rmtree(trial.root.with_name("meanwhile"))
    away.rename(trial.root)
    trial.disk_is_back()
    await trial.require_running()


async def damage(trial: Trial) -> None:
    here = trial.arrived()
    if not here:
        return await change(trial)
    key = trial.chance.choice(here)
    path = Path(os.fsdecode(trial.seen.path(key)))
    trial.journal.damaged.add(key)
    kind = trial.chance.choice(["flipped", "shortened", "deleted"])
    try:
        if kind == "deleted":
            path.unlink()
        else:
            path.chmod(0o644)
            with path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                if kind == "shortened" and size:
                    file.truncate(size - 1)
                elif size:
                    file.seek(at := trial.chance.randrange(size))
                    byte = file.read(1)
                    file.seek(at)
                    file.write(bytes([byte[0] ^ 1]))
    except FileNotFoundError:
        return None  # it is being replaced already
    return trial.note(f"{kind}: {shown(key)}")


async def subscriptions(trial: Trial) -> None:
    names = [str(row["name"]) for row in trial.rows("SELECT name FROM subscriptions WHERE name <> 'all'")]
    word = trial.chance.choice(["pause", "resume", "remove", "new", "new"])
    if word == "new" or not names:
        sql = f"SELECT empiar_id FROM entries WHERE empiar_id % 3 = {trial.chance.randrange(3)}"
        name = f"s{len(trial.diary)}"
        code, said = await trial.service.command(
            "subscribe", name, "--sql", sql, "--priority", str(trial.chance.randrange(9))
        )
    else:
        name = trial.chance.choice(names)
        code, said = await trial.service.command("subscriptions", word, name)
    trial.note(f"subscription {name}: {word}, {code}")
    if code != 0:
        trial.violations.append(
            Violation("subscriptions change beside the service", f"{word} {name}: {said[-300:]}")
        )


async def second_service(trial: Trial) -> None:
    code, said = await trial.service.command("run", within_s=60)
    trial.note(f"a second service ends with {code}")
    assert trial.service.process is not None
    if trial.service.running and (code != 4 or str(trial.service.process.pid) not in said):
        trial.violations.append(
            Violation("one service a root", f"the second ended with {code}: {said[-300:]}")
        )


async def wrong_queries(trial: Trial) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS empiar_id FROM n"
    for sql in ("SELECT", "DELETE FROM copy", "SELECT 1 AS empiar_id; DROP TABLE copy", endless):
        code, said = await trial.service.command("subscribe", "wrong", "--sql", sql)
        if code != 2 or "Traceback" in said:
            trial.violations.append(
                Violation("a query that will not do is refused", f"{sql}: {code} {said[-300:]}")
            )
    trial.note("four wrong queries")


async def restore(trial: Trial) -> None:
    """The catalogue of a while ago, by the book."""
    backup = trial.back_up()
    trial.note("a copy of the catalogue is made")
    for deed in (change, gust, change):
        await deed(trial)
        await asyncio.sleep(trial.chance.uniform(2, 4))
    await trial.look()
    await trial.service.stop()
    trial.died_quietly.append(time.time())
    trial.note("the catalogue is that copy again")
    await trial.restore(backup)
    await trial.service.start()


#: How often each comes, against the others. `restore` comes once.
WEIGHTS: dict[Deed, int] = {
    change: 14,
    gust: 8,
    outage: 3,
    archive_hangs: 2,
    kill: 8,
    terminate: 2,
    pause_process: 2,
    good_configuration: 2,
    bad_configuration: 2,
    full_disk: 2,
    read_only_disk: 2,
    root_away: 2,
    damage: 6,
    subscriptions: 3,
    second_service: 1,
    wrong_queries: 1,
}
