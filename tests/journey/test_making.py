"""A hook in the whole job: what arrives is worked on, then laid out, in one `sync`."""

from __future__ import annotations

import sys
from pathlib import Path

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import Event, FileArrived, JobMade
from mirrors import opened, rows, settings_for

ID = 10190
PROGRAM = "import sys\ndata = open(sys.argv[1], 'rb').read()\nopen(sys.argv[2], 'w').write(str(len(data)))\n"
HOOK = """
[hook.measure]
roles = ["micrograph", "movie"]
command = ["{python}", "{program}", "{{input}}", "{{output}}"]
outputs = [{{ path = "{{stem}}.txt", kind = "size" }}]
"""


async def test_a_sync_runs_hooks_on_what_arrived_and_a_second_one_makes_nothing_again(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    hook = HOOK.format(python=sys.executable, program=program)
    events: list[Event] = []
    async with Rehearsal([big_entry(ID, {"a.mrc": 70_000, "b.mrc": 1_049_600})]) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path, more=hook), events) as mirror:
            first = (await mirror.sync([ID])).transfer
            again = (await mirror.sync([ID])).transfer
            sizes = {
                str(path): Path(str(local)).read_text()
                for path, local in rows(mirror, "SELECT path, local_path FROM derived")
            }
    assert first.failed == ()
    assert (first.making.made, first.making.failed, again.making.made) == (2, (), 0)
    assert sorted(sizes.values()) == ["1049600", "70000"]
    kinds = [type(event) for event in events if isinstance(event, FileArrived | JobMade)]
    assert kinds.index(JobMade) > max(n for n, kind in enumerate(kinds) if kind is FileArrived)
    assert first.arranged["cryoppp"] == 2
