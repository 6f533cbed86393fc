from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, as_json, say, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.searching import Found, Hit


class _Words(click.Command):
    """A command to which `-word` is a word to leave out, not a bunch of options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = (f" {arg}" if len(arg) > 1 and arg[0] == "-" and arg[1] != "-" else arg for arg in args)
        return super().parse_args(ctx, ["-h" if word == " -h" else word for word in words])


@click.command("search", cls=_Words)
@click.argument("words", nargs=-1, required=True, metavar="WORDS...")
@click.option(
    "--limit", type=click.IntRange(min=1, max=10_000), default=20, show_default=True, help="Entries at most."
)
@standard_options
def command(invocation: Invocation, words: tuple[str, ...], limit: int) -> ExitCode:
    """Find entries by words in their title, image sets, authors, citations and details, the best first.

    All words must occur, each at least as the beginning of one; '"…"' keeps words together, -WORD leaves out what has it.
    Common words of the field find their synonyms: cryo-et, tilt series. 10017, EMD-1234, a PDB code or a DOI alone
    finds the entries of that record. docs/query.md says more.
    """
    from empiar_mirror.reading import reading
    from empiar_mirror.searching import BEGIN, END, search

    text = " ".join(words)
    with reading(invocation.settings().root) as connection:
        found = search(connection, text, limit=limit)
    if found.no_word:
        raise ConfigFault("there is no word to look for", hint="such as `empiar-mirror search ribosome`")
    if invocation.as_json:
        hits = [
            asdict(hit) | {"passage": hit.passage.replace(BEGIN, "«").replace(END, "»")} for hit in found.hits
        ]
        click.echo(as_json({"total": found.total, "hits": hits, "near": list(found.near)}))
        return ExitCode.OK
    for hit in found.hits:
        for line in _lines(hit, begin=BEGIN, end=END):
            click.echo(line)
    _tell(found)
    return ExitCode.OK


def _lines(hit: Hit, *, begin: str, end: str) -> list[str]:
    from empiar_mirror.cli.text import one_line

    facts = [hit.release_date, hit.dataset_size, hit.experiment_type]
    facts += [hit.status if hit.status != "REL" else None, hit.state if hit.state != "listed" else None]
    lines = [f"{hit.accession}  {one_line(hit.title or '(no title)')}"]
    lines.append("    " + " · ".join(one_line(fact) for fact in facts if fact))
    if hit.found_by != "words":
        lines.append(f"    {hit.found_by}")
    elif hit.passage and _plain(hit.passage, begin, end) != hit.title:
        lines.append("    " + _marked(hit.passage, begin, end))
    return [line for line in lines if line.strip()]


def _plain(passage: str, begin: str, end: str) -> str:
    return passage.replace(begin, "").replace(end, "")


def _marked(passage: str, begin: str, end: str) -> str:
    from empiar_mirror.cli.text import one_line

    on, off = ("\x1b[1m", "\x1b[22m") if sys.stdout.isatty() else ("«", "»")
    pieces = [one_line(piece) for piece in passage.replace(end, begin).split(begin)]
    return "".join(f"{on}{piece}{off}" if number % 2 else piece for number, piece in enumerate(pieces))


def _tell(found: Found) -> None:
    if found.total > len(found.hits):
        say(f"the best {len(found.hits):,} of {found.total:,} entries; --limit gives more")
    if not found.hits:
        question = f"; did you mean {' '.join(found.near)}?" if found.near else ""
        say(f"nothing was found{question}")
