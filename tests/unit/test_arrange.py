"""Layouts on disk: whole or absent, never touched without need, never at the cost of somebody's files."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from claims import claim
from empiar_mirror import arrange
from empiar_mirror.arrange import MAPPING, ArrangeReport, arrange_entry, clean_leftovers
from empiar_mirror.derived_layout import plan_view
from empiar_mirror.folders import Folders
from empiar_mirror.layout import LaidFile, LayoutPlan, plan_layout
from empiar_mirror.linking import LinkMode, exchange, link
from empiar_mirror.view_files import laid_files
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_roles
from empiar_schema.faults import HostileName, StorageFault
from empiar_schema.files import ListedFile
from empiar_schema.layout_views import PRESETS
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.paths import bytes_from_text
from empiar_schema.products import Kind, Product
from empiar_schema.states import Channel, Role
from empiar_schema.transfer_store import Arrival, record_arrivals, want_entry

PATHS = ("data/p1/061.mrc", "data/p2/061.mrc", "data/p2/a b.mrc", "data/%FF%0A.mrc")


class Mirror:
    """A root with files of entry 10028 and their plan."""

    def __init__(self, root: Path, paths: tuple[str, ...] = PATHS) -> None:
        Folders.below(root)
        self.root = root
        self.folder = root / "datasets/cryoppp/10028"
        self.files: list[LaidFile] = []
        for path in paths:
            self.add(path)

    def add(self, path: str, role: Role = Role.MICROGRAPH) -> None:
        source = self.source(path)
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(path.encode())
        self.files.append(LaidFile.of(len(self.files) + 1, path, role, len(self.files).to_bytes(32, "big")))

    def source(self, path: str) -> Path:
        return self.root / "archive/10028" / os.fsdecode(bytes_from_text(path))

    @property
    def plan(self) -> LayoutPlan:
        return plan_layout(self.files)

    def arrange(self, mode: LinkMode = "auto", *, rebuild: bool = False) -> ArrangeReport:
        return arrange_entry(self.root, 10028, view="cryoppp", plan=self.plan, mode=mode, rebuild=rebuild)

    def build(self, fresh: Path, mode: LinkMode) -> None:
        found, _missing = arrange._with_sources(self.root, 10028, self.plan)
        arrange._build(fresh, found, mode)

    def shown(self) -> dict[str, bytes]:
        return {
            os.fsdecode(os.fsencode(path.relative_to(self.folder))): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != MAPPING
        }

    def assert_shows_plan(self) -> None:
        expected = {
            os.fsdecode(bytes_from_text(place.path)): place.file.path.encode() for place in self.plan.places
        }
        assert self.shown() == expected
        assert [entry.name for entry in os.scandir(self.folder.parent)] == ["10028"]


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize("mode", ["auto", "hardlink", "symlink", "copy"])
def test_the_layout_shows_the_files_by_every_kind_of_link(mirror: Mirror, mode: LinkMode) -> None:
    assert mirror.arrange(mode) == ArrangeReport(linked=4, kept=0, removed=0)
    mirror.assert_shows_plan()
    one = (mirror.folder / "micrographs/a b.mrc").lstat()
    source = mirror.source("data/p2/a b.mrc").lstat()
    assert stat.S_ISLNK(one.st_mode) == (mode == "symlink")
    assert (one.st_ino == source.st_ino) == (mode in ("auto", "hardlink"))


def test_symbolic_links_are_relative_so_that_the_root_can_move(mirror: Mirror) -> None:
    mirror.arrange("symlink")
    moved = mirror.root.rename(mirror.root.with_name("moved"))
    assert (moved / "datasets/cryoppp/10028/micrographs/p1__061.mrc").read_bytes() == b"data/p1/061.mrc"


def test_an_unchanged_layout_is_not_touched(mirror: Mirror) -> None:
    for mode in ("auto", "symlink", "copy"):
        mirror.arrange(mode)
        before = snapshot(mirror.root / "datasets")
        assert mirror.arrange(mode) == ArrangeReport(linked=0, kept=4, removed=0)
        assert snapshot(mirror.root / "datasets") == before


def test_a_rebuild_makes_every_link_anew(mirror: Mirror) -> None:
    mirror.arrange("copy")
    before = snapshot(mirror.folder)
    assert mirror.arrange("copy", rebuild=True).kept == 4
    assert snapshot(mirror.folder) != before
    mirror.assert_shows_plan()


def test_another_kind_of_link_or_a_damaged_one_is_made_anew(mirror: Mirror) -> None:
    mirror.arrange("symlink")
    mirror.arrange("hardlink")
    one = mirror.folder / "micrographs/a b.mrc"
    assert not one.is_symlink()
    one.unlink()
    mirror.arrange("hardlink")
    mirror.assert_shows_plan()


def test_files_that_come_and_go_are_counted(mirror: Mirror) -> None:
    mirror.arrange()
    mirror.add("data/p3/new.mrc")
    mirror.add("data/gain.mrc", Role.GAIN)
    del mirror.files[0]
    # The clash is over, so 061.mrc of p2 is bare now: one new place and two that are gone.
    assert mirror.arrange() == ArrangeReport(linked=3, kept=2, removed=2)
    mirror.assert_shows_plan()
    assert (mirror.folder / "gain/gain.mrc").is_file()


def test_the_mapping_tells_where_each_link_comes_from(mirror: Mirror) -> None:
    mirror.arrange()
    lines = (mirror.folder / MAPPING).read_text().splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    assert len(rows) == 4
    assert {
        "place": "micrographs/p1__061.mrc",
        "path": "data/p1/061.mrc",
        "role": "micrograph",
        "origin": "deposited",
        "stem": "p1__061",
        "sha256": "0" * 64,
        "rule": "folder prefix",
        "chosen": "all",
        "maker": "",
    } in rows


def test_a_file_that_is_not_where_the_catalogue_says_is_named_and_left_out(mirror: Mirror) -> None:
    mirror.source("data/p1/061.mrc").unlink()
    mirror.source("data/p2/a b.mrc").unlink()
    mirror.source("data/p2/a b.mrc").symlink_to("/etc/passwd")
    report = mirror.arrange()
    assert (report.linked, report.missing) == (2, ("data/p1/061.mrc", "data/p2/a b.mrc"))
    assert set(mirror.shown()) == {"micrographs/p2__061.mrc", os.fsdecode(b"micrographs/\xff\n.mrc")}


def test_an_entry_without_images_gets_no_folder(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, ())
    assert mirror.arrange() == ArrangeReport(0, 0, 0)
    assert not any((tmp_path / "datasets").rglob("*"))


@pytest.mark.parametrize("path", ["../10017/a.mrc", "data/../../x.mrc", "data/%00.mrc", "/etc/passwd"])
def test_a_path_that_would_leave_the_entry_is_refused(mirror: Mirror, path: str) -> None:
    mirror.files.append(LaidFile.of(9, path, Role.MICROGRAPH))
    with pytest.raises(HostileName):
        mirror.arrange()
    assert not mirror.folder.exists()


def test_files_that_somebody_put_into_the_layout_survive_every_rebuild(mirror: Mirror) -> None:
    mirror.arrange()
    labels = mirror.folder / "ground_truth/particle_coordinates/p1__061.csv"
    labels.parent.mkdir(parents=True)
    labels.write_text("X-Coordinate,Y-Coordinate,Diameter\n")
    own = mirror.folder / "micrographs/new.mrc"
    own.write_text("mine")
    (mirror.folder / "elsewhere").symlink_to("/")
    mirror.add("data/p3/new.mrc")
    mirror.arrange()
    mirror.arrange(rebuild=True)
    assert labels.read_text() == "X-Coordinate,Y-Coordinate,Diameter\n"
    assert own.read_bytes() == b"data/p3/new.mrc"
    assert (mirror.folder / "displaced/micrographs/new.mrc").read_text() == "mine"
    assert (mirror.folder / "elsewhere").readlink() == Path("/")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_in_the_way_is_refused_and_not_removed(mirror: Mirror, kind: str) -> None:
    mirror.folder.parent.mkdir(parents=True)
    mirror.folder.touch() if kind == "file" else mirror.folder.symlink_to("/")
    with pytest.raises(StorageFault, match="in the way"):
        mirror.arrange()
    assert os.path.lexists(mirror.folder)


def test_a_full_exchange_leaves_no_moment_without_a_layout(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    (one / "a").touch()
    try:
        exchange(one, other)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EINVAL):
            pytest.skip("the file system of the temporary folder cannot exchange two names")
        raise
    assert not list(one.iterdir())
    assert (other / "a").is_file()
    with pytest.raises(FileNotFoundError):
        exchange(one, tmp_path / "none")


def test_a_file_system_without_exchange_is_served_by_two_renames(mirror: Mirror) -> None:
    def refuse(_one: Path, _other: Path) -> None:
        raise OSError(errno.EINVAL, "no exchange here")

    mirror.arrange()
    mirror.add("data/p3/new.mrc")
    fresh = mirror.folder.parent / ".10028.new"
    mirror.build(fresh, "auto")
    arrange._publish(fresh, mirror.folder, swap=refuse)
    mirror.assert_shows_plan()


@pytest.mark.parametrize(
    "moment", ["half built", "built", "exchanged", "between two renames", "half removed"]
)
def test_a_crash_at_any_moment_is_mended_at_the_next_start(mirror: Mirror, moment: str) -> None:
    mirror.arrange()
    (mirror.folder / "notes.txt").write_text("mine")
    mirror.add("data/p3/new.mrc")
    fresh, old = (mirror.folder.parent / f".10028.{end}" for end in ("new", "old"))
    mirror.build(fresh, "auto")
    if moment == "half built":
        (fresh / "micrographs/new.mrc").unlink()
    if moment in ("exchanged", "half removed"):
        exchange(fresh, mirror.folder)
    if moment == "half removed":
        (fresh / "micrographs/a b.mrc").unlink()
    if moment == "between two renames":
        mirror.folder.rename(old)
    assert clean_leftovers(mirror.root) >= 1
    assert [entry.name for entry in os.scandir(mirror.folder.parent)] == ["10028"]
    assert (mirror.folder / "notes.txt").read_text() == "mine"
    shown = mirror.shown()
    assert shown.pop("notes.txt") == b"mine"
    assert len(shown) in (4, 5)
    (mirror.folder / "notes.txt").unlink()
    mirror.arrange()
    mirror.assert_shows_plan()
    assert clean_leftovers(mirror.root) == 0


def test_the_first_layout_cut_off_by_a_crash_leaves_nothing(mirror: Mirror) -> None:
    fresh = mirror.folder.parent / ".10028.new"
    mirror.build(fresh, "symlink")
    assert clean_leftovers(mirror.root) == 1
    assert not list(mirror.folder.parent.iterdir())
    assert mirror.source("data/p1/061.mrc").is_file()


def test_places_that_look_alike_and_files_without_a_place_are_noted(tmp_path: Path) -> None:
    mirror = Mirror(
        tmp_path, ("d/a.mrc", "d/A.mrc", f"{'f' * 100}1/{'n' * 200}", f"{'f' * 100}2/{'n' * 200}")
    )
    report = mirror.arrange()
    assert report.linked == 2
    assert len(report.notes) == 2
    assert "2/nnn" in report.notes[0]
    assert report.notes[0].endswith(
        "have no place: its name in the layout would have 303 bytes, 255 are possible"
    )
    assert any("micrographs/A.mrc, micrographs/a.mrc" in note for note in report.notes)


def test_a_link_never_replaces_what_stands(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("a")
    target.write_text("b")
    for mode in ("auto", "hardlink", "symlink", "copy", "reflink"):
        with pytest.raises(StorageFault):
            link(source, target, mode)
        assert target.read_text() == "b"


def test_a_reflink_is_made_or_refused_and_never_leaves_half_a_file(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("a")
    try:
        assert link(source, target, "reflink") == "reflink"
    except StorageFault:
        assert not target.exists()
    else:
        assert target.read_text() == "a"
        assert target.stat().st_ino != source.stat().st_ino


def test_across_file_systems_a_symbolic_link_is_taken(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev or not os.access(other, os.W_OK):
        pytest.skip("there is no second file system to link across")
    source = other / f"empiar-mirror-{os.getpid()}"
    source.write_text("a")
    try:
        assert link(source, tmp_path / "a") == "symlink"
        assert (tmp_path / "a").read_text() == "a"
    finally:
        source.unlink()


def test_a_copy_has_the_time_of_its_source(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"a" * 3_000_000)
    os.utime(source, (1_000_000_000, 1_234_567_890))
    assert link(source, tmp_path / "b", "copy") == "copy"
    assert (tmp_path / "b").read_bytes() == source.read_bytes()
    assert (tmp_path / "b").stat().st_mtime_ns == source.stat().st_mtime_ns


def test_files_that_have_a_role_in_the_layout_are_read_with_whether_they_are_here(tmp_path: Path) -> None:
    names = ("a.mrc", "b.mrc", "gain.mrc", "notes.txt")
    with Catalogue.open(tmp_path / "empiar.db", create=True) as catalogue:

        def list_files(conn: sqlite3.Connection) -> None:
            listing = begin_listing(conn, 10028, source="ftp", now=1)
            add_to_listing(conn, listing, "data", [ListedFile(name, 4, True, 1, 1) for name in names])
            complete_listing(conn, listing, now=2)

        catalogue.write_now(
            lambda conn: conn.execute("INSERT INTO entry (empiar_id, discovered_at) VALUES (10028, 1)")
        )
        catalogue.write_now(list_files)
        catalogue.write_now(lambda conn: want_entry(conn, 10028, now=3))
        works = catalogue.write_now(lambda conn: claim(conn, now=4, limit_files=10, limit_bytes=1000))
        ids = {work.remote.name: work.file_id for work in works}
        roles = [
            (ids["a.mrc"], Role.MICROGRAPH, 1.0),
            (ids["b.mrc"], Role.MICROGRAPH, 1.0),
            (ids["gain.mrc"], Role.GAIN, 1.0),
        ]
        catalogue.write_now(lambda conn: record_roles(conn, roles))
        arrivals = [
            Arrival(ids[name], 4, b"\xab" * 32, Channel.FTP, None)
            for name in ("a.mrc", "gain.mrc", "notes.txt")
        ]
        catalogue.write_now(lambda conn: record_arrivals(conn, arrivals, now=5))
        with catalogue.reader() as conn:
            found = laid_files(conn, 10028, PRESETS["cryoppp"])
    assert sorted((file.path, file.role, file.here, file.sha256) for file in found) == [
        ("data/a.mrc", Role.MICROGRAPH, True, b"\xab" * 32),
        ("data/b.mrc", Role.MICROGRAPH, False, None),
        ("data/gain.mrc", Role.GAIN, True, b"\xab" * 32),
    ]


def with_labels(mirror: Mirror) -> LayoutPlan:
    """The plan of the mirror's files and coordinates of each, as ``derived/`` has them."""
    products = []
    for file in mirror.files:
        path = f"labels/{file.file_id}.csv"
        source = mirror.root / "derived/10028" / path
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(f"X of {file.path}")
        made = Product(
            file.file_id, path, Kind.PARTICLE_COORDINATES, "labels", None, file.file_id, 9, b"\xcd" * 32
        )
        products.append(made)
    return plan_view(mirror.files, products, PRESETS["cryoppp"], empiar_id=10028)


