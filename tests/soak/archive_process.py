"""The rehearsal archive as a process of its own, told by lines on its standard input what to do; it answers each with a line."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from empiar_mirror.rehearsal.changing import Changes
from empiar_mirror.rehearsal.entries import standard_entries
from empiar_mirror.rehearsal.faults import Channel
from empiar_mirror.rehearsal.history import History
from empiar_mirror.rehearsal.link import Link
from empiar_mirror.rehearsal.server import Rehearsal
from soak.weather import Weather

#: Shapes and names of the real archive: labels and layouts, movies, odd names, two parts, an obsolete one.
STANDARD = (10101, 10102, 10105, 10106, 10109, 10110)
CHANNELS: dict[str, Channel] = {"https": "https", "ftp": "ftp", "api": "api"}


async def serve(folder: Path, seed: int) -> None:
    entries = [entry for entry in standard_entries() if entry.empiar_id in STANDARD]
    rehearsal = Rehearsal(entries, link=Link(bytes_per_s=1.5e6), log_file=folder / "served.jsonl")
    with (folder / "history.jsonl").open("a") as file:
        rehearsal.archive.watched_by(History(file))
        async with rehearsal:
            await obey(rehearsal, seed)


async def obey(rehearsal: Rehearsal, seed: int) -> None:
    changes = Changes(rehearsal.archive, seed=seed)
    login = rehearsal.site_url + "/"
    weather = Weather(rehearsal.archive, rehearsal.book, seed=seed + 1, login_page=login)
    for _ in range(3):
        changes.step()
    say({"urls": rehearsal.urls()})
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        match line.decode().split():
            case ["change"]:
                say(changes.step())
            case ["gust"]:
                say(", ".join(weather.gust()))
            case ["outage", channel, word]:
                weather.outage(CHANNELS[channel], out=word == "begins")
                say(f"{channel}: outage {word}")
            case ["calm"]:
                weather.calm()
                changes.settle()
                say("calm")
            case ["peaks"]:
                served = rehearsal.served
                say({"connections": served.peak_connections, "requests": served.peak_requests})
            case other:
                raise SystemExit(f"not understood: {other}")


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
