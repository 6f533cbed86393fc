"""The words that all parts share: paths, sizes, states, faults. Everything named here is cheap to import.

Models of metadata (`empiar_schema.entry`), settings and the catalogue are imported from their own modules.
"""

from empiar_schema.faults import (
    BadAnswer,
    BadLabels,
    CatalogueFault,
    ChangedUpstream,
    ConfigFault,
    EmpiarMirrorError,
    ExitCode,
    HostileName,
    IntegrityFault,
    PermanentFault,
    RangesRefused,
    Stalled,
    StorageFault,
    TransferFault,
    TransientFault,
    UnreachableFault,
)
from empiar_schema.files import ListedFile, Validators
from empiar_schema.paths import RemotePath, accession, parse_empiar_id
from empiar_schema.sizes import format_bytes, parse_dataset_size, parse_duration, parse_size
from empiar_schema.states import TRANSITIONS, Channel, CopyState, EntryState, Role, may_follow

__all__ = [
    "TRANSITIONS",
    "BadAnswer",
    "BadLabels",
    "CatalogueFault",
    "ChangedUpstream",
    "Channel",
    "ConfigFault",
    "CopyState",
    "EmpiarMirrorError",
    "EntryState",
    "ExitCode",
    "HostileName",
    "IntegrityFault",
    "ListedFile",
    "PermanentFault",
    "RangesRefused",
    "RemotePath",
    "Role",
    "Stalled",
    "StorageFault",
    "TransferFault",
    "TransientFault",
    "UnreachableFault",
    "Validators",
    "accession",
    "format_bytes",
    "may_follow",
    "parse_dataset_size",
    "parse_duration",
    "parse_empiar_id",
    "parse_size",
]
