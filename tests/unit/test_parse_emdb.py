"""EMDB's answers → facts: what is taken, what is refused, what nobody stated."""

from __future__ import annotations

import json

import pytest
from pydantic import JsonValue

from empiar_crawler.parse.emdb import parse_emdb
from empiar_crawler.parse.emdb_membrane import membrane_source
from empiar_crawler.parse.emdb_values import ANGSTROM, KILODALTON, Notes, measure_of
from empiar_crawler.parse.emdb_weights import Weight, weight_of
from empiar_mirror.rehearsal.maps import standard_maps
from empiar_schema.emdb import EmdbEntry
from empiar_schema.faults import BadAnswer


def parsed(emdb_id: str, document: object | None = None) -> EmdbEntry:
    document = standard_maps()[emdb_id] if document is None else document
    entry = parse_emdb(json.dumps(document).encode(), emdb_id)
    assert entry is not None
    return entry


def test_a_plain_map_gives_every_fact() -> None:
    assert parsed("EMD-0103") == EmdbEntry(
        emdb_id="EMD-0103",
        status="REL",
        title="Rehearsal: a channel",
        deposition_date="2021-10-07",
        release_date="2022-11-17",
        method="singleParticle",
        aggregation_state="particle",
        resolution_angstrom=2.7,
        resolution_method="FSC 0.143 CUT-OFF",
        symmetry="C2",
        particle_count=124_891,
        microscope="FEI TITAN KRIOS",
        voltage_kv=300,
        cs_mm=2.7,
        detector="GATAN K2 SUMMIT (4k x 4k)",
        detector_mode="COUNTING",
        sample="a channel",
        organism="Homo sapiens",
        molecular_weight_kda=64,
        molecular_weight_source="summed",
        largest_chain_kda=32,
        membrane_protein=True,
        membrane_source="GO: GO:0016021",
        half_map_count=2,
        map_pixel_angstrom=1.03,
        pdb_ids=("2ABC", "3ABC"),
        empiar_ids=(10102,),
    )


def test_odd_shapes_are_read_and_what_nobody_can_mean_is_left_out() -> None:
    entry = parsed("EMD-0110")
    assert entry.title == "Rehearsal: odd shapes & units"
    assert (entry.method, entry.resolution_angstrom, entry.particle_count) == ("singleParticle", 3.1, 12_345)
    assert (entry.molecular_weight_kda, entry.largest_chain_kda) == (156, 52)
    assert (entry.cs_mm, entry.microscope, entry.sample) == (2.7, "OTHER", "odd")
    assert (entry.voltage_kv, entry.release_date, entry.status) == (None, None, None)
    assert any("300000 kV" in note for note in entry.oddities)
    assert any("soon" in note for note in entry.oddities)


def test_filaments_tomograms_and_obsolete_maps() -> None:
    filament = parsed("EMD-0111")
    assert filament.symmetry == "helical: rise 4.75 Å, twist -1.2°, C1"
    # kDa/nm is no weight, and nothing is odd about it.
    assert (filament.molecular_weight_kda, filament.oddities) == (None, ())
    tomogram = parsed("EMD-0112")
    assert (tomogram.method, tomogram.resolution_angstrom, tomogram.half_map_count) == ("tomography", None, 0)
    obsolete = parsed("EMD-0102")
    assert (obsolete.status, obsolete.superseded_by) == ("OBS", "EMD-0101")
    assert (obsolete.release_date, obsolete.obsolete_date) == ("2020-01-01", "2022-11-17")


def test_what_an_entry_replaces_does_not_replace_it() -> None:
    lists = {"obsolete_list": {"entry": [{"entry": "EMD-0002"}]}}
    released = {"admin": {"current_status": {"code": "REL"}, **lists}}
    obsolete = {"admin": {"current_status": {"code": "OBS"}, **lists}}
    assert parsed("EMD-0001", released).superseded_by is None
    assert parsed("EMD-0001", obsolete).superseded_by == "EMD-0002"


def test_the_finest_of_several_reconstructions_counts_with_its_own_particles() -> None:
    finals: list[JsonValue] = [
        {"final_reconstruction": {"resolution": {"valueOf_": value}, "number_images_used": count}}
        for value, count in (("4.1", 900), ("3.2", 300), ("3.9", 500))
    ]
    document = {"structure_determination_list": {"structure_determination": [{"image_processing": finals}]}}
    entry = parsed("EMD-1234", document)
    assert (entry.resolution_angstrom, entry.particle_count) == (3.2, 300)


def test_sessions_that_differ_state_no_one_voltage() -> None:
    sessions = [
        {"acceleration_voltage": {"valueOf_": kv}, "microscope": name}
        for kv, name in (("300", "A"), ("200", "B"))
    ]
    document = {
        "structure_determination_list": {"structure_determination": [{"microscopy_list": {"microscopy": sessions}}]}
    }  # fmt: skip
    entry = parsed("EMD-1234", document)
    assert (entry.voltage_kv, entry.microscope) == (None, "A; B")


def test_no_address_of_a_person_is_kept() -> None:
    document = json.loads(json.dumps(standard_maps()["EMD-0103"]))
    document["admin"]["title"] = "A channel, ask me@example.org"
    document["admin"]["keywords"] = "me [at] example.org"
    entry = parsed("EMD-0103", document)
    assert "example.org" not in repr(entry)


