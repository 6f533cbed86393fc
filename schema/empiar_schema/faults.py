"""Everything that can go wrong, by what to do about it.

::

    EmpiarMirrorError
    ├── ConfigFault            exit 2   the user's words or the configuration
    ├── AccountFault           exit 2   the Globus account may not, or cannot, do what is asked: a person must act
    ├── ClusterFault           exit 2   the workers of a cluster cannot be had: a person must act
    ├── UnreachableFault       exit 3   the archive as a whole cannot be reached
    ├── StorageFault           exit 4   the disk refused (full, read-only, I/O error)
    ├── CatalogueFault         exit 4   the catalogue refused (locked, newer version, damaged)
    ├── UnreadableImage        exit 1   a file here whose pixels cannot be had: cut, damaged, too large, unknown
    ├── BadAnswer              exit 1   an answer that is no sensible answer: recorded, not retried at once
    │   └── HostileName                 a name that no file can have
    ├── BadLabels              exit 1   a file of particle coordinates that cannot be read as one
    └── TransferFault          exit 1   one file, one attempt
        ├── TransientFault              try again, after `retry_after_s`, on the same or another channel
        │   └── Stalled                 no progress for `stall_s`
        ├── PermanentFault              trying again the same way is useless (404, 550, name too long)
        ├── RangesRefused               the server sends the whole file or nothing: fetch it as one stream
        ├── ChangedUpstream             the object is not the one the partial came from: start over
        └── IntegrityFault              bytes proven wrong: discard them and fetch again

Library exceptions are translated at the edge where they arise (`fault_from_http_status`,
`fault_from_ftp_reply` here; the OS's and the libraries' own classes in `empiar_wire`), so that judgement
elsewhere reads these classes only. Texts never hold a secret: URLs are given without user information.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

#: The hint of a fault that no user and no data can cause.
DEFECT: Final = "this is a defect of the program; please report it"


class ExitCode(IntEnum):
    """Exit codes of every command (public contract)."""

    OK = 0
    SOME_FILES_FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    STORAGE = 4
    DAMAGE_FOUND = 5
    STOPPED = 130


class EmpiarMirrorError(Exception):
    """The base of all errors that a user may read. `hint` says what to do next, in one sentence."""

    exit_code = ExitCode.SOME_FILES_FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigFault(EmpiarMirrorError):
    """The configuration or the command line is wrong."""

    exit_code = ExitCode.USAGE


class AccountFault(EmpiarMirrorError):
    """The Globus account cannot do what is asked: not logged in, a consent or a permission that lacks, a collection that is gone."""

    exit_code = ExitCode.USAGE


class ClusterFault(EmpiarMirrorError):
    """The scheduler of the cluster cannot be reached, or has gone: nothing is wrong with the work itself."""

    exit_code = ExitCode.USAGE


class UnreachableFault(EmpiarMirrorError):
    """The archive, by every configured way, cannot be reached."""

    exit_code = ExitCode.UNREACHABLE


class StorageFault(EmpiarMirrorError):
    """The disk refused. `full` tells a lack of space, which pauses the work, from damage, which ends it."""

    exit_code = ExitCode.STORAGE

    def __init__(self, message: str, *, hint: str = "", full: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.full = full


class CatalogueFault(EmpiarMirrorError):
    """The catalogue refused: locked by another process, damaged, or of a newer version."""

    exit_code = ExitCode.STORAGE


class UnreadableImage(EmpiarMirrorError):
    """The pixels of a file cannot be had: it is cut, damaged, larger than the limits allow, or of no known format.

    Trying again is useless while the file stays what it is; other files are not concerned.
    """


class BadAnswer(EmpiarMirrorError):
    """The archive answered with something that cannot be right (too large, too deep, not parseable)."""


class HostileName(BadAnswer):
    """A listed name that no file can have, or that would leave its folder."""


class BadLabels(EmpiarMirrorError):
    """A file of particle coordinates that is cut, ragged, of another kind, or cannot be written in the wanted format."""


class TransferFault(EmpiarMirrorError):
    """One attempt at one file ended without the bytes."""


class TransientFault(TransferFault):
    """Worth trying again; `retry_after_s` is the server's own wish when it stated one.

    `host_down` says that nothing reached the server at all (refused, reset at connect, DNS, 421/503 at the
    greeting), so that the whole host rests, not one file. `crowded` says that it may be because of too many connections:
    the server called itself busy, or refused or broke one.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after_s: float | None = None,
        host_down: bool = False,
        crowded: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
        self.host_down = host_down
        self.crowded = crowded or host_down


class Stalled(TransientFault):
    """No byte came for the allowed time."""


class PermanentFault(TransferFault):
    """The same request will fail again. `absent` says that the server has no such file (404, 410, 550)."""

    def __init__(self, message: str, *, hint: str = "", absent: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.absent = absent


class RangesRefused(TransferFault):
    """The server ignored or refused a byte range of a file that has not changed."""


class ChangedUpstream(TransferFault):
    """The remote object is no longer the one whose bytes we hold; the partial must not be continued."""


class IntegrityFault(TransferFault):
    """Bytes proven wrong: too short, too long, or an error text in place of data."""


def fault_from_http_status(status: int, what: str, *, retry_after_s: float | None = None) -> TransferFault:
    """The fault that an HTTP status of 300 or more means for one request (`what`: method and address).

    403 is transient: EBI's own web front end answers it when a client asks too fast (its code of 2020).
    """
    message = f"{what}: HTTP {status}"
    if status in (404, 410):
        return PermanentFault(message, absent=True)
    if status in (403, 408, 425, 429) or status >= 500:
        return TransientFault(message, retry_after_s=retry_after_s, crowded=status in (429, 503))
    return PermanentFault(message)


def fault_from_ftp_reply(code: int, text: str, what: str) -> TransferFault:
    """The fault that an FTP reply of 400 or more means (`what`: command and path).

    421 and 530 at login mean a full server on vsftpd, Pure-FTPd and ProFTPD: the host rests. 425 and 426
    concern the data connection, 450 and 451 the moment: try again. 550 is a file that is not there or may
    not be read.
    """
    message = f"{what}: FTP {code} {text.strip()[:200]}"
    if code in (421, 530):
        return TransientFault(message, host_down=True)
    if code < 500 or code == 552:
        return TransientFault(message, crowded=code == 425)
    return PermanentFault(message, absent=code == 550)
