"""What the validators of BagIt, RO-Crate and Croissant say of our documents, run as an outsider runs them.

They stand in `.validators`, which `make test` sets up (tests/validators.txt); none of them needs a network here.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import bagit
import pytest

from described_mirror import ENTRY, LABELS, VIEW, DescribedMirror
from empiar_mirror.cli import main
from empiar_mirror.documents.crate import CRATE, LISTED_FILES
from empiar_mirror.documents.croissant import CROISSANT, MICROGRAPHS_TABLE
from empiar_mirror.documents.export import write_bag
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import DEFAULT_FILE
from empiar_schema.entry import Author, Citation, Entry
from rehearsal_in_thread import rehearsal_in_thread

TESTS = Path(__file__).parents[1]
VALIDATORS = TESTS.parent / ".validators"

NASTY = 'A "title"\r\nwith <i>HTML</i> & \u202eright to left\u202c\\'
NASTY_NAMES = (
    b"a b.mrc",
    b"#1?.mrc",
    b'"quoted".mrc',
    b"50%.mrc",
    "Å µ.mrc".encode(),
    b"a\nb.mrc",
    b"\xff.mrc",
    b"<x>.tif",
)


@pytest.fixture(scope="module", autouse=True)
def _validators() -> None:
    if not (VALIDATORS / ".installed").exists():
        pytest.skip("the validators are not installed: `make .validators/.installed`")


def full(root: Path) -> DescribedMirror:
    return DescribedMirror(root, labels=LABELS)


def without_labels(root: Path) -> DescribedMirror:
    return DescribedMirror(root)


def without_metadata(root: Path) -> DescribedMirror:
    return DescribedMirror(root, entry=None)


def nasty(root: Path) -> DescribedMirror:
    entry = Entry(
        empiar_id=ENTRY,
        title=NASTY,
        authors=(Author(name=NASTY), Author()),
        citations=(Citation(title=NASTY), Citation(doi="10.1000/<a"), Citation(pubmed_id="12")),
    )
    return DescribedMirror(root, {b"data/" + name: name for name in NASTY_NAMES}, entry=entry)


def many(root: Path) -> DescribedMirror:
    return DescribedMirror(root, {b"data/%06d.mrc" % number: b"1" for number in range(LISTED_FILES + 1)})


KINDS = pytest.mark.parametrize("kind", [full, without_labels, without_metadata, nasty, many])


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    # A proxy that nothing listens on: whoever asks the network fails.
    environment = os.environ | {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


def crate_findings(folder: Path, *, severity: str = "required") -> set[str]:
    """The names of the requirements that ``rocrate-validator`` finds not met."""
    report = folder.parent / "report.json"
    result = run(
        VALIDATORS / "bin/rocrate-validator", "--no-interactive", "--disable-color", "validate", "--offline",
        "--cache-path", VALIDATORS / "http-cache", "--no-paging", "--profile-identifier", "ro-crate-1.2",
        "--requirement-severity", severity, "--output-format", "json", "--output-file", report, folder,
    )  # fmt: skip
    document = json.loads(report.read_text())
    assert document["passed"] == (result.returncode == 0), result.stdout + result.stderr
    assert document["statistics"]["total_passed_checks"] > 20
    return {issue["check"]["requirement"]["name"] for issue in document["issues"]}


def records(document: Path, record_set: str) -> list[dict[str, object]]:
    """What ``mlcroissant`` reads."""
    result = run(VALIDATORS / "bin/python", TESTS / "read_croissant.py", document, record_set)
    if result.returncode:
        raise ValueError(result.stderr)
    return [json.loads(line) for line in result.stdout.splitlines()]


def edit(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))


@KINDS
def test_crate_and_croissant_are_valid_in_place_and_list_every_file(
    kind: Callable[[Path], DescribedMirror], tmp_path: Path
) -> None:
    mirror = kind(tmp_path)
    assert crate_findings(mirror.documents) == set()
    rows = (mirror.layout / "mapping.tsv").read_text().split("\n")[1:-1]
    listed = [record["files/place"] for record in records(mirror.documents / CROISSANT, "files")]
    assert listed == [row.split("\t")[0] for row in rows]


# --- RO-Crate --------------------------------------------------------------------------------------------


def test_the_crate_of_a_bag_is_valid_and_follows_nearly_all_recommendations(tmp_path: Path) -> None:
    full(tmp_path)
    bag = write_bag(tmp_path, ENTRY, view=VIEW, folder=tmp_path / "bags")
    assert crate_findings(bag) == set()
    # What the catalogue does not keep (affiliations, addresses), what is not given (an ORCID), and what needs a network.
    known = ("contactPoint", "ORCID", "ROR", "CreativeWork Author", "identifier resolution")
    for finding in crate_findings(bag, severity="recommended"):
        assert any(word in finding for word in known), finding


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ('"datePublished": "2014-10-22", ', "", "RO-Crate Root Data Entity REQUIRED properties"),
        ('"contentSize"', '"sizeOfIt"', "File Descriptor JSON-LD format"),
        ("data/micrographs/a.mrc", "data/micrographs/z.mrc", "Data Entity: REQUIRED resource availability"),
    ],
)
def test_a_crate_that_says_less_or_something_untrue_is_not_valid(
    old: str, new: str, finding: str, tmp_path: Path
) -> None:
    mirror = full(tmp_path)
    edit(mirror.documents / CRATE, lambda text: text.replace(old, new))
    assert finding in crate_findings(mirror.documents)


# --- Croissant -------------------------------------------------------------------------------------------


def test_the_croissant_is_valid_as_it_stands(tmp_path: Path) -> None:
    document = full(tmp_path).documents / CROISSANT
    result = run(VALIDATORS / "bin/mlcroissant", "validate", "--jsonld", document)
    assert result.returncode == 0
    assert "WARNING" not in result.stderr
    assert "Done" in result.stderr


def test_picks_are_read_and_joined_to_their_micrographs(tmp_path: Path) -> None:
    """Stems of digits alone, and with dots, join as well: loaders take columns of digits for numbers."""
    labels = {
        f"ground_truth/particle_coordinates/{stem}.csv": f"X-Coordinate,Y-Coordinate,Diameter\n{n},2.5,108\n".encode()
        for n, stem in enumerate(("061", "b.c"))
    }
    names = ("061.mrc", "b.c.mrc", "unannotated.mrc")
    DescribedMirror(tmp_path, {f"data/{name}".encode(): name.encode() for name in names}, labels=labels)
    bag = write_bag(tmp_path, ENTRY, view=VIEW, folder=tmp_path / "bags")
    assert records(bag / CROISSANT, "picks") == [
        {
            "picks/coordinates": f"{stem}.csv",
            "picks/micrograph": f"data/micrographs/{stem}.mrc",
            "picks/x": n,
            "picks/y": 2.5,
            "picks/diameter": 108.0,
        }
        for n, stem in enumerate(("061", "b.c"))
    ]
    micrographs = records(bag / CROISSANT, "micrographs")
    assert [(bag / str(record["micrographs/file"])).read_bytes() for record in micrographs] == [
        name.encode() for name in names
    ]


def test_a_loader_refuses_a_table_that_is_not_the_one_described(tmp_path: Path) -> None:
    mirror = full(tmp_path)
    edit(mirror.documents / MICROGRAPHS_TABLE, lambda text: text.replace("a.csv", "z.csv"))
    with pytest.raises(ValueError, match="Hash of downloaded file"):
        records(mirror.documents / CROISSANT, "micrographs")


def test_a_croissant_with_a_broken_reference_is_not_valid(tmp_path: Path) -> None:
    mirror = full(tmp_path)
    edit(
        mirror.documents / CROISSANT, lambda text: text.replace('"micrographs/coordinates"', '"nowhere/x"', 1)
    )
    result = run(VALIDATORS / "bin/mlcroissant", "validate", "--jsonld", mirror.documents / CROISSANT)
    assert result.returncode == 1


# --- from the command line -------------------------------------------------------------------------------


def test_a_sync_leaves_documents_and_arrange_writes_a_bag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with rehearsal_in_thread(
        Rehearsal([big_entry(ENTRY, {"a.mrc": 1_049_600, "b.mrc": 1_049_600})])
    ) as served:
        (tmp_path / DEFAULT_FILE).write_text(served.settings_toml("empiar"))
        assert main(["init", "--config", "other.toml"]) == 0
        assert main(["sync", str(ENTRY)]) == 0
    documents = tmp_path / f"empiar/manifests/{ENTRY}/cryoppp"
    assert crate_findings(documents) == set()
    assert len(records(documents / CROISSANT, "micrographs")) == 2
    capsys.readouterr()
    assert main(["arrange", str(ENTRY), "--bag", "bags"]) == 0
    assert f"bag: bags/{ENTRY}-cryoppp" in capsys.readouterr().out
    assert bagit.Bag(f"bags/{ENTRY}-cryoppp").validate()
    assert main(["arrange", str(ENTRY), "--bag", "bags", "--json"]) == 1, "the bag is there already"
    captured = capsys.readouterr()
    assert json.loads(captured.out)["bags"] == []
    assert "exists: remove it" in captured.err
