"""How quick and how large judging roles is. Run by hand: ``python benchmarks/roles.py --files 400000``.

Prints a table; asserts nothing, because figures depend on the machine. Files per second of processor time, the best of three.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

from empiar_imaging.judging import judge_folder
from empiar_imaging.role_headers import refine
from empiar_imaging.role_overrides import Overrides
from empiar_imaging.roles import classify
from empiar_mirror.role_renewal import renew_roles
from empiar_schema.arrival_store import record_image
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry
from empiar_schema.entry import Entry
from empiar_schema.files import ListedFile
from empiar_schema.image_facts import ImageFacts
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.role_settings import RoleOverride
from empiar_schema.states import Role
from empiar_schema.transfer_store import want_entry

NOW = 1_800_000_000
ENTRY = 10_001
FOLDER_FILES = 5_000
PATTERNS = (
    "FoilHole_{a:08d}_Data_{b:08d}_{c}_20210314_{b:06d}_fractions.tiff",
    "slot{c}_{a:08d}_patch_aligned_doseweighted.mrc",
    "TS_{b:03d}_{c:03d}_{a:08d}_-2.0_EER.eer",
    "{a:08d}_{b:08d}.mrc",
)

Folder = tuple[str, list[ListedFile]]


def folders_of(files: int) -> list[Folder]:
    folders = []
    for number in range(-(-files // FOLDER_FILES)):
        pattern = PATTERNS[number % len(PATTERNS)]
        names = [pattern.format(a=i * 37, b=(i * 7919) % 99_991, c=i % 10) for i in range(FOLDER_FILES)]
        listed = [ListedFile(name, 500_000_000 + i, True, NOW, 60) for i, name in enumerate(names)]
        folders.append((f"data/GridSquare_{number:06d}", listed))
    return folders


def best(action: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        begun = time.process_time()
        action()
        times.append(time.process_time() - begun)
    return min(times)


def show(what: str, value: str) -> None:
    print(f"{what:<62} {value}", flush=True)


def pure(folders: Sequence[Folder], files: int) -> None:
    seconds = best(lambda: [classify([], path, listed) for path, listed in folders])
    show("judged by names, files/s", f"{files / seconds:,.0f}")
    facts = {i: ImageFacts("mrc", 5760, 4092, 40, "uint8") for i in range(FOLDER_FILES)}
    judged = [(listed, classify([], path, listed)) for path, listed in folders]
    seconds = best(lambda: [refine(listed, before, facts) for listed, before in judged])
    show("settled by headers, files/s", f"{files / seconds:,.0f}")
    stated = Overrides.of(ENTRY, [RoleOverride(entry=ENTRY, path="data/**/*_0001*", role=Role.OTHER)])
    seconds = best(lambda: [judge_folder([], path, listed, overrides=stated) for path, listed in folders])
    show("judged by names with one statement of the configuration, files/s", f"{files / seconds:,.0f}")
    _, listed = folders_of(4 * FOLDER_FILES)[0]
    large = [file._replace(name=f"{i % 3}_{file.name}") for i, file in enumerate(listed * 4)]
    tracemalloc.start()
    classify([], "data", large)
    show(
        f"memory for a folder of {len(large):,} files, at most, MB",
        f"{tracemalloc.get_traced_memory()[1] / 1e6:.1f}",
    )
    tracemalloc.stop()


def record_all(conn: sqlite3.Connection, facts: ImageFacts, files: int) -> None:
    for file_id in range(1, files + 1):
        record_image(conn, file_id, facts)


def whole(folders: Sequence[Folder], files: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Catalogue.open(Path(folder) / "empiar.db", create=True) as catalogue,
    ):
        catalogue.write_now(lambda c: record_entry(c, Entry(empiar_id=ENTRY), source="api", now=NOW))
        number = catalogue.write_now(lambda c: begin_listing(c, ENTRY, source="ftp", now=NOW))
        for path, listed in folders:
            catalogue.write_now(lambda c, p=path, part=listed: add_to_listing(c, number, p, part))  # type: ignore[misc]
        catalogue.write_now(lambda c: complete_listing(c, number, now=NOW))
        begun = time.process_time()
        renew_roles(catalogue, ENTRY, [])
        show("a new listing judged and recorded, files/s", f"{files / (time.process_time() - begun):,.0f}")
        show(
            "judged anew, nothing changed, files/s",
            f"{files / best(lambda: renew_roles(catalogue, ENTRY, [])):,.0f}",
        )
        catalogue.write_now(lambda c: want_entry(c, ENTRY, now=NOW))
        facts = ImageFacts("mrc", 5760, 4092, 40, "uint8")
        catalogue.write_now(lambda c: record_all(c, facts, files))
        begun = time.process_time()
        changed = renew_roles(catalogue, ENTRY, [])
        show(
            f"with headers of all, {changed:,} roles changed, files/s",
            f"{files / (time.process_time() - begun):,.0f}",
        )
        show("judged anew with headers of all, nothing changed, files/s", f"{files / best(lambda: renew_roles(catalogue, ENTRY, [])):,.0f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=400_000)
    files = -(-parser.parse_args().files // FOLDER_FILES) * FOLDER_FILES
    folders = folders_of(files)
    pure(folders, files)
    whole(folders, files)


if __name__ == "__main__":
    main()
