"""The soak: the service against an archive that lives and misbehaves, on a disk that fails, under the eyes of an independent reader.

    python -m soak.soak --minutes 10 --seed 1 --keep DIR

Everything that happens follows from the seed, but for the moments at which it does. It ends with a list of the promises that were not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from soak import deeds
from soak.disk import small_disk
from soak.reader import archive_promises, layout_promises, manner_promises
from soak.reader.mirror_seen import Violation
from soak.reader.truth import Truth
from soak.service import CONTACT, CRAWL, SECRETS, TRANSFER
from soak.trial import Trial, prepared

#: Of the time that there is, this share is for deeds; in the rest all is calm, and the mirror must get everything in order.
DEEDS = 0.8
MEGABYTES = 600
#: So much longer, at most, if order takes longer: machines are busy. What is not in order then is judged.
PATIENCE_S = 300.0
#: One process after the other, a server that was suspended and reads what has queued: what a second may show above the rate.
BURST = 1.5


@dataclass(frozen=True)
class Result:
    """How it ended."""

    violations: list[Violation]
    deeds: Counter[str]
    figures: dict[str, object]


async def soak(folder: Path, *, seconds: float, seed: int) -> Result:
    """`folder` is empty; all that remains of the soak is there, but for the mirror itself if that has a file system of its own."""
    with small_disk(folder / "disk", MEGABYTES) as disk:
        trial = await prepared(folder, disk, seed)
        try:
            done = await _live(trial, seconds * DEEDS, seed)
            await _calm(trial, seconds * (1 - DEEDS))
            await _judge(trial)
            figures = _figures(trial)
        finally:
            if trial.service.running:
                await trial.service.kill()
            await trial.archive.close()
        violations = [*trial.violations, *trial.journal.violations, *_afterwards(trial)]
        return Result(violations, done, figures)


async def _live(trial: Trial, seconds: float, seed: int) -> Counter[str]:
    chance, done = random.Random(seed + 3), Counter[str]()
    code, said = await trial.service.command("subscribe", "all", "--sql", "SELECT empiar_id FROM entries")
    assert code == 0, said
    await trial.service.start()
    began = time.monotonic()
    # Each at least once, in an order of the seed's; the copy of the catalogue comes back in the middle.
    order = list(deeds.WEIGHTS)
    chance.shuffle(order)
    order.insert(len(order) // 2, deeds.restore)
    order.insert(0, deeds.change)
    while (time.monotonic() - began) < seconds:
        deed = order.pop(0) if order else chance.choices(list(deeds.WEIGHTS), list(deeds.WEIGHTS.values()))[0]
        await deed(trial)
        done[deed.__name__] += 1
        await trial.require_running()
        await asyncio.sleep(chance.uniform(0.1, 2.5))
        await trial.look()
    return done


async def _calm(trial: Trial, seconds: float) -> None:
    """The service has a while in which nothing goes wrong, begun anew: it does not rest for what is over."""
    trial.note(str(await trial.archive.told("calm")))
    await deeds.terminate(trial)
    began = time.monotonic()
    while (waited := time.monotonic() - began) < seconds + PATIENCE_S:
        await asyncio.sleep(2)
        await trial.require_running()
        await trial.look()
        if waited >= seconds and not await asyncio.to_thread(_broken, trial, strict=False):
            break


async def _judge(trial: Trial) -> None:
    """What the service left is judged, then what a last `sync` and `repair` make of it."""
    code = await trial.service.stop()
    if code != 130:
        trial.violations.append(Violation("SIGTERM stops the service cleanly", f"exit code {code}"))
    _promises(trial, strict=False)
    for command in ("repair", "sync"):
        code, said = await trial.service.command(command)
        trial.note(f"{command}: {code}")
        if code != 0 and not (trial.restored and code == 1):
            trial.violations.append(Violation(f"the last {command}", f"exit code {code}: {said[-500:]}"))
    await trial.look()
    _promises(trial, strict=True)
    root, folder = trial.root, trial.folder
    peaks = cast("Mapping[str, Mapping[str, int]]", await trial.archive.told("peaks"))
    trial.note(f"at the servers, at most: {peaks}")
    both = {name: CRAWL[name] + TRANSFER[name] for name in CRAWL}
    ceilings = {"api": CRAWL["connections"], "https": both["connections"], "ftp": both["connections"]}
    rates = {"api": CRAWL["requests_per_s"], "https": both["requests_per_s"], "ftp": both["requests_per_s"]}
    known = [folder / name for name in ("disk/empiar-mirror.toml",)]
    trial.violations += [
        *manner_promises.ceilings_are_kept(peaks["connections"], ceilings, "connections a host"),
        *manner_promises.ceilings_are_kept(
            peaks["requests"], {channel: int(rate * BURST) for channel, rate in rates.items()}, "requests a second"
        ),
        *manner_promises.nothing_outside(root, known, folder / "disk"),
        *manner_promises.nothing_outside(root, (), folder / "home"),
        *manner_promises.no_secret(
            [SECRETS[name].rpartition("/")[2] for name in SECRETS],
            [trial.service.log, folder / "commands.log", root / "empiar.db", root / "manifests", root / "quarantine"],
        ),
    ]  # fmt: skip


def _promises(trial: Trial, *, strict: bool) -> None:
    when = "after the last sync" if strict else "as the service left it"
    found = _broken(trial, strict=strict)
    trial.violations += [Violation(f"{one.promise} ({when})", one.what) for one in found]


def _broken(trial: Trial, *, strict: bool) -> list[Violation]:
    seen, truth = trial.seen, Truth.read(trial.archive.history)
    return [
        *archive_promises.arrived_is_true(seen, truth),
        *archive_promises.nothing_unrecorded(seen, truth, restored=trial.restored),
        *archive_promises.listings_are_whole(seen, truth, trial.lies),
        *archive_promises.silence_is_no_deletion(seen, truth),
        *archive_promises.changes_are_on_record(seen, truth),
        *archive_promises.all_that_is_wanted_is_here(seen, truth, strict=strict),
        *archive_promises.nobody_waits_for_ever(seen),
        *layout_promises.layouts_hold_what_is_verified(seen),
        *layout_promises.layouts_are_complete(seen),
        *layout_promises.manifests_hold(seen),
    ]


def _afterwards(trial: Trial) -> list[Violation]:
    """What the servers recorded is complete now."""
    asked, truth = manner_promises.served(trial.folder / "served.jsonl"), Truth.read(trial.archive.history)
    ends = sorted([death.at for death in trial.deaths] + trial.died_quietly)
    unchanged = []
    for death in trial.deaths:
        parts = {
            path: size
            for path, size in death.parts.items()
            if not _changed_lately(truth, path, since=death.at - 120)
        }
        until = next((end for end in ends if end > death.at), float("inf"))
        unchanged.append(manner_promises.Death(death.at, parts, until))
    return [
        *manner_promises.everybody_says_who_they_are(asked, CONTACT),
        *manner_promises.little_is_fetched_again(asked, unchanged),
    ]


def _changed_lately(truth: Truth, path: str, *, since: float) -> bool:
    entry, _, below = path.partition("/")
    return any(version.at > since for version in truth.versions.get((int(entry), below.encode()), ()))


def _figures(trial: Trial) -> dict[str, object]:
    copies = {
        str(row["state"]): row["n"]
        for row in trial.rows("SELECT state, count(*) AS n FROM copies GROUP BY 1")
    }
    outcomes = {
        str(row["outcome"]): row["n"]
        for row in trial.rows("SELECT outcome, count(*) AS n FROM transfers GROUP BY 1")
    }
    return {
        "looks": trial.journal.samples,
        "files seen": len(trial.journal.looks),
        "spoiled": len(trial.journal.damaged),
        "kills": len(trial.deaths),
        "copies": copies,
        "attempts": outcomes,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description="A soak of the service; see tests/soak.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10_000)
    parser.add_argument("--keep", type=Path, help="an empty folder for logs, history and diary")
    chosen = parser.parse_args()
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{chosen.minutes:g} minutes, seed {chosen.seed}, in {folder}", flush=True)
    result = asyncio.run(soak(folder.resolve(), seconds=chosen.minutes * 60, seed=chosen.seed))
    print(f"done: {dict(result.deeds)}")
    for name, figure in result.figures.items():
        print(f"{name}: {figure}")
    for violation in result.violations:
        print(f"BROKEN  {violation}")
    print(
        "every promise was kept"
        if not result.violations
        else f"{len(result.violations)} promises were broken"
    )
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
