"""What the service would copy by a task's items and filters is what was wanted, whatever the tree looks like."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hypothesis import given, settings
from hypothesis import strategies as st

from empiar_mirror.globus.bundling import items_of
from empiar_mirror.globus.places import Places
from empiar_schema.globus_bundles import BundleFile
from empiar_schema.paths import RemotePath
from empiar_wire.globus_facts import FilterRule, TransferItem
from empiar_wire.globus_paths import shown_name

PLACES = Places("source", "/archive", "destination", "/mirror")
MOST_OTHERS = 12

stems = st.sampled_from(
    [b"a", b"b", b"c", b"", b"x.mrc", b"50%", b"%41", b"\xff", "é".encode(), b" ", b"[1]"]
)
endings = st.sampled_from(
    [b".mrc", b".mrc", b".mrc", b".jpg", b".JPG", b".gz", b"", b".", b".j*", b".\xff", b".%41", "ü".encode()]
)
names = (
    st.builds(lambda stem, number, ending: stem + number + ending, stems, st.sampled_from([b"", b"1", b"2"]), endings)
    .filter(lambda name: name not in (b"", b".", b".."))
)  # fmt: skip
folders = st.lists(
    st.sampled_from([b"data", b"m", b"deep", b"%2F", b"\xfe", b"m.jpg", b"[a-z]"]), max_size=3
).map(b"/".join)


@dataclass(frozen=True)
class Tree:
    """By entry and folder: names that are in the bundle, that are listed besides, that no listing names, and that are in the bundle and gone."""

    wanted: frozenset[tuple[int, bytes]]
    others: frozenset[tuple[int, bytes]]
    unlisted: frozenset[tuple[int, bytes]]
    gone: frozenset[tuple[int, bytes]]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Mostly folders of which most is wanted, as they are met."""
    parts: dict[str, set[tuple[int, bytes]]] = {
        "wanted": set(),
        "others": set(),
        "unlisted": set(),
        "gone": set(),
    }
    for entry in draw(st.sampled_from([(1,), (1, 22)])):
        for folder in draw(st.lists(folders, min_size=1, max_size=4, unique=True)):
            bulk = [b"%d.mrc" % n for n in range(draw(st.sampled_from([0, 3, 12])))]
            few = draw(st.lists(names, max_size=4, unique=True))
            rest = draw(st.sampled_from(["wanted", "others", "others", "unlisted", "gone"]))
            for name in {*bulk, *few}:
                kind = "wanted" if name in bulk else draw(st.sampled_from(["wanted", rest]))
                parts[kind].add((entry, folder + b"/" + name if folder else name))
    # A path cannot be a file and a folder at once.
    every = {path for part in parts.values() for path in part}
    above = {
        (entry, path.rsplit(b"/", n)[0]) for entry, path in every for n in range(1, path.count(b"/") + 1)
    }
    return Tree(**{kind: frozenset(part - above) for kind, part in parts.items()})


def facts(tree: Tree) -> dict[int, dict[str, tuple[str, ...] | None]]:
    """What `globus_store.listed_folders` would say."""
    found: dict[int, dict[str, tuple[str, ...] | None]] = {}
    for entry in {entry for entry, _ in tree.wanted | tree.others | tree.gone}:
        others: dict[str, list[str]] = {}
        used = set()
        for kind, paths in (("wanted", tree.wanted), ("others", tree.others), ("gone", tree.gone)):
            for number, path in paths:
                remote = RemotePath.from_bytes(number, path)
                if number == entry:
                    others.setdefault(remote.directory, [])
                    if kind == "others":
                        others[remote.directory].append(remote.name)
                    else:
                        used.add(remote.directory)
        found[entry] = {
            folder: tuple(rest) if folder in used and len(rest) <= MOST_OTHERS else None
            for folder, rest in others.items()
        }
    return found


def copied(
    items: list[TransferItem], filters: list[FilterRule], tree: Tree, *, heed_case: bool
) -> Counter[str]:
    """Destination paths that the service would write, by the meaning that it gives to items and filters."""

    def passes(name: str) -> bool:
        for rule in filters:
            assert rule.type == "file"
            assert rule.method == "exclude"
            if fnmatchcase(name, rule.name) or (
                not heed_case and fnmatchcase(name.lower(), rule.name.lower())
            ):
                return False
        return True

    there = {
        "/".join(["/archive", str(entry), *map(shown_name, path.split(b"/"))])
        for entry, path in tree.wanted | tree.others | tree.unlisted
    }
    written: Counter[str] = Counter()
    for item in items:
        if not item.recursive:
            written[item.destination] += item.source in there
            continue
        below = item.source + "/"
        for path in there:
            if path.startswith(below) and passes(path.rpartition("/")[2]):
                written[item.destination + "/" + path[len(below) :]] += 1
    return +written


@settings(max_examples=400)
@given(trees(), st.booleans())
def test_exactly_what_is_wanted_is_copied_and_perhaps_what_no_listing_names(
    tree: Tree, heed_case: bool
) -> None:
    files = [
        BundleFile(n, RemotePath.from_bytes(entry, path), 1)
        for n, (entry, path) in enumerate(sorted(tree.wanted | tree.gone))
    ]
    items, filters = items_of(files, facts(tree), PLACES)
    written = copied(items, filters, tree, heed_case=heed_case)
    assert set(written.values()) <= {1}, "nothing is copied twice"
    arrived = {remote: remote.raw for path in written if (remote := PLACES.delivered(path)) is not None}
    assert len(arrived) == len(written), "every destination tells its file"
    found = {(remote.empiar_id, raw) for remote, raw in arrived.items()}
    assert tree.wanted <= found
    assert not found & tree.others
    assert found <= tree.wanted | tree.unlisted
