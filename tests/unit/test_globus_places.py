"""Paths to the service and back, byte for byte, whatever the service says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from empiar_mirror.globus.places import Places, is_utf8, plain
from empiar_schema.paths import RemotePath
from empiar_wire.globus_paths import below

PLACES = Places("source", "/gridftp/empiar/world_availability", "destination", "/lab/mirror")
BASES = ("/", "/~/", "/~/mirror", "/a b", "/50%", "/lab/mirror/")

raw_names = st.binary(min_size=1, max_size=12).filter(
    lambda name: name not in (b".", b"..") and not set(name) & set(b"/\0\r\n")
)
odd_names = st.sampled_from(
    [
        b" a ",
        b"50%.mrc",
        b"%41",
        b"%2F",
        b"a\xffb",
        b"\xef\xbf\xbd\xff",
        "é".encode(),
        b"-x",
        b"~",
        b"...",
        b"a\tb",
        b"\x7f",
    ]
)
paths = st.lists(raw_names | odd_names, min_size=1, max_size=4).map(b"/".join)


@given(paths, st.sampled_from(BASES), st.sampled_from(BASES), st.integers(1, 99_999_999))
@example(b" /\xff/50%41 ", "/", "/", 10017)
def test_a_file_is_known_again_by_either_of_its_paths(raw: bytes, base: str, root: str, entry: int) -> None:
    places = Places("a", base, "b", root)
    remote = RemotePath.from_bytes(entry, raw)
    path = plain(remote.path)
    assert path is not None
    source, destination = places.source(entry, path), places.destination(entry, path)
    assert source.startswith("/")
    assert "//" not in source + destination
    # U+FFFD at the beginning of a name that is UTF-8 says two things; then nothing is said rather than something wrong.
    assert places.requested(source) in (remote, None)
    assert places.delivered(destination) in (remote, None)
    if "\ufffd" not in raw.decode(errors="ignore"):
        assert places.requested(source) == places.delivered(destination) == remote


@given(paths)
def test_a_folder_is_above_its_files(raw: bytes) -> None:
    remote = RemotePath.from_bytes(1, raw + b"/x")
    folder, file = plain(remote.directory), plain(remote.path)
    assert folder is not None
    assert file is not None
    assert PLACES.source(1, file) == PLACES.source(1, folder) + "/x"
    assert PLACES.destination(1, "") + "/" + file == PLACES.destination(1, file)


@pytest.mark.parametrize("raw", [b"a\nb", b"a\rb", b"x\r\n", b"d\n/a"])
def test_a_line_break_cannot_be_told(raw: bytes) -> None:
    assert plain(RemotePath.from_bytes(1, raw).path) is None


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"a", True), ("é".encode(), True), (b"50%41", True), (b"\xff", False), (b"d\xc3/a", False)],
)
def test_names_that_depend_on_the_services_spelling(raw: bytes, text: bool) -> None:
    assert is_utf8(RemotePath.from_bytes(1, raw).path) is text


BELOW = "/lab/mirror/staging/globus"


@pytest.mark.parametrize(
    "hostile",
    [
        "", "/", "a", BELOW, f"{BELOW}/", f"{BELOW}/10017", f"{BELOW}/10017/", f"{BELOW}/10017//a",
        f"{BELOW}/10017/../10018/a", f"{BELOW}/10017/a/..", f"{BELOW}/10017/./a", f"{BELOW}/10017/a//b",
        f"{BELOW}/x/a", f"{BELOW}/-1/a", f"{BELOW}/010017/a", f"{BELOW}/0/a", f"{BELOW}/{'9' * 400}/a",
        f"{BELOW}/10017\n/a", f"{BELOW}/\u0661\u0662/a", f"{BELOW}/10017/a\0b", f"{BELOW}/10017/\ud800",
        f"{BELOW}/10017/a\ufffdb", f"{BELOW}/10017/\ufffdabc", f"{BELOW}/10017/\ufffd\u4e2d", f"{BELOW}x/10017/a",
        "/lab/mirror/staging/globus2/10017/a", "/etc/passwd", "lab/mirror/staging/globus/10017/a", "/LAB/mirror/staging/globus/10017/a",
    ],
)  # fmt: skip
def test_what_names_no_file_of_ours_is_none(hostile: str) -> None:
    assert PLACES.delivered(hostile) is None


@given(st.text(max_size=40))
def test_nothing_that_the_service_says_is_a_crash(text: str) -> None:
    for place in (text, f"{BELOW}/{text}", f"{BELOW}/10017/{text}"):
        found = PLACES.delivered(place)
        if found is not None:
            assert b".." not in found.raw.split(b"/")
            assert PLACES.destination(found.empiar_id, plain(found.path) or "") in (
                place.rstrip("/"),
                place,
            ) or ("\n" in place or "\r" in place)


def test_a_slash_at_the_end_of_a_file_is_overlooked() -> None:
    assert PLACES.delivered(f"{BELOW}/10017/data/a.mrc/") == RemotePath(10017, "data", "a.mrc")


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        (("/", "a", "b"), "/a/b"),
        (("/x/", "/a/"), "/x/a"),
        (("", "a"), "/a"),
        (("/",), "/"),
        (("/x", ""), "/x"),
    ],
)
def test_one_slash_between(parts: tuple[str, ...], path: str) -> None:
    assert below(*parts) == path
