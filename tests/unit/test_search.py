"""Finding entries by words: any text, ranking, synonyms, accessions."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empiar_mirror.cli import main
from empiar_mirror.reading import reading
from empiar_mirror.search_words import Accession, accession, question
from empiar_mirror.searching import BEGIN, END, search
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry
from empiar_schema.entry import Author, Citation, CrossReference, Entry, ImageSet

NOW = 1_767_225_600
TILT = ImageSet(position=0, name="Tilt series", directory="data", category="tilt series")
SUMS = ImageSet(position=0, name="Sums", directory="data", details="Of TRPV1, without gain reference.")
ENTRIES = (
    Entry(empiar_id=10005, title="Structure of TRPV1 ion channel", imagesets=(SUMS,)),
    Entry(empiar_id=10017, title="Beta-galactosidase Falcon-II micrographs", doi="10.6019/EMPIAR-10017"),
    Entry(empiar_id=10028, title="80S ribosome bound to emetine", authors=(Author(name="Scheres SHW"),)),
    Entry(empiar_id=10045, title="Purified ribosomes", imagesets=(TILT,)),
    Entry(
        empiar_id=10064,
        title="An unrelated title",
        citations=(Citation(position=0, title="A ribosome, mentioned", doi="10.1038/Nature1"),),
        cross_references=(CrossReference(kind="EMDB", accession="EMD-2660"), CrossReference(kind="PDB", accession="3j7z")),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    with Catalogue.open(folder / "empiar.db", create=True) as catalogue:
        for entry in ENTRIES:
            catalogue.write_now(functools.partial(record_entry, entry=entry, source="api", now=NOW))
    return folder


@pytest.fixture(scope="module")
def connection(root: Path) -> Iterator[sqlite3.Connection]:
    with reading(root) as opened:
        yield opened


def ids(connection: sqlite3.Connection, text: str, limit: int = 20) -> list[int]:
    return [hit.empiar_id for hit in search(connection, text, limit=limit).hits]


def test_titles_count_more_than_citations_and_beginnings_of_words_are_enough(
    connection: sqlite3.Connection,
) -> None:
    found = ids(connection, "ribosom")
    assert set(found) == {10028, 10045, 10064}
    assert found[-1] == 10064
    assert ids(connection, '"ribosome"') == [10028, 10064]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cryo-ET", [10045]),
        ("tomography ribosomes", [10045]),
        ("CryoET", [10045]),
        ("capsaicin receptor", [10005]),
        ("β-galactosidase", [10017]),
        ("gain", [10005]),
        ("scheres", [10028]),
        ("ribosome -emetine -purified", [10064]),
        ('"bound to" ribosome', [10028]),
        ("bound emetine ribosome", [10028]),
        ("ribo* 80S", [10028]),
        ("ribosome trpv1", []),
        ("spa", []),
    ],
)
def test_words_synonyms_phrases_and_what_is_left_out(
    connection: sqlite3.Connection, text: str, found: list[int]
) -> None:
    assert ids(connection, text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10017", [10017]),
        ("EMPIAR-10017", [10017]),
        ("empiar10017", [10017]),
        ("EMD-2660", [10064]),
        ("emd2660", [10064]),
        ("3J7Z", [10064]),
        ("pdb_00003j7z", [10064]),
        ("https://doi.org/10.1038/nature1", [10064]),
        ("10.6019/empiar-10017", [10017]),
        ("10028 10017", [10028, 10017]),
        ("99999", []),
    ],
)
def test_accessions_lead_to_their_entries(
    connection: sqlite3.Connection, text: str, found: list[int]
) -> None:
    assert ids(connection, text) == found


def test_a_year_is_no_pdb_code() -> None:
    assert accession("2012") is None
    assert accession("pdb2012") == Accession("PDB", "2012")


def test_the_passage_marks_what_was_found(connection: sqlite3.Connection) -> None:
    [hit] = search(connection, "emetine", limit=1).hits
    assert f"{BEGIN}emetine{END}" in hit.passage
    assert hit.score is not None
    assert search(connection, "ribosome", limit=1).total == 3


def test_a_word_that_nobody_used_has_a_neighbour(connection: sqlite3.Connection) -> None:
    assert search(connection, "ribosmes", limit=5).near == ("ribosomes",)


ODD = [
    '"',
    '""',
    "-",
    "*",
    ":",
    "(",
    "a:b",
    '"unbalanced',
    "NEAR(a b)",
    "AND",
    "OR OR",
    "^a",
    "{x}",
    "a+b",
    "\x00",
    "'",
]


@pytest.mark.parametrize("text", [*ODD, " ".join(ODD), "-" * 500, "a " * 500, "title:ribosome", "\ud800"])
def test_odd_text_is_no_error(connection: sqlite3.Connection, text: str) -> None:
    search(connection, text, limit=5)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60) | st.text('"-*:()^ aé' + "ab{}+'", max_size=30))
def test_any_text_is_a_question_that_sqlite_understands(connection: sqlite3.Connection, text: str) -> None:
    assert search(connection, text, limit=3).total >= 0
    assert question(text) == question(text)


def test_the_command_prints_hits_and_takes_minus_words(
    root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'root = "{root}"\n')
    run = ["search", "--config", str(config)]
    assert main([*run, "ribosome", "-emetine", "-hiv", "--limit", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("EMPIAR-10045  Purified ribosomes")
    assert "the best 1 of 2 entries" in err
    assert main([*run, "--json", "EMD-2660"]) == 0
    [hit] = json.loads(capsys.readouterr().out)["hits"]
    assert (hit["empiar_id"], hit["found_by"]) == (10064, "EMD-2660")
    assert main([*run, "galactosidas*", "falcan"]) == 0
    assert "did you mean falcon?" in capsys.readouterr().err
    assert main([*run, "-x"]) == 2
    assert "no word to look for" in capsys.readouterr().err
    assert main([*run, "--nonsense", "a"]) == 2
