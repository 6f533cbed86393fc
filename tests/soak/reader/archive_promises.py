"""Promises on what is here and what the catalogue says of it: each function returns what it finds broken. Standard library only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from soak.reader.mirror_seen import Seen, Violation, key_of, seconds, sha256, shown
from soak.reader.truth import Key, Truth, Version

#: States of copies whose bytes stand at their final path.
HERE = ("arrived", "withdrawn")
#: A listing, with its stalls and second sources, takes no longer than this.
LISTING_S = 60.0


def arrived_is_true(seen: Seen, truth: Truth) -> Iterator[Violation]:
    """`arrived` means: these bytes, with this sha256, which the archive served whole."""
    promise = "arrived means these bytes"
    for row in seen.rows("SELECT * FROM copies WHERE state IN (?, ?)", *HERE):
        key = key_of(row)
        try:
            status = os.lstat(seen.path(key))
        except OSError as error:
            yield Violation(promise, f"{shown(key)} is {row['state']}, and not there: {error.strerror}")
            continue
        if not stat.S_ISREG(status.st_mode):
            yield Violation(promise, f"{shown(key)} is no regular file")
            continue
        found = sha256(seen.path(key))
        if found != row["sha256"]:
            yield Violation(promise, f"{shown(key)} has sha256 {found}, recorded is {row['sha256']}")
        if found not in truth.digests(key):
            yield Violation(promise, f"{shown(key)} is no version that was ever served whole")
        if row["bytes"] != status.st_size or row["bytes_here"] != status.st_size:
            yield Violation(
                promise,
                f"{shown(key)} has {status.st_size} bytes; recorded {row['bytes']}, {row['bytes_here']}",
            )


def nothing_unrecorded(seen: Seen, truth: Truth, *, restored: bool) -> Iterator[Violation]:
    """Whatever stands below ``archive/`` is on record.

    After a catalogue was `restored` from an earlier copy, files may stand there that the archive does not offer any more, or that it has
    changed: they are right by some version, and no record can speak of them.
    """
    promise = "nothing unverified at a final path"
    known = {key_of(row): str(row["state"]) for row in seen.rows("SELECT empiar_id, path, state FROM copies")}
    for key, status in seen.files():
        if not stat.S_ISREG(status.st_mode) or key[0] < 0:
            yield Violation(promise, f"{shown(key)} is no regular file of an entry")
        elif known.get(key) not in (*HERE, "damaged") and not (
            restored and sha256(seen.path(key)) in truth.digests(key)
        ):
            yield Violation(promise, f"{shown(key)} stands there and its copy is {known.get(key)}")


def listings_are_whole(seen: Seen, truth: Truth, lies: dict[int, list[float]]) -> Iterator[Violation]:
    """A current listing has what the archive had, all of it; `lies` are the moments at which it was told to leave names out."""
    promise = "a listing is complete or absent"
    listed = {
        row["empiar_id"]: seconds(row["listed_at"])
        for row in seen.rows("SELECT * FROM entries WHERE listed_at IS NOT NULL")
    }
    named: dict[int, set[Key]] = {}
    for row in seen.rows("SELECT empiar_id, path, last_seen_at FROM files WHERE gone_at IS NULL"):
        key = key_of(row)
        if seconds(row["last_seen_at"]) >= listed[key[0]]:
            named.setdefault(key[0], set()).add(key)
    for entry, moment in listed.items():
        assert isinstance(entry, int)
        begin, end = moment - LISTING_S, moment + 1
        for key in named.get(entry, ()):
            if not truth.stood_once(key, begin, end):
                yield Violation(promise, f"{shown(key)} was listed and not there")
        if any(begin - LISTING_S <= lie <= end for lie in lies.get(entry, ())):
            continue
        for key in truth.versions:
            if (
                key[0] == entry
                and key not in named.get(entry, ())
                and truth.stood_throughout(key, begin, end)
            ):
                yield Violation(promise, f"{shown(key)} was there all the time, and is not in the listing")


def silence_is_no_deletion(seen: Seen, truth: Truth) -> Iterator[Violation]:
    """What is called gone was not there."""
    for row in seen.rows("SELECT empiar_id, path, gone_at FROM files WHERE gone_at IS NOT NULL"):
        key = key_of(row)
        gone = seconds(row["gone_at"])
        if truth.stood_throughout(key, gone - LISTING_S, gone + 1):
            yield Violation(
                "one listing's silence is not a deletion", f"{shown(key)} is called gone, and was there"
            )


def changes_are_on_record(seen: Seen, truth: Truth) -> Iterator[Violation]:
    """Where the archive has another version than ours, or none, `changes` says so, once a listing has come since."""
    promise = "what changes upstream is recorded"
    listed = {
        row["empiar_id"]: seconds(row["listed_at"])
        for row in seen.rows("SELECT * FROM entries WHERE listed_at IS NOT NULL")
    }
    told: dict[Key, set[str]] = {}
    for row in seen.rows("SELECT empiar_id, path, kind FROM changes WHERE path IS NOT NULL"):
        told.setdefault(key_of(row), set()).add(str(row["kind"]))
    for row in seen.rows("SELECT * FROM copies WHERE state IN (?, ?)", *HERE):
        key = key_of(row)
        versions = truth.versions.get(key, [])
        if not versions or versions[-1].sha256 in (row["sha256"], None):
            continue
        ours = [version for version in versions if version.sha256 == row["sha256"]]
        if not ours or not _told_apart(ours[-1], versions[-1]):
            continue
        if listed.get(key[0], 0.0) > versions[-1].at + LISTING_S and not told.get(key):
            yield Violation(promise, f"{shown(key)} changed at {versions[-1].at:.0f}, and no row says so")
    for row in seen.rows("SELECT empiar_id, path FROM files WHERE gone_at IS NOT NULL"):
        key = key_of(row)
        if "removed" not in told.get(key, ()):
            yield Violation(promise, f"{shown(key)} is gone, and no row says so")


def _told_apart(ours: Version, theirs: Version) -> bool:
    """Whether a listing, whose times may be whole minutes, can tell the one from the other."""
    return ours.size != theirs.size or abs(ours.mtime - theirs.mtime) >= 60


def all_that_is_wanted_is_here(seen: Seen, truth: Truth, *, strict: bool) -> Iterator[Violation]:
    """What subscriptions select and the archive serves is here, or the catalogue says why not; `strict`: it is here.

    Files that a catalogue restored from a copy found occupied by another version stand in quarantine, with the reason.
    """
    promise = "what is wanted and served is here"
    selected: set[int] = set()
    for row in seen.rows("SELECT name, sql FROM subscriptions WHERE NOT paused AND held_at IS NULL"):
        for match in seen.rows(str(row["sql"])):
            assert isinstance(match["empiar_id"], int)
            selected.add(match["empiar_id"])
    copies = {key_of(row): row for row in seen.rows("SELECT * FROM copies")}
    for key, _ in truth.now():
        if key[0] not in selected:
            continue
        copy = copies.get(key)
        if copy is None:
            yield Violation(promise, f"{shown(key)} is not even wanted")
        elif copy["state"] in HERE:
            continue
        elif strict and not (copy["state"] == "quarantined" and "did not record" in str(copy["error"])):
            yield Violation(promise, f"{shown(key)} is {copy['state']}: {copy['error']}")
        elif not (copy["error"] or copy["not_before"]):
            yield Violation(promise, f"{shown(key)} is {copy['state']}, and nobody says why")


def nobody_waits_for_ever(seen: Seen) -> Iterator[Violation]:
    """No attempt is put off for longer than a server may ask, and no attempt ends before it began."""
    for row in seen.rows(
        "SELECT * FROM copies WHERE not_before > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+2 hours')"
    ):
        yield Violation("nothing waits for ever", f"{shown(key_of(row))} waits until {row['not_before']}")
    for row in seen.rows("SELECT * FROM transfers WHERE ended_at < started_at"):
        yield Violation("times are in order", f"an attempt at {row['file_id']} ended before it began")
