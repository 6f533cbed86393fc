from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, say, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.globus_access import Access
    from empiar_schema.settings import Settings
    from empiar_wire.globus_facts import GlobusService, Listed

#: A code has some 30 characters; a file given by mistake is not read whole.
_LONGEST_CODE = 10_000
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@click.group("globus")
def command() -> None:
    """The Globus account of this mirror, and what can be seen with it.

    An application registered at https://app.globus.org/settings/developers is needed; its id is globus.client_id. People log in
    with `globus login`; an application with a secret of its own (EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET) needs no login.
    """


@command.command("login")
@standard_options
def login(invocation: Invocation) -> ExitCode:
    """Log in to Globus, and give the consents that the collections need.

    Shows an address, to be opened in a browser on any machine, and reads the code that the page ends with from standard
    input. Then lists the archive's collection and the mirror's own; where one needs a consent, a second address is shown.
    """
    settings = invocation.settings()
    if settings.globus.client_secret is not None:
        say("this application acts for itself, with its secret: no login is needed")
        access = _look(settings)
    else:
        from empiar_mirror.globus_access import log_in

        access = log_in(settings, _show, _ask, _look)
    invocation.result(_access_document(access), _access_lines(access))
    faults = [one.fault for one in access.collections if one.fault is not None]
    return faults[0].exit_code if faults else ExitCode.OK


@command.command("logout")
@standard_options
def logout(invocation: Invocation) -> ExitCode:
    """Revoke the tokens of the login at Globus, and remove them here."""
    from empiar_wire.globus_account import GlobusAccount

    settings = invocation.settings()
    account = GlobusAccount(settings.globus, settings.root)
    try:
        ended = account.log_out()
    finally:
        account.close()
    text = f"the tokens in {account.token_file} are revoked and removed" if ended else "there was no login"
    if account.is_client:
        text = "an application with a secret has no login; unset EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET to end its use"
    invocation.result({"logged_out": ended}, [text])
    return ExitCode.OK


@command.command("whoami")
@standard_options
def whoami(invocation: Invocation) -> ExitCode:
    """Say whose account is used, by which application, and where its tokens are. Tokens are never shown."""
    import asyncio

    who = asyncio.run(_whoami(invocation.settings()))
    lines = [f"{who.username} ({who.name}), identity {who.identity_id}"]
    if who.token_file is None:
        lines.append(f"application {who.client_id}, with its own secret; tokens are kept in memory only")
    else:
        lines.append(f"logged in through application {who.client_id}; tokens are in {who.token_file}")
    if who.access_expires_at is not None:
        lines.append(f"the present access ends at {who.access_expires_at} and is renewed by itself")
    invocation.result(who, lines)
    return ExitCode.OK


@command.command("ls")
@click.argument("place", metavar="[[COLLECTION:]PATH]", default="")
@click.option("--archive", is_flag=True, help="PATH is in the archive's collection, seen from its file tree.")
@standard_options
def ls(invocation: Invocation, place: str, archive: bool) -> ExitCode:
    """List a folder of a collection: by default the mirror's own, seen from where root is in it.

    COLLECTION is a UUID. A PATH that begins with / is seen from the collection's top. Times are UTC.
    """
    import asyncio

    rows = asyncio.run(_ls(invocation.settings(), place, archive=archive))
    width = max((len(f"{row.bytes:,}") for row in rows), default=0)
    invocation.result(list(rows), [_row(row, width) for row in rows])
    return ExitCode.OK


# --- login ------------------------------------------------------------------------------------------------------


def _show(address: str) -> None:
    say("Open this address in a browser, on any machine, and log in:")
    say("")
    say(f"  {address}")
    say("")


def _ask() -> str:
    click.echo("The page ends with a code. Paste it here: ", err=True, nl=False)
    code = sys.stdin.readline(_LONGEST_CODE).strip()
    say("")
    if not code:
        raise ConfigFault(
            "no code came on standard input",
            hint="run `empiar-mirror globus login` in a terminal, and paste the code",
        )
    return code


def _look(settings: Settings) -> Access:
    import asyncio

    from empiar_mirror.globus_access import look_around

    return asyncio.run(look_around(settings))


_CALLED = {"archive": "the archive's collection", "mirror": "the mirror's collection"}


