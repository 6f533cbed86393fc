"""The configuration of hooks: external programs that run on arrived files, each a table ``[hook.NAME]``."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from empiar_schema.settings_types import Bytes, FolderName, Seconds, Table, each_once
from empiar_schema.states import Role

#: What a template may hold, and what stands there when the program runs.
PLACEHOLDERS: Final = {
    "input": "path of the file that is worked on, from the folder in which the program runs",
    "name": "name of that file",
    "stem": "that name without its suffix",
    "flat_stem": "the stem with underscores for dots, as RELION writes it",
    "suffix": "the suffix in lower case, compression included: `.tiff`, `.mrc.bz2`",
    "output": "path of the first output",
    "gain": "path of the gain reference",
    "defects": "path of the defect file or map",
    "id": "the entry's number",
    "pixel_size": "Å a pixel, by the file's header, else by the entry's image set",
    "frames": "frames, by the file's header",
    "width": "pixels, by the file's header",
    "height": "pixels, by the file's header",
    "threads": "`threads` of the hook",
}
#: Folders in the one where the program runs that hold what it is given.
OFFERED: Final = frozenset({"input", "gain", "defects", "tmp"})
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Need = Literal["gain", "defects", "pixel_size", "frames"]


def placeholders(template: str) -> Iterator[str]:
    """The names in ``{}`` of a template.

    Raises:
        ValueError: braces do not match, or a name is none of `PLACEHOLDERS`.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r}: {error}; write {{{{ and }}}} for braces themselves") from None
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if name not in PLACEHOLDERS or form or conversion:
            shown = ", ".join(sorted(PLACEHOLDERS))
            raise ValueError(f"{template!r}: {{{name}}} means nothing; there are {shown}")
        yield name


def _template(text: str) -> str:
    list(placeholders(text))
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    return text


Template = Annotated[str, AfterValidator(_template)]


def _argument(value: object) -> object:
    # Said here, because pydantic would tell about both members of the union.
    if isinstance(value, list | tuple):
        if not value or not all(isinstance(part, str) for part in value):
            raise ValueError('a list in a list must hold texts only, such as ["-Gain", "{gain}"]')
        return tuple(_template(part) for part in value)
    if not isinstance(value, str):
        raise ValueError("must be texts, or lists of texts that are left out together")  # noqa: TRY004 - pydantic's way
    return _template(value)


Argument = Annotated[str | tuple[str, ...], BeforeValidator(_argument)]


def _inside(template: str) -> str:
    path = PurePosixPath(template)
    if path.is_absolute() or {"", ".", ".."} & set(template.split("/")):
        raise ValueError("must be a path of a file in the folder where the program runs")
    if path.parts[0] in OFFERED:
        raise ValueError(f"must not lie in {path.parts[0]}/, which holds what the program is given")
    if "output" in placeholders(template):
        raise ValueError("must not hold {output}, which it is")
    return template


def _plain_name(template: str) -> str:
    if "/" in template or template in (".", ".."):
        raise ValueError("must be a name without folders")
    return template


