"""How often roles are right on real names, entry by entry: the table of docs/roles.md.

``python tests/role_measure.py`` renews the page from the samples, where they are. The page holds counts only.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from empiar_imaging.roles import classify
from empiar_schema.files import ListedFile
from empiar_schema.role_reasons import UNSURE, Judgement
from empiar_schema.states import Role
from role_truth import truth_of

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "roles.md"
BEGIN: Final = "<!-- generated: measured -->\n"
END: Final = "<!-- end -->"

IMAGES: Final = frozenset({Role.MICROGRAPH, Role.MOVIE})
GAINS: Final = frozenset({Role.GAIN})

Folders = Mapping[str, Sequence[ListedFile]]


@dataclass(slots=True)
class Tally:
    """Files of one kind, judged."""

    files: int = 0
    right: int = 0
    #: Of the kind and judged otherwise, or judged so and of another kind.
    wrong: int = 0
    #: Of the kind, with a confidence below `UNSURE`, right or wrong.
    unsure: int = 0

    def __iadd__(self, other: Tally) -> Self:
        self.files += other.files
        self.right += other.right
        self.wrong += other.wrong
        self.unsure += other.unsure
        return self


@dataclass(slots=True)
class EntryTally:
    """One entry, judged."""

    empiar_id: int
    images: Tally = field(default_factory=Tally)
    gains: Tally = field(default_factory=Tally)
    others: Tally = field(default_factory=Tally)
    #: Files whose listing does not tell what they are.
    untold: int = 0
    #: Path, truth, judgement.
    mistakes: list[tuple[str, Role, Judgement]] = field(default_factory=list)

    def count(self, path: str, truth: Role | None, judged: Judgement) -> None:
        """One more file."""
        if truth is None:
            self.untold += 1
            return
        own = self.of(truth)
        own.files += 1
        own.unsure += judged.confidence < UNSURE
        if judged.role is truth:
            own.right += 1
            return
        own.wrong += 1
        if (taken := self.of(judged.role)) is not own and taken is not self.others:
            taken.wrong += 1
        self.mistakes.append((path, truth, judged))

    def of(self, role: Role) -> Tally:
        """The tally in which files of this role count."""
        return self.images if role in IMAGES else self.gains if role in GAINS else self.others


def listings(samples: Path) -> Iterator[tuple[int, Folders]]:
    """Every sampled listing: the entry, and its files by folder."""
    for path in sorted((samples / "listings").glob("[0-9]*.csv")):
        folders: dict[str, list[ListedFile]] = defaultdict(list)
        with path.open(newline="") as lines:
            for row in csv.DictReader(lines):
                folder, _, name = row["path"].rpartition("/")
                size = row.get("size") or row.get("exact_size")
                folders[folder].append(ListedFile(name, int(size) if size else None, bool(size), None, 1))
        yield int(path.name.partition(".")[0]), folders


def cryoppp(samples: Path) -> Iterator[tuple[int, Mapping[str, Sequence[tuple[str, str]]]]]:
    """What CryoPPP chose: the entry, and (its word for the role, name) by folder."""
    with (samples / "cryoppp-catalogue.csv").open(newline="") as lines:
        links = {row["empiar_id"]: row for row in csv.DictReader(lines)}
    for path in sorted((samples / "cryoppp-files").glob("*.csv")):
        folders: dict[str, list[tuple[str, str]]] = defaultdict(list)
        with path.open(newline="") as lines:
            for row in csv.DictReader(lines):
                link = links[path.stem]["gain_link" if row["role"] == "gain" else "data_link"]
                folders[link.partition("/")[2].strip("/")].append((row["role"], row["name"]))
        yield int(path.stem), folders


def measure(empiar_id: int, folders: Folders) -> EntryTally:
    """The entry's files judged by names, folders and sizes alone, without image sets and headers."""
    tally = EntryTally(empiar_id)
    for folder, files in folders.items():
        for file, judged in zip(files, classify([], folder, files), strict=True):
            path = f"{folder}/{file.name}" if folder else file.name
            tally.count(path, truth_of(empiar_id, path), judged)
    return tally


def table(tallies: Iterable[EntryTally]) -> Iterator[str]:
    """The table of the page, line by line."""
    yield "| entry | micrographs and movies | right | wrong | unsure | gains | right | wrong | unsure | other roles | right | wrong | not told |"
    yield "| ---: " * 13 + "|"
    total = EntryTally(0)
    for tally in tallies:
        yield _row(str(tally.empiar_id), tally)
        total.images += tally.images
        total.gains += tally.gains
        total.others += tally.others
        total.untold += tally.untold
    yield _row("**all**", total)
    yield ""
    for what, sum_ in (("Micrographs and movies", total.images), ("Gains", total.gains)):
        yield f"- {what}: {sum_.right:,} of {sum_.files:,} right, {sum_.wrong:,} wrong: {_share(sum_):.2%}."


def _row(name: str, tally: EntryTally) -> str:
    images, gains, others = tally.images, tally.gains, tally.others
    cells = [images.files, images.right, images.wrong, images.unsure]
    cells += [gains.files, gains.right, gains.wrong, gains.unsure]
    cells += [others.files, others.right, others.wrong, tally.untold]
    return f"| {name} | {' | '.join(f'{cell:,}' if cell else '' for cell in cells)} |"


def _share(tally: Tally) -> float:
    return tally.right / max(1, tally.right + tally.wrong)


def page(text: str, samples: Path) -> str:
    """The page with its measured part as it is to be."""
    lines = table(measure(empiar_id, folders) for empiar_id, folders in listings(samples))
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE.parents[2] / "shared" / "empiar-samples"
    if chosen.is_dir():
        PAGE.write_text(page(PAGE.read_text(), chosen))
    else:
        print(f"no samples in {chosen}: the measured part of {PAGE.name} stays as it is", file=sys.stderr)
