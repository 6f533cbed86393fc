"""A Globus Auth and a Globus Transfer on loopback, with the archive as one collection and folders as others."""

from empiar_mirror.rehearsal.globus.accounts import CLIENT_ID, CLIENT_SECRET, NATIVE_CLIENT_ID
from empiar_mirror.rehearsal.globus.collections import (
    ARCHIVE_COLLECTION,
    DESTINATION_COLLECTION,
    Collection,
    FolderStorage,
)
from empiar_mirror.rehearsal.globus.faults import GlobusFault, GlobusFaultKind
from empiar_mirror.rehearsal.globus.standin import GlobusConfig, GlobusStandIn

__all__ = [
    "ARCHIVE_COLLECTION",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "DESTINATION_COLLECTION",
    "NATIVE_CLIENT_ID",
    "Collection",
    "FolderStorage",
    "GlobusConfig",
    "GlobusFault",
    "GlobusFaultKind",
    "GlobusStandIn",
]
