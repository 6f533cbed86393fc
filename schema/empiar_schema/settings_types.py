"""What the tables of the configuration are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

from empiar_schema.sizes import parse_duration, parse_size

Seconds = Annotated[float, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]

T = TypeVar("T")


def each_once(items: tuple[T, ...]) -> tuple[T, ...]:
    """`items`, which differ.

    Raises:
        ValueError: one is named twice.
    """
    if len(set(items)) < len(items):
        raise ValueError("must name each at most once")
    return items


def checked_folder_name(name: str) -> str:
    """`name`, which can be that of a folder, of a table and of a variable.

    Raises:
        ValueError: it cannot.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise ValueError("must be made of a-z, 0-9, _ and -, because it names a folder")
    return name


FolderName = Annotated[str, AfterValidator(checked_folder_name)]


@dataclass(frozen=True, slots=True)
class EnvironmentOnly:
    """Marks a key that is a secret: it is read from the environment, and refused in a file, which people share and back up."""


class Table(BaseModel):
    """A table of the configuration: frozen, without unknown keys, each key described by the text below it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_as_number(cls, value: object, info: ValidationInfo) -> object:
        # pydantic would take `true` for 1.
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (wanted, *get_args(wanted)):
            raise ValueError("must not be true or false")
        return value
