"""What a Globus account can reach: its identity, and the two collections that a mirror needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from empiar_schema.faults import AccountFault, EmpiarMirrorError
from empiar_schema.settings import Settings
from empiar_wire.globus_facts import GlobusService, Identity
from empiar_wire.globus_faults import NO_NEEDS, MoreLoginNeeded
from empiar_wire.globus_paths import find_archive_base

if TYPE_CHECKING:
    from empiar_wire.globus import TransferService

#: Both collections may each want a consent and a session of their own; more than that is a loop.
_MOST_LOGINS: Final = 3


@dataclass(frozen=True, slots=True)
class Reached:
    """A collection that was looked at."""

    #: ``archive`` or ``mirror``.
    which: str
    collection: str
    path: str
    #: None where it can be listed.
    fault: EmpiarMirrorError | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """What an account can do for this mirror."""

    identity: Identity
    collections: tuple[Reached, ...]


@asynccontextmanager
async def globus_service(settings: Settings) -> AsyncIterator[TransferService]:
    """The Transfer service for the configured account; it is closed afterwards.

    Raises:
        ConfigFault, AccountFault: see `TransferService.of`.
    """
    from empiar_wire.globus import TransferService  # the SDK takes 130 ms to import

    service = TransferService.of(settings)
    try:
        yield service
    finally:
        await service.aclose()


async def look_around(settings: Settings) -> Access:
    """Whose account it is, and whether the collections of the settings can be listed with it.

    Raises:
        AccountFault: there is no login, or it is no longer good.
        TransientFault: the services cannot be reached.
    """
    async with globus_service(settings) as service:
        identity = await service.whoami()
        reached = [await _archive(service, settings)]
        if settings.globus.collection:
            reached.append(await _own(service, settings))
    return Access(identity, tuple(reached))


async def _archive(service: GlobusService, settings: Settings) -> Reached:
    collection, path = settings.archive.globus_collection, settings.archive.globus_path
    try:
        return Reached("archive", collection, await find_archive_base(service, collection, path))
    except EmpiarMirrorError as fault:
        return Reached("archive", collection, path, fault)


async def _own(service: GlobusService, settings: Settings) -> Reached:
    collection, path = settings.globus.collection, settings.globus.path
    try:
        await service.ls(collection, path)
    except EmpiarMirrorError as fault:
        return Reached("mirror", collection, path, fault)
    return Reached("mirror", collection, path)


def log_in(
    settings: Settings,
    show: Callable[[str], None],
    ask: Callable[[], str],
    look: Callable[[Settings], Access],
) -> Access:
    """A person has logged in, as often as the collections needed it, and this is what the account can reach.

    `show` gets an address to be opened anywhere, `ask` gives the code that it ended with; `look` runs `look_around`.

    Raises:
        AccountFault: the code was wrong; or a collection still wants more after what it wanted was given.
        ConfigFault, TransientFault: see `GlobusAccount`.
    """
    from empiar_wire.globus_account import GlobusAccount  # the SDK takes 130 ms to import

    scopes: tuple[str, ...] = ()
    session = NO_NEEDS
    for _ in range(_MOST_LOGINS):
        account = GlobusAccount(settings.globus, settings.root)
        try:
            account.log_in(show, ask, scopes=scopes, session=session)
        finally:
            account.close()
        access = look(settings)
        lacks = [one.fault for one in access.collections if isinstance(one.fault, MoreLoginNeeded)]
        if not lacks:
            return access
        wanted = [scope for lack in lacks for scope in lack.required_scopes]
        scopes = tuple(dict.fromkeys([*scopes, *wanted]))
        session = next((lack.session for lack in lacks if lack.session), session)
    raise AccountFault(
        f"the login still lacks something: {lacks[0]}",
        hint="ask whoever runs that collection what it demands of logins",
    )