def test_derived_files_are_laid_out_in_folders_of_folders_and_the_mapping_tells_their_origin(
    mirror: Mirror,
) -> None:
    report = arrange_entry(mirror.root, 10028, view="cryoppp", plan=with_labels(mirror))
    assert (report.linked, report.missing, report.notes) == (8, (), ())
    labels = mirror.folder / "ground_truth/particle_coordinates"
    assert (labels / "p1__061.csv").read_text() == "X of data/p1/061.mrc"
    lines = (mirror.folder / MAPPING).read_text().splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    assert {
        "place": "ground_truth/particle_coordinates/p1__061.csv",
        "path": "labels/1.csv",
        "role": "particle_coordinates",
        "origin": "derived",
        "stem": "p1__061",
        "sha256": "cd" * 32,
        "rule": "micrograph's stem",
        "chosen": "with its micrograph",
        "maker": "labels",
    } in rows


def test_a_derived_file_that_was_made_anew_is_linked_anew(mirror: Mirror) -> None:
    plan = with_labels(mirror)
    arrange_entry(mirror.root, 10028, view="cryoppp", plan=plan)
    source = mirror.root / "derived/10028/labels/1.csv"
    source.with_suffix(".new").write_text("better")
    source.with_suffix(".new").replace(source)
    arrange_entry(mirror.root, 10028, view="cryoppp", plan=plan)
    assert (mirror.folder / "ground_truth/particle_coordinates/p1__061.csv").read_text() == "better"


