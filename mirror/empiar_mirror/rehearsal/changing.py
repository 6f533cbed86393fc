"""An archive that lives: by a seeded script entries and files appear, change, go and come back."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from empiar_mirror.rehearsal.archive import ArchiveFile, Entry, FileTree, RehearsalArchive
from empiar_mirror.rehearsal.entries import big_entry

#: New entries have numbers from here on.
FIRST_ID: Final = 10300
#: No more at once: an archive that grows without end would measure the machine.
_MOST_ENTRIES: Final = 24
_SMALL: Final = (20_000, 300_000)
_LARGE: Final = (5 * 2**20, 12 * 2**20)


class Changes:
    """One change at each `step`, of those that the real archive makes. The same seed gives the same ones on the same archive."""

    def __init__(self, archive: RehearsalArchive, *, seed: int, first_id: int = FIRST_ID) -> None:
        self._archive = archive
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._next_id = first_id
        self._made: list[int] = []
        self._away: dict[int, Entry] = {}
        self._kinds: tuple[tuple[int, Callable[[], str]], ...] = (
            (4, self._new_entry),
            (5, self._changed_file),
            (4, self._new_file),
            (3, self._removed_file),
            (2, self._changed_record),
            (1, self._obsolete),
            (2, self._vanished),
            (3, self._returned),
        )

    def step(self) -> str:
        """The archive has changed; in a sentence, how."""
        if not self._made:
            return self._new_entry()
        weights = [weight for weight, _ in self._kinds]
        [(_, change)] = self._chance.choices(self._kinds, weights)
        return change()

    def settle(self) -> None:
        """Entries that are away for a while are back."""
        while self._away:
            self._returned()

    # --- entries --------------------------------------------------------------------------------------

    def _new_entry(self) -> str:
        if len(self._made) >= _MOST_ENTRIES:
            return self._changed_file()
        empiar_id, self._next_id = self._next_id, self._next_id + 1
        sizes = {f"m_{n:03d}.mrc": self._size() for n in range(self._chance.randrange(2, 12))}
        entry = big_entry(empiar_id, sizes)
        self._archive.add_entry(entry)
        self._made.append(empiar_id)
        self._announce(empiar_id)
        return f"entry {empiar_id} is new, with {len(sizes)} files"

    def _changed_record(self) -> str:
        entry = self._entry()
        if entry is None:
            return self._new_entry()
        entry.record["title"] = f"Rehearsal: retitled {self._chance.randrange(10**6)}"
        self._announce(entry.empiar_id)
        return f"entry {entry.empiar_id} has another title"

    def _obsolete(self) -> str:
        entry = self._entry()
        if entry is None or len(self._made) < 6:
            return self._new_entry()
        gone = Entry(entry.empiar_id, {**entry.record, "status": "OBS", "obsolete_date": _today()}, None)
        self._archive.add_entry(gone)
        self._made.remove(entry.empiar_id)
        self._announce(entry.empiar_id)
        return f"entry {entry.empiar_id} is obsolete"

    def _vanished(self) -> str:
        entry = self._entry()
        if entry is None or len(self._made) < 4:
            return self._new_entry()
        self._archive.remove_entry(entry.empiar_id)
        self._made.remove(entry.empiar_id)
        self._away[entry.empiar_id] = entry
        return f"entry {entry.empiar_id} has vanished"

    def _returned(self) -> str:
        if not self._away:
            return self._new_file()
        empiar_id = self._chance.choice(sorted(self._away))
        self._archive.add_entry(self._away.pop(empiar_id))
        self._made.append(empiar_id)
        return f"entry {empiar_id} is back"

    # --- files ----------------------------------------------------------------------------------------

    def _changed_file(self) -> str:
        entry, path = self._file()
        if entry is None:
            return self._new_entry()
        size = self._size() if self._chance.random() < 0.5 else None
        self._archive.change_file(entry.empiar_id, path, size=size)
        return f"{entry.empiar_id}/{path.decode()} has changed"

    def _new_file(self) -> str:
        entry = self._entry()
        if entry is None:
            return self._new_entry()
        path = b"data/n_%06d.mrc" % self._chance.randrange(10**6)
        mtime = int(datetime.now(UTC).timestamp())
        self._archive.add_file(entry.empiar_id, path, ArchiveFile(self._size(), mtime))
        return f"{entry.empiar_id}/{path.decode()} is new"

    def _removed_file(self) -> str:
        entry, path = self._file()
        if entry is None:
            return self._new_entry()
        self._archive.remove_file(entry.empiar_id, path)
        return f"{entry.empiar_id}/{path.decode()} is gone"

    # --- choices --------------------------------------------------------------------------------------

    def _entry(self) -> Entry | None:
        return self._archive.entries[self._chance.choice(self._made)] if self._made else None

    def _file(self) -> tuple[Entry | None, bytes]:
        entry = self._entry()
        if entry is None or not isinstance(entry.tree, FileTree):
            return None, b""
        paths = sorted(path for path, _ in entry.walk() if path.startswith(b"data/"))
        return (entry, self._chance.choice(paths)) if len(paths) > 1 else (None, b"")

    def _size(self) -> int:
        return self._chance.randrange(*(_LARGE if self._chance.random() < 0.12 else _SMALL))

    def _announce(self, empiar_id: int) -> None:
        self._archive.touch_record(empiar_id, _today())


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
