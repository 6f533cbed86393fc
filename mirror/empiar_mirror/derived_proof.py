"""Later proof of derived files: every one re-read against its record. What fails is made again, not fetched."""

from __future__ import annotations

import functools
import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from empiar_mirror.makers.placing import derived_folder
from empiar_mirror.makers.templates import on_disk
from empiar_mirror.reports import FailedFile, VerifyReport
from empiar_mirror.threads import in_thread
from empiar_schema import job_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.product_reads import products_of
from empiar_schema.products import Product
from empiar_schema.states import CopyState

_READ_BYTES: Final = 2**20
#: Products that one thread checks before somebody may stop it.
_GROUP: Final = 256


def wrong_with(path: Path, product: Product, *, quick: bool) -> str | None:
    """What is wrong with the derived file at `path`; None if it is the one on record. `quick` compares the size only."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be opened: {error.strerror}"
    with os.fdopen(fd, "rb") as stream:
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return "it is no regular file"
            if status.st_size != product.size:
                return f"it has {status.st_size} bytes, the record says {product.size}"
            if quick:
                return None
            sha256 = hashlib.sha256()
            while block := stream.read(_READ_BYTES):
                sha256.update(block)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
    if sha256.digest() == product.sha256:
        return None
    return f"its sha256 is {sha256.hexdigest()}, the record says {product.sha256.hex()}"


async def verify_derived(
    catalogue: Catalogue,
    root: Path,
    ids: Sequence[int],
    *,
    quick: bool,
    threads: Executor,
    stopped: Callable[[], bool],
) -> VerifyReport:
    """Every derived file of these entries was checked; of a wrong one the record is gone and its job wanted again."""
    checked = bytes_read = 0
    damaged: list[FailedFile] = []
    for empiar_id in ids:
        products = await catalogue.read(functools.partial(products_of, empiar_id=empiar_id))
        for start in range(0, len(products), _GROUP):
            if stopped():
                return VerifyReport(0, bytes_read, tuple(damaged), derived=checked, stopped=True)
            group = products[start : start + _GROUP]
            found = await in_thread(threads, _check, root, empiar_id, group, quick=quick)
            checked += len(group)
            bytes_read += 0 if quick else sum(product.size for product in group)
            damaged += [
                FailedFile(f"{empiar_id}/derived/{path}", CopyState.DAMAGED, wrong) for path, wrong in found
            ]
            if found:
                await catalogue.write(functools.partial(_doubt, empiar_id=empiar_id, found=found))
    return VerifyReport(0, bytes_read, tuple(damaged), derived=checked)


def _check(root: Path, empiar_id: int, products: Sequence[Product], *, quick: bool) -> list[tuple[str, str]]:
    folder = derived_folder(root, empiar_id)
    looked = (
        (product, wrong_with(folder / on_disk(product.path), product, quick=quick)) for product in products
    )
    return [(product.path, wrong) for product, wrong in looked if wrong is not None]


def _doubt(conn: sqlite3.Connection, *, empiar_id: int, found: Sequence[tuple[str, str]]) -> None:
    for path, _ in found:
        job_store.doubt_product(conn, empiar_id, path)