@pytest.mark.parametrize("wrapped", [lambda d: [d], lambda d: {"EMD-0103": d}, lambda d: {"0103": d}])
def test_an_entry_may_be_wrapped(wrapped: object) -> None:
    assert callable(wrapped)
    assert parsed("EMD-0103", wrapped(standard_maps()["EMD-0103"])) == parsed("EMD-0103")


def test_entries_of_empiar_are_found_in_links_too() -> None:
    links = {
        "auxiliary_link_list": {
            "auxiliary_link": [{"link": "https://www.ebi.ac.uk/pdbe/emdb/empiar/entry/10017/"}]
        },
        "other_db_list": {"db_reference": {"db_name": "empiar", "accession_id": "10028"}},
    }
    assert parsed("EMD-1234", {"crossreferences": links}).empiar_ids == (10017, 10028)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<html>", "JSON"),
        (b'{"message": "busy"}', "no entry"),
        (b"[1, 2]", "no entry"),
        (b'"EMD-0103"', "no entry"),
        (b'{"emdb_id": "EMD-0104", "admin": {}}', "EMD-0104"),
        (b"[" * 5000 + b"]" * 5000, "nested"),
    ],
)
def test_senseless_answers_are_refused(body: bytes, what: str) -> None:
    with pytest.raises(BadAnswer, match=what):
        parse_emdb(body, "EMD-0103")


def test_empty_answers_hold_no_entry_and_zeros_in_front_do_not_matter() -> None:
    assert parse_emdb(b"{}", "EMD-0103") is None
    assert parse_emdb(b'{"emdb_id": "EMD-0103", "admin": {}}', "EMD-103") == EmdbEntry(
        "EMD-103", half_map_count=0
    )


# --- measures, weights, membranes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"valueOf_": "3.97", "units": "Å"}, 3.97),
        ({"valueOf_": 3.97}, 3.97),
        ("3.2 Å", 3.2),
        ("3.2Å", 3.2),
        (".5", 0.5),
        ({"valueOf_": "0.32", "units": "nm"}, 3.2),
        ({"valueOf_": "3.2", "units": "furlong"}, None),
        ("three", None),
        ("-3", None),
        ("nan", None),
        ("1e99", None),
        (True, None),
        (None, None),
        ({}, None),
        ([], None),
    ],
)
def test_lengths(value: JsonValue, found: float | None) -> None:
    assert measure_of(value, ANGSTROM, "resolution", Notes(), between=(0.1, 1000)) == found


def test_a_weight_needs_its_unit() -> None:
    notes = Notes()
    assert measure_of({"valueOf_": "78"}, KILODALTON, "weight", notes, between=(0, 1e9)) is None
    assert len(notes.sentences) == 1


def molecule(kind: str, weight: str | None, copies: str | None) -> JsonValue:
    stated: JsonValue = {"theoretical": {"valueOf_": weight, "units": "MDa"}} if weight else None
    return {"instance_type": kind, "molecular_weight": stated, "number_of_copies": copies}


def sample(*molecules: JsonValue, whole: str | None = None) -> JsonValue:
    stated: JsonValue = {"experimental": {"valueOf_": whole, "units": "MDa"}} if whole else None
    parts: list[JsonValue] = [
        {"parent": 0, "molecular_weight": stated},
        {"parent": 1, "molecular_weight": stated},
    ]
    return {
        "macromolecule_list": {"macromolecule": list(molecules)},
        "supramolecule_list": {"supramolecule": parts},
    }


@pytest.mark.parametrize(
    ("given", "weight"),
    [
        (sample(molecule("protein_or_peptide", "0.05", "2"), molecule("dna", "0.01", "1")), Weight(110, "summed", 50)),
        # Authors write kDa where MDa is stated; the sequences know better.
        (sample(molecule("protein_or_peptide", "0.05", "2"), whole="100"), Weight(100, "summed", 50)),
        (sample(molecule("protein_or_peptide", "0.05", None), whole="0.1"), Weight(100, "stated", 50)),
        (sample(molecule("protein_or_peptide", None, "2"), molecule("rna", "0.02", "1")), Weight(None, None, 20)),
        (sample(molecule("protein_or_peptide", "0.05", "1"), molecule("ligand", None, None)), Weight(50, "summed", 50)),
        (sample(molecule("ligand", "0.05", "1")), Weight()),
        (sample(whole="2.5"), Weight(2500, "stated")),
        (None, Weight()),
        ("text", Weight()),
    ],
)  # fmt: skip
def test_weights(given: JsonValue, weight: Weight) -> None:
    assert weight_of(given, Notes()) == weight


@pytest.mark.parametrize(
    ("terms", "keywords", "names", "source"),
    [
        (["GO:0016021"], None, [], "GO: GO:0016021"),
        (["0016020"], None, [], "GO: GO:0016020"),
        (["GO:0005737"], "MEMBRANE PROTEIN", [], "keywords: membrane protein"),
        ([], "transport protein", ["a GPCR in complex"], "name: gpcr"),
        ([], "peripheral membrane protein", ["non-membrane protein"], None),
        ([], None, ["membranes of cells", "transporter"], None),
    ],
)
def test_membrane_proteins(
    terms: list[str], keywords: str | None, names: list[str], source: str | None
) -> None:
    assert membrane_source(terms, keywords, names) == source
