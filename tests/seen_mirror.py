"""A small mirror that is being seen: its instruments and a monitor, with a clock that tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from empiar_mirror.instance_lock import InstanceLock
from empiar_mirror.metrics.instruments import Instruments
from empiar_mirror.metrics.monitor import Look, Monitor
from empiar_schema.settings import Settings
from small_mirror import NOW, make_small_mirror


@dataclass
class Clock:
    """Wall and monotonic time, turned together."""

    now: float = float(NOW)

    def __call__(self) -> float:
        return self.now


@dataclass
class Seen:
    """What is seen, and what sees it."""

    settings: Settings
    clock: Clock
    instruments: Instruments
    monitor: Monitor
    looks: list[Look] = field(default_factory=list)

    def value(self, name: str, **labels: str) -> float | None:
        """The metric's value now; None where it has none."""
        return self.instruments.registry.get_sample_value(name, labels)


@contextmanager
def seen_mirror(root: Path) -> Iterator[Seen]:
    """A mirror with a damaged, a parked, a waiting, a claimed and a wanted file, at work in this process."""
    make_small_mirror(root)
    settings = Settings(root=root)
    clock, looks = Clock(), list[Look]()
    instruments = Instruments(clock=clock)
    monitor = Monitor(settings, instruments, looked=looks.append, clock=clock, monotonic=clock)
    with InstanceLock.take(root):
        yield Seen(settings, clock, instruments, monitor, looks)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What an exposition holds, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