def test_the_same_layout_has_the_same_mapping_byte_for_byte_in_any_order(mirror: Mirror) -> None:
    arrange_entry(mirror.root, 10028, view="cryoppp", plan=with_labels(mirror))
    before = (mirror.folder / MAPPING).read_bytes()
    mirror.files.reverse()
    arrange_entry(mirror.root, 10028, view="cryoppp", plan=with_labels(mirror), rebuild=True)
    assert (mirror.folder / MAPPING).read_bytes() == before


def test_a_derived_file_that_is_gone_or_is_no_file_is_named_and_left_out(mirror: Mirror) -> None:
    plan = with_labels(mirror)
    derived = mirror.root / "derived/10028/labels"
    (derived / "1.csv").unlink()
    (derived / "2.csv").unlink()
    (derived / "2.csv").symlink_to("/etc/passwd")
    report = arrange_entry(mirror.root, 10028, view="cryoppp", plan=plan)
    assert (report.linked, report.missing) == (6, ("labels/1.csv", "labels/2.csv"))


@pytest.mark.parametrize("path", ["../../archive/10028/data/p1/061.mrc", "/etc/passwd", "labels/%2E%2E/x"])
def test_a_product_whose_path_leaves_its_folder_is_refused(mirror: Mirror, path: str) -> None:
    product = Product(1, path, Kind.SELECTED_STAR, "labels", None, None, 9, bytes(32))
    plan = plan_view(mirror.files, [product], PRESETS["cryoppp"], empiar_id=10028)
    with pytest.raises(HostileName):
        arrange_entry(mirror.root, 10028, view="cryoppp", plan=plan)
    assert not mirror.folder.exists()