def _kind(word: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", word):
        raise ValueError("must be a word such as micrograph, particle_coordinates or ctf")
    return word


def _absolute(text: str) -> str:
    if not PurePosixPath(text).is_absolute() or ".." in PurePosixPath(text).parts:
        raise ValueError("must be an absolute path")
    return text


def _variables(given: dict[str, str]) -> dict[str, str]:
    for name, value in given.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise ValueError(f"{name!r} is no name of a variable, or its value holds a NUL character")
        if name.startswith("EMPIAR_MIRROR_"):
            raise ValueError(f"{name} is the mirror's own and is never given to a program")
    return given


class OutputSettings(Table):
    """One file that the program writes."""

    path: Annotated[Template, AfterValidator(_inside)]
    """Where the program writes it, from the folder in which it runs: `{stem}.mrc`."""
    kind: Annotated[str, AfterValidator(_kind)]
    """What it is: micrograph, particle_coordinates, ctf, …; layouts and later hooks choose by it."""
    name: Annotated[Template, AfterValidator(_plain_name)] = ""
    """Its name below `derived/`; empty means the name that the program gave it."""
    optional: bool = False
    """Whether the program may leave it out."""


class HookSettings(Table):
    """An external program that runs on arrived files; what it makes stands under `derived/<id>/<name>/`."""

    command: tuple[Argument, ...] = Field(min_length=1, examples=[["program", "{input}", "{output}"]])
    """The program and its arguments, with placeholders; there is no shell. A list in the list is left out as a whole where a value in it is not known: `["-Gain", "{gain}"]`."""
    outputs: tuple[OutputSettings, ...] = Field(
        min_length=1, max_length=64, examples=[[{"path": "{stem}.mrc", "kind": "micrograph"}]]
    )
    """Files that it writes: tables with `path`, `kind`, and, if need be, `name` and `optional`. Anything else that it writes is thrown away."""
    roles: Annotated[tuple[Role, ...], AfterValidator(each_once)] = (Role.MOVIE,)
    """Files that it works on, by role; with another `source`, the files of which those products were made."""
    source: FolderName = "deposited"
    """Works on deposited files, or on the products of this other hook or built-in maker."""
    source_kind: Annotated[str, AfterValidator(_kind)] = "micrograph"
    """Which products of the source, by kind; the first where there are several."""
    suffixes: tuple[str, ...] = ()
    """Only files with one of these suffixes, such as `.tif`, in lower case; empty means any."""
    entries: Annotated[tuple[PositiveInt, ...], AfterValidator(each_once)] = ()
    """Only files of these entries, by number; empty means all entries that are mirrored."""
    needs: Annotated[tuple[Need, ...], AfterValidator(each_once)] = ()
    """Only files for which these are here or known: gain, defects, pixel_size, frames. Others are passed over."""
    gains: dict[str, str] = Field(default={})
    """The gain reference of an entry where the nearest is not the right one: `{ 10389 = "data/gainref/CountRef.mrc" }`."""
    answers: tuple[Template, ...] = ()
    """Lines given to the program on its standard input, with placeholders; otherwise that is empty."""
    version_command: tuple[str, ...] = ()
    """Says the program's version, as in `["MotionCor3", "--version"]`; a new version makes everything again. Empty: no version is recorded."""
    environment: Annotated[dict[str, str], AfterValidator(_variables)] = Field(default={})
    """Variables of the program beside PATH, LD_LIBRARY_PATH, CUDA_VISIBLE_DEVICES and LANG; nothing else of ours is passed on."""
    offer: Literal["symlink", "copy"] = "symlink"
    """How it gets its input: a symbolic link to the archive, or a copy of its own (without cost where the file system has reflinks) for programs that change their input."""
    fence: bool = True
    """Whether the kernel keeps it from writing outside its folder and from gaining rights (Landlock, Linux 5.13 and later). A program that needs setuid, such as some installations of Apptainer, needs `false`."""
    writable: tuple[Annotated[str, AfterValidator(_absolute)], ...] = ()
    """Folders outside its own in which it may write as well, such as a cache."""
    threads: PositiveInt = Field(default=1, le=1024)
    """Threads that it uses; `making.workers` divided by this many run at once. Give a program that needs the whole GPU as many as there are workers."""
    memory: Bytes | None = Field(default=None, gt=0, examples=["16GiB"])
    """Address space that it may have; not set means no limit. CUDA programs reserve far more than they use: leave it out for them."""
    largest_output: Bytes = Field(default=64 * 2**30, gt=0)
    """No file that it writes may grow beyond this."""
    timeout: Seconds = Field(default=3600.0, gt=0)
    """Time after which it is ended, with everything that it has started."""
    retries: int = Field(default=1, ge=0, le=100)
    """How often a failed run is tried again before the file is parked."""
    retry_wait: Seconds = Field(default=60.0, ge=0)
    """First wait before a failed run is tried again; doubles each time."""
    enabled: bool = True
    """`false` keeps the table but runs nothing."""

    @model_validator(mode="after")
    def _program_named(self) -> Self:
        first = self.command[0]
        if not isinstance(first, str) or not first or any(placeholders(first)):
            raise ValueError("the first text of command must be the program itself, without placeholders")
        if any(entry for entry in self.gains if not entry.isdecimal()):
            raise ValueError("gains must name entries by number")
        return self
