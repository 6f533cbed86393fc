"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a finding stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    check: str
    verdict: Verdict
    sentence: str
    #: What to do about it; empty where all is well.
    remedy: str = ""


def ok(check: str, sentence: str) -> Finding:
    """A finding that needs nothing."""
    return Finding(check, Verdict.OK, sentence)


def warn(check: str, sentence: str, remedy: str) -> Finding:
    """A finding with which the mirror works, but worse than it could."""
    return Finding(check, Verdict.WARN, sentence, remedy)


def fail(check: str, sentence: str, remedy: str) -> Finding:
    """A finding with which the mirror cannot keep its promises."""
    return Finding(check, Verdict.FAIL, sentence, remedy)
