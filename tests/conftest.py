"""Rules of the whole suite."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# A shell that starts the suite in the background has it ignore SIGINT; the programs that tests start, and stop by it, would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, nothing else.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI every server and sample is there, so a skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not IN_CI:
        return
    skipped = len(reporter.stats.get("skipped", []))
    if skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"CI: {skipped} skipped, and in CI nothing may skip", red=True)
