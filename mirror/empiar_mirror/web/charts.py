"""Charts as SVG, made here (pure): bars over time and bars by kind. Colours come from the style sheet, numbers also stand in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from empiar_mirror.web.wording import size

_WIDTH: Final = 640
_HEIGHT: Final = 220
_LEFT: Final = 70
_BOTTOM: Final = 26
_TOP: Final = 12
#: Labels below the bars that fit side by side.
_LABELS: Final = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: a label and bytes."""

    label: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A bar where it stands in the picture."""

    x: float
    y: float
    width: float
    height: float
    label: str
    value: str
    #: Whether there is room for the label.
    labelled: bool

    @property
    def middle(self) -> float:
        """Where the label stands."""
        return round(self.x + self.width / 2, 1)


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across the picture, and what it stands for."""

    y: float
    value: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as the template draws it, in units of its own `view_box`."""

    name: str
    title: str
    bars: tuple[Drawn, ...]
    ticks: tuple[Tick, ...]
    left: int = _LEFT
    right: int = _WIDTH
    base: int = _HEIGHT - _BOTTOM

    @property
    def view_box(self) -> str:
        """The picture's coordinates."""
        return f"0 0 {_WIDTH} {_HEIGHT}"


def over_time(name: str, title: str, bars: Sequence[Bar]) -> Chart:
    """Upright bars in this order; the scale begins at 0 and ends at a round number of bytes."""
    most = _round_up(max((bar.bytes for bar in bars), default=0))
    base, height = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    step = (_WIDTH - _LEFT) / max(1, len(bars))
    every = max(1, -(-len(bars) // _LABELS))
    drawn = []
    for position, bar in enumerate(bars):
        tall = height * bar.bytes / most if bar.bytes > 0 else 0.0
        # What is not nothing is seen.
        tall = max(1.0, tall) if bar.bytes > 0 else 0.0
        drawn.append(
            Drawn(
                x=round(_LEFT + position * step + step * 0.1, 1),
                y=round(base - tall, 1),
                width=round(step * 0.8, 1),
                height=round(tall, 1),
                label=bar.label,
                value=size(bar.bytes),
                labelled=position % every == 0,
            )
        )
    ticks = tuple(Tick(round(base - height * share, 1), size(most * share)) for share in (0, 0.5, 1))
    return Chart(name, title, tuple(drawn), ticks)


def running_total(bars: Sequence[Bar]) -> list[Bar]:
    """Each bar with all before it."""
    total, summed = 0, []
    for bar in bars:
        total += bar.bytes
        summed.append(Bar(bar.label, total))
    return summed


def largest(bars: Sequence[Bar], *, most: int) -> list[Bar]:
    """The largest bars, the rest as one."""
    ordered = sorted(bars, key=lambda bar: (-bar.bytes, bar.label))
    rest = sum(bar.bytes for bar in ordered[most:])
    return [*ordered[:most], *([Bar("others", rest)] if len(ordered) > most else [])]


def _round_up(count: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50, … of a binary unit; 1 for nothing."""
    unit = 1
    while count >= unit * 1024:
        unit *= 1024
    for factor in (1, 2, 5, 10, 20, 50, 100, 200, 500):
        if count <= factor * unit:
            return factor * unit
    return 1024 * unit
