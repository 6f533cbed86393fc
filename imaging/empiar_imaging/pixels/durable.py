"""Derived files appear whole or not at all: written under another name, flushed, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from empiar_schema.disk import storage_fault, sync_file, sync_folder


@contextmanager
def durable_file(target: Path) -> Iterator[Path]:
    """A path to write to; on leaving without an error its bytes are durable at `target`, in place of older ones.

    The name in between begins with a dot and ends in ``.part``, so that no glob of a picker or importer takes it. It
    is always the same for a target: what a killed process left is replaced by the next try.

    Raises:
        StorageFault: the disk refused.
    """
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    part = target.with_name(f".{digest}.part")
    try:
        target.parent.mkdir(exist_ok=True)
        part.unlink(missing_ok=True)
        yield part
        sync_file(part)
        part.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise storage_fault(error, f"cannot write {target}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_durably(target: Path, data: bytes) -> None:
    """`target` holds `data`, durably.

    Raises:
        StorageFault: the disk refused.
    """
    with durable_file(target) as part:
        part.write_bytes(data)
