from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.comparing import Compared
    from empiar_mirror.statement import Statement

_PATH: Final = click.Path(path_type=Path)


@click.command("compare")
@click.argument("peer", type=_PATH, metavar="PEER")
@ids_argument
@click.option(
    "--with",
    "others",
    type=_PATH,
    multiple=True,
    metavar="PEER",
    help="A further mirror's; may be given several times.",
)
@standard_options
def command(invocation: Invocation, peer: Path, ids: tuple[int, ...], others: tuple[Path, ...]) -> ExitCode:
    """Compare what is here with what other mirrors state; no data are exchanged.

    PEER is a file that `attest -o FILE` has written elsewhere, or a folder of such files. Written with --files, they
    name every file that differs, else the folders. Among three or more, the majority is named. Without IDs: every
    entry that was asked for here or is stated there. Exit code 5 means that something differs that both have.
    """
    from empiar_mirror.comparing import HERE, compare
    from empiar_mirror.plan_facts import asked_for
    from empiar_mirror.reading import reading
    from empiar_mirror.statement_file import read_statements
    from empiar_schema.paths import accession

    settings = invocation.settings()
    peers = _named(read_statements, peer, *others)
    compared: list[Compared] = []
    with reading(settings.root) as connection:
        connection.execute("BEGIN")  # one moment for all
        known = {*asked_for(connection), *(i for statements in peers.values() for i in statements)}
        for empiar_id in sorted(set(ids) or known):
            theirs = {name: statements.get(empiar_id) for name, statements in peers.items()}
            ours = _ours(connection, empiar_id, theirs)
            compared.append(compare(accession(empiar_id), {HERE: ours, **theirs}))
    invocation.result([*compared], (line for entry in compared for line in _lines(entry)))
    return ExitCode.DAMAGE_FOUND if any(entry.differs for entry in compared) else ExitCode.OK


def _named(read: Callable[[Path], dict[int, Statement]], *paths: Path) -> dict[str, dict[int, Statement]]:
    """What each peer states, under a short name of its own.

    Raises:
        ConfigFault: two peers are the same, or a statement cannot be read.
    """
    peers: dict[str, dict[int, Statement]] = {}
    short = [path.resolve().stem for path in paths]
    for path, name in zip(paths, short, strict=True):
        label = name if short.count(name) == 1 and name != "here" else str(path)
        if label in peers:
            raise ConfigFault(f"{path} is named twice", hint="name each mirror's statement once")
        peers[label] = read(path)
    return peers


def _ours(
    connection: sqlite3.Connection, empiar_id: int, theirs: Mapping[str, Statement | None]
) -> Statement:
    """Our own statement; with the digests of files where a peer has them, too."""
    from empiar_mirror.attest import statement_of

    stated = [statement for statement in theirs.values() if statement is not None]
    with_files = any(
        statement.gone.members is not None or any(folder.members is not None for folder in statement.folders)
        for statement in stated
    )
    return statement_of(connection, empiar_id, with_files=with_files)


def _lines(entry: Compared) -> Iterator[str]:
    from empiar_mirror.cli.text import NAMED
    from empiar_mirror.comparing import Verdict

    agreed = (
        f"; {', '.join(entry.majority)} agree" if entry.majority and entry.verdict != Verdict.EQUAL else ""
    )
    if not entry.sides:
        yield f"{entry.entry}: nowhere"
        return
    yield f"{entry.entry}: {entry.verdict} ({', '.join(entry.sides)}){agreed}"
    for difference in entry.differences[:NAMED]:
        stated = ", ".join(
            f"{side} {digest[:12] if digest else 'has it not'}" for side, digest in difference.stated.items()
        )
        right = f"; {', '.join(difference.majority)} agree" if difference.majority else ""
        yield f"  {difference.path}  {difference.kind}: {stated}{right}"
    if len(entry.differences) > NAMED:
        yield f"  … and {len(entry.differences) - NAMED:,} more; --json names all"
    if entry.by_folder:
        yield "  statements written with `attest --files` name the files"
