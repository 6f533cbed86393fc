"""At start: finishes or undoes what a crash left. See the table in docs/architecture.md."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

from empiar_imaging.formats.inspect import inspect
from empiar_mirror.arrive import archive_path
from empiar_mirror.reports import RecoveryReport
from empiar_mirror.staging import delivered_path, part_path
from empiar_schema import transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.disk import storage_fault
from empiar_schema.transfer_store import Arrival, Work


def recover(
    catalogue: Catalogue, *, staging: Path, archive: Path, clock: Callable[[], float]
) -> RecoveryReport:
    """No copy is claimed, no part file is without an owner, and every linked file is recorded.

    Only the holder of the instance lock may call it.

    Raises:
        StorageFault: the disk refused.
        CatalogueFault: the catalogue refused.
    """
    finished = resumable = given_back = 0
    with catalogue.reader() as conn:
        claimed = transfer_store.claimed_files(conn)
    try:
        for work in claimed:
            part = part_path(staging, work.remote.empiar_id, work.file_id)
            if work.delivery is not None:
                # What another channel had begun before may stand in its part file still.
                delivered = delivered_path(staging, work.remote)
                part = delivered if delivered.is_file() else part
            final = archive_path(archive, work.remote)
            if part.is_file() and final.is_file() and part.samefile(final):
                # Verified and linked; only the record is missing, so the bytes are read once more for it.
                arrival = _arrival(work, final)
                now = int(clock())
                catalogue.write_now(
                    functools.partial(transfer_store.record_arrivals, arrivals=[arrival], now=now)
                )
                part.unlink()
                finished += 1
                continue
            keep = work.bytes_kept > 0 and part.is_file()
            catalogue.write_now(
                functools.partial(
                    transfer_store.release,
                    file_id=work.file_id,
                    not_before=0,
                    error=None,
                    keep_partial=keep,
                )
            )
            resumable += keep
            given_back += not keep
        discarded = _discard_orphans(catalogue, staging)
    except OSError as error:
        raise storage_fault(error, f"cannot put {staging} in order") from error
    return RecoveryReport(finished, resumable, given_back, discarded)


def _arrival(work: Work, final: Path) -> Arrival:
    with final.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").digest()
        size = stream.tell()
    image = inspect(final, name=work.remote.name, size=size).facts
    return Arrival(work.file_id, size, sha256, work.last_channel, work.validators, image)


def _discard_orphans(catalogue: Catalogue, staging: Path) -> int:
    with catalogue.reader() as conn:
        owned = transfer_store.partial_file_ids(conn)
    discarded = 0
    for part in staging.glob("*/*.part"):
        if part.stem.isdecimal() and int(part.stem) not in owned:
            part.unlink()
            discarded += 1
    for folder in staging.glob("*/"):
        if not any(folder.iterdir()):
            folder.rmdir()
    return discarded
