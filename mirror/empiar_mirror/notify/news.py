"""What is worth telling, judged by how the mirror stood before and stands now, and by events (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from empiar_schema import events
from empiar_schema.events import Event
from empiar_schema.notify_settings import NoticeKind
from empiar_schema.sizes import format_bytes


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell. Two of one kind and subject are one thing: the later sentence counts."""

    kind: NoticeKind
    subject: str
    sentence: str


@dataclass(frozen=True, slots=True)
class EntryStanding:
    """How far an entry that was asked for is. `state` as in `entry_progress`."""

    title: str
    state: str
    wanted_files: int
    wanted_bytes: int
    here_files: int
    here_bytes: int
    failed_files: int
    #: Files here that the archive lists no longer.
    withdrawn_files: int = 0
    #: ``withdrawn`` or ``obsolete`` where the archive calls the entry so.
    upstream: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a mirror stands at one time."""

    entries: Mapping[int, EntryStanding]
    damaged_files: int
    #: Why work that could go on does not.
    standstill: tuple[str, ...]
    #: Why the disk takes nothing more, though there is more to come.
    disk_refusal: str | None
    free_bytes: int
    #: Reasons why a person is needed.
    attention: tuple[str, ...]


def news(before: Standing | None, now: Standing) -> list[Notice]:
    """What has happened between two looks. The first look of a process tells nothing: it is no news."""
    if before is None:
        return []
    found = []
    for empiar_id, entry in now.entries.items():
        found += _of_entry(empiar_id, before.entries.get(empiar_id), entry)
    if now.damaged_files > before.damaged_files:
        more = now.damaged_files - before.damaged_files
        found.append(
            Notice(
                NoticeKind.DAMAGE,
                "damage",
                f"{_files(more)} found changed or missing, {now.damaged_files:,} in all: `empiar-mirror repair` fetches them again",
            )
        )
    found += _of_disk(before, now)
    found += _of_standstill(before, now)
    return found


def unready_news(before: tuple[str, ...], now: tuple[str, ...]) -> list[Notice]:
    """What has changed in why the mirror cannot work: no `root`, no catalogue, a disk that cannot be written."""
    if now and not before:
        return [Notice(NoticeKind.STUCK, "unready", f"the mirror cannot work: {'; '.join(now)}")]
    if before and not now:
        return [
            Notice(NoticeKind.STUCK, "unready", "the mirror can work again: root and catalogue are there")
        ]
    return []


def notice_of(event: Event) -> Notice | None:
    """What an event tells that no look at the catalogue shows."""
    match event:
        case events.Paused(reason=reason, until=events.UNTIL_SPACE):
            return Notice(NoticeKind.DISK, "pause", f"work rests until there is space: {reason}")
        case events.GlobusOut(reason=reason):
            return Notice(NoticeKind.STUCK, "globus", f"Globus cannot be used for now: {reason}")
        case events.FileDamaged(path=path, reason=reason):
            # It may be whole again before the next look.
            return Notice(NoticeKind.DAMAGE, path, f"{path} is damaged: {reason}")
        case events.DerivedDamaged(path=path, reason=reason):
            return Notice(NoticeKind.DAMAGE, path, f"{path} is damaged, and made again: {reason}")
        case events.SubscriptionHeld(subscription=name, reason=reason):
            sentence = f"the subscription {name} rests until somebody resumes it: {reason}"
            return Notice(NoticeKind.STUCK, f"subscription {name}", sentence)
        case events.EntryEvicted(empiar_id=empiar_id, files=files, bytes=size, reason=reason):
            sentence = f"EMPIAR-{empiar_id}: {_files(files)}, {format_bytes(size)}, evicted by {reason}"
            return Notice(NoticeKind.DISK, f"evicted {empiar_id}", sentence)
        case events.EvictionRefused(policy=name, reason=reason):
            return Notice(NoticeKind.DISK, f"evict {name}", f"[evict.{name}] makes no room: {reason}")
        case events.SubscriptionLate(subscription=name, bytes_left=left):
            sentence = f"the subscription {name} is late: {format_bytes(left)} were to be here by now"
            return Notice(NoticeKind.STUCK, f"subscription {name} late", sentence)
    return None


def summary(before: Standing, now: Standing) -> Notice:
    """The day between two looks in a few sentences."""
    here, was_here = _here(now), _here(before)
    left_files = sum(e.wanted_files - e.here_files - e.failed_files for e in now.entries.values())
    left_bytes = sum(max(0, e.wanted_bytes - e.here_bytes) for e in now.entries.values())
    failed = sum(e.failed_files for e in now.entries.values())
    complete = sum(e.state == "complete" for e in now.entries.values())
    parts = [
        f"since the last summary {_files(max(0, here[0] - was_here[0]))} came, {format_bytes(max(0, here[1] - was_here[1]))}",
        f"{complete:,} of {len(now.entries):,} entries are complete, {here[0]:,} files, {format_bytes(here[1])}",
        f"{_files(left_files)} still to come, {format_bytes(left_bytes)}; {failed:,} failed",
        f"{format_bytes(now.free_bytes)} free on the disk",
        *now.attention,
        *now.standstill,
    ]
    return Notice(NoticeKind.SUMMARY, "summary", "\n".join(parts))


def _of_entry(empiar_id: int, before: EntryStanding | None, now: EntryStanding) -> list[Notice]:
    accession, title = f"EMPIAR-{empiar_id}", _title(now)
    found = []
    if before is None:
        size = f"{_files(now.wanted_files)}, {format_bytes(now.wanted_bytes)}"
        found.append(Notice(NoticeKind.MATCHED, accession, f"{accession}{title} was asked for: {size}"))
    if now.state == "complete" and (before is None or before.state != "complete"):
        size = f"{_files(now.here_files)}, {format_bytes(now.here_bytes)}"
        found.append(Notice(NoticeKind.COMPLETE, accession, f"{accession}{title} is complete: {size}"))
    more = now.failed_files - (0 if before is None else before.failed_files)
    if more > 0:
        why = f"`empiar-mirror status {empiar_id}` names them"
        found.append(Notice(NoticeKind.STUCK, accession, f"{accession}: {_files(more)} more failed; {why}"))
    if before is not None:
        found += _of_upstream(accession, before, now)
    return found


def _of_upstream(accession: str, before: EntryStanding, now: EntryStanding) -> list[Notice]:
    """What the archive did to an entry of which we have copies."""
    stay = "our copies stay"
    found = []
    if now.upstream != before.upstream:
        what = f"is {now.upstream} in the archive" if now.upstream else "is served by the archive again"
        found.append(Notice(NoticeKind.UPSTREAM, accession, f"{accession}{_title(now)} {what}; {stay}"))
    more = now.withdrawn_files - before.withdrawn_files
    if more > 0:
        sentence = f"{accession}: the archive lists {_files(more)} no longer that we have; {stay}"
        found.append(Notice(NoticeKind.UPSTREAM, f"{accession} files", sentence))
    return found


def _title(entry: EntryStanding) -> str:
    return f" ({entry.title})" if entry.title else ""


def _of_disk(before: Standing, now: Standing) -> list[Notice]:
    free = f"{format_bytes(now.free_bytes)} free"
    if now.disk_refusal is not None and before.disk_refusal is None:
        return [Notice(NoticeKind.DISK, "disk", f"the disk takes nothing more, {free}: {now.disk_refusal}")]
    if before.disk_refusal is not None and now.disk_refusal is None:
        return [Notice(NoticeKind.DISK, "disk", f"the disk takes files again, {free}")]
    return []


def _of_standstill(before: Standing, now: Standing) -> list[Notice]:
    if now.standstill and not before.standstill:
        return [Notice(NoticeKind.STUCK, "standstill", "; ".join(now.standstill))]
    if before.standstill and not now.standstill:
        return [Notice(NoticeKind.STUCK, "standstill", "work goes on again")]
    return []


def _here(standing: Standing) -> tuple[int, int]:
    entries = standing.entries.values()
    return sum(e.here_files for e in entries), sum(e.here_bytes for e in entries)


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"
