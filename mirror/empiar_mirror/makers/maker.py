"""What a maker is given and what it hands back (pure; a worker process imports it, so it stays light); `interface` says what it is.

A maker chooses its `Task`s among an entry's files; each task becomes a job in the catalogue. A job is done in a folder of
its own, by a function in a worker process (`function.FunctionMaker`) or by an external program (`hook.HookMaker`).
What it hands back is checked, made durable and recorded by the queue (`runner`), never by the maker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from empiar_mirror.layout import LaidFile
from empiar_schema.faults import EmpiarMirrorError
from empiar_schema.paths import suffix_of
from empiar_schema.states import Role
from empiar_schema.stems import stem_of


class JobFault(EmpiarMirrorError):
    """One attempt at one job ended without its products; a sentence says why.

    `permanent` says that trying again is useless. `log_path` is where the program's words are kept, below the mirror's root.
    `damaged` are inputs whose bytes are no longer those on record.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        permanent: bool = False,
        command: str | None = None,
        log_path: str | None = None,
        damaged: Sequence[Source] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.permanent = permanent
        self.damaged = tuple(damaged)
        self.command = command
        self.log_path = log_path


class MakerUnusable(EmpiarMirrorError):
    """A maker cannot work at all now: its program is missing, or does not say its version."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an image's header says, as far as known. Å and pixels."""

    width: int | None = None
    height: int | None = None
    frames: int | None = None
    pixel_size_angstrom: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is here: a deposited one, or (with `product`) one that was made."""

    #: The deposited file; of a product, the one it was made of, if it is a single one.
    file_id: int | None
    #: Stored text below the entry; of a product, of the file it was made of.
    path: str
    #: ``micrograph``, ``movie``, ``gain``, …; of a product, its kind.
    role: str
    #: Where it stands on this machine.
    local: Path
    size: int
    #: Hexadecimal.
    sha256: str
    facts: Facts = Facts()
    #: Stored text below ``derived/<id>``; None for a deposited file.
    product: str | None = None
    maker: str | None = None

    @property
    def name(self) -> str:
        """Its own name, without folders."""
        return (self.product or self.path).rpartition("/")[2]

    @property
    def directory(self) -> str:
        """The folder of the deposited file, below the entry."""
        return self.path.rpartition("/")[0]

    @property
    def suffix(self) -> str:
        """In lower case, compression included: ``.tiff``, ``.mrc.bz2``."""
        return suffix_of(self.name)

    @property
    def stem(self) -> str:
        """Its name without the suffix: what labels and micrographs are joined by."""
        return stem_of(self.name)


@dataclass(frozen=True, slots=True)
class EntryFiles:
    """The files of one entry that are here, in natural order, and the products that are up to date."""

    empiar_id: int
    deposited: tuple[Source, ...] = ()
    products: tuple[Source, ...] = ()
    #: What the archive lists, here or not: names and choices of views follow it.
    listed: tuple[LaidFile, ...] = ()

    def of_role(self, *roles: Role) -> tuple[Source, ...]:
        """The deposited files of these roles."""
        wanted = {role.value for role in roles}
        return tuple(source for source in self.deposited if source.role in wanted)


@dataclass(frozen=True, slots=True)
class Task:
    """What one job works on. Tasks are compared and found again by `file_id`, which a maker uses once an entry."""

    #: The deposited file that it is about; None where it is about the whole entry.
    file_id: int | None
    #: The file that is worked on first; then those that belong to it, such as a gain reference.
    inputs: tuple[Source, ...]
    stem: str | None = None
    #: Stored text: where below ``derived/<id>/<maker>`` its products stand.
    directory: str = ""
    #: Why it cannot be begun, in one sentence; it is parked with it.
    obstacle: str | None = None
    #: What else decides the result, as plain JSON values; a function finds it in `Work.parameters`.
    parameters: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def on(cls, source: Source, *others: Source, obstacle: str | None = None) -> Task:
        """The task on one file, whose products stand in folders as on EMPIAR."""
        stem = stem_of(source.path.rpartition("/")[2])
        return cls(source.file_id, (source, *others), stem, source.directory, obstacle)

    def with_parameters(self, parameters: Mapping[str, object]) -> Task:
        """The same task, whose result `parameters` decide as well."""
        return replace(self, parameters=parameters)


@dataclass(frozen=True, slots=True)
class Output:
    """A file that was written in the job's folder and is to be kept."""

    #: From the job's folder; no component of it may be a link.
    path: Path
    #: Its place below the task's directory: a stored text, usually a bare name.
    name: str
    kind: str
    stem: str | None = None
    #: What is worth knowing of it, such as the grey limits of a picture; becomes JSON.
    details: Mapping[str, object] = field(default_factory=dict)
    #: The deposited file that it belongs to, where that is not the one the task is about.
    parent_file_id: int | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """What an attempt wrote."""

    outputs: tuple[Output, ...]
    command: str | None = None
    log_path: str | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What a function is called with, in a worker process."""

    folder: Path
    inputs: tuple[Source, ...]
    stem: str | None
    parameters: Mapping[str, object] = field(default_factory=dict)


def recipe_digest(name: str, version: str | None, parameters: object, inputs: Sequence[Source]) -> str:
    """SHA-256 (hexadecimal) over a maker's name, version and parameters (plain JSON values), and what it reads."""
    document = {
        "maker": name,
        "version": version,
        "parameters": parameters,
        "inputs": [[source.role, source.name, source.sha256] for source in inputs],
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
