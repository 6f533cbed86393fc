from __future__ import annotations

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options, work_options
from empiar_schema.faults import ConfigFault, ExitCode


@click.command("scrub")
@ids_argument
@click.option("--for", "duration", metavar="DURATION", help="End after this time, such as 2h.")
@click.option(
    "--bytes-per-s",
    "rate",
    metavar="SIZE",
    help="Read no faster than this, such as 50MB  [default: scrub.bytes_per_s]",
)
@click.option("--now", "at_any_hour", is_flag=True, help="Also outside of scrub.hours.")
@work_options
@standard_options
def command(
    invocation: Invocation,
    ids: tuple[int, ...],
    duration: str | None,
    rate: str | None,
    at_any_hour: bool,
) -> ExitCode:
    """Read again what has not been verified for long, the oldest proof first, and have damage replaced.

    Ends when nothing is due by scrub.period, or time is over; the next run goes on there. A damaged file leaves
    the layouts, goes to quarantine with the reason, and comes again with the next `sync`. Exit code 5 means that
    damage was found.
    """
    from empiar_mirror.cli.text import count, failures
    from empiar_mirror.cli.working import work_on
    from empiar_mirror.reports import ScrubEnd
    from empiar_schema.sizes import format_bytes, parse_duration, parse_size
    from empiar_schema.states import CopyState

    seconds = _quantity("--for", duration, parse_duration)
    bytes_per_s = _quantity("--bytes-per-s", rate, parse_size)
    chosen = list(dict.fromkeys(ids)) or None
    report, stopped = work_on(
        invocation,
        invocation.settings(),
        lambda mirror: mirror.scrub(
            chosen,
            seconds=seconds,
            bytes_per_s=None if bytes_per_s is None else int(bytes_per_s),
            at_any_hour=at_any_hour,
        ),
        ids=[],
    )
    again = sum(file.state is CopyState.WANTED for file in report.damaged)
    lines = [
        f"{count(report.checked, 'file')} checked, {format_bytes(report.bytes_read)} read, {len(report.damaged):,} damaged",
        *failures(report.damaged, "damaged"),
    ]
    if report.restored:
        lines.append(f"{count(report.restored, 'file')} sound that had been found damaged before")
    if again:
        lines.append(f"`empiar-mirror sync` fetches {count(again, 'file')} again")
    derived = sum("/derived/" in file.path for file in report.damaged)
    if derived:
        lines.append(f"`empiar-mirror make` makes {count(derived, 'derived file')} again")
    lines.append(
        f"ended: {report.ended.value}; the oldest proof is of {report.oldest_proof}"
        if report.oldest_proof
        else "nothing is here"
    )
    if report.too_slow:
        lines.append(
            "at this rate a pass takes longer than scrub.period: raise scrub.bytes_per_s, or widen scrub.hours"
        )
    invocation.result(report, lines)
    if report.damaged:
        return ExitCode.DAMAGE_FOUND
    return ExitCode.STOPPED if stopped and report.ended is ScrubEnd.ASKED else ExitCode.OK


def _quantity(option: str, text: str | None, parse: object) -> float | None:
    """The number that the option states; None without the option.

    Raises:
        ConfigFault: it states none, or none above 0.
    """
    if text is None:
        return None
    assert callable(parse)
    try:
        value = parse(text)
    except ValueError as error:
        raise ConfigFault(f"{option}: {error}") from None
    if not value > 0:
        raise ConfigFault(f"{option} must be above 0", hint=f"leave {option} out for no limit")
    return float(value)
