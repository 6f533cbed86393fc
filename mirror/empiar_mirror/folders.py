"""The folders of a mirror."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from empiar_schema.faults import ConfigFault

_NAMES = ("staging", "archive", "quarantine", "datasets", "manifests", "derived")


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders below `root`; docs/index.md says what each is for."""

    root: Path
    staging: Path
    archive: Path
    quarantine: Path
    datasets: Path
    manifests: Path
    derived: Path

    @classmethod
    def below(cls, root: Path) -> Self:
        """The folders of `root`, made where missing.

        Raises:
            ConfigFault: `root` cannot be written.
        """
        try:
            for name in _NAMES:
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigFault(
                f"the root folder {root} cannot be written: {error.strerror}",
                hint="set root in the configuration to a folder that you may write",
            ) from error
        return cls(root, *(root / name for name in _NAMES))
