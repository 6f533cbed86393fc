"""Facts about remote files: what a listing says, and what identifies the bytes behind a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from empiar_schema.states import Role

MINUTE_S = 60
DAY_S = 86_400


class ListedFile(NamedTuple):
    """One file of a directory listing. A tuple, because an entry can have a million of them."""

    #: Stored text of the name (`empiar_schema.paths.checked_name`).
    name: str
    #: Size in bytes; None where the listing shows none.
    bytes: int | None
    #: False where the listing rounds its sizes (Apache's table): then `bytes` is the middle of what it shows.
    bytes_exact: bool
    #: Modification time, epoch seconds; None where the listing shows none.
    modified_at: int | None
    #: Grain of `modified_at`: 1, `MINUTE_S` or `DAY_S`.
    modified_unit_s: int


class RoledFile(NamedTuple):
    """A listed file with its role."""

    file_id: int
    directory: str
    name: str
    #: None where no listing showed a size.
    bytes: int | None
    bytes_exact: bool
    modified_at: int | None
    role: Role


@dataclass(frozen=True, slots=True)
class Validators:
    """What identified the remote object when its first byte was received.

    `etag` is strong or None: a weak one proves nothing about bytes.
    """

    size: int | None = None
    modified_at: int | None = None
    etag: str | None = None

    def contradicts(self, later: Validators) -> str | None:
        """Why `later` cannot be the same object, or None. What either side does not state proves nothing.

        ETags are compared only when both exist: FTP has none, and two channels may serve one file.
        """
        if self.size is not None and later.size is not None and self.size != later.size:
            return f"size was {self.size}, is {later.size}"
        if self.etag is not None and later.etag is not None and self.etag != later.etag:
            return f"ETag was {self.etag}, is {later.etag}"
        if (
            self.modified_at is not None
            and later.modified_at is not None
            and self.modified_at != later.modified_at
        ):
            return f"modification time was {self.modified_at}, is {later.modified_at}"
        return None

    @property
    def prove_identity(self) -> bool:
        """Whether they are enough to resume by: a size, and an ETag or a modification time."""
        return self.size is not None and (self.etag is not None or self.modified_at is not None)
