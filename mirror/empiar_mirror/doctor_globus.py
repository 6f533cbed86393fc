"""The doctor's look at Globus: identifiers, login, the archive's collection, and whether the mirror's own leads to `root`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_mirror.findings import Finding, Verdict, fail, ok, warn
from empiar_mirror.globus_access import globus_service
from empiar_schema.faults import AccountFault, EmpiarMirrorError, PermanentFault, TransientFault
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from empiar_wire.globus_account import token_path
from empiar_wire.globus_facts import Collection, GlobusService
from empiar_wire.globus_faults import NotPermitted
from empiar_wire.globus_paths import below, find_archive_base

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WHERE: Final = "set globus.path to where root is in the collection"
#: A folder made elsewhere may show late on a network file system.
_LOOKS: Final = 5
_BETWEEN_LOOKS_S: Final = 1.0


async def examine_globus(
    settings: Settings, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> list[Finding]:
    """All findings about Globus. A file and a folder of random names are written in `root/staging`, and removed."""
    findings = [*_identifiers(settings), *_token_file(settings)]
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        return findings
    try:
        async with globus_service(settings) as service:
            findings += [finding async for finding in _Examination(service, settings, sleep).run()]
    except EmpiarMirrorError as fault:
        findings.append(_failed("login", fault))
    return findings


def _failed(check: str, fault: EmpiarMirrorError) -> Finding:
    """The finding that a fault is. What only says that Globus cannot be reached is a matter of the network."""
    if isinstance(fault, TransientFault):
        remedy = fault.hint or "check the network and https://status.globus.org, and try again later"
        return fail("network globus", str(fault), remedy)
    return fail(
        f"globus {check}", str(fault), fault.hint or "`empiar-mirror globus ls` shows what can be seen"
    )


# --- without the network ----------------------------------------------------------------------------------------


def _identifiers(settings: Settings) -> Iterator[Finding]:
    globus = settings.globus
    keys = {
        "globus.client_id": (
            globus.client_id,
            "register an application at https://app.globus.org/settings/developers and set globus.client_id to its id",
        ),
        "archive.globus_collection": (
            settings.archive.globus_collection,
            "remove the key: its default is EMPIAR's",
        ),
    }
    if Channel.GLOBUS in settings.transfer.channels or globus.collection:
        keys["globus.collection"] = (
            globus.collection,
            "ask your Globus administrator for the UUID of the collection that exports this mirror's storage",
        )
    wrong = 0
    for key, (value, remedy) in keys.items():
        if not value:
            yield fail("globus ids", f"{key} is not set", remedy)
        elif not _UUID.fullmatch(value):
            yield fail("globus ids", f"{key} = {value[:80]!r} is no UUID", remedy)
        wrong += not _UUID.fullmatch(value)
    if not wrong:
        yield ok("globus ids", "the ids of application and collections are UUIDs")


def _token_file(settings: Settings) -> Iterator[Finding]:
    if settings.globus.client_secret is not None:
        yield ok(
            "globus tokens", "the application has a secret of its own; its tokens are kept in memory only"
        )
        return
    path = token_path(settings.globus, settings.root)
    if not path.parent.is_dir():
        remedy = "create it, or set globus.token_file"
        yield fail("globus tokens", f"the folder {path.parent} for the tokens is not there", remedy)
        return
    try:
        status = path.stat()
    except FileNotFoundError:
        return  # that there is no login is told below
    except OSError as error:
        yield fail(
            "globus tokens", f"{path} cannot be read: {error.strerror}", "give this user the right to read it"
        )
        return
    if status.st_uid != os.geteuid():
        remedy = f"let the user of this mirror own it: `chown` it to user {os.geteuid()}"
        yield warn("globus tokens", f"{path} belongs to user {status.st_uid}", remedy)
    if status.st_mode & 0o077:
        remedy = f"`chmod 600 {path}`; if others use this machine, log out and in again, so that what they may have read ends"
        yield warn("globus tokens", f"{path} is open to others ({stat.filemode(status.st_mode)})", remedy)
    else:
        yield ok("globus tokens", f"{path} is readable by its owner alone")


# --- with it ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Examination:
    service: GlobusService
    settings: Settings
    sleep: Callable[[float], Awaitable[None]]

    async def run(self) -> AsyncIterator[Finding]:
        identity = await self.service.whoami()
        yield ok("globus login", f"Globus knows this mirror as {identity.username}")
        yield await self._archive()
        if not self.settings.globus.collection:
            return
        try:
            own = await self.service.collection(self.settings.globus.collection)
        except EmpiarMirrorError as fault:
            yield _failed("collection", fault)
            return
        yield ok("globus collection", f"the mirror's collection is {own.display_name!r} ({own.entity_type})")
        for finding in self._exposed(own):
            yield finding
        trip = self._round_trip() if self.settings.globus.storage == "here" else self._elsewhere()
        async for finding in trip:
            yield finding

    async def _archive(self) -> Finding:
        archive = self.settings.archive
        try:
            base = await find_archive_base(self.service, archive.globus_collection, archive.globus_path)
        except EmpiarMirrorError as fault:
            return _failed("archive", fault)
        return ok("globus archive", f"the archive's collection shows the file tree at {base}")

    def _exposed(self, own: Collection) -> Iterator[Finding]:
        """Whether others could fetch the tokens through the collection itself."""
        globus = self.settings.globus
        path = token_path(globus, self.settings.root)
        inside = path.resolve().is_relative_to(self.settings.root.resolve())
        if (
            globus.client_secret is None
            and globus.storage == "here"
            and inside
            and "guest" in own.entity_type
        ):
            yield warn(
                "globus tokens",
                "the tokens lie in the folder that a guest collection shares: whoever may read it can fetch them",
                "set globus.token_file to a place outside of root, then log out and in again",
            )

    # --- the two ways through the collection --------------------------------------------------------------

    def _there(self, *names: str) -> str:
        return below(self.settings.globus.path, "staging", *names)

    async def _round_trip(self) -> AsyncIterator[Finding]:
        staging = self.settings.root / "staging"
        if not staging.is_dir():
            yield fail("globus round trip", f"{staging} is no folder", "run `empiar-mirror init`")
            return
        name = f".doctor-globus-{secrets.token_hex(8)}"
        written, made = staging / f"{name}.bin", staging / f"{name}.made"
        try:
            written.write_bytes(secrets.token_bytes(secrets.randbelow(4096) + 1))
            yield await self._seen(written)
            yield await self._made(made)
        except OSError as error:
            yield fail(
                "globus round trip",
                f"{staging} cannot be written: {error.strerror}",
                "give this user the right to write it",
            )
        except EmpiarMirrorError as fault:
            yield _failed("round trip", fault)
        finally:
            with contextlib.suppress(OSError):
                written.unlink()
            with contextlib.suppress(OSError):
                made.rmdir()

    async def _seen(self, written: Path) -> Finding:
        """What is written here shows in the collection at the mapped path."""
        size = (await asyncio.to_thread(written.stat)).st_size
        path = self._there(written.name)
        try:
            size_there = await self._size(path)
        except NotPermitted as fault:
            return fail("globus round trip", str(fault), f"{_WHERE}, or {fault.hint}")
        if size_there is None:
            return fail(
                "globus round trip",
                f"a file written to {written.parent} does not show in the collection at {self._there()}",
                f"{_WHERE}; your Globus administrator knows its base folder. If the collection is another machine's storage,"
                ' set globus.storage = "elsewhere"',
            )
        if size_there != size:
            sentence = f"{path} in the collection has {size_there} bytes, and {size} here: it is another file"
            return fail("globus round trip", sentence, _WHERE)
        return ok("globus round trip", f"what is written in {written.parent} shows in the collection")

    async def _size(self, path: str) -> int | None:
        """The size of the file in the mirror's collection; None where it does not show."""
        collection, name = self.settings.globus.collection, path.rpartition("/")[2]
        try:
            return (await self.service.stat(collection, path)).size
        except PermanentFault as fault:
            if fault.absent:
                return None
        # Servers of old cannot look at one path alone.
        listed = await self.service.ls(collection, self._there())
        return next((one.size for one in listed if one.name == name), None)

    async def _made(self, made: Path) -> Finding:
        """What is made in the collection appears here, and may be used by this user."""
        try:
            await self.service.mkdir(self.settings.globus.collection, self._there(made.name))
        except AccountFault as fault:
            remedy = "ask your Globus administrator to let this account write there; "
            return fail(
                "globus writing", str(fault), remedy + (fault.hint or "read access alone is not enough")
            )
        for look in range(_LOOKS):
            if look:
                await self.sleep(_BETWEEN_LOOKS_S)
            if await asyncio.to_thread(made.is_dir):
                return _usable(made)
        sentence = f"a folder made in the collection at {self._there()} does not appear in {made.parent}"
        remedy = (
            "ask your Globus administrator whether the collection writes to the storage that is mounted here"
        )
        return fail("globus writing", sentence, remedy)

    async def _elsewhere(self) -> AsyncIterator[Finding]:
        collection, path = self.settings.globus.collection, self._there()
        try:
            await self.service.mkdir(collection, path)
        except AccountFault as fault:
            remedy = "ask your Globus administrator to let this account write there; "
            yield fail("globus writing", str(fault), remedy + (fault.hint or ""))
            return
        except EmpiarMirrorError as fault:
            yield _failed("writing", fault)
            return
        yield ok("globus writing", f"the folder {path} is in the collection")
        yield warn(
            "globus storage",
            'globus.storage is "elsewhere": what Globus brings there cannot be verified from here',
            'where the storage can be mounted, let root be that mount and set globus.storage = "here"',
        )


def _usable(made: Path) -> Finding:
    """Whether this user may work on what Globus writes: it arrives as files of the local account that Globus maps us to."""
    status = made.stat()
    if not os.access(made, os.W_OK | os.X_OK):
        remedy = (
            f"ask your Globus administrator to map this Globus account to user {os.geteuid()}, which runs the mirror,"
            " or to give that user the right to change what it writes"
        )
        return fail(
            "globus writing",
            f"what Globus writes here belongs to user {status.st_uid}, and this one may not change it",
            remedy,
        )
    if status.st_uid != os.geteuid():
        remedy = f"map this Globus account to user {os.geteuid()}: hard links to files of others are often forbidden"
        return warn("globus writing", f"what Globus writes here belongs to user {status.st_uid}", remedy)
    return ok("globus writing", "what is made in the collection appears here, as this user's")
