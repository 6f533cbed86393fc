"""Sizes and durations that options state."""

from __future__ import annotations

from empiar_schema.faults import ConfigFault
from empiar_schema.sizes import parse_duration, parse_size


def size_of(text: str | None, option: str, *, nothing: str) -> int | None:
    """The bytes that the option states; `nothing` says what a size of 0 would mean.

    Raises:
        ConfigFault: it is no size, or 0.
    """
    if text is None:
        return None
    try:
        size = parse_size(text)
    except ValueError as error:
        raise ConfigFault(f"{option}: {error}") from None
    if not isinstance(size, int) or size <= 0:
        raise ConfigFault(f"{option}: {text} {nothing}", hint="write a size such as 20TiB")
    return size


def duration_of(text: str | None, option: str) -> float | None:
    """The seconds that the option states, perhaps 0.

    Raises:
        ConfigFault: it is no duration.
    """
    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ConfigFault(f"{option}: {error}") from None
    assert isinstance(seconds, float)  # as of any text
    return seconds
