from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, say, standard_options, work_options
from empiar_schema.faults import ExitCode

if TYPE_CHECKING:
    from empiar_mirror.rehearsing import Step

_QUERIES = (
    "SELECT empiar_id, state, here_files, here_bytes FROM entry_progress",
    "SELECT path, header_width, header_height, header_pixel_size_angstrom AS pixel_size FROM micrographs WHERE empiar_id = 10101 LIMIT 5",
    "SELECT empiar_id, path, problems FROM images JOIN files USING (file_id) WHERE problems IS NOT NULL",
)


@click.command("rehearse")
@click.option("--faults", is_flag=True, help="Let the archive misbehave in every way it is known to.")
@click.option("--globus", is_flag=True, help="Bring the files by Globus, from a stand-in of that service.")
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="DIR", help="Leave the mirror in DIR to look at."
)
@work_options
@standard_options
def command(invocation: Invocation, faults: bool, globus: bool, keep: Path | None) -> ExitCode:
    """Run the whole job against a small archive that this command serves itself.

    Nothing outside this machine is asked. Without --keep the mirror is removed at the end. The configuration
    file and the environment are not used.
    """
    # 240 lines "file.arrived" would bury what the rehearsal has to say.
    invocation = replace(invocation, log_level=invocation.log_level or "warning")
    if keep is not None:
        steps, stopped = asyncio.run(_rehearse(invocation, keep.absolute(), faults=faults, globus=globus))
    else:
        with tempfile.TemporaryDirectory(prefix="empiar-rehearsal-") as folder:
            steps, stopped = asyncio.run(_rehearse(invocation, Path(folder), faults=faults, globus=globus))
    lines = [f"{'ok' if step.good else 'BAD':<4} {step.name:<12} {step.sentence}" for step in steps]
    good = all(step.good for step in steps)
    document: dict[str, object] = {"steps": steps, "good": good, "folder": keep and str(keep)}
    invocation.result(document, lines)
    if stopped:
        return ExitCode.STOPPED
    _say_what_next(keep)
    return ExitCode.OK if good else ExitCode.SOME_FILES_FAILED


async def _rehearse(
    invocation: Invocation, folder: Path, *, faults: bool, globus: bool
) -> tuple[list[Step], bool]:
    from empiar_mirror.app import Mirror
    from empiar_mirror.cli.working import observing, until_signal
    from empiar_mirror.rehearsing import ENVIRON, configure, perform, served
    from empiar_schema.configuration import load

    async with served(folder, faults=faults, globus=globus) as archive:
        file = configure(folder, archive, faults=faults, globus=globus)
        # Without the process's environment: a variable there could lead the rehearsal to the real archive.
        settings = load(file, environ=ENVIRON if globus else {}, cwd=folder)
        with (
            observing(invocation, settings) as observer,
            Mirror.open(settings, observer=observer, create=True) as mirror,
        ):
            return await until_signal(mirror, lambda opened: perform(opened, archive))


def _say_what_next(keep: Path | None) -> None:
    if keep is None:
        say("The mirror is removed again; `empiar-mirror rehearse --keep DIR` leaves one to look at.")
        return
    program = "empiar-mirror" if shutil.which("empiar-mirror") else Path(sys.argv[0]).absolute()
    say(f"\nThe mirror is in {keep}:")
    say("  empiar/archive/   as on EMPIAR, each file proven")
    say(
        "  empiar/datasets/  as training code expects it, made of links; cryoppp/10110 holds a labelled entry:"
    )
    say("                    micrographs, gain, particle coordinates, particle stacks")
    say("  empiar/empiar.db  everything about it in SQL")
    say(f"Try:\n  cd {keep}")
    for sql in _QUERIES:
        say(f'  {program} query "{sql}"')
