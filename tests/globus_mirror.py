"""A mirror of a rehearsal archive whose files come by the stand-in of Globus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from empiar_mirror.rehearsal.globus.accounts import CLIENT_SECRET
from empiar_mirror.rehearsal.globus.standin import GlobusConfig
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import load
from empiar_schema.settings import Settings

SECRET = {"EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET": CLIENT_SECRET}


def globus_settings(
    rehearsal: Rehearsal, folder: Path, *, channels: Sequence[str] = ("globus",), globus: str = ""
) -> Settings:
    """Settings of a mirror in `folder` with these channels; `globus` is TOML at the end of the `[globus]` table."""
    file = folder / "empiar-mirror.toml"
    named = ", ".join(f'"{channel}"' for channel in channels)
    text = rehearsal.settings_toml(folder / "mirror").rstrip() + f"\n{globus}\n"
    text += "[crawl]\nrequests_per_s = 2000\n[transfer]\nrequests_per_s = 2000\nstall_s = 5\nretry_wait_s = 0.01\n"
    file.write_text(f"{text}channels = [{named}]\n")
    return load(file, environ=SECRET, cwd=folder)


def standing_in(folder: Path, **more: object) -> GlobusConfig:
    """A stand-in whose destination collection is the whole of `folder`."""
    return GlobusConfig(folder=folder, **more)  # type: ignore[arg-type]  # of the dataclass
