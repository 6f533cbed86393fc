from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options, work_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.cli.text import AskedForMaps, Crawled
    from empiar_schema.settings import Settings


@click.command("crawl")
@ids_argument
@click.option("--full", is_flag=True, help="Read every entry again, also those that have not changed.")
@click.option(
    "--probe",
    is_flag=True,
    help="Also look at the first kilobytes of one file of each family, for the facts of its images; needs IDs.",
)
@click.option(
    "--emdb",
    is_flag=True,
    help="Ask EMDB alone, for what is due of the maps that entries name; with --full, for all of them.",
)
@work_options
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], full: bool, probe: bool, emdb: bool) -> ExitCode:
    """Read entry metadata and file listings into the catalogue.

    Without IDs: every entry of the archive that is new or has changed. Behind it, EMDB is asked for the maps that entries
    name (docs/emdb.md); if that fails, the crawl has not.
    """
    from dataclasses import asdict

    from empiar_mirror.cli.working import work_on

    settings = invocation.settings()
    chosen = list(dict.fromkeys(ids)) or None
    if probe and emdb:
        raise ConfigFault(
            "--probe reads bytes of files, --emdb asks EMDB alone", hint="give one of them, then the other"
        )
    if probe:
        return _with_probe(invocation, settings, chosen or [], full=full)
    if emdb:
        return _emdb_alone(invocation, settings, chosen, full=full)
    report, stopped = work_on(
        invocation, settings, lambda mirror: mirror.crawl_with_maps(chosen, full=full), ids=[]
    )
    document = {**asdict(report.crawl), "emdb": asdict(report.emdb)}
    invocation.result(document, [*_lines(report.crawl), *_map_lines(report.emdb)])
    return _code(report.crawl, named=chosen is not None, stopped=stopped)


def _emdb_alone(
    invocation: Invocation, settings: Settings, ids: Sequence[int] | None, *, full: bool
) -> ExitCode:
    from empiar_mirror.cli.working import work_on

    if settings.emdb_url is None:
        raise ConfigFault(
            "EMDB is not asked: emdb.enabled is false, or archive.search_url tells no address of EMDB",
            hint="set emdb.enabled = true, and emdb.url where archive.search_url is another server's",
        )
    report, stopped = work_on(invocation, settings, lambda mirror: mirror.crawl_emdb(ids, full=full), ids=[])
    invocation.result(report, _map_lines(report) or ["no map is due"])
    if stopped:
        return ExitCode.STOPPED
    if report.stopped:
        return ExitCode.UNREACHABLE
    return ExitCode.SOME_FILES_FAILED if report.failed else ExitCode.OK


def _with_probe(invocation: Invocation, settings: Settings, ids: Sequence[int], *, full: bool) -> ExitCode:
    from dataclasses import asdict

    from empiar_mirror.cli.text import probe_report
    from empiar_mirror.cli.working import work_on

    if not ids:
        raise ConfigFault(
            "--probe reads bytes of files, and no entry was named",
            hint="name entries, such as `empiar-mirror crawl 10017 --probe`",
        )
    report, stopped = work_on(
        invocation, settings, lambda mirror: mirror.crawl_and_probe(ids, full=full), ids=[]
    )
    document = {**asdict(report.crawl), "probe": asdict(report.probe)}
    invocation.result(document, [*_lines(report.crawl), *probe_report(report.probe)])
    code = _code(report.crawl, named=True, stopped=stopped)
    return ExitCode.SOME_FILES_FAILED if code is ExitCode.OK and report.probe.failed else code


def _lines(report: Crawled) -> list[str]:
    from empiar_mirror.cli.text import count, crawl_failures

    entries, listings = count(report.entries, "entry", "entries"), count(report.listed, "file listing")
    return [f"{entries} and {listings} read, {report.unchanged:,} unchanged", *crawl_failures(report)]


def _map_lines(report: AskedForMaps) -> list[str]:
    from empiar_mirror.cli.text import NAMED, count

    if not report.due:
        return []
    numbers = (
        f"{report.recorded:,} new or changed, {report.unchanged:,} unchanged, {report.absent:,} not served"
    )
    lines = [f"EMDB: {count(report.due, 'map')} due, {numbers}"]
    lines += [f"EMDB failed for {emdb_id}: {why}" for emdb_id, why in list(report.failed.items())[:NAMED]]
    if report.stopped:
        lines.append(f"EMDB was asked no further: {report.stopped}; the rest stays due")
    return lines


def _code(report: Crawled, *, named: bool, stopped: bool) -> ExitCode:
    if stopped:
        return ExitCode.STOPPED
    if report.stopped:
        return ExitCode.UNREACHABLE
    # Of a whole crawl nobody asked for an entry by name: that the archive lacks one is a fact, not a failure.
    return ExitCode.SOME_FILES_FAILED if report.failed or (named and report.absent) else ExitCode.OK
