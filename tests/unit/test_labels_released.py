"""Released CryoPPP trees of every generation, and archives made to do harm."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from empiar_imaging.labels.matching import LabelledMicrograph
from empiar_imaging.labels.released import merge_released, read_released
from empiar_schema.faults import BadLabels

CSV = "X-Coordinate,Y-Coordinate,Diameter\n10,20,142\n30,40,142\n"
STAR = "data_particles\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\nJ1/x/a.mrc 10 20\n"
FULL = {
    "10017/micrographs/a.b.mrc": "",
    "10017/micrographs/c.mrc": "",
    "10017/ground_truth/particle_coordinates/a.b.csv": CSV,
    "10017/ground_truth/false_positives/a.b_false_positives.csv": "X-Coordinate,Y-Coordinate\n5,6\n",
    "10017/ground_truth/empiar-10017_particles_selected.star": STAR,
    "10017/particles_stack/a.b_particles.mrc": "",
    "README.md": "",
}
OLDER = {
    "all/10028/micrograph_images/061.jpg": "",
    "all/10028/metadata/coordinates/061.csv": CSV,
    "all/10059/data/s.mrc": "",
    "all/10059/metadata/empiar-10059_particles_selected.star": STAR.replace("a.mrc", "s.mrc"),
    "all/10059/metadata/empiar-10059_particles_excluded.csv": (
        "Particles Filename,Micrographs Filename,X-Coordinate,Y-Coordinate\np,s.mrc,7,8\n"
    ),
}


def folder(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def archive(path: Path, files: Mapping[str, str], *, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w", format=form) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            tar.addfile(info, io.BytesIO(content.encode()))
    return path


@pytest.mark.parametrize("kind", ["folder", "tar.gz", "tar"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_full_tree_gives_its_labels_from_folder_or_archive(tmp_path: Path, kind: str, form: int) -> None:
    long = "m" * 150
    files = FULL | {f"10017/ground_truth/particle_coordinates/{long}.csv": CSV}
    source = (
        folder(tmp_path / "t", files)
        if kind == "folder"
        else archive(tmp_path / f"x.{kind}", files, form=form)
    )
    (entry,) = read_released(source)
    assert entry.empiar_id == 10017
    assert entry.micrographs == ("a.b", "c")
    assert entry.selected is not None
    assert sorted(entry.selected.micrograph) == ["a.b", "a.b", long, long]
    assert entry.selected.diameter_px == 142
    assert entry.excluded is not None
    assert entry.excluded.x.tolist() == [5]


def test_older_names_and_entry_level_files_serve_where_there_are_no_others(tmp_path: Path) -> None:
    first, second = read_released(folder(tmp_path, OLDER))
    assert (first.empiar_id, first.micrographs) == (10028, ("061",))
    assert first.selected is not None
    assert first.selected.micrograph == ["061", "061"]
    assert second.selected is not None
    assert second.selected.origin == "bottom"
    assert second.excluded is not None
    assert second.excluded.micrograph == ["s.mrc"]


def test_one_entrys_folder_or_archive_is_known_by_its_name(tmp_path: Path) -> None:
    inner = {name.removeprefix("10017/"): content for name, content in FULL.items()}
    assert read_released(folder(tmp_path / "10017", inner))[0].empiar_id == 10017
    assert read_released(archive(tmp_path / "10017.tar.gz", inner))[0].empiar_id == 10017


def test_labels_are_merged_by_stem_and_both_sides_say_what_is_left(tmp_path: Path) -> None:
    files = FULL | {"10017/ground_truth/particle_coordinates/gone.csv": CSV}
    (entry,) = read_released(folder(tmp_path, files))
    mirrored = [
        LabelledMicrograph(f"a.b{suffix}", f"a.b{suffix}.tif", 101, 57, None, f"data/a.b{suffix}.tif")
        for suffix in ("_patch_aligned_doseweighted", "_other")
    ]
    made = merge_released(entry, mirrored)
    assert made.unmatched_labels == ("gone",)
    assert made.unmatched_micrographs == ("a.b_other",)
    raw = made.files["particle_coordinates/a.b_patch_aligned_doseweighted.csv"].decode()
    assert raw.splitlines()[1].startswith("10,20,142,")
    assert made.diameter.source == "labels"


def test_a_damaged_file_is_a_note_and_the_others_go_on(tmp_path: Path) -> None:
    files = FULL | {"10017/ground_truth/particle_coordinates/bad.csv": CSV + "1,2"}
    (entry,) = read_released(folder(tmp_path, files))
    assert entry.selected is not None
    assert len(entry.selected) == 2
    assert "bad.csv is cut" in entry.notes[0]


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    tree = folder(tmp_path / "t", FULL)
    secret = tmp_path / "secret.csv"
    secret.write_text(CSV)
    (tree / "10017/ground_truth/particle_coordinates/l.csv").symlink_to(secret)
    (tree / "10017/micrographs/linked.mrc").symlink_to(secret)
    (tree / "10017/loop").symlink_to(tree)
    (entry,) = read_released(tree)
    assert entry.selected is not None
    assert "l" not in entry.selected.micrograph
    assert any("is a link" in note for note in entry.notes)
    assert "linked" in entry.micrographs


def hostile(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


GOOD = (member("10017/ground_truth/particle_coordinates/a.csv"), CSV.encode())


def test_names_that_lead_out_of_an_archive_and_links_in_it_count_for_nothing(tmp_path: Path) -> None:
    base = "10017/ground_truth/particle_coordinates"
    raw = hostile(
        GOOD,
        (member(f"../{base}/up.csv"), CSV.encode()),
        (member(f"/{base}/root.csv"), CSV.encode()),
        (member(f"{base}/sym.csv", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (member(f"{base}/hard.csv", tarfile.LNKTYPE, "/etc/passwd"), b""),
        (member(f"{base}/dev.csv", tarfile.CHRTYPE), b""),
    )
    (tmp_path / "x.tar").write_bytes(raw)
    (entry,) = read_released(tmp_path / "x.tar")
    assert entry.selected is not None
    assert set(entry.selected.micrograph) == {"a"}
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def _with_size(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = member("10017/ground_truth/particle_coordinates/a.csv", kind)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (gzip.compress(hostile(GOOD), mtime=0)[:-30], "is cut or damaged"),
        (gzip.compress(hostile(GOOD)[:700], mtime=0), "is cut"),
        (gzip.compress(_with_size(10**13) + bytes(10_000), mtime=0), "claims to expand"),
        (gzip.compress(_with_size(10**9, tarfile.XHDTYPE), mtime=0), "holds a name of"),
        (
            gzip.compress(_with_size(100, tarfile.XHDTYPE) + bytes(512), mtime=0),
            "a header that cannot be read",
        ),
        (gzip.compress(_with_size(10, tarfile.GNUTYPE_SPARSE), mtime=0), "sparse"),
        (b"no archive at all" * 100, "no tar archive"),
        (b"", "no CryoPPP tree"),
        (gzip.compress(b"", mtime=0), "no CryoPPP tree"),
        (gzip.compress(bytes(10_000), mtime=0), "no CryoPPP tree"),
    ],
)
def test_a_damaged_or_hostile_archive_is_one_clear_sentence(
    raw: bytes, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "x.tar.gz").write_bytes(raw)
    with pytest.raises(BadLabels, match=sentence):
        read_released(tmp_path / "x.tar.gz")


def test_a_bomb_of_zeros_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    info = member("10017/micrographs/a.mrc")
    info.size = 300 * 1024 * 1024
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(300):
            stream.write(bytes(1024 * 1024))
    with pytest.raises(BadLabels, match="claims to expand"):
        read_released(path)


def test_a_file_of_coordinates_beyond_the_limit_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("empiar_imaging.labels.released._MOST_CSV_BYTES", 10)
    (entry,) = read_released(folder(tmp_path, FULL))
    assert any("more than 10 bytes" in note for note in entry.notes)