def test_labels_that_somebody_wrote_give_way_to_made_ones_and_survive(mirror: Mirror) -> None:
    mirror.arrange()
    own = mirror.folder / "ground_truth/particle_coordinates/p1__061.csv"
    own.parent.mkdir(parents=True)
    own.write_text("by hand")
    arrange_entry(mirror.root, 10028, view="cryoppp", plan=with_labels(mirror))
    assert own.read_text() == "X of data/p1/061.mrc"
    displaced = mirror.folder / "displaced/ground_truth/particle_coordinates/p1__061.csv"
    assert displaced.read_text() == "by hand"
    mirror.arrange()
    assert displaced.read_text() == "by hand"
    assert not own.exists()


def test_many_files_without_a_place_are_counted_and_a_few_named(mirror: Mirror) -> None:
    products = [
        Product(n, f"labels/{n}.csv", Kind.PARTICLE_COORDINATES, "labels", f"stray{n}", None, 9, bytes(32))
        for n in range(10)
    ]
    plan = plan_view(mirror.files, products, PRESETS["cryoppp"], empiar_id=10028)
    [note] = arrange_entry(mirror.root, 10028, view="cryoppp", plan=plan).notes
    assert note == (
        "labels/0.csv, labels/1.csv, labels/2.csv and 7 more have no place: no micrograph of the entry has its stem"
    )
