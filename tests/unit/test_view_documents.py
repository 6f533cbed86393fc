"""Documents of a layout: true, stable, and robust against what depositors type."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import bagit
import pytest
from hypothesis import given
from hypothesis import strategies as st

from described_mirror import ENTRY, FULL, LABELS, VIEW, DescribedMirror
from empiar_mirror.arrange import MAPPING
from empiar_mirror.documents import export
from empiar_mirror.documents.bag import TAG_MANIFEST, bag_path
from empiar_mirror.documents.crate import CRATE, LISTED_FILES
from empiar_mirror.documents.croissant import CROISSANT
from empiar_mirror.documents.export import write_bag
from empiar_mirror.documents.placed import PlacedFile, placed_files
from empiar_mirror.documents.subject import Subject, iri, one_line
from empiar_mirror.documents.view import (
    BAG_FILES,
    DOCUMENTS,
    remove_stale_documents,
    remove_view_documents,
    write_view_documents,
)
from empiar_mirror.linking import LinkKind, link
from empiar_schema.catalogue import Catalogue
from empiar_schema.entry import Author, Citation, Entry
from empiar_schema.faults import ConfigFault, StorageFault
from empiar_schema.paths import text_from_bytes


@pytest.fixture
def mirror(tmp_path: Path) -> DescribedMirror:
    return DescribedMirror(tmp_path, labels=LABELS)


def crate_of(mirror: DescribedMirror) -> dict[str, dict[str, object]]:
    graph = json.loads((mirror.documents / CRATE).read_bytes())["@graph"]
    assert len({entity["@id"] for entity in graph}) == len(graph)
    return {entity["@id"]: entity for entity in graph}


def croissant_of(mirror: DescribedMirror) -> dict[str, object]:
    document = json.loads((mirror.documents / CROISSANT).read_bytes())
    assert isinstance(document, dict)
    return document


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- what stands -----------------------------------------------------------------------------------------


def test_all_documents_stand_beside_a_link_to_the_layout(mirror: DescribedMirror) -> None:
    assert mirror.notes == ()
    assert names(mirror.documents) == {"data", *DOCUMENTS}
    assert (mirror.documents / "data").resolve() == mirror.layout.resolve()
    assert str((mirror.documents / "data").readlink()) == f"../../../datasets/{VIEW}/{ENTRY}"


def test_documents_that_say_nothing_new_are_not_written_again(mirror: DescribedMirror) -> None:
    before = {path.name: path.lstat() for path in mirror.documents.iterdir()}
    mirror.describe()
    for path in mirror.documents.iterdir():
        old, new = before[path.name], path.lstat()
        assert (old.st_ino, old.st_mtime_ns) == (new.st_ino, new.st_mtime_ns), path.name


def test_the_same_entry_on_two_mirrors_has_the_same_documents(tmp_path: Path) -> None:
    one, other = (DescribedMirror(tmp_path / name, labels=LABELS) for name in ("one", "other"))
    for name in DOCUMENTS:
        assert (one.documents / name).read_bytes() == (other.documents / name).read_bytes(), name


def test_sha256sum_accepts_the_manifest_in_place(mirror: DescribedMirror) -> None:
    sha256sum = shutil.which("sha256sum")
    if sha256sum is None:
        pytest.skip("there is no sha256sum on this machine")
    for name in ("manifest-sha256.txt", TAG_MANIFEST):
        command = [sha256sum, "--strict", "--quiet", "-c", name]
        assert subprocess.run(command, cwd=mirror.documents, check=False).returncode == 0


def test_documents_are_gone_when_the_layout_is_and_other_files_stay(mirror: DescribedMirror) -> None:
    (mirror.documents / "notes.txt").write_text("mine")
    shutil.rmtree(mirror.layout)
    assert remove_stale_documents(mirror.root, ENTRY) == (VIEW,)
    assert names(mirror.documents) == {"notes.txt"}
    (mirror.documents / "notes.txt").unlink()
    remove_view_documents(mirror.root, ENTRY, view=VIEW)
    assert not mirror.documents.exists()
    assert remove_stale_documents(mirror.root, ENTRY) == ()
    assert remove_stale_documents(mirror.root, 1) == ()


def test_an_empty_layout_has_no_documents(mirror: DescribedMirror) -> None:
    header = (mirror.layout / MAPPING).read_text().splitlines(keepends=True)[0]
    (mirror.layout / MAPPING).write_text(header)
    assert mirror.describe() == ()
    assert not mirror.documents.exists()
    (mirror.layout / MAPPING).unlink()
    assert mirror.describe() == ()


def test_an_entry_without_files_has_no_documents(tmp_path: Path) -> None:
    mirror = DescribedMirror(tmp_path, {})
    assert mirror.notes == ()
    assert not mirror.documents.exists()


def test_a_folder_that_somebody_called_data_is_not_touched(mirror: DescribedMirror) -> None:
    (mirror.documents / "data").unlink()
    (mirror.documents / "data").mkdir()
    with pytest.raises(StorageFault, match="in the way"):
        mirror.describe()
    assert remove_view_documents(mirror.root, ENTRY, view=VIEW)
    assert names(mirror.documents) == {"data"}


# --- what they say ---------------------------------------------------------------------------------------


def test_the_crate_names_every_file_where_it_came_from_and_what_made_it(mirror: DescribedMirror) -> None:
    crate = crate_of(mirror)
    image = crate["data/micrographs/no%20picks.mrc"]
    assert image["sha256"] == hashlib.sha256(b"image c").hexdigest()
    assert image["contentSize"] == "7"
    assert (
        image["contentUrl"] == f"https://ftp.ebi.ac.uk/empiar/world_availability/{ENTRY}/data/no%20picks.mrc"
    )
    [made] = [entity for entity in crate.values() if entity["@type"] == "CreateAction"]
    assert made["object"] == [
        {"@id": "data/micrographs/a.mrc"},
        {"@id": "data/ground_truth/particle_coordinates/b.c.csv"},
    ]
    assert "not in this layout: picked/2.star, picked/3.star" in str(made["description"])
    assert "Read 30 files in all." in str(made["description"])
    assert made["name"] == "labels 0.1.0"
    assert "labels from particles.star" in str(made["description"])
    assert made["result"] == [{"@id": f"data/{place}"} for place in LABELS]
    assert crate["#arrival"]["@type"] == "DownloadAction"
    root = crate["./"]
    assert root["author"] == [{"@id": "https://orcid.org/0000-0002-1825-0097"}, {"@id": "#author-2"}]
    assert root["license"] == {"@id": "https://creativecommons.org/publicdomain/zero/1.0/"}
    assert root["datePublished"] == "2014-10-22"
    assert "row = H - Y" in str(root["description"])


def test_every_reference_of_the_crate_is_described_in_it(mirror: DescribedMirror) -> None:
    crate = crate_of(mirror)

    def references(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            yield value["@id"]
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    for entity in crate.values():
        for name, value in entity.items():
            if name != "conformsTo":
                assert set(references(value)) <= crate.keys()


def test_croissant_speaks_of_picks_only_where_there_are_some(tmp_path: Path) -> None:
    with_labels = croissant_of(DescribedMirror(tmp_path / "with", labels=LABELS))
    without = croissant_of(DescribedMirror(tmp_path / "without"))

    def record_sets(document: dict[str, object]) -> list[str]:
        sets = document["recordSet"]
        assert isinstance(sets, list)
        return [record_set["name"] for record_set in sets]

    assert record_sets(with_labels) == ["files", "micrographs", "picks"]
    assert record_sets(without) == ["files", "micrographs"]
    assert with_labels["version"] == "2020.1.5"
    assert "Doe J, Roe R (2014). Beta-galactosidase, 3.2 Å." in str(with_labels["citeAs"])


def test_without_metadata_the_documents_say_what_is_known(tmp_path: Path) -> None:
    mirror = DescribedMirror(tmp_path, entry=None)
    root = crate_of(mirror)["./"]
    assert root["name"] == "EMPIAR-10017 (cryoppp)"
    assert root["datePublished"] == "2025-12-31", "the day on which this mirror first heard of it"
    assert croissant_of(mirror)["name"] == "EMPIAR-10017 (cryoppp)"
    assert "External-Description: EMPIAR-10017 (cryoppp)\n" in (mirror.documents / "bag-info.txt").read_text()


NASTY = 'A "title"\r\n\twith <i>HTML</i> & \u202eright to left\u202c, \x00\x1b[31m\x85\u2028 end\\'


def test_whatever_depositors_type_stays_inside_its_field(tmp_path: Path) -> None:
    entry = Entry(
        empiar_id=ENTRY,
        title=NASTY,
        release_date="soon",
        doi="none yet",
        authors=(
            Author(),
            Author(name=" \n"),
            Author(name=NASTY, orcid="x"),
            Author(orcid="0000-0002-1825-0097"),
        ),
        citations=(Citation(), Citation(title=NASTY, doi="10.1000/<a b>\n"), Citation(doi="10.1000/<a")),
    )
    mirror = DescribedMirror(tmp_path, entry=entry)
    plain = one_line(NASTY)
    crate = crate_of(mirror)
    assert crate["./"]["name"] == f"EMPIAR-10017 (cryoppp): {plain}"
    assert crate["./"]["identifier"] == {"@id": "#accession"}
    assert crate["./"]["author"] == [{"@id": "#author-1"}, {"@id": "https://orcid.org/0000-0002-1825-0097"}]
    assert crate["https://orcid.org/0000-0002-1825-0097"]["name"] == "https://orcid.org/0000-0002-1825-0097"
    assert "https://doi.org/10.1000/%3Ca" in crate
    info = (mirror.documents / "bag-info.txt").read_bytes()
    assert info.count(b"\n") == 6
    assert not {0x00, 0x0D, 0x1B} & set(info)
    assert bagit.Bag(str(write_bag(tmp_path, ENTRY, view=VIEW, folder=tmp_path / "bags"))).is_valid()


def test_a_title_of_a_megabyte_is_cut() -> None:
    entry = FULL.model_copy(update={"title": "long " * 200_000})
    assert len(Subject(ENTRY, VIEW, entry, None, "1").name) < 11_000


# --- names -----------------------------------------------------------------------------------------------


def test_a_name_that_is_not_utf8_leaves_the_bag_and_the_crate_says_so(tmp_path: Path) -> None:
    mirror = DescribedMirror(tmp_path, {b"data/\xff.mrc": b"1", b"data/fine.mrc": b"2"})
    [note] = mirror.notes
    assert "micrographs/%FF.mrc is not UTF-8" in note
    assert not names(mirror.documents) & set(BAG_FILES)
    crate = crate_of(mirror)
    assert crate["data/micrographs/"]["hasPart"] == {"@id": "data/micrographs/fine.mrc"}
    assert "mapping.tsv lists those" in str(crate["data/micrographs/"]["description"])
    with pytest.raises(ConfigFault, match="no bag"):
        write_bag(tmp_path, ENTRY, view=VIEW, folder=tmp_path / "bags")


def test_a_bag_is_taken_back_when_a_file_of_the_layout_is_missing(mirror: DescribedMirror) -> None:
    (mirror.layout / "micrographs/a.mrc").unlink()
    [note] = mirror.describe()
    assert "micrographs/a.mrc is not there" in note
    assert not names(mirror.documents) & set(BAG_FILES)


def test_a_bag_encodes_what_rfc_8493_says_and_nothing_else(tmp_path: Path) -> None:
    names = (b"a\nb.mrc", b"c\rd.mrc", b"50%.mrc", b"%41.mrc", "Å [1].mrc".encode())
    mirror = DescribedMirror(tmp_path, {b"data/" + name: name for name in names})
    lines = (mirror.documents / "manifest-sha256.txt").read_bytes().split(b"\n")
    listed = {line[66:]: line[:64].decode() for line in lines if line}
    for name in names:
        encoded = name.replace(b"%", b"%25").replace(b"\n", b"%0A").replace(b"\r", b"%0D")
        assert listed[b"data/micrographs/" + encoded] == hashlib.sha256(name).hexdigest()
    assert len(listed) == len(names) + 1


@given(
    st.binary(min_size=1, max_size=30).filter(lambda raw: not {0, 47} & set(raw) and raw not in (b".", b".."))
)
def test_every_name_comes_back_from_bag_and_crate(raw: bytes) -> None:
    file = PlacedFile(f"micrographs/{text_from_bytes(raw)}", "p", "", "", "", "0" * 64, 1)
    if file.utf8 is None:
        with pytest.raises(ValueError, match="not UTF-8"):
            bag_path(file)
        return
    encoded = bag_path(file)
    assert "\n" not in encoded
    assert "\r" not in encoded
    decoded = encoded.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
    assert decoded.encode() == b"data/micrographs/" + raw
    address = iri(file.utf8)
    assert not set(address) & set(' <>"{}|\\^`#?\n\r\t')
    assert unquote(address).encode() == b"micrographs/" + raw


def test_a_mapping_that_somebody_changed_leads_nowhere(mirror: DescribedMirror) -> None:
    with (mirror.layout / MAPPING).open("a") as mapping:
        for place in ("../../../x", "/etc/passwd", "", "a//b", "a/%2E%2E/b", "%00"):
            mapping.write(f"{place}\tdata/a.mrc\tmicrograph\tdeposited\ta\t{'0' * 64}\tname\n")
            mapping.write(f"micrographs/a.mrc\t{place}\tmicrograph\tdeposited\ta\t{'0' * 64}\tname\n")
        mapping.write("half a line")
    assert len(list(placed_files(mirror.layout))) == 5


# --- size ------------------------------------------------------------------------------------------------


def test_a_layout_of_many_files_is_described_by_its_folders_in_little_memory(tmp_path: Path) -> None:
    mirror = DescribedMirror(tmp_path)
    rows = []
    for number in range(8_000):
        name = f"{number:06}.mrc"
        os.link(tmp_path / f"archive/{ENTRY}/data/a.mrc", mirror.layout / "micrographs" / name)
        rows.append(
            f"micrographs/{name}\tdata/{name}\tmicrograph\tdeposited\t{number:06}\t{'0' * 64}\tname\n"
        )
    with (mirror.layout / MAPPING).open("a") as mapping:
        mapping.writelines(rows)
    rows.clear()
    with Catalogue.open(tmp_path / "empiar.db") as catalogue, catalogue.reader() as conn:
        tracemalloc.start()
        try:
            write_view_documents(conn, tmp_path, ENTRY, view=VIEW)
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()
    assert (mirror.documents / CRATE).stat().st_size < 20_000
    assert (mirror.documents / CROISSANT).stat().st_size < 20_000
    assert f"more than {LISTED_FILES}" in str(crate_of(mirror)["./"]["description"])
    with (mirror.documents / "manifest-sha256.txt").open() as manifest:
        assert sum(1 for _ in manifest) == 8_004


# --- bags ------------------------------------------------------------------------------------------------


@pytest.fixture
def bag(mirror: DescribedMirror) -> Path:
    return write_bag(mirror.root, ENTRY, view=VIEW, folder=mirror.root / "bags")


def damage_found(bag: Path) -> str:
    with pytest.raises(bagit.BagValidationError) as found:
        bagit.Bag(str(bag)).validate()
    return str(found.value)


def test_a_bag_is_complete_and_costs_no_room(mirror: DescribedMirror, bag: Path) -> None:
    assert bag == mirror.root / "bags" / f"{ENTRY}-{VIEW}"
    assert bagit.Bag(str(bag)).validate()
    assert (bag / "data/micrographs/a.mrc").samefile(mirror.root / f"archive/{ENTRY}/data/a.mrc")
    assert not any(path.is_symlink() for path in bag.rglob("*"))
    assert names(bag.parent) == {bag.name}


def test_a_flipped_byte_of_the_payload_is_named(bag: Path) -> None:
    target = bag / "data/micrographs/a.mrc"
    content = bytearray(target.read_bytes())
    content[3] ^= 1
    target.write_bytes(content)
    assert "data/micrographs/a.mrc sha256 validation failed" in damage_found(bag)


def test_a_changed_document_of_a_bag_is_named(bag: Path) -> None:
    (bag / CROISSANT).write_text((bag / CROISSANT).read_text().replace("H - Y", "Y"))
    assert f"{CROISSANT} sha256 validation failed" in damage_found(bag)


def test_a_missing_and_a_foreign_file_of_a_bag_are_noticed(bag: Path) -> None:
    (bag / "data/micrographs/a.mrc").rename(bag / "data/micrographs/z.mrc")
    found = damage_found(bag)
    assert "a.mrc exists in manifest but was not found" in found
    assert "z.mrc exists on filesystem but is not in the manifest" in found


def test_a_copy_of_the_documents_that_follows_links_is_a_bag_too(mirror: DescribedMirror) -> None:
    shutil.copytree(mirror.documents, mirror.root / "copy", symlinks=False)
    assert bagit.Bag(str(mirror.root / "copy")).validate()


def test_a_layout_of_symbolic_links_becomes_a_bag_of_files(mirror: DescribedMirror) -> None:
    place = mirror.layout / "micrographs/a.mrc"
    place.unlink()
    place.symlink_to(mirror.root / f"archive/{ENTRY}/data/a.mrc")
    assert mirror.describe() == ()
    bag = write_bag(mirror.root, ENTRY, view=VIEW, folder=mirror.root / "bags")
    assert not any(path.is_symlink() for path in bag.rglob("*"))
    assert bagit.Bag(str(bag)).validate()


def test_where_links_are_impossible_the_payload_is_copied(
    mirror: DescribedMirror, monkeypatch: pytest.MonkeyPatch
) -> None:

    def refusing(source: Path, target: Path, kind: LinkKind) -> LinkKind:
        if kind != "copy":
            raise StorageFault("another file system")
        return link(source, target, kind)

    monkeypatch.setattr(export, "link", refusing)
    bag = write_bag(mirror.root, ENTRY, view=VIEW, folder=mirror.root / "bags")
    assert not (bag / "data/micrographs/a.mrc").samefile(mirror.layout / "micrographs/a.mrc")
    assert bagit.Bag(str(bag)).validate()


def test_a_bag_never_takes_the_place_of_another(mirror: DescribedMirror, bag: Path) -> None:
    with pytest.raises(ConfigFault, match="exists"):
        write_bag(mirror.root, ENTRY, view=VIEW, folder=bag.parent)
    assert bagit.Bag(str(bag)).validate()


def test_a_bag_appears_whole_or_not_at_all(mirror: DescribedMirror) -> None:
    (mirror.root / f"archive/{ENTRY}/data/b.c.mrc").unlink()
    with pytest.raises(StorageFault, match=r"b\.c\.mrc"):
        write_bag(mirror.root, ENTRY, view=VIEW, folder=mirror.root / "bags")
    assert names(mirror.root / "bags") == set()