def _access_document(access: Access) -> dict[str, object]:
    return {
        "username": access.identity.username,
        "identity_id": access.identity.identity_id,
        "collections": [
            {
                "which": one.which,
                "collection": one.collection,
                "path": one.path,
                "reachable": one.fault is None,
                "fault": None if one.fault is None else str(one.fault),
                "remedy": one.fault.hint if one.fault is not None and one.fault.hint else None,
            }
            for one in access.collections
        ],
    }


def _access_lines(access: Access) -> Iterator[str]:
    yield f"this is the account of {access.identity.username} ({access.identity.name})"
    for one in access.collections:
        name = f"{_CALLED[one.which]} {one.collection}"
        if one.fault is None:
            yield f"{name} can be listed at {one.path}"
            continue
        yield f"{name} cannot be used yet: {one.fault}"
        if one.fault.hint:
            yield f"  → {one.fault.hint}"
    if len(access.collections) == 1:
        yield "globus.collection is not set: nothing can be transferred before it is"


# --- whoami -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Who:
    username: str
    name: str
    identity_id: str
    email: str | None
    client_id: str
    #: Path of the file with the tokens; None for an application with a secret.
    token_file: str | None
    #: ISO 8601, UTC.
    access_expires_at: str | None


async def _whoami(settings: Settings) -> _Who:
    from empiar_mirror.globus_access import globus_service

    async with globus_service(settings) as service:
        identity = await service.whoami()
        account = service.account
        return _Who(
            username=identity.username,
            name=identity.name,
            identity_id=identity.identity_id,
            email=identity.email,
            client_id=account.client_id,
            token_file=None if account.token_file is None else str(account.token_file),
            access_expires_at=_utc(account.expires_at()),
        )


# --- ls ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    #: Stored text (`empiar_schema.paths`).
    name: str
    kind: str
    bytes: int
    #: ISO 8601, UTC.
    modified_at: str | None
    link_target: str | None


async def _ls(settings: Settings, place: str, *, archive: bool) -> list[_Row]:
    from empiar_mirror.globus_access import globus_service
    from empiar_schema.faults import PermanentFault

    first, colon, rest = place.partition(":")
    named = first if colon and _UUID.fullmatch(first) else None
    if named and archive:
        raise ConfigFault(
            "--archive names a collection already", hint="leave out the COLLECTION, or --archive"
        )
    if not (named or archive or settings.globus.collection):
        raise ConfigFault(
            "globus.collection is not set",
            hint="set it, name a COLLECTION:PATH, or look at EMPIAR's own with --archive",
        )
    async with globus_service(settings) as service:
        collection, path = await _placed(service, settings, named, rest if named else place, archive=archive)
        try:
            found = await service.ls(collection, path)
        except PermanentFault as fault:
            if fault.absent:
                raise
            found = [await service.stat(collection, path)]
    return sorted((_row_of(one) for one in found), key=lambda row: (row.kind != "dir", row.name))


async def _placed(
    service: GlobusService, settings: Settings, named: str | None, path: str, *, archive: bool
) -> tuple[str, str]:
    from empiar_wire.globus_paths import below, find_archive_base

    if named:
        return named, path if path.startswith("/") else below("/", path)
    collection = settings.archive.globus_collection if archive else settings.globus.collection
    if path.startswith("/"):
        return collection, path
    if archive:
        return collection, below(
            await find_archive_base(service, collection, settings.archive.globus_path), path
        )
    return collection, below(settings.globus.path, path)


def _row_of(one: Listed) -> _Row:
    from empiar_schema.faults import BadAnswer
    from empiar_schema.paths import text_from_bytes
    from empiar_wire.globus_faults import shown
    from empiar_wire.globus_paths import raw_name

    try:
        name = text_from_bytes(raw_name(one.name))
    except BadAnswer:
        name = shown(one.name)
    target = None if one.link_target is None else shown(one.link_target)
    return _Row(name, shown(one.kind), one.size, _utc(one.modified_at), target)


def _row(row: _Row, width: int) -> str:
    size = "" if row.kind == "dir" else f"{row.bytes:,}"
    ending = "/" if row.kind == "dir" else "" if row.kind == "file" else f"  ({row.kind})"
    link = f" -> {row.link_target}" if row.link_target else ""
    return f"{size:>{width}}  {row.modified_at or '':<20}  {row.name}{ending}{link}"


def _utc(at: float | None) -> str | None:
    from datetime import UTC, datetime

    try:
        return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None
