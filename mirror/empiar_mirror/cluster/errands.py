"""What a worker of a cluster runs: one errand, under one lease, in a folder of its own. It knows paths below the root, and no catalogue.

The order and the reply are pickled here and not by Dask, so that the scheduler sees bytes only.
"""

from __future__ import annotations

import os
import pickle  # between the mirror's own processes; docs/cluster.md says who must not reach them
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from empiar_mirror.checking import Finding, check
from empiar_mirror.cluster.children import called
from empiar_mirror.makers.maker import Output, Work
from empiar_mirror.makers.worker import Function, answer_of
from empiar_mirror.scrub_budget import ByteRate
from empiar_schema.copies import HereFile

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

#: Name of the folder that whoever begins makes in the lease's folder.
BEGUN: Final = "begun"
#: How long a worker goes on with what nobody wants any more, seconds.
_LOOK_S: Final = 1.0
#: Libraries that decide about the bytes of pictures and stacks.
_LIBRARIES: Final = ("imagecodecs", "mrcfile", "numpy", "pillow", "scipy", "tifffile")


class NotWanted(Exception):
    """The lease is in force no longer: whatever comes of the work would not count."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one errand is run."""

    #: The mirror's root, as this machine sees it.
    root: Path
    #: Its own folder, empty at the beginning.
    folder: Path

    def require_wanted(self) -> None:
        """Returns while the lease is in force.

        Raises:
            NotWanted: it is not.
        """
        if not self.folder.is_dir():
            raise NotWanted


class Errand(Protocol[R_co]):
    """A piece of work that another machine can do: data that can be pickled, and a call."""

    def __call__(self, place: Place) -> R_co:
        """Does it; writes below `place.folder` only."""

    @property
    def seconds(self) -> float | None:
        """How long it may take; None where its size decides."""


@dataclass(frozen=True, slots=True)
class Reply(Generic[R]):
    """How an errand ended: with a value, with a sentence, or not at all."""

    value: R | None = None
    #: Why there is no value.
    fault: str = ""
    permanent: bool = False
    #: Why the errand was not begun, or not ended: another worker may.
    refusal: str = ""


def order_for(errand: Errand[object], *, root: Path, lease: str) -> bytes:
    """What `run` takes; `root` is as the worker sees it, `lease` the name of the lease's folder."""
    return pickle.dumps((str(root), lease, errand))


def run(order: bytes) -> bytes:
    """The errand has been run here, if the lease is in force and nobody has begun it; returns the pickled `Reply`."""
    return pickle.dumps(_ran(order))


def _ran(order: bytes) -> Reply[object]:
    try:
        root, lease, errand = pickle.loads(order)  # noqa: S301 - from the mirror, through the site's own scheduler
    except Exception as error:
        return Reply(refusal=f"the worker does not understand its order ({type(error).__name__}: {error})")
    place = Place(Path(root), leases_folder(Path(root)) / lease / BEGUN)
    try:
        place.folder.mkdir()
    except FileExistsError:
        return Reply(refusal="another worker has begun it, and was lost")
    except OSError as error:
        return Reply(refusal=f"the worker cannot write {place.folder}: {error.strerror}")
    value, fault, permanent = answer_of(lambda: _unless_taken_away(errand, place))
    if isinstance(value, NotWanted):
        return Reply(refusal="it was taken away")
    return Reply(value, fault, permanent)


def _unless_taken_away(errand: Errand[object], place: Place) -> object:
    try:
        return errand(place)
    except NotWanted as end:
        return end


def leases_folder(root: Path) -> Path:
    """``staging/leases``."""
    return root / "staging" / "leases"


# --- what there is to do --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Make:
    """Calls a maker's function in a process of its own; its outputs stand in the folder."""

    function: Function
    #: Its paths are below the root.
    work: Work
    seconds: float

    def __call__(self, place: Place) -> tuple[Output, ...]:
        """What the function returns.

        Raises:
            JobFault: it raised, took too long, or its process died.
            NotWanted: the lease has ended meanwhile.
        """
        inputs = tuple(replace(source, local=place.root / source.local) for source in self.work.inputs)
        work = replace(self.work, folder=place.folder, inputs=inputs)
        return called(self.function, work, timeout_s=self.seconds, require_wanted=place.require_wanted)


@dataclass(frozen=True, slots=True)
class ReadThrough:
    """Reads copies against their records."""

    files: tuple[HereFile, ...]
    #: Not faster than this; None as fast as it goes.
    bytes_per_s: int | None = None
    seconds: float | None = None

    def __call__(self, place: Place) -> tuple[Finding, ...]:
        """A finding for each file, in their order.

        Raises:
            NotWanted: the lease has ended meanwhile.
        """
        between = _Pace(self.bytes_per_s, place.require_wanted)
        archive = place.root / "archive"
        return tuple(check(archive, file, quick=False, between=between) for file in self.files)


class _Pace:
    """Rests between pieces as the rate wants it, and looks now and then whether the reading is wanted."""

    def __init__(self, bytes_per_s: int | None, require_wanted: Callable[[], None]) -> None:
        self._rate = ByteRate(bytes_per_s)
        self._require_wanted = require_wanted
        self._began = self._looked_at = time.monotonic()

    def __call__(self, count: int) -> None:
        now = time.monotonic()
        until = now + self._rate.spend(count, began=self._began, now=now)
        while True:
            now = time.monotonic()
            if now - self._looked_at >= _LOOK_S:
                self._looked_at = now
                self._require_wanted()
            if now >= until:
                break
            time.sleep(min(until - now, _LOOK_S))
        self._began = now


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker says of itself."""

    host: str
    python: str
    product: str
    #: What it found in the file of the greeting.
    nonce: str
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Greet:
    """Reads the file `nonce` beside its folder, and writes the same into `echo` in its folder."""

    seconds: float

    def __call__(self, place: Place) -> Facts:
        """What this worker is, and sees."""
        nonce = (place.folder.parent / "nonce").read_text()
        (place.folder / "echo").write_text(nonce)
        return replace(own_facts(), nonce=nonce)


def own_facts() -> Facts:
    """What this process is; it has read nothing."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    libraries = {name: found for name in _LIBRARIES if (found := _version(name))}
    return Facts(
        socket.gethostname() or os.uname().nodename, python, _version("empiar-mirror"), "", libraries
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
