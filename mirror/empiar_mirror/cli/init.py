from __future__ import annotations

import os
from pathlib import Path

import click

from empiar_mirror.cli.invocation import Invocation, say, standard_options
from empiar_schema.faults import ConfigFault, ExitCode, StorageFault


@click.command("init")
@click.argument("folder", default=None, required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@standard_options
def command(invocation: Invocation, folder: Path | None) -> ExitCode:
    """Write a commented empiar-mirror.toml and an empty catalogue.

    DIR is this folder by default. An existing configuration is never overwritten; an existing catalogue stays
    as it is.
    """
    from empiar_schema.configuration import DEFAULT_FILE

    if folder is not None and invocation.config is not None:
        raise ConfigFault("give either DIR or --config, not both")
    file = (invocation.config or (folder or Path()) / DEFAULT_FILE).absolute()
    root, new = _initialise(file)
    document: dict[str, object] = {"config": str(file), "root": str(root), "catalogue_created": new}
    there = "an empty catalogue" if new else "the catalogue that was there"
    invocation.result(document, [f"{file}", f"{root / 'empiar.db'} ({there})"])
    say(
        "Next: set crawl.contact and root in the file, then `empiar-mirror doctor`, then `empiar-mirror sync 10017`."
    )
    return ExitCode.OK


def _initialise(file: Path) -> tuple[Path, bool]:
    """The file and the catalogue exist; returns the mirror's root, and whether the catalogue is new."""
    from empiar_mirror.app import Mirror
    from empiar_mirror.reading import CATALOGUE_NAME
    from empiar_schema.configuration import load
    from empiar_schema.events import nobody
    from empiar_schema.settings_reference import commented_file

    if os.path.lexists(file):
        raise ConfigFault(f"{file} exists and is not overwritten", hint="edit it, or choose another folder")
    draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(commented_file())
            settings = load(draft, environ=os.environ, cwd=Path.cwd())
            new = not (settings.root / CATALOGUE_NAME).exists()
            Mirror.open(settings, observer=nobody, create=True).close()
            # A link, not a rename: it fails if somebody else has written the file in the meantime.
            os.link(draft, file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFault(
            f"cannot write {error.filename or file}: {error.strerror}",
            hint="choose a folder that you may write",
        ) from error
    return settings.root, new
