from __future__ import annotations

from dataclasses import asdict

import click

from empiar_mirror.cli.invocation import Invocation, standard_options
from empiar_schema.faults import ExitCode


@click.command("doctor")
@standard_options
def command(invocation: Invocation) -> ExitCode:
    """Check configuration, disk, catalogue, network and Globus, and say what to do about each finding.

    Exit code 0 without failures, 3 if only the archive cannot be reached, else 1.
    """
    import asyncio

    from empiar_mirror.doctor import examine, exit_code

    findings = asyncio.run(examine(invocation.settings()))
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict.upper():<5} {finding.sentence}")
        if finding.remedy:
            lines.append(f"      → {finding.remedy}")
    invocation.result([asdict(finding) for finding in findings], lines)
    return exit_code(findings)
