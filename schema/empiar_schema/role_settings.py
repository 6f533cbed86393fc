"""The configuration of roles: what the user states of an entry's files, each a table ``[[role]]``."""

from __future__ import annotations

import difflib
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from empiar_schema.paths import parse_empiar_id
from empiar_schema.settings_types import Table
from empiar_schema.states import Role


def _entry_number(value: object) -> object:
    return parse_empiar_id(value) if isinstance(value, str) else value


def _path_pattern(path: str) -> str:
    parts = path.split("/")
    if not all(parts) or {".", ".."} & set(parts):
        raise ValueError(
            "must be a path below the entry, such as data/gain/*.mrc, without slashes at its ends"
        )
    if any("**" in part and part != "**" for part in parts):
        raise ValueError("** stands for whole folders, alone between slashes: data/**/*.mrc")
    return path


def _known_role(value: object) -> object:
    roles = [role.value for role in Role]
    if not isinstance(value, str) or value in roles:
        return value
    meant = difflib.get_close_matches(value.lower().replace(" ", "_"), roles, n=1, cutoff=0.5)
    raise ValueError(f"is no role; did you mean {meant[0]}?" if meant else f"is no role: {', '.join(roles)}")


class RoleOverride(Table):
    """What files of one entry are for, where you know better than the rules (docs/roles.md). Where several tables fit a file, the last counts."""

    entry: Annotated[int, BeforeValidator(_entry_number), Field(gt=0)] = Field(examples=[10028])
    """The entry, `10028` or `"EMPIAR-10028"`."""
    path: Annotated[str, AfterValidator(_path_pattern)] = Field(examples=["data/references/*.mrc"])
    """Files below the entry: `*` stands for anything within a name, `?` for one character, `**` for any folders; all else for itself."""
    role: Annotated[Role, BeforeValidator(_known_role)] = Field(examples=["gain"])
    """Their role: micrograph, movie, tilt_series, gain, defects, particle_stack, particle_coordinates, class_average, volume, metadata, preview or other."""
