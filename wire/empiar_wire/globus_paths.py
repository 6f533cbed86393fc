"""Where the file tree is in the archive's Globus collection, and names as the Transfer service shows them.

On Linux a name is bytes; the service shows it as UTF-8 text, and one that is no UTF-8 as U+FFFD followed by its bytes as Latin-1
(https://docs.globus.org/api/transfer/file_operations/#path_encoding).
"""

from __future__ import annotations

from typing import Final

from empiar_schema.faults import BadAnswer, ConfigFault, PermanentFault
from empiar_wire.globus_facts import GlobusService
from empiar_wire.globus_faults import NotPermitted

#: EMPIAR's collection has shown the tree at either path; which one holds only its answer says.
KNOWN_BASES: Final = ("/gridftp/empiar/world_availability", "/empiar/world_availability")


_NOT_UTF8: Final = "\ufffd"


async def find_archive_base(service: GlobusService, collection: str, configured: str) -> str:
    """The path at which the archive's collection shows the file tree now, without a slash at its end.

    The configured path is tried first, then the other ones that are known.

    Raises:
        ConfigFault: the collection answers, but shows the tree at none of them.
        AccountFault, TransientFault: see `GlobusService`.
    """
    bases = list(dict.fromkeys([configured.rstrip("/") or "/", *KNOWN_BASES]))
    refused: NotPermitted | None = None
    for base in bases:
        try:
            if await _is_folder(service, collection, base):
                return base
        except NotPermitted as fault:
            # Collections also say so of paths outside of what they show.
            refused = refused or fault
    if refused is not None:
        raise refused
    raise ConfigFault(
        f"the archive's Globus collection {collection} shows the file tree neither at {' nor at '.join(bases)}",
        hint="look for it with `empiar-mirror globus ls --archive /` and set archive.globus_path",
    )


async def _is_folder(service: GlobusService, collection: str, path: str) -> bool:
    try:
        return (await service.stat(collection, path)).kind == "dir"
    except PermanentFault as fault:
        if fault.absent:
            return False
    # Servers of old cannot look at one path alone.
    try:
        await service.ls(collection, path)
    except PermanentFault:
        return False
    return True


def below(base: str, *parts: str) -> str:
    """The path of `parts` below `base`: one slash between any two, none at the end."""
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts if part)]) or "/"


def shown_name(raw: bytes) -> str:
    """A name as the service shows it, and wants it in paths."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return _NOT_UTF8 + raw.decode("latin-1")


def raw_name(shown: str) -> bytes:
    """The bytes of a name that the service shows; the inverse of `shown_name`.

    Raises:
        BadAnswer: bytes were replaced by U+FFFD, so that nobody can tell what the name is.
    """
    if _NOT_UTF8 not in shown:
        try:
            return shown.encode()
        except UnicodeEncodeError:
            raise BadAnswer(f"Globus shows a name that is no text: {shown[:80]!r}") from None
    if shown.startswith(_NOT_UTF8):
        try:
            raw = shown[1:].encode("latin-1")
        except UnicodeEncodeError:
            raw = b""
        if raw and shown_name(raw) == shown:
            return raw
    raise BadAnswer(f"Globus cannot show the bytes of a name: {shown[:80]!r}")
